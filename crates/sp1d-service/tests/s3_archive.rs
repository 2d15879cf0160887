//! The archive of a service in a bucket of an S3-compatible server, moto. The variable `MOTO_SERVER` names its program.

use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use serde_json::{Value, json};
use sp1d_service::{ArchiveError, RestoreRequest, archived_copies, restore};
use sp1d_testing::{FakeEngine, RunningWorker, expected_proof, free_address};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(60);

const KEYS: [&str; 2] = ["the-key", "the-secret"];

const BUCKET: &str = "proofs";

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Calls `condition` until it is true.
async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A server with an empty bucket.
struct ObjectStore {
    _process: Process,
    endpoint: String,
}

impl ObjectStore {
    async fn start() -> Self {
        let program = std::env::var("MOTO_SERVER").expect("`./x test` sets MOTO_SERVER");
        let address = free_address();
        let mut command = Command::new(program);
        command.args(["-H", &address.ip().to_string(), "-p", &address.port().to_string()]);
        let process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let endpoint = format!("http://{address}");
        let bucket = Bucket::new(endpoint.parse().unwrap(), UrlStyle::Path, BUCKET, "us-east-1").unwrap();
        let credentials = Credentials::new(KEYS[0], KEYS[1]);
        wait_for("the object store starts", async || {
            let url = bucket.create_bucket(&credentials).sign(PATIENCE);
            let created = reqwest::Client::new().put(url).header("content-length", 0).send().await;
            created.is_ok_and(|response| response.status().is_success())
        })
        .await;
        Self { _process: process, endpoint }
    }

    /// Returns the variables of the environment for this server.
    fn variables(&self) -> [(&'static str, &str); 3] {
        [("AWS_ENDPOINT_URL", &self.endpoint), ("AWS_ACCESS_KEY_ID", KEYS[0]), ("AWS_SECRET_ACCESS_KEY", KEYS[1])]
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables().iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    }
}

/// Returns the path of the example `fake_serve`. Cargo builds it together with this test, in the folder next to it.
fn program() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/fake_serve")
}

/// Starts a service with an archive, and returns its process and its URL. Its log is in the file `log`.
fn serve(state: &Path, place: &str, worker: &RunningWorker, store: &ObjectStore, log: &Path) -> (Process, String) {
    let mut command = Command::new(program());
    command.arg(state).arg(worker.address.to_string()).envs(store.variables());
    command.env("ARCHIVE", place).env("FREE_BYTES", "0").env("LOG", "debug");
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("serving ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (Process(child), url)
}

async fn get(url: &str, path: &str) -> Value {
    serde_json::from_slice(&reqwest::get(format!("{url}{path}")).await.unwrap().bytes().await.unwrap()).unwrap()
}

async fn post(url: &str, path: &str, body: String) -> Value {
    let kind = if path == "/v1/proofs" { "application/json" } else { "application/octet-stream" };
    let request = reqwest::Client::new().post(format!("{url}{path}")).header("content-type", kind).body(body);
    serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
}

async fn prove(url: &str, shards: u64) -> String {
    let program = post(url, "/v1/programs", "program".to_owned()).await;
    let request = json!({ "program": program["id"], "cycle_limit": shards }).to_string();
    let id = post(url, "/v1/proofs", request).await["id"].as_str().unwrap().to_owned();
    wait_for("the proof ends", async || get(url, &format!("/v1/proofs/{id}")).await["state"] == "done").await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_is_restored_from_a_bucket_and_only_one_service_archives() {
    let folder = tempfile::tempdir().unwrap();
    let (log, restored) = (folder.path().join("log"), folder.path().join("restored"));
    let store = ObjectStore::start().await;
    let place = format!("s3://{BUCKET}/team/one");
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let (process, url) = serve(&folder.path().join("state"), &place, &worker, &store, &log);
    let id = prove(&url, 3).await;
    let variable = |name: &str| store.variable(name);
    let parsed = place.parse().unwrap();
    // The copy that has the proof: after its end, the whole state is in the archive.
    let done = Instant::now();
    wait_for("the proof is archived", async || {
        let age = get(&url, "/healthz").await["archive_age_seconds"].as_u64().unwrap();
        Duration::from_secs(age + 1) < done.elapsed()
    })
    .await;
    drop(process);

    let other = serve_refused(&folder.path().join("other"), &place, &store);
    // The program prints the error like a value of Rust.
    assert!(other.contains("Archive(Foreign {"), "{other}");

    let request = RestoreRequest { place: parsed, state: restored.clone(), copy: None, incomplete: false };
    let outcome = restore(&request, variable).await.unwrap();
    assert_eq!(outcome.missing, 0);
    assert!(archived_copies(&request.place, variable).await.unwrap().iter().any(|(copy, _)| *copy == outcome.copy));
    let (process, url) = serve(&restored, &place, &worker, &store, &log);
    let proof = reqwest::get(format!("{url}/v1/proofs/{id}/proof")).await.unwrap().bytes().await.unwrap();
    assert_eq!(&proof[..], expected_proof(3, 8));
    prove(&url, 2).await;
    drop(process);

    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("archive claimed"), "{log}");
    for secret in [KEYS[1], "X-Amz-Signature"] {
        assert!(!log.contains(secret), "the log contains {secret}");
    }
}

/// Starts a service that must refuse to start, and returns its error.
fn serve_refused(state: &Path, place: &str, store: &ObjectStore) -> String {
    let mut command = Command::new(program());
    let output = command.arg(state).envs(store.variables()).env("ARCHIVE", place).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn errors_of_a_bucket_say_what_to_check_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let store = ObjectStore::start().await;
    let request = |place: &str| RestoreRequest {
        place: place.parse().unwrap(),
        state: folder.path().join("state"),
        copy: None,
        incomplete: false,
    };
    let empty = restore(&request("s3://proofs/empty"), |name| store.variable(name)).await.unwrap_err();
    assert!(matches!(empty, ArchiveError::Empty { .. }), "{empty}");
    let unknown = restore(&request("s3://no-bucket"), |name| store.variable(name)).await.unwrap_err().to_string();
    assert!(unknown.contains("NoSuchBucket") && unknown.contains("hint: check the name of the bucket"), "{unknown}");
    let closed = format!("http://{}", free_address());
    let request = request("s3://proofs");
    let unreachable = restore(&request, |name| match name {
        "AWS_ENDPOINT_URL" => Some(closed.clone()),
        _ => store.variable(name),
    });
    let unreachable = unreachable.await.unwrap_err().to_string();
    assert!(unreachable.contains("s3://proofs"), "{unreachable}");
    for text in [&unknown, &unreachable] {
        assert!(KEYS.iter().all(|key| !text.contains(key)) && !text.contains("X-Amz"), "{text}");
    }
}
