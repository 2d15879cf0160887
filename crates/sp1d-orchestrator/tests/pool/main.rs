//! Tests of the orchestrator and workers over real connections, with a fake engine and a fake runner.

mod cache;
mod capabilities;
mod captured;
mod connections;
mod faults;
mod hostile;
mod joining;
mod names;
mod proofs;
mod secure;

use futures::FutureExt;
use sp1d_artifacts::{Blob, Digest};
use sp1d_orchestrator::{
    CachedResult, Holdings, Orchestrator, OrchestratorSettings, ProbeError, ProofEvent, ProofFailure, ProofHandle,
    ProofOutput, ProofRequest, ProofRunner, Proven, Reached, ResultCache, TaskOutcome, TaskSpec, WorkerAddress,
    WorkerInfo, WorkerList, probe,
};
use sp1d_protocol::{TaskPayload, WrapTask};
use sp1d_scheduler::TaskKind;
use sp1d_testing::{
    EndpointConnector, FakeEngine, FakeRunner, PipeConnector, RunningWorker, do_honestly, expected_proof, fake_build,
    fetch_inputs, free_address, honest_result,
};
use sp1d_worker::{AttemptError, Capabilities, EngineState, LocalWorker, engine_state};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

fn request(shards: u64) -> ProofRequest {
    sp1d_testing::request(shards, PATIENCE)
}

fn expected(shards: u64) -> Vec<u8> {
    expected_proof(shards, FakeRunner::default().record_bytes)
}

fn settings() -> OrchestratorSettings {
    let mut settings = OrchestratorSettings::new(fake_build());
    settings.heartbeat = Duration::from_millis(100);
    settings.patience = Duration::from_secs(2);
    settings
}

fn list(addresses: &[SocketAddr]) -> WorkerList {
    WorkerList(addresses.iter().map(|address| (*address).into()).collect())
}

async fn connect(addresses: &[SocketAddr]) -> Orchestrator {
    Orchestrator::connect(&list(addresses), settings(), None).await.unwrap()
}

async fn prove(orchestrator: &Orchestrator, request: ProofRequest) -> Result<Proven, ProofFailure> {
    let (progress, _) = broadcast::channel(64);
    orchestrator.prove(request, Arc::new(FakeRunner::default()), progress, CancellationToken::new()).await
}

/// Runs a proof and checks its result, checks that nothing is left, and shuts the orchestrator down.
async fn check_proven(orchestrator: Orchestrator, shards: u64) -> Proven {
    let proven = prove(&orchestrator, request(shards)).await.unwrap();
    assert_eq!(proven.output.proof, expected(shards));
    assert_eq!((proven.shards, proven.output.cycles), (shards, shards));
    assert_eq!(proven.workers.iter().map(|share| share.tasks).sum::<u64>(), shards);
    assert_empty(&orchestrator).await;
    orchestrator.shutdown().await;
    proven
}

/// Waits until the orchestrator holds nothing. Artifacts of unused attempts are removed when the dispatcher handles
/// the end of the proof.
async fn assert_empty(orchestrator: &Orchestrator) {
    let deadline = Instant::now() + PATIENCE;
    while orchestrator.holdings() != Holdings::default() {
        assert!(Instant::now() < deadline, "the orchestrator still holds {:?}", orchestrator.holdings());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the connected workers satisfy `condition`.
async fn wait_for_workers(orchestrator: &Orchestrator, condition: impl Fn(&[WorkerInfo]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(&orchestrator.workers()) {
        assert!(Instant::now() < deadline, "{:?}", orchestrator.workers());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns an honest engine that waits for `time` before each task.
fn slow(time: Duration) -> Arc<dyn sp1d_worker::ProvingEngine> {
    FakeEngine::doing(move |assignment, io| async move {
        tokio::time::sleep(time).await;
        do_honestly(&assignment, &*io).await
    })
}

/// Returns an engine that never finishes a task, and a `Notify` that signals when it starts one.
fn stuck() -> (Arc<Notify>, Arc<dyn sp1d_worker::ProvingEngine>) {
    let started = Arc::new(Notify::new());
    let engine = FakeEngine::doing({
        let started = started.clone();
        move |_, _| {
            started.notify_one();
            std::future::pending()
        }
    });
    (started, engine)
}
