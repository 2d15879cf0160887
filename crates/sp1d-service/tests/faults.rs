//! Faults of the machine and of the service itself: a locked database, a disk that is nearly full, damaged files, a
//! wrong clock, a crash, and a panic.

use reqwest::StatusCode;
use rusqlite::Connection;
use serde_json::{Value, json};
use sp1d_service::{NewProof, ProofFailureKind, ProofState, ServiceSettings};
use sp1d_testing::{DispatcherPanic, FakeEngine, RunningWorker, expected_proof};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

mod running;

use running::{PATIENCE, Running};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Opens the database of the state folder as another program would.
fn other_program(folder: &Path) -> Connection {
    Connection::open(folder.join("state/service.db")).unwrap()
}

#[tokio::test]
async fn locked_database_returns_503_and_loses_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let engine = FakeEngine::doing(|assignment, io| async move {
        sleep(Duration::from_millis(100)).await;
        sp1d_testing::do_honestly(&assignment, &*io).await
    });
    let worker = RunningWorker::ready("one", engine).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let id = running.submit(10, |_| {}).await;
    running.wait(&id, |proof| proof.tasks.done >= 2).await;
    let other = other_program(folder.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let program = running.service.proof(&id).await.unwrap().program;
    let request = NewProof { program: Some(program), cycle_limit: Some(1), ..NewProof::default() };
    let refused = running.request(&request).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "database_locked", "{problem}");
    // Reads and running proofs continue.
    running.wait(&id, |proof| proof.tasks.done == 10).await;
    assert_eq!(running.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(running.service.proof(&id).await.unwrap().state, ProofState::Running);
    other.execute_batch("ROLLBACK").unwrap();

    assert_eq!(running.ended(&id).await.state, ProofState::Done);
    assert_eq!(running.request(&request).await.status(), StatusCode::CREATED);
    let url = format!("http://{}/v1/proofs/{id}/events", running.address);
    let text = running.client.get(url).send().await.unwrap().text().await.unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    assert!(events.iter().map(|event| event["number"].as_u64().unwrap()).eq(1..=events.len() as u64), "{text}");
    assert_eq!(events.iter().filter(|event| event["event"] == "done").count(), 10, "{text}");
    running.service.shutdown().await;
}

#[tokio::test]
async fn past_events_are_not_cut_short_if_the_database_fails() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let id = running.submit(2, |_| {}).await;
    running.ended(&id).await;
    let client = sp1d_client::Client::new(&running.url).unwrap();
    let events = client.past_events(&id, 0).await.unwrap();
    let other = other_program(folder.path());
    other.execute_batch("ALTER TABLE events RENAME TO hidden").unwrap();
    let error = client.past_events(&id, 0).await.unwrap_err();
    assert!(error.is_passing(), "{error}");
    other.execute_batch("ALTER TABLE hidden RENAME TO events").unwrap();
    assert_eq!(client.past_events(&id, 0).await.unwrap(), events);
    running.service.shutdown().await;
}

#[tokio::test]
async fn upload_that_the_disk_has_no_room_for_is_refused_before_its_first_byte() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |settings| settings.max_input_bytes = u64::MAX).await;
    let mut connection = TcpStream::connect(running.address).await.unwrap();
    let head =
        format!("POST /v1/inputs HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", running.address, u64::MAX >> 8);
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut response = [0; 12];
    timeout(PATIENCE, connection.read_exact(&mut response)).await.unwrap().unwrap();
    assert_eq!(&response, b"HTTP/1.1 507");
    running.upload("/v1/inputs", "input").await;
    running.service.shutdown().await;
}

/// Returns all files and folders below `folder`, and `folder` itself.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => all_below(&entry.path()),
        _ => vec![entry.path()],
    });
    below.chain([folder.to_owned()]).collect()
}

#[tokio::test]
async fn damaged_input_is_refused_until_it_is_uploaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let program = running.upload("/v1/programs", "program").await;
    let input = running.upload("/v1/inputs", "the input").await;
    let file = folder.path().join("state/blobs").join(&input[..2]).join(&input);
    fs::write(file, "the 1nput").unwrap();
    let request = NewProof { program: Some(program), input: Some(input), cycle_limit: Some(1), ..NewProof::default() };
    assert_eq!(running.request(&request).await.status(), StatusCode::NOT_FOUND);
    running.upload("/v1/inputs", "the input").await;
    assert_eq!(running.request(&request).await.status(), StatusCode::CREATED);
    running.service.shutdown().await;
}

#[tokio::test]
async fn state_folder_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let id = running.submit(2, |_| {}).await;
    assert_eq!(running.ended(&id).await.state, ProofState::Done);
    let found = all_below(&folder.path().join("state"));
    assert!(found.len() > 10, "{found:?}");
    for path in found {
        let Ok(described) = fs::metadata(&path) else { continue };
        let expected = if described.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(described.permissions().mode() & 0o777, expected, "{}", path.display());
    }
    running.service.shutdown().await;
}

#[tokio::test]
async fn proofs_that_ran_at_a_crash_start_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Running::start(folder.path(), &[], |settings| settings.parallel_proofs = 3);
    let running = start().await;
    let ids = [running.submit(1, |_| {}).await, running.submit(1, |_| {}).await];
    for id in &ids {
        running.wait(id, |proof| proof.state == ProofState::Running).await;
    }
    running.service.shutdown().await;
    drop(running);
    // The state that a crash leaves.
    other_program(folder.path()).execute("UPDATE proofs SET state = 'running'", []).unwrap();

    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = start().await;
    running.wait(&ids[0], |proof| proof.state == ProofState::Running).await;
    let new = running.submit(1, |_| {}).await;
    sleep(Duration::from_secs(2)).await;
    for id in [&ids[1], &new] {
        assert_eq!(running.service.proof(id).await.unwrap().state, ProofState::Queued);
    }
    running.service.orchestrator().set_list(&sp1d_orchestrator::WorkerList(vec![worker.address.into()]));
    for id in ids.iter().chain([&new]) {
        assert_eq!(running.ended(id).await.state, ProofState::Done);
    }
    running.service.shutdown().await;
}

#[tokio::test]
async fn stop_before_the_end_of_a_proof_is_stored_does_not_count_as_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let other = other_program(folder.path());
    let fail = "CREATE TRIGGER fail BEFORE UPDATE OF result ON proofs BEGIN SELECT RAISE(ABORT, 'planted'); END";
    other.execute_batch(fail).unwrap();
    let id = running.submit(1, |_| {}).await;
    let deadline = Instant::now() + PATIENCE;
    let has_ended = async || {
        let response = running.client.get(format!("{}/metrics", running.url)).send().await.unwrap();
        response.text().await.unwrap().contains("sp1d_proofs_ended_total{mode=\"core\",state=\"done\"} 1")
    };
    while !has_ended().await {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(10)).await;
    }
    running.service.shutdown().await;
    let select = "SELECT state, crashes FROM proofs WHERE id = ?1";
    let stored = other.query_row(select, [&id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)));
    assert_eq!(stored.unwrap(), ("queued".to_owned(), 0));
    drop(running);
    other.execute_batch("DROP TRIGGER fail").unwrap();

    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    assert_eq!(running.ended(&id).await.state, ProofState::Done);
    running.service.shutdown().await;
}

#[tokio::test]
async fn shutdown_waits_for_a_request_that_is_still_arriving() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let request = NewProof { program: Some(running.program().await), ..NewProof::default() };
    let body = serde_json::to_string(&request).unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "POST /v1/proofs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut asked)).await.unwrap().unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    let service = running.service.clone();
    let mut stopping = tokio::spawn(async move { service.shutdown().await });
    // Without a request, the shutdown takes less.
    assert!(timeout(Duration::from_secs(1), &mut stopping).await.is_err());
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut response = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut response)).await.unwrap().unwrap();
    assert!(response.starts_with("HTTP/1.1 201"), "{response}");
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn limits_of_the_service_hold_for_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    // The fake controller proves a shard for each cycle.
    let limit = |settings: &mut ServiceSettings| settings.max_cycles = Some(2);
    let running = Running::start(folder.path(), &[worker.address], limit).await;
    for (cycles, shards) in [(1, 1), (5, 2)] {
        let id = running.submit(cycles, |_| {}).await;
        let proof = running.ended(&id).await;
        assert_eq!((proof.state, proof.shards), (ProofState::Done, Some(shards)));
    }
    running.service.shutdown().await;
    drop(running);

    let hanging = RunningWorker::ready("two", FakeEngine::doing(|_, _| std::future::pending())).await;
    let limit = |settings: &mut ServiceSettings| {
        settings.max_time = Some(Duration::from_millis(300));
        // No result of the first proofs.
        settings.max_result_cache_bytes = 0;
    };
    let running = Running::start(folder.path(), &[hanging.address], limit).await;
    let id = running.submit(1, |_| {}).await;
    let proof = running.ended(&id).await;
    assert_eq!((proof.state, proof.failure.unwrap().kind), (ProofState::Failed, ProofFailureKind::Timeout));
    running.service.shutdown().await;
}

#[tokio::test]
async fn step_of_the_clock_removes_nothing_until_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Running::start(folder.path(), &[], |settings| settings.parallel_proofs = 1);
    let running = start().await;
    let id = running.submit(1, |_| {}).await;
    running.service.cancel(&id).await.unwrap();
    running.ended(&id).await;
    running.service.shutdown().await;
    drop(running);
    // The proof ended a day before the last run of the service, and the clock has moved by 30 days since.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let before = i64::try_from(now).unwrap() - 30 * DAY_MS;
    let database = other_program(folder.path());
    database.execute("UPDATE proofs SET created = ?1, ended = ?1", [before - DAY_MS]).unwrap();
    database.execute("UPDATE counters SET value = ?1 WHERE name = 'clock_trusted'", [before]).unwrap();
    drop(database);

    let running = start().await;
    let (_, health) = running.get("/healthz").await;
    assert!(health["warnings"][0].as_str().unwrap().contains("system clock"), "{health}");
    // Longer than the first garbage collection takes.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.get(&format!("/v1/proofs/{id}")).await.0, StatusCode::OK);
    running.service.shutdown().await;
    drop(running);

    // The next start finds a plausible time, which confirms the step.
    let running = start().await;
    let deadline = Instant::now() + PATIENCE;
    while running.get(&format!("/v1/proofs/{id}")).await.0 != StatusCode::NOT_FOUND {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(running.get("/healthz").await.1["warnings"], Value::Null);
    running.service.shutdown().await;
}

#[tokio::test]
async fn dead_dispatcher_fails_the_health_check() {
    let folder = tempfile::tempdir().unwrap();
    let defect = DispatcherPanic::default();
    let _logs = tracing::subscriber::set_default(defect.clone());
    let running = Running::start(folder.path(), &[], |_| {}).await;
    assert_eq!(running.get("/healthz").await.0, StatusCode::OK);
    defect.arm();
    let id = running.submit(1, |_| {}).await;
    assert_eq!(timeout(PATIENCE, running.service.died()).await.unwrap(), "the dispatcher");
    let (status, problem) = running.get("/healthz").await;
    assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("dead_part")));
    assert!(problem["detail"].as_str().unwrap().contains("the dispatcher"), "{problem}");
    timeout(PATIENCE, running.service.shutdown()).await.unwrap();
    drop(running);

    // The next process proves what the first one accepted.
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    assert_eq!(running.ended(&id).await.state, ProofState::Done);
    let url = format!("http://{}/v1/proofs/{id}/proof", running.address);
    assert_eq!(running.client.get(url).send().await.unwrap().bytes().await.unwrap(), expected_proof(1, 8));
    running.service.shutdown().await;
}
