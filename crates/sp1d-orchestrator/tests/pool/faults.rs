//! Workers that are lost, fail, or deliver wrong results.

use super::*;

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

#[tokio::test]
async fn a_failed_attempt_is_retried_on_another_worker() {
    let (bad, good) =
        (RunningWorker::ready("bad", out_of_order()).await, RunningWorker::ready("good", FakeEngine::honest()).await);
    let proven = check_proven(connect(&[bad.address, good.address]).await, 6).await;
    assert_eq!(proven.workers.len(), 1);
    assert_eq!(proven.workers[0].name, "good");
}

/// Two workers and an orchestrator that has quarantined one of them.
struct QuarantinedPool {
    /// The address of the quarantined worker `bad`, which has stopped.
    address: SocketAddr,
    /// The engine of the quarantined worker.
    fails: Arc<dyn sp1d_worker::ProvingEngine>,
    good: RunningWorker,
    orchestrator: Orchestrator,
}

impl QuarantinedPool {
    async fn start() -> Self {
        let fails = out_of_order();
        let bad = RunningWorker::ready("bad", fails.clone()).await;
        let good = RunningWorker::ready("good", slow(Duration::from_millis(20))).await;
        let address = bad.address;
        let orchestrator = connect(&[address, good.address]).await;
        wait_for_workers(&orchestrator, |workers| workers.iter().all(|worker| worker.has_loaded_prover)).await;
        prove(&orchestrator, request(12)).await.unwrap();
        wait_for_workers(&orchestrator, |workers| find(workers, "bad").is_some_and(is_quarantined)).await;
        bad.stop().await;
        Self { address, fails, good, orchestrator }
    }

    /// Starts the quarantined worker again, with another name at the same address.
    async fn again(&self, engine: tokio::sync::watch::Receiver<EngineState>) -> RunningWorker {
        RunningWorker::start("again", engine, |settings| settings.listen = self.address.into()).await
    }

    async fn stop(self, again: RunningWorker) {
        self.orchestrator.shutdown().await;
        again.stop().await;
        self.good.stop().await;
    }
}

/// Returns an engine that fails each attempt.
fn out_of_order() -> Arc<dyn sp1d_worker::ProvingEngine> {
    FakeEngine::doing(|_, _| async {
        Err(AttemptError { kind: sp1d_protocol::FailureKind::Engine, text: "out of order".into() })
    })
}

fn find<'a>(workers: &'a [WorkerInfo], name: &str) -> Option<&'a WorkerInfo> {
    workers.iter().find(|worker| worker.name == name)
}

fn is_quarantined(worker: &WorkerInfo) -> bool {
    worker.quarantine.as_ref().is_some_and(|reason| !reason.is_empty())
}

#[tokio::test]
async fn a_quarantined_worker_stays_quarantined_after_it_reconnects() {
    let pool = QuarantinedPool::start().await;
    let again = pool.again(sp1d_testing::ready(pool.fails.clone())).await;
    wait_for_workers(&pool.orchestrator, |workers| find(workers, "again").is_some_and(is_quarantined)).await;
    let workers = pool.orchestrator.workers();
    let reason = find(&workers, "again").unwrap().quarantine.as_ref().unwrap();
    assert!(reason.contains("out of order"), "{reason}");
    pool.stop(again).await;
}

#[tokio::test]
async fn quarantined_worker_that_reconnects_is_shown_as_quarantined() {
    let pool = QuarantinedPool::start().await;
    // The scheduler does not know the new session until the prover is loaded. It knows the worker.
    let (sender, state) = engine_state(Duration::from_secs(30));
    let again = pool.again(state).await;
    let is_shown = |wanted_ready: bool| {
        move |workers: &[WorkerInfo]| {
            let Some(again) = find(workers, "again") else { return false };
            // It is never shown without its quarantine, not even while it becomes ready.
            assert!(is_quarantined(again), "{again:?}");
            again.has_loaded_prover == wanted_ready
        }
    };
    wait_for_workers(&pool.orchestrator, is_shown(false)).await;
    sender.send_replace(EngineState::Ready(pool.fails.clone()));
    wait_for_workers(&pool.orchestrator, is_shown(true)).await;
    let workers = pool.orchestrator.workers();
    assert!(!is_quarantined(find(&workers, "good").unwrap()), "{workers:?}");
    pool.stop(again).await;
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
    check_poison(out_of_order(), "out of order").await;
}

#[tokio::test]
async fn a_panicking_engine_only_fails_its_attempts() {
    check_poison(FakeEngine::doing(|_, _| async { panic!("planted") }), "engine panic:").await;
}

#[tokio::test]
async fn a_result_that_does_not_verify_is_rejected() {
    let lies = FakeEngine::doing(|assignment, io| async move {
        let marker = assignment.payload.marker().unwrap();
        io.deliver(&marker.event_list, b"events".to_vec()).await.unwrap();
        io.report_deferred_events().await.unwrap();
        io.deliver(assignment.payload.result(), b"garbage".to_vec()).await.unwrap();
        Ok(())
    });
    check_poison(lies, "the result is garbage").await;
}

#[tokio::test]
async fn an_attempt_without_a_result_fails() {
    let lazy = FakeEngine::doing(|_, io| async move {
        io.report_deferred_events().await.unwrap();
        Ok(())
    });
    check_poison(lazy, "delivered no result").await;
}

#[tokio::test]
async fn a_report_of_deferred_events_without_uploads_does_not_count() {
    let forgets = FakeEngine::doing(|assignment, io| async move {
        let inputs = fetch_inputs(&assignment, &*io).await?.concat();
        io.report_deferred_events().await.unwrap();
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

/// Proves three shards and one shard of all their events, with an engine that calls `probe` before it works honestly.
async fn prove_with_precompiles<F>(
    probe: impl Fn(sp1d_protocol::Assignment, Arc<dyn sp1d_worker::AttemptIo>) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let probe = Arc::new(probe);
    let engine = FakeEngine::doing(move |assignment, io| {
        let probe = probe.clone();
        async move {
            probe(assignment.clone(), io.clone()).await;
            do_honestly(&assignment, &*io).await
        }
    });
    let worker = RunningWorker::ready("one", engine).await;
    let orchestrator = connect(&[worker.address]).await;
    let runner = FakeRunner { precompiles: true, ..FakeRunner::default() };
    let (progress, _) = broadcast::channel(64);
    let proven = orchestrator.prove(request(3), Arc::new(runner), progress, CancellationToken::new()).await.unwrap();
    assert_eq!(proven.output.proof, expected(3));
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn an_attempt_reads_only_the_artifacts_of_its_task() {
    let probes = Arc::new(AtomicU32::new(0));
    let counted = probes.clone();
    prove_with_precompiles(move |assignment, io| {
        let counted = counted.clone();
        async move {
            let own: Vec<String> =
                assignment.payload.inputs().into_iter().map(|input| input.artifact.name.clone()).collect();
            // All records are stored at the start. Lists of events, events and results are stored later.
            let others = (0..3)
                .flat_map(|shard| [format!("record-{shard}"), format!("events-{shard}"), format!("result-{shard}")]);
            for name in others.chain(["stdin".to_owned()]).filter(|name| !own.contains(name)) {
                assert!(io.fetch(&name).await.is_err(), "{name} is readable for {own:?}");
            }
            // The engine fetches the inputs of its task afterwards, and the events that its record names.
            counted.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    assert_eq!(probes.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn an_attempt_without_a_marker_uploads_only_its_result() {
    let refused = Arc::new(AtomicU32::new(0));
    let counted = refused.clone();
    prove_with_precompiles(move |assignment, io| {
        let counted = counted.clone();
        async move {
            let own = format!("made-{}-0", assignment.attempt);
            if io.deliver(&own, b"events".to_vec()).await.is_err() {
                assert!(assignment.payload.marker().is_none());
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    assert_eq!(refused.load(Ordering::Relaxed), 1, "only the last shard has no marker");
}

#[tokio::test]
async fn a_frozen_worker_loses_its_tasks_after_three_missed_heartbeats() {
    let frozen = CancellationToken::new();
    let freeze = frozen.clone();
    // The fake worker shares the test's thread, so the test freezes a proxy instead, which then forwards nothing.
    let (started, engine) = stuck();
    let stuck = RunningWorker::ready("frozen", engine).await;
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
    let (progress, mut events) = broadcast::channel(64);
    let runner = Arc::new(FakeRunner::default());
    let proving = orchestrator.prove(request(4), runner, progress, CancellationToken::new());
    let (proven, ()) = tokio::join!(proving, async {
        started.notified().await;
        freeze.cancel();
    });
    let proven = proven.unwrap();
    assert_eq!((proven.output.proof, proven.workers.len()), (expected(4), 1));
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
