//! Tests of the service through its HTTP API, with fake workers and a fake runner.

use opentelemetry::{global::BoxedTracer, trace::TracerProvider};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sp1d_orchestrator::JoinSettings;
use sp1d_protocol::Address;
use sp1d_service::{NewProof, ProofFailureKind, ProofState, ProofSummary, follow_list};
use sp1d_testing::{FakeEngine, GAS_PER_SHARD, RunningWorker, do_honestly, expected_proof, fetch_inputs, free_address};
use sp1d_worker::{JoiningWorker, ProvingEngine};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

mod running;

use running::{PATIENCE, Running, open};

const PROGRAM: &[u8] = b"program";

impl Running {
    async fn fetched(&self, id: &str) -> Vec<u8> {
        let response = self.client.get(format!("{}/v1/proofs/{id}/proof", self.url)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.bytes().await.unwrap().to_vec()
    }

    /// Returns the number and name of each event after number `after`. Waits until the proof has ended.
    async fn events(&self, id: &str, after: u64) -> Vec<(u64, String)> {
        let request = self.client.get(format!("{}/v1/proofs/{id}/events", self.url));
        let text = request.header("last-event-id", after).send().await.unwrap().text().await.unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
        events.map(|event| (event["number"].as_u64().unwrap(), event["event"].as_str().unwrap().to_owned())).collect()
    }
}

/// How often each shard was started, by shard number.
type Begun = Arc<Mutex<BTreeMap<u64, u32>>>;

/// Returns an honest engine that takes `time` for each shard, and its counts of started shards.
fn counting(time: Duration) -> (Begun, Arc<dyn ProvingEngine>) {
    let started_shards = Begun::default();
    let counts = started_shards.clone();
    let engine = FakeEngine::doing(move |assignment, io| {
        let counts = counts.clone();
        async move {
            let inputs = fetch_inputs(&assignment, &*io).await?;
            *counts.lock().unwrap().entry(inputs.shard.unwrap()).or_default() += 1;
            tokio::time::sleep(time).await;
            do_honestly(&assignment, &*io).await
        }
    });
    (started_shards, engine)
}

/// Collects exported spans in memory.
#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

#[tokio::test]
async fn finished_proof_exports_spans_of_its_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let spans = Spans::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
    let running =
        Running::start(folder.path(), &[worker.address], |settings| settings.tracer = Some(Arc::new(tracer))).await;
    let id = running.submit(3, |_| {}).await;
    let events = running.events(&id, 0).await;
    let spans = spans.0.lock().unwrap().clone();
    let root = spans.iter().find(|span| span.name == "proof").unwrap();
    let attribute = |span: &SpanData, name: &str| {
        span.attributes.iter().find(|found| found.key.as_str() == name).map(|found| found.value.to_string())
    };
    assert_eq!(attribute(root, "sp1d.proof.id").unwrap(), id);
    assert_eq!(attribute(root, "sp1d.proof.state").unwrap(), "done");
    assert!(spans.iter().all(|span| span.span_context.trace_id() == root.span_context.trace_id()));
    let done = spans
        .iter()
        .filter(|span| span.name == "prove_shard" && attribute(span, "sp1d.outcome").as_deref() == Some("done"));
    assert_eq!(done.filter(|span| span.parent_span_id == root.span_context.span_id()).count(), 3, "{events:?}");
    assert!(spans.iter().any(|span| span.name == "execution"));
}

#[tokio::test]
async fn proof_is_submitted_followed_and_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let id = running.submit(3, |_| {}).await;
    let events = running.events(&id, 0).await;
    let count = |name: &str| events.iter().filter(|(_, event)| event == name).count();
    assert_eq!(
        ["queued", "started", "submitted", "assigned", "proving", "done", "finished"].map(count),
        [1, 1, 3, 3, 3, 3, 1]
    );
    assert!(events.iter().map(|(number, _)| *number).eq(1..=events.len() as u64), "{events:?}");
    assert_eq!(running.events(&id, 5).await, events[5..], "a client that reconnects gets the events that it missed");
    let proof = running.ended(&id).await;
    assert_eq!((proof.state, proof.shards, proof.starts), (ProofState::Done, Some(3), 1));
    assert_eq!((proof.tasks.known, proof.tasks.done, proof.tasks.cached), (3, 3, 0));
    assert_eq!((proof.workers[0].name.as_str(), proof.workers[0].tasks), ("one", 3));
    assert_eq!(running.fetched(&id).await, expected_proof(3, 8));
    let shown = running.json(&format!("/v1/proofs/{id}")).await;
    assert_eq!(serde_json::to_value(&proof).unwrap(), shown);
    assert!(shown["created"].as_str().unwrap().ends_with('Z'), "{shown}");
    running.service.shutdown().await;
}

#[tokio::test]
async fn form_submits_program_input_and_request_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let part = |name: &str, content: &str| {
        format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n{content}\r\n")
    };
    let form = |parts: &[String]| parts.concat() + "--x--\r\n";
    let send = async |body: String| running.post("/v1/proofs", "multipart/form-data; boundary=x", body).await;
    let request = part("request", "{\"cycle_limit\": 2}");
    let (status, proof) = send(form(&[part("program", "program two"), part("stdin", "12"), request.clone()])).await;
    assert_eq!(status, StatusCode::CREATED, "{proof}");
    let id = proof["id"].as_str().unwrap();
    assert_eq!(running.ended(id).await.state, ProofState::Done);
    for (parts, part) in [
        (vec![part("program", "not one"), request.clone()], "invalid program"),
        (vec![part("stdin", "bad"), request.clone()], "invalid stdin"),
        (vec![request.clone(), request.clone()], "twice"),
        (vec![part("other", "")], "unknown form part `other`"),
        (vec![request.clone()], "no program"),
        (vec![part("request", "{\"cycle_limit\": 2, \"mood\": 1}")], "unknown field `mood`"),
    ] {
        let (status, problem) = send(form(&parts)).await;
        assert!(status.is_client_error(), "{status}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    running.service.shutdown().await;
}

#[tokio::test]
async fn bad_requests_return_problem_documents() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |settings| settings.max_program_bytes = 1000).await;
    let id = running.program().await;
    let json = |value: Value| ("application/json", value.to_string());
    let proof = |more: Value| {
        let mut request = json!({ "program": id });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json(request)
    };
    let queued = running.submit(1, |_| {}).await;
    let bytes = |text: &str| ("application/octet-stream", text.to_owned());
    let none = || ("application/json", String::new());
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let cases = [
        (&get, "/v1/proofs/abc", none(), 404, "unknown"),
        (&delete, "/v1/proofs/abc", none(), 404, "unknown"),
        (&get, "/v1/proofs/abc/proof", none(), 404, "unknown"),
        (&get, "/v1/proofs/abc/events", none(), 404, "unknown"),
        (&get, "/v1/proofs/abc/tasks", none(), 404, "unknown"),
        (&get, &*format!("/v1/proofs/{queued}/tasks?limit=1001"), none(), 400, "malformed"),
        (&get, &*format!("/v1/proofs/{queued}/tasks?after=first"), none(), 400, "malformed"),
        (&get, &*format!("/v1/proofs/{queued}/events?follow=maybe"), none(), 400, "malformed"),
        (&get, "/v1/proofs?limit=0", none(), 400, "malformed"),
        (&get, "/v1/proofs?state=lost", none(), 400, "malformed"),
        (&get, "/v1/programs/..%2f..%2fservice.db", none(), 404, "unknown"),
        (&get, "/nothing", none(), 404, "unknown_path"),
        (&post, "/healthz", none(), 405, "unknown_method"),
        (&post, "/v1/workers/unknown/drain", none(), 404, "unknown"),
        (&delete, "/v1/workers/unknown", none(), 404, "unknown"),
        (&get, "/readyz", none(), 503, "no_workers"),
        (&post, "/v1/programs", bytes("no program"), 422, "invalid"),
        (&post, "/v1/programs", bytes(&"program ".repeat(1000)), 413, "too_long"),
        (&post, "/v1/inputs", bytes("bad input"), 422, "invalid"),
        (&post, "/v1/proofs", bytes("{}"), 415, "unknown_type"),
        (&post, "/v1/proofs", ("application/json", "{".to_owned()), 400, "malformed"),
        (&post, "/v1/proofs", ("application/json", " ".repeat(1 << 20)), 400, "malformed"),
        (&post, "/v1/proofs", json(json!({})), 422, "invalid"),
        (&post, "/v1/proofs", json(json!({ "program": "../x" })), 404, "unknown"),
        (&post, "/v1/proofs", proof(json!({ "input": "../../service.db" })), 404, "unknown"),
        (&post, "/v1/proofs", proof(json!({ "mode": "swift" })), 400, "malformed"),
        (&post, "/v1/proofs", proof(json!({ "priority": 101 })), 422, "invalid"),
        (&post, "/v1/proofs", proof(json!({ "cycle_limit": 0 })), 422, "invalid"),
        (&post, "/v1/proofs", proof(json!({ "gas_limit": 0 })), 422, "invalid"),
        (&post, "/v1/proofs", proof(json!({ "gas_limit": 1_u64 << 63 })), 422, "invalid"),
        (&post, "/v1/proofs", proof(json!({ "timeout_seconds": 0 })), 422, "invalid"),
        (&post, "/v1/proofs", proof(json!({ "nonce": [0, 0, 0, 0x7f00_0001] })), 422, "invalid"),
        (&post, "/v1/proofs", proof(json!({ "idempotency_key": "" })), 422, "invalid"),
    ];
    for (method, path, (kind, body), status, code) in cases {
        let request = running.client.request(method.clone(), format!("{}{path}", running.url));
        let response = request.header("content-type", kind).body(body.clone()).send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path} {:.80}", body);
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
        let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && !detail.contains('\n'), "{problem}");
    }
    running.service.shutdown().await;
}

#[tokio::test]
async fn rejected_program_leaves_a_proof_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let (status, _) = running.post("/v1/programs", "", "program").await;
    assert_eq!(status, StatusCode::CREATED);
    let first = running.submit(1, |_| {}).await;
    running.ended(&first).await;
    // The finished proof, uploaded as a program, is rejected. Its file still contains the proof and must stay.
    let (status, _) = running.post("/v1/programs", "", running.fetched(&first).await).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(running.fetched(&first).await, expected_proof(1, 8));
    running.service.shutdown().await;
}

#[tokio::test]
async fn upload_of_a_known_program_keeps_it_for_the_full_time_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let id = running.program().await;
    let database = rusqlite::Connection::open(folder.path().join("state/service.db")).unwrap();
    database.execute("UPDATE tenant_programs SET created = created - 24 * 60 * 60 * 1000", []).unwrap();
    let created = async || running.json(&format!("/v1/programs/{id}")).await["created"].as_str().unwrap().to_owned();
    let before = created().await;
    assert_eq!(running.program().await, id);
    let after = created().await;
    assert!(before < after, "{before} {after}");
    running.service.shutdown().await;
}

#[tokio::test]
async fn event_stream_ends_for_a_client_past_the_last_event() {
    let folder = tempfile::tempdir().unwrap();
    let (_, engine) = counting(Duration::from_millis(500));
    let worker = RunningWorker::ready("one", engine).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let id = running.submit(1, |_| {}).await;
    let began = Instant::now();
    // The stream waits until the proof ends, and then ends without an event.
    assert_eq!(running.events(&id, 1 << 40).await, []);
    assert!(running.service.proof(&id).await.unwrap().state.is_final() && began.elapsed() < PATIENCE);
    assert_eq!(running.events(&id, 1 << 40).await, []);
    running.service.shutdown().await;
}

#[tokio::test]
async fn queue_is_bounded_and_ordered_by_priority() {
    let folder = tempfile::tempdir().unwrap();
    let (started_shards, engine) = counting(Duration::from_millis(50));
    let worker = RunningWorker::ready("one", engine).await;
    let running =
        Running::start(folder.path(), &[], |settings| (settings.parallel_proofs, settings.max_queue) = (1, 3)).await;
    let first = running.submit(1, |_| {}).await;
    running.wait(&first, |proof| proof.state == ProofState::Running).await;
    let low = running.submit(1, |request| request.priority = -1).await;
    let late = running.submit(1, |request| (request.timeout_seconds, request.priority) = (Some(1), -2)).await;
    let proof = running.ended(&late).await;
    assert_eq!((proof.state, proof.failure.unwrap().kind), (ProofState::Failed, ProofFailureKind::Timeout));
    let high = running.submit(1, |request| request.priority = 1).await;
    let gone = running.submit(1, |_| {}).await;
    let again = json!({ "program": running.program().await }).to_string();
    let (status, problem) = running.post("/v1/proofs", "application/json", again).await;
    assert_eq!((status, &problem["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("queue_full")));

    assert_eq!(running.service.cancel(&gone).await.unwrap().state, ProofState::Cancelled);
    assert!(started_shards.lock().unwrap().is_empty());
    running.service.orchestrator().set_list(&sp1d_orchestrator::WorkerList(vec![worker.address.into()]));
    let (low, high) = (running.ended(&low).await, running.ended(&high).await);
    assert_eq!((low.state, high.state), (ProofState::Done, ProofState::Done));
    let started = |proof: &ProofSummary| serde_json::to_value(proof).unwrap()["started"].as_str().unwrap().to_owned();
    assert!(started(&high) <= started(&low));
    let listed = running.json("/v1/proofs?state=cancelled").await;
    assert_eq!((listed["proofs"].as_array().unwrap().len(), &listed["proofs"][0]["id"]), (1, &json!(gone)));
    running.service.shutdown().await;
}

#[tokio::test]
async fn running_proof_can_be_cancelled_or_time_out() {
    let folder = tempfile::tempdir().unwrap();
    let (_, engine) = counting(PATIENCE);
    let worker = RunningWorker::ready("one", engine).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let late = running.submit(1, |request| request.timeout_seconds = Some(1)).await;
    let id = running.submit(1, |_| {}).await;
    running.wait(&id, |proof| proof.tasks.known == 1).await;
    let response = running.client.delete(format!("{}/v1/proofs/{id}", running.url)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let proof = running.ended(&id).await;
    assert_eq!((proof.state, proof.failure), (ProofState::Cancelled, None));
    assert_eq!(running.events(&id, 0).await.last().unwrap().1, "finished");
    assert_eq!(
        running.service.cancel(&id).await.unwrap().state,
        ProofState::Cancelled,
        "a second cancel changes nothing"
    );
    let proof = running.ended(&late).await;
    assert_eq!((proof.state, proof.failure.unwrap().kind), (ProofState::Failed, ProofFailureKind::Timeout));
    let (status, problem) = running.post("/v1/proofs", "application/json", "{}").await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid")));
    running.service.shutdown().await;
}

#[tokio::test]
async fn open_tasks_are_listed_with_the_reasons_why_they_wait() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::doing(|_, _| std::future::pending())).await;
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let id = running.submit(4, |_| {}).await;
    let path = format!("/v1/proofs/{id}/tasks");
    let wait_for = async |wanted: &dyn Fn(&Value) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let tasks = running.json(&path).await;
            if wanted(&tasks) {
                return tasks;
            }
            assert!(Instant::now() < deadline, "{tasks}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let tasks = wait_for(&|tasks: &Value| tasks["count"] == 4).await;
    let reason = json!({ "code": "no_worker_ready", "reason": "no worker is ready", "tasks": 4 });
    assert_eq!(tasks["reasons"], json!([reason]));
    running.wait(&id, |proof| proof.tasks.known == 4).await;
    let metrics = running.client.get(format!("{}/metrics", running.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.lines().any(|line| line == "sp1d_open_tasks 4"), "{metrics}");
    let first = &tasks["tasks"][0];
    assert_eq!((&first["state"], &first["code"]), (&json!("waiting"), &json!("no_worker_ready")));
    assert_eq!((&first["kind"], &first["reason"]), (&json!("prove_shard"), &json!("no worker is ready")));

    // The worker has two slots, and proves one task at a time.
    running.service.orchestrator().set_list(&sp1d_orchestrator::WorkerList(vec![worker.address.into()]));
    let is_any = |tasks: &Value, state: &str| {
        tasks["tasks"].as_array().unwrap().iter().any(|task| task["worker"] == "one" && task["state"] == state)
    };
    let tasks = wait_for(&|tasks: &Value| is_any(tasks, "proving") && is_any(tasks, "assigned")).await;
    let reason = "every available worker for prove_shard is full (1 available)";
    assert_eq!(tasks["reasons"], json!([{ "code": "all_full", "reason": reason, "tasks": 2 }]));
    let numbers: Vec<u64> =
        tasks["tasks"].as_array().unwrap().iter().map(|task| task["task"].as_u64().unwrap()).collect();
    assert!(numbers.len() == 4 && numbers.is_sorted(), "{tasks}");
    let page = running.json(&format!("{path}?after={}&limit=2", numbers[0])).await;
    assert_eq!((&page["tasks"][0]["task"], &page["tasks"][1]["task"]), (&json!(numbers[1]), &json!(numbers[2])));
    assert_eq!((page["tasks"].as_array().unwrap().len(), &page["count"]), (2, &json!(4)));

    running.service.cancel(&id).await.unwrap();
    running.ended(&id).await;
    assert_eq!(running.json(&path).await, json!({ "reasons": [], "count": 0, "tasks": [] }));
    running.service.shutdown().await;
}

#[tokio::test]
async fn gas_limit_of_a_request_holds_and_the_gas_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let gas = 2 * GAS_PER_SHARD;
    for (gas_limit, used) in [(None, None), (Some(gas), Some(gas))] {
        let id = running.submit(2, |request| request.gas_limit = gas_limit).await;
        let proof = running.ended(&id).await;
        assert_eq!((proof.state, proof.gas_limit, proof.gas), (ProofState::Done, gas_limit, used));
    }
    let id = running.submit(2, |request| request.gas_limit = Some(gas - 1)).await;
    let proof = running.ended(&id).await;
    assert_eq!((proof.state, proof.gas_limit, proof.gas), (ProofState::Failed, Some(gas - 1), None));
    let failure = proof.failure.unwrap();
    assert_eq!(failure.kind, ProofFailureKind::GasLimit);
    assert!(failure.text.contains("needs 2000 gas"), "{}", failure.text);
    running.service.shutdown().await;
}

#[tokio::test]
async fn idempotency_key_identifies_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let keyed = |request: &mut NewProof| request.idempotency_key = Some("mine".into());
    let id = running.submit(2, keyed).await;
    assert_eq!(running.submit(2, keyed).await, id);
    let other = json!({ "program": running.program().await, "cycle_limit": 3 }).to_string();
    let request = running.client.post(format!("{}/v1/proofs", running.url)).header("idempotency-key", "mine");
    let response = request.header("content-type", "application/json").body(other).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let text = response.text().await.unwrap();
    assert!(text.contains(&format!("that of proof {id} with another cycle_limit")), "{text}");
    running.service.shutdown().await;
}

#[tokio::test]
async fn restart_continues_a_proof_with_its_finished_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let (started_shards, engine) = counting(Duration::from_millis(100));
    let worker = RunningWorker::ready("one", engine).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let id = running.submit(10, |_| {}).await;
    let waiting = running.submit(1, |request| request.priority = -1).await;
    running.wait(&id, |proof| proof.tasks.done >= 4).await;
    running.service.shutdown().await;
    let before = started_shards.lock().unwrap().clone();

    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let proof = running.ended(&id).await;
    assert_eq!((proof.state, proof.starts, proof.shards), (ProofState::Done, 2, Some(10)));
    assert!(proof.tasks.cached >= 4, "{:?}", proof.tasks);
    assert_eq!((proof.tasks.known, proof.tasks.done), (10, 10));
    assert_eq!(running.fetched(&id).await, expected_proof(10, 8));
    // A shard may be started again only if its result is not in the result cache.
    let after = started_shards.lock().unwrap().clone();
    let again: u32 =
        after.iter().map(|(shard, times)| times - 1 - u32::from(!before.contains_key(shard)).min(times - 1)).sum();
    assert!(u64::from(again) + proof.tasks.cached <= 10, "{before:?} {after:?}");
    let events = running.events(&id, 0).await;
    let count = |name: &str| events.iter().filter(|(_, event)| event == name).count() as u64;
    assert_eq!((count("started"), count("cached_result")), (2, proof.tasks.cached));
    assert_eq!(running.ended(&waiting).await.state, ProofState::Done);

    // A second, equal proof takes all results from the result cache.
    let sum = |started_shards: &Begun| started_shards.lock().unwrap().values().sum::<u32>();
    let before = sum(&started_shards);
    let id = running.submit(10, |_| {}).await;
    let proof = running.ended(&id).await;
    assert_eq!((proof.state, proof.tasks.cached, sum(&started_shards)), (ProofState::Done, 10, before));
    assert_eq!(running.fetched(&id).await, expected_proof(10, 8));
    running.service.shutdown().await;
}

#[tokio::test]
async fn second_service_cannot_open_the_same_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), |_| {}).await.unwrap();
    let text = open(folder.path(), |_| {}).await.err().unwrap().to_string();
    assert!(text.contains("is in use by process"), "{text}");
    first.shutdown().await;
    drop(first);
    open(folder.path(), |_| {}).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn workers_can_be_listed_drained_resumed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let state = async |wanted: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let workers = running.json("/v1/workers").await;
            if workers["workers"][0]["state"] == *wanted || wanted.is_empty() && workers["workers"][0].is_null() {
                return;
            }
            assert!(Instant::now() < deadline, "{workers}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    state("idle").await;
    assert_eq!(running.post("/v1/workers/one/drain", "", "").await.0, StatusCode::NO_CONTENT);
    state("drained").await;
    let id = running.submit(1, |_| {}).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(running.service.proof(&id).await.unwrap().tasks.done, 0);
    assert_eq!(running.post("/v1/workers/one/resume", "", "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(running.ended(&id).await.state, ProofState::Done);
    let health = running.json("/readyz").await;
    assert_eq!((&health["ready_workers"], &health["proofs"]["done"]), (&json!(1), &json!(1)));
    let forget = running.client.delete(format!("{}/v1/workers/one", running.url)).send().await.unwrap();
    assert_eq!(forget.status(), StatusCode::NO_CONTENT);
    state("").await;
    running.service.shutdown().await;
}

#[tokio::test]
async fn joining_worker_joins_again_after_a_service_restart() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_address();
    let stop = CancellationToken::new();
    let worker = JoiningWorker::new(Address::from(port), sp1d_testing::introduction("mobile"));
    let serving = tokio::spawn(worker.serve(sp1d_testing::ready(FakeEngine::honest()), stop.clone()));
    for round in 0..2 {
        let running = Running::start(folder.path(), &[], |_| {}).await;
        let listener = TcpListener::bind(port).await.unwrap();
        running.service.orchestrator().serve_joining(listener, JoinSettings::new("127.0.0.1".parse().unwrap()));
        let id = running.submit(2 + round, |_| {}).await;
        let proof = running.ended(&id).await;
        assert_eq!((proof.state, proof.workers[0].name.as_str()), (ProofState::Done, "mobile"));
        assert!(proof.workers[0].address.starts_with("joined from 127.0.0.1:"), "{:?}", proof.workers);
        running.service.shutdown().await;
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn changes_of_the_worker_list_are_applied() {
    let folder = tempfile::tempdir().unwrap();
    let workers = [
        RunningWorker::ready("one", FakeEngine::honest()).await,
        RunningWorker::ready("two", FakeEngine::honest()).await,
    ];
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let path = folder.path().join("distributed.json");
    let again = Arc::new(Notify::new());
    let following = tokio::spawn({
        let (service, path, again) = (running.service.clone(), path.clone(), again.clone());
        async move { follow_list(service, path, false, &again).await }
    });
    let expect = async |names: &[&str], error: bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut found: Vec<String> = running.service.workers().into_iter().map(|worker| worker.name).collect();
            found.sort();
            let failed = running.service.list_status().error.is_some();
            if found == names && failed == error {
                return;
            }
            assert!(Instant::now() < deadline, "{found:?}, not {names:?}; {:?}", running.service.list_status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    expect(&[], true).await;
    std::fs::write(&path, json!([workers[0].address.to_string()]).to_string()).unwrap();
    again.notify_one();
    expect(&["one"], false).await;
    std::fs::write(&path, "[").unwrap();
    again.notify_one();
    expect(&["one"], true).await;
    // Without a notification, the watcher notices the change itself.
    std::fs::write(&path, json!([workers[1].address.to_string()]).to_string()).unwrap();
    expect(&["two"], false).await;
    running.service.shutdown().await;
    following.await.unwrap();
}

#[tokio::test]
async fn requests_from_other_sites_and_hosts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let send = async |method: Method, name: &'static str, value: &str| {
        let request = running.client.request(method, format!("{}/v1/programs", running.url));
        request.header(name, value).body(PROGRAM).send().await.unwrap().status()
    };
    let own = running.url.clone();
    assert_eq!(send(Method::POST, "origin", "http://elsewhere.example").await, StatusCode::FORBIDDEN);
    assert_eq!(send(Method::POST, "origin", "null").await, StatusCode::FORBIDDEN);
    assert_eq!(send(Method::POST, "sec-fetch-site", "cross-site").await, StatusCode::FORBIDDEN);
    assert_eq!(send(Method::GET, "origin", "http://elsewhere.example").await, StatusCode::OK);
    assert_eq!(send(Method::POST, "origin", &own).await, StatusCode::CREATED);
    // A foreign host name that resolves to this machine.
    assert_eq!(send(Method::GET, "host", "elsewhere.example").await, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(send(Method::GET, "host", "localhost").await, StatusCode::OK);
    running.service.shutdown().await;
}

#[tokio::test]
async fn metrics_and_trace_report_a_finished_proof() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let running = Running::start(folder.path(), &[worker.address], |_| {}).await;
    let id = running.submit(3, |_| {}).await;
    running.ended(&id).await;
    running.events(&id, 0).await;
    let trace = running.json(&format!("/v1/proofs/{id}/trace")).await;
    let slices = trace["traceEvents"].as_array().unwrap().iter();
    assert_eq!(slices.filter(|slice| slice["name"] == "prove_shard" && slice["args"]["outcome"] == "done").count(), 3);
    let text = running.client.get(format!("{}/metrics", running.url)).send().await.unwrap().text().await.unwrap();
    for line in [
        "sp1d_proofs{state=\"done\"} 1",
        "sp1d_proofs_ended_total{mode=\"core\",state=\"done\"} 1",
        "sp1d_attempts_total{kind=\"prove_shard\",outcome=\"done\"} 3",
        "sp1d_attempt_duration_seconds_count{kind=\"prove_shard\"} 3",
        "sp1d_open_tasks 0",
        "sp1d_workers{state=\"idle\"} 1",
        "sp1d_workers{state=\"disconnected\"} 0",
        "sp1d_worker_slots 2",
        "sp1d_checks_total{outcome=\"right\"} 6",
        "sp1d_checks_total{outcome=\"wrong\"} 0",
        "sp1d_sessions_total 1",
        "sp1d_silent_sessions_total 0",
        "sp1d_queue_duration_seconds_count 1",
        "sp1d_http_requests_total{method=\"POST\",status=\"201\"} 2",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in {text}");
    }
    running.service.shutdown().await;
}

#[tokio::test]
async fn page_and_all_its_files_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let index = running.client.get(&running.url).send().await.unwrap();
    assert!(index.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let index = index.text().await.unwrap();
    for (path, kind) in [("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        // Relative, so that the page works below a prefix.
        assert!(index.contains(&format!("\"{}\"", path.trim_start_matches('/'))), "{index}");
        let response = running.client.get(format!("{}{path}", running.url)).send().await.unwrap();
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(kind));
    }
    let mut told = running.client.get(format!("{}/v1/events", running.url)).send().await.unwrap();
    let first = String::from_utf8(told.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.starts_with("event: overview\ndata: {"), "{first}");
    running.service.shutdown().await;
}

#[tokio::test]
async fn openapi_document_describes_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let document = running.json("/openapi.json").await;
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert!(paths.len() >= 13, "{paths:?}");
    assert!(document["paths"]["/v1/proofs"]["post"]["requestBody"]["content"]["multipart/form-data"].is_object());
    assert!(document["components"]["schemas"]["Problem"]["properties"]["hint"].is_object());
    let parameters = |operation: &Value, place: &str| -> BTreeSet<String> {
        let all = operation["parameters"].as_array().into_iter().flatten();
        all.filter(|parameter| parameter["in"] == place)
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for (path, operations) in document["paths"].as_object().unwrap() {
        let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path: BTreeSet<String> = in_path.map(ToOwned::to_owned).collect();
        for (method, operation) in operations.as_object().unwrap() {
            assert_eq!(parameters(operation, "path"), in_path, "{method} {path}");
        }
    }
    let operations = document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap());
    let ids: BTreeSet<&str> = operations.clone().map(|(_, found)| found["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.clone().count(), "operation ids are unique: {ids:?}");
    for (method, operation) in operations {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let id = &operation["operationId"];
            assert!(!response["description"].as_str().unwrap_or_default().is_empty(), "{method} {id}: {status}");
        }
    }
    for before in ["0", "-1", "9007199254740992", "x"] {
        let response = running.client.get(format!("{}/v1/proofs?before={before}", running.url)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{before}");
    }
    let in_query = |path: &str| parameters(&document["paths"][path]["get"], "query");
    assert_eq!(in_query("/v1/proofs"), BTreeSet::from(["before", "limit", "state"].map(ToOwned::to_owned)));
    assert_eq!(in_query("/v1/proofs/{id}/events"), BTreeSet::from(["follow".to_owned()]));
    assert_eq!(in_query("/v1/proofs/{id}/tasks"), BTreeSet::from(["after", "limit"].map(ToOwned::to_owned)));
    running.service.shutdown().await;
}
