//! What is left of a proof after its deletion, and where an input never appears.

use reqwest::{Method, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};
use sp1d_artifacts::Digest;
use sp1d_model::hint;
use sp1d_protocol::FailureKind;
use sp1d_service::{NewProof, ProofState, Service, ServiceSettings, serve};
use sp1d_testing::{FakeEngine, FakeRunner, RunningWorker, do_honestly, fake_build, fetch_inputs, free_address};
use sp1d_worker::AttemptError;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, time::sleep};
use tracing_subscriber::fmt::MakeWriter;

mod running;

use running::{PATIENCE, Running};

impl Running {
    async fn input(&self, content: &str) -> String {
        let (status, uploaded) = self.post("/v1/inputs", "application/octet-stream", content.to_owned()).await;
        assert_eq!(status, StatusCode::CREATED);
        uploaded["id"].as_str().unwrap().to_owned()
    }

    /// Deletes the proof `id`. Returns the status of the response and its body.
    async fn delete(&self, id: &str) -> (StatusCode, Value) {
        let url = format!("{}/v1/proofs/{id}/data", self.url);
        let response = self.client.request(Method::DELETE, url).send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }
}

/// Returns the file of the blob `digest` in the folder of a test.
fn blob(folder: &Path, digest: &str) -> PathBuf {
    folder.join("state/blobs").join(&digest[..2]).join(digest)
}

/// Returns all files and folders in `folder`, and `folder` itself.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if path.is_dir() {
            found.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        next += 1;
    }
    found
}

/// Returns the number of cached results.
fn cached(folder: &Path) -> usize {
    let files = fs::read_dir(folder.join("state/memo")).unwrap().flatten();
    files.filter(|file| file.file_name().len() == 64).count()
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn deleted_proof_leaves_no_data_and_is_deleted_once() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let input = running.input("a private input").await;
    let id = running.submit(2, |request| request.input = Some(input.clone())).await;
    assert_eq!(running.ended(&id).await.state, ProofState::Done);
    let response = running.client.get(format!("{}/v1/proofs/{id}/proof", running.url)).send().await.unwrap();
    let result = Digest::of(&response.bytes().await.unwrap()).to_string();
    assert!(blob(folder.path(), &input).exists() && blob(folder.path(), &result).exists());
    wait_until("no result is cached", || cached(folder.path()) == 2).await;

    assert_eq!(running.delete(&id).await, (StatusCode::OK, json!({ "id": id, "deleted": true })));
    assert!(!blob(folder.path(), &input).exists() && !blob(folder.path(), &result).exists());
    assert_eq!(cached(folder.path()), 0);
    for path in ["", "/proof", "/events", "/trace", "/tasks"] {
        let (status, _) = running.get(&format!("/v1/proofs/{id}{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let texts: Vec<String> =
        walk(folder.path()).iter().filter(|path| path.is_file()).filter_map(|path| text_of(path)).collect();
    assert!(!texts.iter().any(|text| text.contains(&id)), "a file still contains the id of the proof");
    assert_eq!(running.delete(&id).await, (StatusCode::OK, json!({ "id": id, "deleted": false })));
    running.service.shutdown().await;
}

fn text_of(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

#[tokio::test]
async fn an_input_stays_until_its_last_proof_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let input = running.input("a private input").await;
    let mut proofs = Vec::new();
    for nonce in 1..=2 {
        let id = running.submit(1, |request| (request.input, request.nonce) = (Some(input.clone()), [nonce; 4])).await;
        assert_eq!(running.ended(&id).await.state, ProofState::Done);
        proofs.push(id);
    }
    wait_until("no result is cached", || cached(folder.path()) == 1).await;
    for (id, is_left) in proofs.iter().zip([true, false]) {
        assert_eq!(running.delete(id).await.0, StatusCode::OK);
        assert_eq!(blob(folder.path(), &input).exists(), is_left);
        assert_eq!(cached(folder.path()), usize::from(is_left));
    }
    running.service.shutdown().await;
}

#[tokio::test]
async fn a_proof_that_has_not_ended_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |settings| settings.parallel_proofs = 1).await;
    let first = running.submit(1, |_| {}).await;
    running.wait(&first, |proof| proof.state == ProofState::Running).await;
    let second = running.submit(1, |_| {}).await;
    for (id, state) in [(&first, "running"), (&second, "queued")] {
        let (status, problem) = running.delete(id).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")));
        assert!(problem["detail"].as_str().unwrap().contains(state), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains("sp1d cancel"), "{problem}");
        assert!(running.service.proof(id).await.is_ok());
    }
    running.service.cancel(&second).await.unwrap();
    assert_eq!(running.delete(&second).await.1["deleted"], json!(true));
    running.service.shutdown().await;
}

#[tokio::test]
async fn a_deletion_that_a_crash_has_interrupted_is_completed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let (used, unused) = (running.input("a used input").await, running.input("an unused input").await);
    let id = running.submit(1, |request| request.input = Some(used.clone())).await;
    running.ended(&id).await;
    wait_until("no result is cached", || cached(folder.path()) == 1).await;
    running.service.shutdown().await;
    // The database has committed, and no file is removed yet.
    let database = Connection::open(folder.path().join("state/service.db")).unwrap();
    for (kind, digest) in [("blob", &used), ("blob", &unused), ("cached_results", &used), ("cached_results", &unused)] {
        database.execute("INSERT INTO removals (kind, digest) VALUES (?1, ?2)", [kind, digest.as_str()]).unwrap();
    }
    database.execute("DELETE FROM tenant_inputs WHERE input = ?1", [&unused]).unwrap();
    let pending = || database.query_row("SELECT count(*) FROM removals", [], |row| row.get::<_, i64>(0)).unwrap();
    let running = Running::start(folder.path(), &[], |_| {}).await;
    wait_until("the deletion is not completed", || pending() == 0).await;
    assert!(!blob(folder.path(), &unused).exists());
    // Another proof has this input.
    assert!(blob(folder.path(), &used).exists());
    assert_eq!(cached(folder.path()), 1);
    running.service.shutdown().await;
}

#[tokio::test]
async fn cached_results_do_not_outlive_an_expired_proof() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let input = running.input("a private input").await;
    let id = running.submit(1, |request| request.input = Some(input.clone())).await;
    assert_eq!(running.ended(&id).await.state, ProofState::Done);
    wait_until("no result is cached", || cached(folder.path()) == 1).await;
    running.service.shutdown().await;
    let running = Running::start(folder.path(), &[], |settings| settings.keep = Duration::ZERO).await;
    wait_until("the cached result is not removed", || cached(folder.path()) == 0).await;
    assert_eq!(running.get(&format!("/v1/proofs/{id}")).await.0, StatusCode::NOT_FOUND);
    running.service.shutdown().await;
}

#[tokio::test]
async fn a_private_proof_waits_for_a_trusted_worker_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // A worker without a certificate is not trusted.
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let id = running.submit(2, |request| request.trusted_only = true).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let waiting = running.json(&format!("/v1/proofs/{id}/tasks")).await["reasons"].clone();
        if waiting[0]["tasks"] == json!(2) {
            assert_eq!(waiting[0]["code"], json!("no_trusted_worker"), "{waiting}");
            break;
        }
        assert!(Instant::now() < deadline, "{waiting}");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(running.json(&format!("/v1/proofs/{id}")).await["trusted_only"], json!(true));
    running.service.cancel(&id).await.unwrap();
    assert_eq!(running.ended(&id).await.state, ProofState::Cancelled);
    running.service.shutdown().await;
}

/// Checks that `found` does not contain `marker`, in any form in which a program might write bytes.
#[track_caller]
fn check_unmarked(place: &str, found: &[u8], marker: &str) {
    let hexadecimal: String = marker.bytes().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{:?}", marker.as_bytes());
    // The start is enough: a long text may be cut.
    let forms = [&marker[..12], &hexadecimal[..24], &list[1..40]];
    for form in forms {
        let is_in = found.windows(form.len()).any(|part| part.eq_ignore_ascii_case(form.as_bytes()));
        assert!(!is_in, "{place} contains the input as {form}");
    }
}

/// Collects the log of this process.
#[derive(Debug, Clone, Default)]
struct CollectedLog(Arc<Mutex<Vec<u8>>>);

impl Write for CollectedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for CollectedLog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn a_marker_is_found_in_each_form() {
    let marker = "0123456789abcdef0123456789abcdef";
    let hexadecimal: String = marker.bytes().map(|byte| format!("{byte:02X}")).collect();
    for text in [format!("x {marker}"), hexadecimal, format!("{:?}", marker.as_bytes())] {
        let outcome = std::panic::catch_unwind(|| check_unmarked("the text", text.as_bytes(), marker));
        assert!(outcome.is_err(), "{text}");
    }
    check_unmarked("the text", b"another text", marker);
}

#[tokio::test]
async fn an_input_is_in_no_log_event_metric_page_error_or_open_file() {
    let log = CollectedLog::default();
    tracing_subscriber::fmt().with_env_filter("trace").with_ansi(false).with_writer(log.clone()).init();
    let mut random = [0; 16];
    getrandom::fill(&mut random).unwrap();
    let marker: String = random.iter().map(|byte| format!("{byte:02x}")).collect();

    let folder = tempfile::tempdir().unwrap();
    // The worker gets the input. It fails at its first attempt, so that the service also shows a failure.
    let (has_failed, expected) = (Arc::new(AtomicBool::new(false)), marker.clone());
    let engine = FakeEngine::doing(move |assignment, io| {
        let (has_failed, expected) = (has_failed.clone(), expected.clone());
        async move {
            let inputs = fetch_inputs(&assignment, &*io).await?.concat();
            let is_marked = inputs.windows(expected.len()).any(|part| part == expected.as_bytes());
            if !has_failed.swap(true, Ordering::Relaxed) {
                let text = format!("the first attempt fails, and has the input: {is_marked}");
                return Err(AttemptError { kind: FailureKind::Engine, text });
            }
            do_honestly(&assignment, &*io).await
        }
    });
    let worker = RunningWorker::ready("one", engine).await;
    let mut orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
    orchestrator.heartbeat = Duration::from_millis(100);
    let mut settings = ServiceSettings::new(folder.path().join("state"), orchestrator, "{}".into());
    settings.min_free_bytes = 0;
    let runner = FakeRunner { sends_input: true, ..FakeRunner::default() };
    let service = Service::start(settings, Arc::new(runner), None).await.unwrap();
    service.orchestrator().set_list(&sp1d_orchestrator::WorkerList(vec![worker.address.into()]));
    let address = free_address();
    tokio::spawn(serve(service.clone(), TcpListener::bind(address).await.unwrap()));
    let running = Running { service, address, url: format!("http://{address}"), client: reqwest::Client::new() };

    let input = running.input(&marker).await;
    let id = running.submit(2, |request: &mut NewProof| request.input = Some(input.clone())).await;
    let proof = running.ended(&id).await;
    assert_eq!(proof.state, ProofState::Done, "{:?}", proof.failure.map(|failure| hint::one_line(&failure.text)));
    let events = running.text(&format!("/v1/proofs/{id}/events")).await;
    assert!(events.contains("has the input: true"), "the worker did not get the input: {events}");

    for path in ["", "/events", "/trace", "/tasks"].map(|path| format!("/v1/proofs/{id}{path}")) {
        check_unmarked(&path, running.text(&path).await.as_bytes(), &marker);
    }
    for path in ["/", "/v1/proofs", "/v1/programs", "/v1/workers", "/metrics", "/healthz", "/readyz"] {
        check_unmarked(path, running.text(path).await.as_bytes(), &marker);
    }
    let mut page = running.client.get(format!("{}/v1/events", running.url)).send().await.unwrap();
    check_unmarked("/v1/events", &page.chunk().await.unwrap().unwrap(), &marker);
    drop(page);
    // Error documents: an input that is not valid, a request that cannot be read, and one that is refused.
    let bad = format!("bad {marker}");
    for (path, kind, body) in [
        ("/v1/inputs", "application/octet-stream", bad.clone()),
        ("/v1/programs", "application/octet-stream", bad.clone()),
        ("/v1/proofs", "multipart/form-data; boundary=x", form_with(&bad)),
    ] {
        let response = running.send(path, kind, body).await;
        assert!(response.status().is_client_error(), "{path}: {}", response.status());
        check_unmarked(path, &response.bytes().await.unwrap(), &marker);
    }
    check_state_folder(&folder.path().join("state"));
    running.delete(&id).await;
    running.service.shutdown().await;
    let log = log.0.lock().unwrap().clone();
    assert!(log.windows(id.len()).any(|part| part == id.as_bytes()), "the log was not collected");
    check_unmarked("the log", &log, &marker);
}

impl Running {
    async fn text(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }
}

/// Returns a form with this input and a program.
fn form_with(input: &str) -> String {
    let part = |name: &str, content: &str| {
        format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n{content}\r\n")
    };
    [part("program", "program"), part("stdin", input)].concat() + "--x--\r\n"
}

/// Checks that only the owner can open the files and folders of a state folder.
#[track_caller]
fn check_state_folder(state: &Path) {
    let found = walk(state);
    let mut files = 0;
    for path in &found {
        let data = fs::symlink_metadata(path).unwrap();
        let (mode, expected) = (data.permissions().mode() & 0o777, if data.is_dir() { 0o700 } else { 0o600 });
        assert_eq!(mode, expected, "{}: {mode:o}", path.display());
        files += usize::from(data.is_file());
    }
    // The lock, the database, the program, the input, the proof and the cached results.
    assert!(files >= 6, "{found:?}");
}
