//! Tests of the orchestrator and workers over real connections, with a fake engine and a fake controller.

use futures::FutureExt;
use sp1d_artifacts::Digest;
use sp1d_orchestrator::{
    CachedResult, Holdings, LocalConnector, Member, Orchestrator, OrchestratorSettings, ProbeError, ProofController,
    ProofEvent, ProofFailure, ProofHandle, ProofOutput, ProofRequest, Proven, ResultCache, Stream, TaskSpec,
    WorkerInfo, WorkerList, probe,
};
use sp1d_protocol::{TaskPayload, WrapTask};
use sp1d_scheduler::TaskKind;
use sp1d_testing::{
    FakeController, FakeEngine, RunningWorker, do_honestly, expected_proof, fake_build, fetch_inputs, honest_result,
};
use sp1d_worker::{AttemptError, Capabilities, EngineState, LocalEndpoint, LocalWorker, engine_state};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
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
    expected_proof(shards, FakeController::default().record_bytes)
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
    orchestrator.prove(request, Arc::new(FakeController::default()), progress, CancellationToken::new()).await
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

/// A controller that submits markers until its proof ends.
struct Flood;

#[async_trait::async_trait]
impl ProofController for Flood {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        while !proof.ended().is_cancelled() {
            proof.submit_marker().await;
        }
        Err(ProofFailure::Cancelled)
    }
}

/// A controller that submits a task and sets no checks.
struct Unchecked;

#[async_trait::async_trait]
impl ProofController for Unchecked {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.put("proof", b"proof".to_vec()).await.unwrap();
        let task = WrapTask { proof: "proof".into(), result: "result".into() };
        let spec = TaskSpec { payload: TaskPayload::ShrinkWrap(task), memory_bytes: 0, cycles: 0 };
        let task = proof.submit(spec).await;
        let outcome = proof.watch(task).await;
        Err(ProofFailure::Request(format!("the task ended: {outcome:?}")))
    }
}

/// Starts a proof that fills the inbox of the dispatcher. On a runtime with one thread, the inbox stays full until the
/// caller waits.
fn fill_inbox(orchestrator: &Orchestrator) -> Pin<Box<impl Future<Output = Result<Proven, ProofFailure>>>> {
    let (progress, _) = broadcast::channel(64);
    let proving = orchestrator.prove(request(1), Arc::new(Flood), progress, CancellationToken::new());
    let mut proving = Box::pin(tokio::task::unconstrained(proving));
    assert!(proving.as_mut().now_or_never().is_none(), "the proof waits for room in the inbox");
    proving
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

#[tokio::test]
async fn a_proof_is_spread_over_all_workers_and_leaves_nothing_behind() {
    let workers = [
        RunningWorker::ready("one", slow(Duration::from_millis(20))).await,
        RunningWorker::ready("two", slow(Duration::from_millis(20))).await,
    ];
    let orchestrator = connect(&[workers[0].address, workers[1].address]).await;
    let proven = check_proven(orchestrator, 12).await;
    assert_eq!(proven.workers.len(), 2);
    assert!(proven.workers.iter().all(|share| share.tasks >= 4), "{:?}", proven.workers);
}

#[tokio::test]
async fn a_task_without_checks_fails_the_proof() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let orchestrator = connect(&[worker.address]).await;
    let (progress, _) = broadcast::channel(64);
    let outcome = orchestrator.prove(request(1), Arc::new(Unchecked), progress, CancellationToken::new()).await;
    assert!(matches!(outcome, Err(ProofFailure::Internal(_))), "{outcome:?}");
    assert_empty(&orchestrator).await;
}

#[tokio::test]
async fn a_hundred_proofs_in_a_row_leave_nothing_behind() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let orchestrator = connect(&[worker.address]).await;
    for _ in 0..100 {
        assert_eq!(prove(&orchestrator, request(2)).await.unwrap().output.proof, expected(2));
    }
    assert_empty(&orchestrator).await;
}

#[tokio::test]
async fn several_proofs_share_the_workers() {
    let worker = RunningWorker::ready("one", slow(Duration::from_millis(5))).await;
    let orchestrator = connect(&[worker.address]).await;
    let four = (1..=4).map(|shards| prove(&orchestrator, request(shards)));
    for (proven, shards) in futures::future::join_all(four).await.into_iter().zip(1..) {
        assert_eq!(proven.unwrap().output.proof, expected(shards));
    }
}

#[tokio::test]
async fn probing_a_worker_does_not_disturb_its_work() {
    let (started, engine) = stuck();
    let worker = RunningWorker::ready("one", engine).await;
    let look = async || probe(&worker.address.into(), &fake_build()).await;
    let probed = look().await.unwrap();
    assert_eq!((probed.name.as_str(), probed.ready_provers, probed.failed_provers), ("one", 1, 0));
    let orchestrator = connect(&[worker.address]).await;
    assert!(matches!(look().await, Err(ProbeError::Busy(_))));
    let cancel = CancellationToken::new();
    let (progress, _) = broadcast::channel(64);
    let controller = Arc::new(FakeController::default());
    let proving = orchestrator.prove(request(1), controller, progress, cancel.clone());
    let (outcome, ()) = tokio::join!(proving, async {
        started.notified().await;
        assert!(matches!(look().await, Err(ProbeError::Busy(_))));
        cancel.cancel();
    });
    assert!(matches!(outcome, Err(ProofFailure::Cancelled)));
    orchestrator.shutdown().await;
    let mut other = fake_build();
    other.sp1_version = "another".into();
    let refused = probe(&worker.address.into(), &other).await;
    assert!(matches!(refused, Err(ProbeError::Build(_))), "{refused:?}");
    worker.stop().await;
}

#[tokio::test]
async fn disconnected_workers_are_listed_until_they_return_or_are_forgotten() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let address = worker.address;
    let orchestrator = Orchestrator::start(settings(), None, None);
    let absent = async |expected: &[&str]| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let absent = orchestrator.disconnected_workers();
            if absent.iter().map(|absent| absent.name.as_str()).eq(expected.iter().copied()) {
                return absent;
            }
            assert!(Instant::now() < deadline, "{absent:?}, expected {expected:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    orchestrator.set_list(&list(&[address])).pop().unwrap().1.await.unwrap().unwrap();
    absent(&[]).await;
    worker.stop().await;
    absent(&["one"]).await;
    let engine = sp1d_testing::ready(FakeEngine::honest());
    let worker = RunningWorker::start("one", engine, |settings| settings.listen = address.into()).await;
    absent(&[]).await;
    worker.stop().await;
    let gone = absent(&["one"]).await;
    assert_eq!(gone[0].address, address.to_string());
    orchestrator.forget("one").unwrap();
    absent(&[]).await;
    assert!(orchestrator.forget("one").is_err());
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn tasks_of_a_lost_worker_go_to_other_workers() {
    let (started, engine) = stuck();
    let (lost, stays) =
        (RunningWorker::ready("lost", engine).await, RunningWorker::ready("stays", FakeEngine::honest()).await);
    let orchestrator = connect(&[lost.address, stays.address]).await;
    let (proven, ()) = tokio::join!(check_proven(orchestrator, 6), async {
        started.notified().await;
        lost.stop().await;
    });
    assert_eq!(proven.workers.len(), 1);
    assert_eq!(proven.workers[0].name, "stays");
}

/// Checks that a worker with `provers` provers holds `batch` attempts for each of them and no more, as long as it
/// reports no result.
async fn check_batch(provers: u32, batch: u32) {
    let (started, engine) = stuck();
    let change = |settings: &mut sp1d_worker::WorkerSettings| settings.introduction.machine.provers = provers;
    let worker = RunningWorker::start("only", sp1d_testing::ready(engine), change).await;
    let mut settings = settings();
    settings.shard_batch_size = batch;
    let orchestrator = Orchestrator::connect(&list(&[worker.address]), settings, None).await.unwrap();
    let cancel = CancellationToken::new();
    let (progress, _) = broadcast::channel(64);
    let proof = orchestrator.prove(request(5), Arc::new(FakeController::default()), progress, cancel.clone());
    let ((), outcome) = tokio::join!(
        async {
            started.notified().await;
            // All five tasks are submitted by now. Further assignments would have arrived at once.
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(orchestrator.holdings().attempts, (provers.max(1) * batch) as usize);
            cancel.cancel();
        },
        proof
    );
    assert_eq!(outcome.unwrap_err(), ProofFailure::Cancelled);
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_holds_the_batch_size_per_prover() {
    check_batch(1, 1).await;
    check_batch(1, 2).await;
    check_batch(1, 4).await;
    check_batch(2, 2).await;
    // A worker that reports 0 provers counts as having one.
    check_batch(0, 2).await;
}

#[test]
fn a_proof_can_be_dropped_outside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let orchestrator = runtime.block_on(async { Orchestrator::start(settings(), None, None) });
    let entered = runtime.enter();
    let proving = fill_inbox(&orchestrator);
    drop(entered);
    drop(proving);
    runtime.block_on(async {
        assert_empty(&orchestrator).await;
        orchestrator.shutdown().await;
    });
}

#[tokio::test]
async fn dropping_a_drain_request_before_it_is_sent_changes_nothing() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let orchestrator = connect(&[worker.address]).await;
    let proving = fill_inbox(&orchestrator);
    assert!(orchestrator.drain("one").now_or_never().is_none());
    assert!(!orchestrator.workers()[0].drained);
    drop(proving);
    check_proven(orchestrator, 2).await;
}

struct Door(LocalEndpoint);

impl LocalConnector for Door {
    fn connect(&self) -> Option<Box<dyn Stream>> {
        self.0.connect().map(|stream| Box::new(stream) as Box<dyn Stream>)
    }
}

#[tokio::test]
async fn the_local_worker_takes_its_share() {
    let (local, door) = LocalWorker::new(sp1d_testing::introduction("local"));
    let stop = CancellationToken::new();
    let engine = sp1d_testing::ready(slow(Duration::from_millis(20)));
    let serving = tokio::spawn(local.serve(engine, stop.clone()));
    let other = RunningWorker::ready("other", slow(Duration::from_millis(20))).await;
    let members = WorkerList(vec![Member::Local, other.address.into()]);
    let orchestrator = Orchestrator::connect(&members, settings(), Some(Arc::new(Door(door)))).await.unwrap();
    let proven = check_proven(orchestrator, 12).await;
    let shares: Vec<_> = proven.workers.iter().map(|share| (share.address.as_str(), share.tasks)).collect();
    assert!(shares.len() == 2 && shares.iter().all(|(_, tasks)| *tasks >= 4), "{shares:?}");
    assert!(shares.iter().any(|(address, _)| *address == "local"), "{shares:?}");
    stop.cancel();
    serving.await.unwrap().unwrap();
    other.stop().await;
}

#[tokio::test]
async fn a_missing_local_worker_is_reported() {
    let error = Orchestrator::connect(&WorkerList(vec![Member::Local]), settings(), None).await.err().unwrap();
    assert!(error.to_string().contains("local (this process runs no worker)"), "{error}");
}

/// The only worker does not support the task kind, and no other worker connects.
#[tokio::test]
async fn a_proof_fails_if_no_worker_supports_its_tasks() {
    let unable = Capabilities::all().without(TaskKind::ProveShard, "it is too small");
    let change = |settings: &mut sp1d_worker::WorkerSettings| settings.introduction.capabilities = unable;
    let worker = RunningWorker::start("small", sp1d_testing::ready(FakeEngine::honest()), change).await;
    let orchestrator = connect(&[worker.address]).await;
    let failure = prove(&orchestrator, request(1)).await.unwrap_err();
    assert!(matches!(failure, ProofFailure::Unsupported { kind: TaskKind::ProveShard, .. }), "{failure}");
    assert!(
        failure.to_string().contains("small (127.0.0.1:") && failure.to_string().contains("too small"),
        "{failure}"
    );
    assert_empty(&orchestrator).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_proof_continues_when_its_only_worker_returns() {
    let first = RunningWorker::ready("first", FakeEngine::doing(|_, _| std::future::pending())).await;
    let address = first.address;
    let mut settings = settings();
    settings.patience = PATIENCE;
    let orchestrator = Orchestrator::connect(&list(&[address]), settings, None).await.unwrap();
    let (_, ()) = tokio::join!(check_proven(orchestrator, 3), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.stop().await;
        let engine = sp1d_testing::ready(FakeEngine::honest());
        let again = RunningWorker::start("second", engine, |settings| settings.listen = address.into()).await;
        // Keep the worker until the proof has ended, because this branch ends earlier.
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            drop(again);
        });
    });
}

#[tokio::test]
async fn a_proof_fails_if_no_worker_is_connected() {
    let (started, engine) = stuck();
    let worker = RunningWorker::ready("only", engine).await;
    let orchestrator = connect(&[worker.address]).await;
    let (outcome, ()) = tokio::join!(prove(&orchestrator, request(1)), async {
        started.notified().await;
        worker.stop().await;
    });
    let failure = outcome.unwrap_err();
    assert!(matches!(failure, ProofFailure::NoWorkers { .. }), "{failure}");
    assert!(failure.to_string().contains("only"), "{failure}");
    assert_empty(&orchestrator).await;
}

#[tokio::test]
async fn unreachable_workers_are_skipped_unless_all_are_unreachable() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let unused: SocketAddr = "127.0.0.1:9".parse().unwrap();
    check_proven(connect(&[unused, worker.address]).await, 2).await;
    let start = Instant::now();
    let error = Orchestrator::connect(&list(&[unused]), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("127.0.0.1:9 (connection refused"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn connecting_waits_for_a_worker_that_opens_its_port_late() {
    // Use a port that was free a moment ago.
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let change = |settings: &mut sp1d_worker::WorkerSettings| settings.listen = address.into();
        RunningWorker::start("late", sp1d_testing::ready(FakeEngine::honest()), change).await
    });
    check_proven(connect(&[address]).await, 2).await;
    late.await.unwrap().stop().await;
}

#[tokio::test]
async fn silent_peers_and_other_servers_are_reported() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [silent.local_addr().unwrap(), web.local_addr().unwrap()];
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = web.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = Orchestrator::connect(&list(&addresses), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("no answer within 1 s"), "{error}");
    assert!(error.contains("the peer is not sp1d"), "{error}");
}

#[tokio::test]
async fn a_second_orchestrator_learns_that_the_worker_is_busy() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let first = connect(&[worker.address]).await;
    let error = Orchestrator::connect(&list(&[worker.address]), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("busy: proving for 127.0.0.1:"), "{error}");
    check_proven(first, 2).await;
    check_proven(connect(&[worker.address]).await, 2).await;
}

#[tokio::test]
async fn connecting_waits_while_the_previous_orchestrator_leaves() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let first = connect(&[worker.address]).await;
    let addresses = [worker.address];
    let (second, ()) = tokio::join!(connect(&addresses), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        first.shutdown().await;
    });
    check_proven(second, 2).await;
}

/// An honest engine with so much memory that releasing it takes five seconds.
struct Large(Arc<dyn sp1d_worker::ProvingEngine>);

#[async_trait::async_trait]
impl sp1d_worker::ProvingEngine for Large {
    fn slots(&self) -> usize {
        1
    }

    async fn run(
        &self,
        slot: usize,
        assignment: sp1d_protocol::Assignment,
        io: Arc<dyn sp1d_worker::AttemptIo>,
    ) -> Result<(), AttemptError> {
        self.0.run(slot, assignment, io).await
    }

    fn give_back(&self) {
        std::thread::sleep(Duration::from_secs(5));
    }
}

#[tokio::test]
async fn the_next_orchestrator_does_not_wait_for_released_memory() {
    // The worker checks once per second whether it is busy, and only releases memory if it was.
    let engine = slow(Duration::from_millis(1500));
    let worker = RunningWorker::ready("one", Arc::new(Large(engine))).await;
    check_proven(connect(&[worker.address]).await, 1).await;
    let start = Instant::now();
    check_proven(connect(&[worker.address]).await, 1).await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_orchestrator_outside_the_filter_is_refused() {
    let engine = sp1d_testing::ready(FakeEngine::honest());
    let worker =
        RunningWorker::start("one", engine, |settings| settings.orchestrators = "10.0.0.0/8".parse().unwrap()).await;
    let error = Orchestrator::connect(&list(&[worker.address]), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("127.0.0.1 is not in the worker's --orchestrator list"), "{error}");
}

#[tokio::test]
async fn a_refusal_names_both_sp1_versions() {
    let engine = sp1d_testing::ready(FakeEngine::honest());
    let worker =
        RunningWorker::start("one", engine, |settings| settings.introduction.build.sp1_version = "6.9.0".into()).await;
    let error = Orchestrator::connect(&list(&[worker.address]), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("6.10.0") && error.contains("6.9.0"), "{error}");
}

#[tokio::test]
async fn a_starting_worker_is_reached_and_works_when_ready() {
    let (sender, state) = engine_state(Duration::from_secs(30));
    let worker = RunningWorker::start("one", state, |_| {}).await;
    let orchestrator = connect(&[worker.address]).await;
    let (proven, ()) = tokio::join!(check_proven(orchestrator, 3), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        sender.send_replace(EngineState::Ready(FakeEngine::honest()));
    });
    assert_eq!(proven.workers[0].tasks, 3);
}

#[tokio::test]
async fn a_failed_attempt_is_retried_on_another_worker() {
    let fails = FakeEngine::doing(|_, _| async {
        Err(AttemptError { kind: sp1d_protocol::FailureKind::Engine, text: "out of order".into() })
    });
    let (bad, good) =
        (RunningWorker::ready("bad", fails).await, RunningWorker::ready("good", FakeEngine::honest()).await);
    let proven = check_proven(connect(&[bad.address, good.address]).await, 6).await;
    assert_eq!(proven.workers.len(), 1);
    assert_eq!(proven.workers[0].name, "good");
}

#[tokio::test]
async fn a_quarantined_worker_stays_quarantined_after_it_reconnects() {
    let fails = FakeEngine::doing(|_, _| async {
        Err(AttemptError { kind: sp1d_protocol::FailureKind::Engine, text: "out of order".into() })
    });
    let bad = RunningWorker::ready("bad", fails.clone()).await;
    let good = RunningWorker::ready("good", slow(Duration::from_millis(20))).await;
    let address = bad.address;
    let orchestrator = connect(&[address, good.address]).await;
    wait_for_workers(&orchestrator, |workers| workers.iter().all(|worker| worker.ready)).await;
    prove(&orchestrator, request(12)).await.unwrap();
    let is_quarantined = |name: &'static str| {
        move |workers: &[WorkerInfo]| {
            let reason =
                workers.iter().find(|worker| worker.name == name).and_then(|worker| worker.quarantine.as_ref());
            reason.is_some_and(|reason| reason.contains("out of order"))
        }
    };
    wait_for_workers(&orchestrator, is_quarantined("bad")).await;
    bad.stop().await;
    let again =
        RunningWorker::start("again", sp1d_testing::ready(fails), |settings| settings.listen = address.into()).await;
    wait_for_workers(&orchestrator, is_quarantined("again")).await;
    orchestrator.shutdown().await;
    again.stop().await;
    good.stop().await;
}

#[tokio::test]
async fn quarantined_worker_that_reconnects_is_shown_as_quarantined() {
    let fails = FakeEngine::doing(|_, _| async {
        Err(AttemptError { kind: sp1d_protocol::FailureKind::Engine, text: "out of order".into() })
    });
    let bad = RunningWorker::ready("bad", fails.clone()).await;
    let good = RunningWorker::ready("good", slow(Duration::from_millis(20))).await;
    let address = bad.address;
    let orchestrator = connect(&[address, good.address]).await;
    wait_for_workers(&orchestrator, |workers| workers.iter().all(|worker| worker.ready)).await;
    prove(&orchestrator, request(12)).await.unwrap();
    let find = |workers: &[WorkerInfo], name: &str| workers.iter().find(|worker| worker.name == name).cloned();
    let is_quarantined = |worker: &WorkerInfo| worker.quarantine.as_ref().is_some_and(|reason| !reason.is_empty());
    wait_for_workers(&orchestrator, |workers| find(workers, "bad").is_some_and(|bad| is_quarantined(&bad))).await;
    bad.stop().await;
    // The scheduler does not know the new session until the prover is loaded. It knows the worker.
    let (sender, state) = engine_state(Duration::from_secs(30));
    let again = RunningWorker::start("again", state, |settings| settings.listen = address.into()).await;
    let is_shown = |wanted_ready: bool| {
        move |workers: &[WorkerInfo]| {
            let Some(again) = find(workers, "again") else { return false };
            // It is never shown without its quarantine, not even while it becomes ready.
            assert!(is_quarantined(&again), "{again:?}");
            again.ready == wanted_ready
        }
    };
    wait_for_workers(&orchestrator, is_shown(false)).await;
    sender.send_replace(EngineState::Ready(fails));
    wait_for_workers(&orchestrator, is_shown(true)).await;
    let workers = orchestrator.workers();
    assert!(!is_quarantined(&find(&workers, "good").unwrap()), "{workers:?}");
    orchestrator.shutdown().await;
    again.stop().await;
    good.stop().await;
}

async fn check_poison(engine: Arc<dyn sp1d_worker::ProvingEngine>, part: &str) {
    let worker = RunningWorker::ready("one", engine).await;
    let orchestrator = connect(&[worker.address]).await;
    let failure = prove(&orchestrator, request(2)).await.unwrap_err();
    assert!(matches!(failure, ProofFailure::Task { .. }), "{failure}");
    assert_eq!(failure.to_string().matches(part).count(), 3, "three attempts: {failure}");
    assert_empty(&orchestrator).await;
}

#[tokio::test]
async fn a_task_that_fails_everywhere_fails_its_proof() {
    let text = "out of order";
    check_poison(
        FakeEngine::doing(move |_, _| async move {
            Err(AttemptError { kind: sp1d_protocol::FailureKind::Engine, text: text.into() })
        }),
        text,
    )
    .await;
}

#[tokio::test]
async fn a_panicking_engine_only_fails_its_attempts() {
    check_poison(FakeEngine::doing(|_, _| async { panic!("planted") }), "engine panic:").await;
}

#[tokio::test]
async fn a_result_that_does_not_verify_is_rejected() {
    let lies = FakeEngine::doing(|assignment, io| async move {
        let marker = assignment.payload.marker().unwrap();
        io.deliver(&marker.deferred_events, b"events".to_vec()).await.unwrap();
        io.complete_marker().await.unwrap();
        io.deliver(assignment.payload.result(), b"garbage".to_vec()).await.unwrap();
        Ok(())
    });
    check_poison(lies, "the result is garbage").await;
}

#[tokio::test]
async fn an_attempt_without_a_result_fails() {
    let lazy = FakeEngine::doing(|_, io| async move {
        io.complete_marker().await.unwrap();
        Ok(())
    });
    check_poison(lazy, "delivered no result").await;
}

#[tokio::test]
async fn a_marker_without_events_does_not_count() {
    let forgets = FakeEngine::doing(|assignment, io| async move {
        let inputs = fetch_inputs(&assignment, &*io).await?.concat();
        io.complete_marker().await.unwrap();
        io.deliver(assignment.payload.result(), honest_result(&inputs)).await.unwrap();
        Ok(())
    });
    check_poison(forgets, "marker").await;
}

#[tokio::test]
async fn an_attempt_cannot_deliver_foreign_artifacts() {
    let seen = Arc::new(AtomicU32::new(0));
    let engine = FakeEngine::doing({
        let seen = seen.clone();
        move |assignment, io| {
            let seen = seen.clone();
            async move {
                assert!(io.fetch("no such artifact").await.is_err());
                // An artifact of the proof, the output of another task, and an artifact that another attempt made.
                for name in ["program", "result-99", "made-a99-0"] {
                    assert!(io.deliver(name, b"another".to_vec()).await.is_err());
                }
                let own = format!("made-{}-0", assignment.attempt);
                io.deliver(&own, b"events".to_vec()).await.unwrap();
                seen.fetch_add(1, Ordering::Relaxed);
                do_honestly(&assignment, &*io).await
            }
        }
    });
    let worker = RunningWorker::ready("one", engine).await;
    check_proven(connect(&[worker.address]).await, 3).await;
    assert_eq!(seen.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_proof_ends_when_cancelled_or_timed_out() {
    let worker = RunningWorker::ready("one", FakeEngine::doing(|_, _| std::future::pending())).await;
    let orchestrator = connect(&[worker.address]).await;
    let cancel = CancellationToken::new();
    let (progress, mut events) = broadcast::channel(64);
    let controller = Arc::new(FakeController::default());
    let (outcome, ()) = tokio::join!(orchestrator.prove(request(4), controller, progress, cancel.clone()), async {
        while events.recv().await != Ok(ProofEvent::Submitted { kind: TaskKind::ProveShard }) {}
        cancel.cancel();
    });
    assert_eq!(outcome, Err(ProofFailure::Cancelled));
    while events.recv().await.is_ok() {}

    let short = Duration::from_millis(200);
    let outcome = prove(&orchestrator, ProofRequest { timeout: Some(short), ..request(4) }).await;
    assert_eq!(outcome, Err(ProofFailure::Timeout(short)));
    assert_empty(&orchestrator).await;
}

#[tokio::test]
async fn a_frozen_worker_loses_its_tasks_after_three_missed_heartbeats() {
    let frozen = CancellationToken::new();
    let freeze = frozen.clone();
    // The fake worker shares the test's thread, so the test freezes a proxy instead, which then forwards nothing.
    let stuck = RunningWorker::ready("frozen", FakeEngine::doing(|_, _| std::future::pending())).await;
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let behind = stuck.address;
    tokio::spawn(async move {
        while let Ok((near, _)) = proxy.accept().await {
            let far = tokio::net::TcpStream::connect(behind).await.unwrap();
            tokio::spawn(pass_on(near, far, frozen.clone()));
        }
    });
    let good = RunningWorker::ready("good", slow(Duration::from_millis(10))).await;
    let orchestrator = connect(&[address, good.address]).await;
    let start = Instant::now();
    let (progress, mut events) = broadcast::channel(64);
    let controller = Arc::new(FakeController::default());
    let proving = orchestrator.prove(request(4), controller, progress, CancellationToken::new());
    let (proven, ()) = tokio::join!(proving, async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        freeze.cancel();
    });
    let proven = proven.unwrap();
    assert_eq!((proven.output.proof, proven.workers.len()), (expected(4), 1));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let lost = std::iter::from_fn(|| events.try_recv().ok()).find_map(|event| match event {
        ProofEvent::WorkerLost { worker, reason } => Some((worker, reason)),
        _ => None,
    });
    let reason = "nothing was heard from the worker for 0.3 s".to_owned();
    assert_eq!(lost, Some(("frozen".to_owned(), reason)));
    orchestrator.shutdown().await;
}

async fn pass_on(near: tokio::net::TcpStream, far: tokio::net::TcpStream, frozen: CancellationToken) {
    let (mut near, mut far) = (near, far);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        () = frozen.cancelled() => {
            // Keep the connection open and silent.
            tokio::time::sleep(PATIENCE).await;
        }
    }
}

/// A result cache in memory.
#[derive(Default)]
struct CacheInMemory(Mutex<BTreeMap<String, CachedResult>>);

impl ResultCache for CacheInMemory {
    fn find(&self, key: Digest) -> Option<CachedResult> {
        self.0.lock().unwrap().get(&key.to_string()).cloned()
    }

    fn keep(&self, key: Digest, result: CachedResult) {
        self.0.lock().unwrap().insert(key.to_string(), result);
    }

    fn forget(&self, keys: &[Digest]) {
        keys.iter().for_each(|key| _ = self.0.lock().unwrap().remove(&key.to_string()));
    }
}

const WRONG: &[u8] = b"events of another";

/// Proves three shards and one shard of all their events. Returns the number of restarts and of cached results that
/// were used.
async fn prove_with_cache(cache: &Arc<CacheInMemory>, worker: &RunningWorker) -> (usize, usize) {
    let orchestrator = Orchestrator::start(settings(), None, Some(cache.clone()));
    orchestrator.set_list(&list(&[worker.address]));
    let controller = FakeController { precompiles: true, ..FakeController::default() };
    let (progress, mut events) = broadcast::channel(1024);
    let proven = orchestrator.prove(request(3), Arc::new(controller), progress, CancellationToken::new()).await;
    assert_eq!(proven.unwrap().output.proof, expected(3));
    orchestrator.shutdown().await;
    let (mut restarts, mut cached) = (0, 0);
    while let Ok(event) = events.try_recv() {
        restarts += usize::from(matches!(event, ProofEvent::Restarted { .. }));
        cached += usize::from(matches!(event, ProofEvent::CachedResult { .. }));
    }
    (restarts, cached)
}

#[tokio::test]
async fn cached_results_are_reused_and_wrong_ones_forgotten() {
    let engine = FakeEngine::doing(|assignment, io| async move {
        let inputs = fetch_inputs(&assignment, &*io).await?;
        if inputs.contains(WRONG) {
            return Err(AttemptError { kind: sp1d_protocol::FailureKind::Engine, text: "the events are wrong".into() });
        }
        do_honestly(&assignment, &*io).await
    });
    let worker = RunningWorker::ready("one", engine).await;
    let cache = Arc::new(CacheInMemory::default());
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 0));
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 3));

    // A cached result that does not verify is detected and not used.
    cache.0.lock().unwrap().values_mut().next().unwrap().output.push(1);
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 2));

    // Wrong cached events are detected when a shard is made from them.
    for result in cache.0.lock().unwrap().values_mut() {
        result
            .marker_uploads
            .iter_mut()
            .filter(|(name, _)| name.starts_with("made-"))
            .for_each(|(_, events)| *events = WRONG.to_vec());
    }
    assert_eq!(prove_with_cache(&cache, &worker).await, (1, 3));
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 3));
}

#[tokio::test]
async fn a_cached_result_that_cannot_be_stored_leaves_nothing_behind() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let cache = Arc::new(CacheInMemory::default());
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 0));
    {
        let mut results = cache.0.lock().unwrap();
        // The next proof makes this result again, in its first attempt. Choose a result of another attempt, so that the
        // names of its artifacts differ.
        let is_other =
            |result: &&mut CachedResult| !result.marker_uploads.iter().any(|(name, _)| name == "made-a1-events");
        let result = results.values_mut().find(is_other).unwrap();
        // The list of deferred events, `#1`, is stored first. The proof already has an artifact `program`.
        result.marker_uploads.sort();
        result.marker_uploads.insert(1, ("program".to_owned(), b"another".to_vec()));
    }
    assert_eq!(prove_with_cache(&cache, &worker).await, (0, 2));
}
