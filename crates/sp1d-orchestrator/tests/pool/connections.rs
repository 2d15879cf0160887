//! How workers are reached, refused, probed and shown.

use super::*;
use sp1d_orchestrator::UnknownWorker;

#[tokio::test]
async fn probing_a_worker_does_not_disturb_its_work() {
    let (started, engine) = stuck();
    let worker = RunningWorker::ready("one", engine).await;
    let look = async || probe(&worker.address.into(), &fake_build(), None).await;
    let probed = look().await.unwrap();
    assert_eq!((probed.name.as_str(), probed.ready_provers, probed.failed_provers), ("one", 1, 0));
    let orchestrator = connect(&[worker.address]).await;
    assert!(matches!(look().await, Err(ProbeError::Busy(_))));
    let cancel = CancellationToken::new();
    let (progress, _) = broadcast::channel(64);
    let runner = Arc::new(FakeRunner::default());
    let proving = orchestrator.prove(request(1), runner, progress, cancel.clone());
    let (outcome, ()) = tokio::join!(proving, async {
        started.notified().await;
        assert!(matches!(look().await, Err(ProbeError::Busy(_))));
        cancel.cancel();
    });
    assert!(matches!(outcome, Err(ProofFailure::Cancelled)));
    orchestrator.shutdown().await;
    let mut other = fake_build();
    other.sp1_version = "another".into();
    let refused = probe(&worker.address.into(), &other, None).await;
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

/// Waits until `count` workers are disconnected. Then checks that the name "one" selects no worker to forget, and that
/// the error lists two.
async fn check_ambiguous(orchestrator: &Orchestrator, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while orchestrator.disconnected_workers().len() != count {
        assert!(Instant::now() < deadline, "{:?}", orchestrator.disconnected_workers());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = orchestrator.forget("one");
    let Err(UnknownWorker::Ambiguous { addresses, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert_eq!(orchestrator.disconnected_workers().len(), count);
}

#[tokio::test]
async fn a_name_of_two_workers_selects_none_to_forget() {
    let first = RunningWorker::ready("one", FakeEngine::honest()).await;
    let second = RunningWorker::ready("one", FakeEngine::honest()).await;
    let address = first.address.to_string();
    let orchestrator = connect(&[first.address, second.address]).await;
    wait_for_workers(&orchestrator, |workers| workers.len() == 2).await;
    check_ambiguous(&orchestrator, 0).await;
    first.stop().await;
    check_ambiguous(&orchestrator, 1).await;
    second.stop().await;
    check_ambiguous(&orchestrator, 2).await;
    orchestrator.forget(&address).unwrap();
    orchestrator.forget("one").unwrap();
    assert!(orchestrator.disconnected_workers().is_empty(), "{:?}", orchestrator.disconnected_workers());
    assert!(matches!(orchestrator.forget("one"), Err(UnknownWorker::NotConnected { .. })));
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn the_local_worker_takes_its_share() {
    let (local, endpoint) = LocalWorker::new(sp1d_testing::introduction("local"));
    let stop = CancellationToken::new();
    let engine = sp1d_testing::ready(slow(Duration::from_millis(20)));
    let serving = tokio::spawn(local.serve(engine, stop.clone()));
    let other = RunningWorker::ready("other", slow(Duration::from_millis(20))).await;
    let members = WorkerList(vec![WorkerAddress::Local, other.address.into()]);
    let orchestrator =
        Orchestrator::connect(&members, settings(), Some(Arc::new(EndpointConnector(endpoint)))).await.unwrap();
    wait_for_workers(&orchestrator, |workers| workers.iter().filter(|worker| worker.has_loaded_prover).count() == 2)
        .await;
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
    let error = Orchestrator::connect(&WorkerList(vec![WorkerAddress::Local]), settings(), None).await.err().unwrap();
    assert!(error.to_string().contains("local (this process runs no worker)"), "{error}");
}

#[tokio::test]
async fn unreachable_workers_are_skipped_unless_all_are_unreachable() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let unused: SocketAddr = "127.0.0.1:9".parse().unwrap();
    check_proven(connect(&[unused, worker.address]).await, 2).await;
    let only_unused = list(&[unused]);
    let connecting = Orchestrator::connect(&only_unused, settings(), None);
    let error = tokio::time::timeout(PATIENCE, connecting).await.unwrap().err().unwrap().to_string();
    assert!(error.contains("127.0.0.1:9 (connection refused"), "{error}");
}

#[tokio::test]
async fn connecting_waits_for_a_worker_that_opens_its_port_late() {
    let address = free_address();
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
    assert!(error.contains("no response within 1 s"), "{error}");
    assert!(error.contains("the peer is not sp1d"), "{error}");
}

#[tokio::test]
async fn a_second_orchestrator_learns_that_the_worker_is_busy() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let first = connect(&[worker.address]).await;
    let second = Orchestrator::start(settings(), None, None);
    let reached = second.set_list(&list(&[worker.address])).pop().unwrap().1.await.unwrap().unwrap();
    let Reached::Busy(holder) = &reached else { panic!("{reached:?}") };
    assert!(holder.contains("serving ") && holder.contains(" at 127.0.0.1:"), "{holder}");
    // Without a proof, the second orchestrator takes nothing from the first one.
    assert_eq!((first.workers().len(), second.workers().len()), (1, 0));
    check_proven(first, 2).await;
    check_proven(second, 2).await;
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

/// An honest engine whose release of memory ends when the test drops the sender.
struct Large {
    engine: Arc<dyn sp1d_worker::ProvingEngine>,
    release_end: Mutex<std::sync::mpsc::Receiver<()>>,
    is_releasing: AtomicBool,
}

#[async_trait::async_trait]
impl sp1d_worker::ProvingEngine for Large {
    fn places(&self) -> usize {
        1
    }

    async fn run(
        &self,
        place: usize,
        assignment: sp1d_protocol::Assignment,
        io: Arc<dyn sp1d_worker::AttemptIo>,
    ) -> Result<(), AttemptError> {
        self.engine.run(place, assignment, io).await
    }

    fn release_memory(&self) {
        self.is_releasing.store(true, Ordering::Relaxed);
        let _ = self.release_end.lock().unwrap().recv();
        self.is_releasing.store(false, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn the_next_orchestrator_does_not_wait_for_released_memory() {
    // The worker checks once per second whether it is busy, and only releases memory if it was.
    let engine = slow(Duration::from_millis(1500));
    let (end_release, release_end) = std::sync::mpsc::channel();
    let (release_end, is_releasing) = (Mutex::new(release_end), AtomicBool::new(false));
    let large = Arc::new(Large { engine, release_end, is_releasing });
    let worker = RunningWorker::ready("one", large.clone()).await;
    check_proven(connect(&[worker.address]).await, 1).await;
    let deadline = Instant::now() + PATIENCE;
    while !large.is_releasing.load(Ordering::Relaxed) {
        assert!(Instant::now() < deadline, "the worker does not release its memory");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    check_proven(connect(&[worker.address]).await, 1).await;
    assert!(large.is_releasing.load(Ordering::Relaxed));
    drop(end_release);
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
