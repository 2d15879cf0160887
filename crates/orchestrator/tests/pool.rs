//! Orchestrator and workers over real connections, with an engine and a controller that prove nothing.

use artifacts::Digest;
use scheduler::TaskKind;
use sp1_distributed_orchestrator::{
    Holdings, LocalConnector, Member, Memo, Orchestrator, ProbeError, Progress, ProofFailure, ProofRequest, Proven,
    Remembered, Settings, Stream, WorkerList, probe,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use testing::{
    FakeController, FakeEngine, RunningWorker, do_honestly, expected_proof, fake_build, fetch_inputs, honest_result,
};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use worker::{Abilities, AttemptError, EngineState, LocalDoor, LocalWorker, engine_state};

const PATIENCE: Duration = Duration::from_secs(20);

fn request(shards: u64) -> ProofRequest {
    testing::request(shards, PATIENCE)
}

fn expected(shards: u64) -> Vec<u8> {
    expected_proof(shards, FakeController::default().record_bytes)
}

fn settings() -> Settings {
    let mut settings = Settings::new(fake_build());
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

/// Ends the orchestrator after a proof whose result must be right, and finds nothing left.
async fn check_proven(orchestrator: Orchestrator, shards: u64) -> Proven {
    let proven = prove(&orchestrator, request(shards)).await.unwrap();
    assert_eq!(proven.output.proof, expected(shards));
    assert_eq!((proven.shards, proven.output.cycles), (shards, shards));
    assert_eq!(proven.workers.iter().map(|share| share.tasks).sum::<u64>(), shards);
    assert_empty(&orchestrator).await;
    orchestrator.shutdown().await;
    proven
}

/// What attempts delivered in vain goes when the core hears of the proof's end.
async fn assert_empty(orchestrator: &Orchestrator) {
    let deadline = Instant::now() + PATIENCE;
    while orchestrator.holdings() != Holdings::default() {
        assert!(Instant::now() < deadline, "something is left: {:?}", orchestrator.holdings());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An honest engine that takes its time.
fn slow(time: Duration) -> Arc<dyn worker::ProvingEngine> {
    FakeEngine::doing(move |assignment, io| async move {
        tokio::time::sleep(time).await;
        do_honestly(&assignment, &*io).await
    })
}

/// An engine that never ends what it begins, and says when it has begun.
fn stuck() -> (Arc<Notify>, Arc<dyn worker::ProvingEngine>) {
    let begun = Arc::new(Notify::new());
    let engine = FakeEngine::doing({
        let begun = begun.clone();
        move |_, _| {
            begun.notify_one();
            std::future::pending()
        }
    });
    (begun, engine)
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
async fn a_worker_that_is_looked_at_goes_on_with_what_it_has() {
    let (begun, engine) = stuck();
    let worker = RunningWorker::ready("one", engine).await;
    let look = async || probe(&worker.address.into(), &fake_build()).await;
    assert_eq!(look().await.unwrap().name, "one");
    let orchestrator = connect(&[worker.address]).await;
    assert!(matches!(look().await, Err(ProbeError::Busy(_))));
    let cancel = CancellationToken::new();
    let (progress, _) = broadcast::channel(64);
    let controller = Arc::new(FakeController::default());
    let proving = orchestrator.prove(request(1), controller, progress, cancel.clone());
    let (outcome, ()) = tokio::join!(proving, async {
        begun.notified().await;
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
async fn who_is_absent_is_known_until_it_is_back_or_nobody_expects_it() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let address = worker.address;
    let orchestrator = Orchestrator::start(settings(), None, None);
    let absent = async |expected: &[&str]| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let absent = orchestrator.absent_workers();
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
    let engine = testing::ready(FakeEngine::honest());
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
async fn the_tasks_of_a_lost_worker_go_to_the_others() {
    let (begun, engine) = stuck();
    let (lost, stays) =
        (RunningWorker::ready("lost", engine).await, RunningWorker::ready("stays", FakeEngine::honest()).await);
    let orchestrator = connect(&[lost.address, stays.address]).await;
    let (proven, ()) = tokio::join!(check_proven(orchestrator, 6), async {
        begun.notified().await;
        lost.stop().await;
    });
    assert_eq!(proven.workers.len(), 1);
    assert_eq!(proven.workers[0].name, "stays");
}

/// A worker with `provers`, each of which has a slot, is given `batch` of five shards for each and no more, until it
/// reports one.
async fn check_batch(provers: u32, batch: u32) {
    let (begun, engine) = stuck();
    let change = |settings: &mut worker::Settings| settings.introduction.machine.provers = provers;
    let worker = RunningWorker::start("only", testing::ready(engine), change).await;
    let mut settings = settings();
    settings.shard_batch_size = batch;
    let orchestrator = Orchestrator::connect(&list(&[worker.address]), settings, None).await.unwrap();
    let cancel = CancellationToken::new();
    let (progress, _) = broadcast::channel(64);
    let proof = orchestrator.prove(request(5), Arc::new(FakeController::default()), progress, cancel.clone());
    let ((), outcome) = tokio::join!(
        async {
            begun.notified().await;
            // All five are waiting by now; more would be there at once.
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
async fn a_worker_holds_as_many_shards_as_the_batch_size_says() {
    check_batch(1, 1).await;
    check_batch(1, 2).await;
    check_batch(1, 4).await;
    check_batch(2, 2).await;
    // It does not say.
    check_batch(0, 2).await;
}

struct Door(LocalDoor);

impl LocalConnector for Door {
    fn connect(&self) -> Option<Box<dyn Stream>> {
        self.0.connect().map(|stream| Box::new(stream) as Box<dyn Stream>)
    }
}

#[tokio::test]
async fn the_process_of_the_orchestrator_takes_its_share() {
    let (local, door) = LocalWorker::new(testing::introduction("local"));
    let stop = CancellationToken::new();
    let engine = testing::ready(slow(Duration::from_millis(20)));
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
async fn a_local_worker_that_is_not_there_is_told() {
    let error = Orchestrator::connect(&WorkerList(vec![Member::Local]), settings(), None).await.err().unwrap();
    assert!(error.to_string().contains("local (this process runs no worker)"), "{error}");
}

/// The only worker does no such tasks, and nobody comes who does.
#[tokio::test]
async fn a_task_that_nobody_does_ends_its_proof_and_does_not_wait_for_ever() {
    let unable = Abilities::all().without(TaskKind::ProveShard, "it is too small");
    let change = |settings: &mut worker::Settings| settings.introduction.abilities = unable;
    let worker = RunningWorker::start("small", testing::ready(FakeEngine::honest()), change).await;
    let orchestrator = connect(&[worker.address]).await;
    let failure = prove(&orchestrator, request(1)).await.unwrap_err();
    assert!(matches!(failure, ProofFailure::Unable { kind: TaskKind::ProveShard, .. }), "{failure}");
    assert!(
        failure.to_string().contains("small (127.0.0.1:") && failure.to_string().contains("too small"),
        "{failure}"
    );
    assert_empty(&orchestrator).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_goes_on() {
    let first = RunningWorker::ready("first", FakeEngine::doing(|_, _| std::future::pending())).await;
    let address = first.address;
    let mut settings = settings();
    settings.patience = PATIENCE;
    let orchestrator = Orchestrator::connect(&list(&[address]), settings, None).await.unwrap();
    let (_, ()) = tokio::join!(check_proven(orchestrator, 3), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.stop().await;
        let engine = testing::ready(FakeEngine::honest());
        let again = RunningWorker::start("second", engine, |settings| settings.listen = address.into()).await;
        // It lives as long as the proof: the other branch ends first only with it.
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            drop(again);
        });
    });
}

#[tokio::test]
async fn without_any_worker_a_proof_fails_instead_of_waiting_for_ever() {
    let (begun, engine) = stuck();
    let worker = RunningWorker::ready("only", engine).await;
    let orchestrator = connect(&[worker.address]).await;
    let (outcome, ()) = tokio::join!(prove(&orchestrator, request(1)), async {
        begun.notified().await;
        worker.stop().await;
    });
    let failure = outcome.unwrap_err();
    assert!(matches!(failure, ProofFailure::NoWorkers { .. }), "{failure}");
    assert!(failure.to_string().contains("only"), "{failure}");
    assert_empty(&orchestrator).await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_left_out_and_nobody_left_is_an_error() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let nobody: SocketAddr = "127.0.0.1:9".parse().unwrap();
    check_proven(connect(&[nobody, worker.address]).await, 2).await;
    let began = Instant::now();
    let error = Orchestrator::connect(&list(&[nobody]), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("127.0.0.1:9 (connection refused"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_worker_that_opens_its_port_within_moments_is_waited_for() {
    // A port that is free again.
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let change = |settings: &mut worker::Settings| settings.listen = address.into();
        RunningWorker::start("late", testing::ready(FakeEngine::honest()), change).await
    });
    check_proven(connect(&[address]).await, 2).await;
    late.await.unwrap().stop().await;
}

#[tokio::test]
async fn a_peer_that_is_no_worker_or_says_nothing_is_left_out() {
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
    assert!(error.contains("no sp1d"), "{error}");
}

#[tokio::test]
async fn a_second_orchestrator_hears_who_has_the_worker() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let first = connect(&[worker.address]).await;
    let error = Orchestrator::connect(&list(&[worker.address]), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("the worker is busy: 127.0.0.1:"), "{error}");
    check_proven(first, 2).await;
    check_proven(connect(&[worker.address]).await, 2).await;
}

#[tokio::test]
async fn a_worker_whose_orchestrator_leaves_within_moments_is_waited_for() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let first = connect(&[worker.address]).await;
    let addresses = [worker.address];
    let (second, ()) = tokio::join!(connect(&addresses), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        first.shutdown().await;
    });
    check_proven(second, 2).await;
}

/// An honest engine whose memory is so large that giving it back takes five seconds.
struct Large(Arc<dyn worker::ProvingEngine>);

#[async_trait::async_trait]
impl worker::ProvingEngine for Large {
    fn slots(&self) -> usize {
        1
    }

    async fn run(
        &self,
        slot: usize,
        assignment: protocol::Assignment,
        io: Arc<dyn worker::AttemptIo>,
    ) -> Result<(), AttemptError> {
        self.0.run(slot, assignment, io).await
    }

    fn give_back(&self) {
        std::thread::sleep(Duration::from_secs(5));
    }
}

#[tokio::test]
async fn the_next_orchestrator_does_not_wait_for_memory_to_be_given_back() {
    // Long enough that the worker sees itself at work.
    let engine = slow(Duration::from_millis(1500));
    let worker = RunningWorker::ready("one", Arc::new(Large(engine))).await;
    check_proven(connect(&[worker.address]).await, 1).await;
    let began = Instant::now();
    check_proven(connect(&[worker.address]).await, 1).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_orchestrator_that_is_not_in_the_filter_is_refused() {
    let engine = testing::ready(FakeEngine::honest());
    let worker =
        RunningWorker::start("one", engine, |settings| settings.orchestrators = "10.0.0.0/8".parse().unwrap()).await;
    let error = Orchestrator::connect(&list(&[worker.address]), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("127.0.0.1 is not in the worker's --orchestrator list"), "{error}");
}

#[tokio::test]
async fn another_sp1_is_refused_with_both_versions() {
    let engine = testing::ready(FakeEngine::honest());
    let worker =
        RunningWorker::start("one", engine, |settings| settings.introduction.build.sp1_version = "6.9.0".into()).await;
    let error = Orchestrator::connect(&list(&[worker.address]), settings(), None).await.err().unwrap().to_string();
    assert!(error.contains("6.10.0") && error.contains("6.9.0"), "{error}");
}

#[tokio::test]
async fn a_worker_that_is_starting_counts_as_reached_and_works_when_ready() {
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
async fn a_failed_attempt_is_tried_elsewhere() {
    let fails = FakeEngine::doing(|_, _| async {
        Err(AttemptError { kind: protocol::FailureKind::Engine, text: "out of order".into() })
    });
    let (bad, good) =
        (RunningWorker::ready("bad", fails).await, RunningWorker::ready("good", FakeEngine::honest()).await);
    let proven = check_proven(connect(&[bad.address, good.address]).await, 6).await;
    assert_eq!(proven.workers.len(), 1);
    assert_eq!(proven.workers[0].name, "good");
}

async fn check_poison(engine: Arc<dyn worker::ProvingEngine>, part: &str) {
    let worker = RunningWorker::ready("one", engine).await;
    let orchestrator = connect(&[worker.address]).await;
    let failure = prove(&orchestrator, request(2)).await.unwrap_err();
    assert!(matches!(failure, ProofFailure::Task { .. }), "{failure}");
    assert_eq!(failure.to_string().matches(part).count(), 3, "three attempts: {failure}");
    assert_empty(&orchestrator).await;
}

#[tokio::test]
async fn a_task_that_fails_everywhere_ends_its_proof_with_its_history() {
    let text = "out of order";
    check_poison(
        FakeEngine::doing(move |_, _| async move {
            Err(AttemptError { kind: protocol::FailureKind::Engine, text: text.into() })
        }),
        text,
    )
    .await;
}

#[tokio::test]
async fn an_engine_that_panics_takes_nothing_else_down() {
    check_poison(FakeEngine::doing(|_, _| async { panic!("planted") }), "engine panic:").await;
}

#[tokio::test]
async fn a_result_that_does_not_verify_is_not_used() {
    let lies = FakeEngine::doing(|assignment, io| async move {
        io.deliver(&assignment.outputs[1], b"events".to_vec()).await.unwrap();
        io.complete_marker().await.unwrap();
        io.deliver(&assignment.outputs[0], b"garbage".to_vec()).await.unwrap();
        Ok(())
    });
    check_poison(lies, "the result is garbage").await;
}

#[tokio::test]
async fn a_worker_that_delivers_nothing_has_done_nothing() {
    let lazy = FakeEngine::doing(|_, io| async move {
        io.complete_marker().await.unwrap();
        Ok(())
    });
    check_poison(lazy, "delivered no result").await;
}

#[tokio::test]
async fn a_marker_without_its_events_does_not_count() {
    let forgets = FakeEngine::doing(|assignment, io| async move {
        let inputs = fetch_inputs(&assignment, &*io).await?.concat();
        io.complete_marker().await.unwrap();
        io.deliver(&assignment.outputs[0], honest_result(&inputs)).await.unwrap();
        Ok(())
    });
    check_poison(forgets, "marker").await;
}

#[tokio::test]
async fn an_attempt_cannot_touch_what_is_not_its_own() {
    let seen = Arc::new(AtomicU32::new(0));
    let engine = FakeEngine::doing({
        let seen = seen.clone();
        move |assignment, io| {
            let seen = seen.clone();
            async move {
                assert!(io.fetch("no such artifact").await.is_err());
                // What the proof has, what another task will deliver, and what another attempt made.
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
async fn a_proof_ends_when_it_is_cancelled_or_out_of_time() {
    let worker = RunningWorker::ready("one", FakeEngine::doing(|_, _| std::future::pending())).await;
    let orchestrator = connect(&[worker.address]).await;
    let cancel = CancellationToken::new();
    let (progress, mut events) = broadcast::channel(64);
    let controller = Arc::new(FakeController::default());
    let (outcome, ()) = tokio::join!(orchestrator.prove(request(4), controller, progress, cancel.clone()), async {
        while events.recv().await != Ok(Progress::Submitted(TaskKind::ProveShard)) {}
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
    // The fake shares the test's thread, so what is frozen is a proxy that stops to pass anything on.
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
    let began = Instant::now();
    let (progress, mut news) = broadcast::channel(64);
    let controller = Arc::new(FakeController::default());
    let proving = orchestrator.prove(request(4), controller, progress, CancellationToken::new());
    let (proven, ()) = tokio::join!(proving, async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        freeze.cancel();
    });
    let proven = proven.unwrap();
    assert_eq!((proven.output.proof, proven.workers.len()), (expected(4), 1));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let lost = std::iter::from_fn(|| news.try_recv().ok()).find_map(|news| match news {
        Progress::WorkerLost { worker, reason } => Some((worker, reason)),
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
            // Open, and silent.
            tokio::time::sleep(PATIENCE).await;
        }
    }
}

/// A memo in memory.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Remembered>>);

impl Memo for Memory {
    fn find(&self, key: Digest) -> Option<Remembered> {
        self.0.lock().unwrap().get(&key.to_string()).cloned()
    }

    fn keep(&self, key: Digest, result: Remembered) {
        self.0.lock().unwrap().insert(key.to_string(), result);
    }

    fn forget(&self, keys: &[Digest]) {
        keys.iter().for_each(|key| _ = self.0.lock().unwrap().remove(&key.to_string()));
    }
}

const WRONG: &[u8] = b"events of another";

/// Proves three shards and one of all their events, and says how often it was begun again and how much was remembered.
async fn prove_remembering(memo: &Arc<Memory>, worker: &RunningWorker) -> (usize, usize) {
    let orchestrator = Orchestrator::start(settings(), None, Some(memo.clone()));
    orchestrator.set_list(&list(&[worker.address]));
    let controller = FakeController { precompiles: true, ..FakeController::default() };
    let (progress, mut events) = broadcast::channel(1024);
    let proven = orchestrator.prove(request(3), Arc::new(controller), progress, CancellationToken::new()).await;
    assert_eq!(proven.unwrap().output.proof, expected(3));
    orchestrator.shutdown().await;
    let (mut restarts, mut remembered) = (0, 0);
    while let Ok(event) = events.try_recv() {
        restarts += usize::from(matches!(event, Progress::Restarted { .. }));
        remembered += usize::from(matches!(event, Progress::Remembered(_)));
    }
    (restarts, remembered)
}

#[tokio::test]
async fn what_is_remembered_is_not_done_again_and_forgotten_when_it_is_wrong() {
    let engine = FakeEngine::doing(|assignment, io| async move {
        let inputs = fetch_inputs(&assignment, &*io).await?;
        if inputs.iter().any(|input| input == WRONG) {
            return Err(AttemptError { kind: protocol::FailureKind::Engine, text: "the events are wrong".into() });
        }
        do_honestly(&assignment, &*io).await
    });
    let worker = RunningWorker::ready("one", engine).await;
    let memo = Arc::new(Memory::default());
    assert_eq!(prove_remembering(&memo, &worker).await, (0, 0));
    assert_eq!(prove_remembering(&memo, &worker).await, (0, 3));

    // A result that does not verify is found out when it is remembered.
    memo.0.lock().unwrap().values_mut().next().unwrap().output.push(1);
    assert_eq!(prove_remembering(&memo, &worker).await, (0, 2));

    // Wrong events show when something is made of them.
    for result in memo.0.lock().unwrap().values_mut() {
        result
            .delivered
            .iter_mut()
            .filter(|(name, _)| name.starts_with("made-"))
            .for_each(|(_, events)| *events = WRONG.to_vec());
    }
    assert_eq!(prove_remembering(&memo, &worker).await, (1, 3));
    assert_eq!(prove_remembering(&memo, &worker).await, (0, 3));
}
