//! The state folder moves to another machine: to another network namespace, with another address behind the same name.
//! The test runs itself again as root of its own namespaces, where it is the machine of a worker.

mod machines;

use machines::{Machine, client, enter_namespaces, run, run_in_namespaces};
use serde_json::{Value, json};
use sp1d_testing::{FakeEngine, expected_proof, fetch_inputs, finish_honestly, introduction, ready};
use sp1d_worker::JoiningWorker;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// The name that the worker joins.
const NAME: &str = "service.test";

/// Shards of the proof, and those that are finished before the machine dies.
const SHARDS: u64 = 6;
const FINISHED: usize = 3;

async fn body_of(request: reqwest::RequestBuilder) -> Vec<u8> {
    let response = request.send().await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    response.bytes().await.unwrap().to_vec()
}

async fn get(url: &str, path: &str) -> Value {
    serde_json::from_slice(&body_of(client().get(format!("{url}{path}"))).await).unwrap()
}

async fn post(url: &str, path: &str, kind: &str, body: String) -> Value {
    let request = client().post(format!("{url}{path}")).header("content-type", kind).body(body);
    serde_json::from_slice(&body_of(request).await).unwrap()
}

/// Calls `condition` until it is true.
async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_moved_state_folder_continues_its_proofs_under_the_same_name() {
    run_in_namespaces("inside_the_namespaces");
}

/// Points the name of the service at `address`. A resolver reads the file for each request.
fn point_name_at(hosts: &Path, address: &str) {
    fs::write(hosts, format!("127.0.0.1 localhost\n{address} {NAME}\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in the namespaces of the test above"]
async fn inside_the_namespaces() {
    // It mounts over /etc/hosts, which must not be that of the machine.
    enter_namespaces();
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "").unwrap();
    run("mount", &["--bind", hosts.to_str().unwrap(), "/etc/hosts"]);
    let [first, second] = [1, 2].map(Machine::start);
    point_name_at(&hosts, &first.address);

    let (gate, started) = (Arc::new(Semaphore::new(FINISHED)), Arc::<Mutex<BTreeMap<u64, u32>>>::default());
    let (of_engine, counts) = (gate.clone(), started.clone());
    let engine = FakeEngine::doing(move |assignment, io| {
        let (gate, counts) = (of_engine.clone(), counts.clone());
        async move {
            // Fetched once, as provers do: no service responds while it moves.
            let inputs = fetch_inputs(&assignment, &*io).await?;
            *counts.lock().unwrap().entry(inputs.shard.unwrap()).or_default() += 1;
            gate.acquire().await.expect("the gate is never closed").forget();
            finish_honestly(&assignment, &*io, &inputs.concat()).await
        }
    });
    let worker = JoiningWorker::new(format!("{NAME}:8091").parse().unwrap(), introduction("worker"));
    let stop = CancellationToken::new();
    let working = tokio::spawn(worker.serve(ready(engine), stop.clone()));

    let old = folder.path().join("old");
    let (process, url) = first.serve(&old, &[], &[("RUNNING", "1")]);
    let program = post(&url, "/v1/programs", "application/octet-stream", "program".to_owned()).await;
    let request = json!({ "program": program["id"], "cycle_limit": SHARDS });
    let submit = async || {
        let proof = post(&url, "/v1/proofs", "application/json", request.to_string()).await;
        proof["id"].as_str().unwrap().to_owned()
    };
    let (id, accepted) = (submit().await, submit().await);
    wait_for("some shards are finished", async || {
        let proof = get(&url, &format!("/v1/proofs/{id}")).await;
        proof["tasks"]["done"].as_u64().unwrap() as usize >= FINISHED
    })
    .await;

    // The machine dies, and its network with it.
    drop(process);
    drop(first);
    let new = folder.path().join("new");
    fs::rename(&old, &new).unwrap();
    point_name_at(&hosts, &second.address);
    let (_process, url) = second.serve(&new, &[], &[("RUNNING", "1")]);
    // Only one proof runs at a time, so the other one still waits.
    let waiting = get(&url, &format!("/v1/proofs/{accepted}")).await;
    assert_eq!(waiting["state"], "queued", "{waiting}");
    body_of(client().delete(format!("{url}/v1/proofs/{accepted}"))).await;
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    wait_for("the proof ends", async || get(&url, &format!("/v1/proofs/{id}")).await["state"] == "done").await;
    let content = body_of(client().get(format!("{url}/v1/proofs/{id}/proof"))).await;
    assert_eq!(content, expected_proof(SHARDS, 8));
    let counts = started.lock().unwrap().clone();
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), (0..SHARDS).collect::<Vec<_>>());
    assert!(counts.values().all(|times| *times == 1), "a shard was proven again: {counts:?}");
    stop.cancel();
    working.await.unwrap().unwrap();
}
