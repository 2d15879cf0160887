//! The service's process, killed at any instant.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use testing::{FakeEngine, RunningWorker, do_honestly, expected_proof};

const PATIENCE: Duration = Duration::from_secs(60);

/// Killed when dropped.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(state: &Path, workers: &[String]) -> Self {
        // Beside the folder of this test: examples are built with it.
        let tests = std::env::current_exe().unwrap();
        let program = tests.ancestors().nth(2).unwrap().join("examples/fake_serve");
        let mut command = Command::new(&program);
        let child = command.arg(state).args(workers).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("serving ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, url }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn post(url: &str, path: &str, kind: &str, body: String) -> Option<Value> {
    let request = reqwest::Client::new().post(format!("{url}{path}")).header("content-type", kind).body(body);
    let response = request.send().await.ok()?;
    assert!(response.status().is_success(), "{path}: {}", response.status());
    serde_json::from_slice(&response.bytes().await.ok()?).ok()
}

async fn get(url: &str, path: &str) -> Value {
    serde_json::from_slice(&reqwest::get(format!("{url}{path}")).await.unwrap().bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_proof_comes_out_right_however_often_the_service_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let engine = FakeEngine::doing(move |assignment, io| async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        do_honestly(&assignment, &*io).await
    });
    let worker = RunningWorker::ready("one", engine).await;
    let workers = [worker.address.to_string()];
    let mut accepted = Vec::new();
    // Other instants each time, as the machine has it: what is asked for, what runs and what is written is cut at them.
    for round in 0..8_u64 {
        let mut process = Process::start(&state, &workers);
        let program = post(&process.url, "/v1/programs", "application/octet-stream", "program".into()).await.unwrap();
        let asking = async {
            for proof in 0_u64.. {
                let shards = 20 + (round * 7 + proof) % 5;
                let key = format!("{round}-{proof}");
                let request = json!({ "program": program["id"], "cycle_limit": shards, "idempotency_key": key });
                let answer = post(&process.url, "/v1/proofs", "application/json", request.to_string()).await;
                let Some(answer) = answer else { return };
                accepted.push((answer["id"].as_str().unwrap().to_owned(), shards));
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(200 + 173 * round), asking).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }
    assert!(accepted.len() >= 16, "{accepted:?}");
    let process = Process::start(&state, &workers);
    let deadline = Instant::now() + PATIENCE;
    for (id, shards) in &accepted {
        let proof = loop {
            let proof = get(&process.url, &format!("/v1/proofs/{id}")).await;
            assert!(proof["state"] != "failed" && proof["state"] != "cancelled", "{proof}");
            if proof["state"] == "done" {
                break proof;
            }
            assert!(Instant::now() < deadline, "{proof}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let content =
            reqwest::get(format!("{}/v1/proofs/{id}/proof", process.url)).await.unwrap().bytes().await.unwrap();
        assert_eq!(&content[..], expected_proof(*shards, 8), "{proof}");
    }
}
