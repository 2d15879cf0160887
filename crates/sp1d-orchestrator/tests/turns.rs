//! Tests of orchestrators that share workers: they take turns, and wait for workers that start late.

use sp1d_orchestrator::{
    Orchestrator, OrchestratorSettings, ProofEvent, ProofFailure, ProofRequest, Proven, WorkerInfo, WorkerList,
};
use sp1d_protocol::{Admission, FailureKind, PreambleError, Role, dial};
use sp1d_testing::{FakeEngine, FakeRunner, RunningWorker, do_honestly, expected_proof, fake_build, free_address};
use sp1d_worker::{AttemptError, ProvingEngine};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{broadcast, oneshot},
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// Number of orchestrators from one address that a worker lets wait.
const MAX_WAITING_PER_ADDRESS: usize = 32;

fn settings(name: &str) -> OrchestratorSettings {
    let mut settings = OrchestratorSettings::new(fake_build());
    settings.name = name.to_owned();
    settings.heartbeat = Duration::from_millis(100);
    settings.patience = PATIENCE;
    settings
}

fn list(addresses: &[SocketAddr]) -> WorkerList {
    WorkerList(addresses.iter().map(|address| (*address).into()).collect())
}

async fn client(name: &str, workers: &[SocketAddr]) -> Orchestrator {
    Orchestrator::connect(&list(workers), settings(name), None).await.unwrap()
}

fn request(shards: u64) -> ProofRequest {
    sp1d_testing::request(shards, 2 * PATIENCE)
}

async fn prove(client: &Orchestrator, shards: u64) -> Result<Proven, ProofFailure> {
    let (progress, _) = broadcast::channel(64);
    client.prove(request(shards), Arc::new(FakeRunner::default()), progress, CancellationToken::new()).await
}

/// Runs a proof and checks its result.
async fn check_proven(client: &Orchestrator, shards: u64) {
    let proven = prove(client, shards).await.unwrap();
    assert_eq!(proven.output.proof, expected_proof(shards, FakeRunner::default().record_bytes));
}

/// Checks that `work` ends within `longest`, which leaves time for a busy machine and is shorter than the patience.
async fn check_within<T>(longest: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(longest, work).await.expect("it takes too long")
}

/// Returns an honest engine that takes `time` for each shard, and the number of shards that it has proven.
fn counting(time: Duration) -> (Arc<AtomicU64>, Arc<dyn ProvingEngine>) {
    let proven = Arc::new(AtomicU64::new(0));
    let engine = FakeEngine::doing({
        let proven = proven.clone();
        move |assignment, io| {
            let proven = proven.clone();
            async move {
                tokio::time::sleep(time).await;
                do_honestly(&assignment, &*io).await?;
                proven.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    });
    (proven, engine)
}

/// Waits until the connected workers satisfy `condition`.
async fn wait_for_workers(client: &Orchestrator, condition: impl Fn(&[WorkerInfo]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition(&client.workers()) {
        assert!(Instant::now() < deadline, "{:?}", client.workers());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn two_clients_at_once_share_one_worker_and_no_shard_is_proven_twice() {
    let (proven, engine) = counting(Duration::from_millis(30));
    let worker = RunningWorker::ready("one", engine).await;
    let (first, second) = (client("first", &[worker.address]).await, client("second", &[worker.address]).await);
    tokio::join!(check_proven(&first, 6), check_proven(&second, 6));
    assert_eq!(proven.load(Ordering::Relaxed), 12);
    first.shutdown().await;
    second.shutdown().await;
    worker.stop().await;
}

#[tokio::test]
async fn an_idle_client_does_not_block_another_and_does_not_take_the_worker_back() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let first = client("first", &[worker.address]).await;
    check_proven(&first, 2).await;
    assert_eq!(first.workers().len(), 1);
    let second = client("second", &[worker.address]).await;
    check_within(PATIENCE / 2, check_proven(&second, 2)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((first.workers().len(), second.workers().len()), (0, 1));
    let disconnected = first.disconnected_workers();
    assert!(disconnected[0].reason.contains("released"), "{disconnected:?}");
    // The first client gets the worker again when it needs it.
    check_proven(&first, 2).await;
    assert_eq!((first.workers().len(), second.workers().len()), (1, 0));
    first.shutdown().await;
    second.shutdown().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_single_proof_takes_its_turn_among_many_of_another_client() {
    let (_, engine) = counting(Duration::from_millis(50));
    let worker = RunningWorker::ready("one", engine).await;
    let many = client("many", &[worker.address]).await;
    let single = client("single", &[worker.address]).await;
    let ended = AtomicU64::new(0);
    let stop = CancellationToken::new();
    let looping = async {
        while !stop.is_cancelled() {
            check_proven(&many, 4).await;
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    let once = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = ended.load(Ordering::Relaxed);
        check_proven(&single, 4).await;
        let between = ended.load(Ordering::Relaxed) - before;
        assert!(between < 3, "{between} proofs of the other client ended first");
        stop.cancel();
    };
    tokio::join!(looping, once);
    many.shutdown().await;
    single.shutdown().await;
    worker.stop().await;
}

/// The proofs of the first client overlap, so it always has a running proof.
#[tokio::test]
async fn overlapping_proofs_do_not_keep_a_worker_forever() {
    let (proven, engine) = counting(Duration::from_millis(30));
    let worker = RunningWorker::ready("one", engine).await;
    let many = client("many", &[worker.address]).await;
    let single = client("single", &[worker.address]).await;
    let (shards, stop) = (AtomicU64::new(4), CancellationToken::new());
    let looping = async |delay: u64| {
        tokio::time::sleep(Duration::from_millis(delay)).await;
        while !stop.is_cancelled() {
            check_proven(&many, 6).await;
            shards.fetch_add(6, Ordering::Relaxed);
        }
    };
    let once = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        check_proven(&single, 4).await;
        stop.cancel();
    };
    tokio::join!(looping(0), looping(100), once);
    assert_eq!(proven.load(Ordering::Relaxed), shards.load(Ordering::Relaxed), "a release costs no shard");
    many.shutdown().await;
    single.shutdown().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_too_long_learns_who_has_the_worker() {
    let worker = RunningWorker::ready("one", FakeEngine::doing(|_, _| std::future::pending())).await;
    let first = client("the first client", &[worker.address]).await;
    let settings = OrchestratorSettings { patience: Duration::from_secs(1), ..settings("second") };
    let cancel = CancellationToken::new();
    let (progress, mut events) = broadcast::channel(64);
    let holding = first.prove(request(1), Arc::new(FakeRunner::default()), progress, cancel.clone());
    let waiting = async {
        while !matches!(events.recv().await.unwrap(), ProofEvent::Proving(_)) {}
        let second = Orchestrator::connect(&list(&[worker.address]), settings, None).await.unwrap();
        let failure = check_within(PATIENCE / 2, prove(&second, 1)).await.unwrap_err();
        assert!(matches!(failure, ProofFailure::WorkersTaken { .. }), "{failure}");
        let text = failure.to_string();
        for part in [&worker.address.to_string(), "serving the first client at 127.0.0.1:", "place 1", "patience_s"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        second.shutdown().await;
        cancel.cancel();
    };
    let (held, ()) = tokio::join!(holding, waiting);
    assert_eq!(held, Err(ProofFailure::Cancelled));
    first.shutdown().await;
}

#[tokio::test]
async fn a_program_waits_for_a_worker_that_starts_later() {
    let address = free_address();
    let late = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let engine = sp1d_testing::ready(FakeEngine::honest());
        RunningWorker::start("late", engine, |settings| settings.listen = address.into()).await
    };
    let addresses = [address];
    let (client, worker) = tokio::join!(client("early", &addresses), late);
    check_proven(&client, 2).await;
    client.shutdown().await;
    worker.stop().await;
}

#[tokio::test]
async fn waiting_for_the_first_worker_ends_with_the_patience() {
    let settings = OrchestratorSettings { patience: Duration::from_secs(3), ..settings("early") };
    let start = Instant::now();
    let unused: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let only_unused = list(&[unused]);
    let connecting = Orchestrator::connect(&only_unused, settings, None);
    let error = check_within(PATIENCE / 2, connecting).await.err().unwrap().to_string();
    assert!(error.contains("127.0.0.1:9 (connection refused"), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
}

/// The first client ends as if it was killed: it cancels nothing and closes nothing.
#[tokio::test]
async fn a_client_that_vanishes_leaves_its_worker_to_the_next() {
    let attempts = AtomicU64::new(0);
    // Only the first attempt never ends.
    let engine = FakeEngine::doing(move |assignment, io| {
        let is_first = attempts.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if is_first {
                std::future::pending::<()>().await;
            }
            do_honestly(&assignment, &*io).await
        }
    });
    let worker = RunningWorker::ready("one", engine).await;
    let address = worker.address;
    let vanishing = tokio::runtime::Runtime::new().unwrap();
    let (started, proving) = oneshot::channel();
    vanishing.spawn(async move {
        let first = client("first", &[address]).await;
        let (progress, mut events) = broadcast::channel(64);
        let proof = first.prove(request(1), Arc::new(FakeRunner::default()), progress, CancellationToken::new());
        let watch = async move {
            while !matches!(events.recv().await.unwrap(), ProofEvent::Proving(_)) {}
            started.send(()).unwrap();
        };
        tokio::join!(proof, watch)
    });
    check_within(PATIENCE, proving).await.unwrap();
    let second = client("second", &[address]).await;
    vanishing.shutdown_background();
    check_within(PATIENCE / 2, check_proven(&second, 2)).await;
    second.shutdown().await;
    worker.stop().await;
}

/// Dials the worker like an orchestrator that has a proof.
async fn dial_raw(address: SocketAddr) -> (TcpStream, Result<Admission, PreambleError>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let admission = dial(&mut stream, Role::Orchestrator).await;
    (stream, admission)
}

#[tokio::test]
async fn one_address_cannot_fill_the_queue() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let mut open = Vec::new();
    for place in 0..=MAX_WAITING_PER_ADDRESS {
        let (stream, admission) = dial_raw(worker.address).await;
        let expected = if place == 0 { Admission::Welcome } else { Admission::Queued };
        assert_eq!(admission.unwrap(), expected, "place {place}");
        open.push(stream);
    }
    let (_, refused) = dial_raw(worker.address).await;
    assert!(matches!(&refused, Err(PreambleError::Busy(busy)) if busy.text.contains("32 wait")), "{refused:?}");
    drop(open);
    // Closed connections lose their places.
    check_proven(&client("next", &[worker.address]).await, 1).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_silent_orchestrator_loses_its_place() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let first = client("first", &[worker.address]).await;
    // It is the first in the queue, and sends no reply.
    let (_silent, admission) = dial_raw(worker.address).await;
    assert_eq!(admission.unwrap(), Admission::Queued);
    let second = client("second", &[worker.address]).await;
    check_within(PATIENCE * 3 / 4, check_proven(&second, 1)).await;
    first.shutdown().await;
    second.shutdown().await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_stays_quarantined_after_a_release() {
    let fails = FakeEngine::doing(|_, _| async {
        Err(AttemptError { kind: FailureKind::Engine, text: "out of order".into() })
    });
    let bad = RunningWorker::ready("bad", fails).await;
    let (_, engine) = counting(Duration::from_millis(20));
    let good = RunningWorker::ready("good", engine).await;
    let first = client("first", &[bad.address, good.address]).await;
    wait_for_workers(&first, |workers| workers.iter().filter(|worker| worker.has_loaded_prover).count() == 2).await;
    check_proven(&first, 12).await;
    let is_quarantined =
        |workers: &[WorkerInfo]| workers.iter().any(|worker| worker.name == "bad" && worker.quarantine.is_some());
    wait_for_workers(&first, is_quarantined).await;
    let second = client("second", &[bad.address]).await;
    assert!(matches!(prove(&second, 1).await, Err(ProofFailure::Task { .. })));
    assert_eq!(first.workers().len(), 1);
    second.shutdown().await;
    check_proven(&first, 2).await;
    wait_for_workers(&first, is_quarantined).await;
    first.shutdown().await;
    bad.stop().await;
    good.stop().await;
}
