//! How proofs share the workers, and how they end.

use super::*;

/// A runner that submits markers until its proof ends.
struct Flood;

#[async_trait::async_trait]
impl ProofRunner for Flood {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        while !proof.stopped().is_cancelled() {
            proof.submit_marker().await;
        }
        Err(ProofFailure::Cancelled)
    }
}

/// Returns the only task of the runners below.
fn shrink_wrap() -> TaskSpec {
    let task = WrapTask { proof: "proof".into(), result: "result".into() };
    TaskSpec { payload: TaskPayload::ShrinkWrap(task), needed_bytes: 0, cycles: 0 }
}

/// A runner that submits a task without its input.
struct WithoutInput;

#[async_trait::async_trait]
impl ProofRunner for WithoutInput {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.set_checks(FakeRunner::default());
        let task = proof.submit(shrink_wrap()).await;
        let outcome = proof.watch(task).await;
        Err(ProofFailure::Request(format!("the task ended: {outcome:?}")))
    }
}

/// A runner that submits a task whose result has the name of another artifact. Keeps how the task ended.
#[derive(Default)]
struct TakenName(Mutex<Option<TaskOutcome>>);

#[async_trait::async_trait]
impl ProofRunner for TakenName {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.set_checks(FakeRunner::default());
        proof.put("proof", b"proof".to_vec()).await.unwrap();
        proof.put("result", b"other content".to_vec()).await.unwrap();
        let task = proof.submit(shrink_wrap()).await;
        let outcome = proof.watch(task).await.unwrap();
        *self.0.lock().unwrap() = Some(outcome);
        Err(ProofFailure::Request(format!("the task ended: {outcome:?}")))
    }
}

/// A runner that submits a task and sets no checks.
struct Unchecked;

#[async_trait::async_trait]
impl ProofRunner for Unchecked {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.put("proof", b"proof".to_vec()).await.unwrap();
        let task = proof.submit(shrink_wrap()).await;
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
async fn a_task_without_its_input_fails_the_proof_and_takes_no_slot() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let orchestrator = connect(&[worker.address]).await;
    let (progress, _) = broadcast::channel(64);
    let outcome = orchestrator.prove(request(1), Arc::new(WithoutInput), progress, CancellationToken::new()).await;
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("artifact proof") && text.contains("no longer exists"), "{text}");
    assert_empty(&orchestrator).await;
    check_proven(orchestrator, 2).await;
}

#[tokio::test]
async fn a_task_whose_result_cannot_be_stored_fails() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let orchestrator = connect(&[worker.address]).await;
    let (progress, _) = broadcast::channel(64);
    let runner = Arc::new(TakenName::default());
    let outcome = orchestrator.prove(request(1), runner.clone(), progress, CancellationToken::new()).await;
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("cannot store the result") && text.contains("artifact result"), "{text}");
    assert_eq!(*runner.0.lock().unwrap(), Some(TaskOutcome::Failed));
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
    let proof = orchestrator.prove(request(5), Arc::new(FakeRunner::default()), progress, cancel.clone());
    let ((), outcome) = tokio::join!(
        async {
            started.notified().await;
            let (wanted, deadline) = ((provers.max(1) * batch) as usize, Instant::now() + PATIENCE);
            while orchestrator.holdings().attempts < wanted {
                assert!(Instant::now() < deadline, "{:?}", orchestrator.holdings());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // All five tasks are submitted by now. Further assignments would arrive at once.
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(orchestrator.holdings().attempts, wanted);
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
    assert!(!orchestrator.workers()[0].draining);
    drop(proving);
    check_proven(orchestrator, 2).await;
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
async fn a_proof_ends_when_cancelled_or_timed_out() {
    let worker = RunningWorker::ready("one", FakeEngine::doing(|_, _| std::future::pending())).await;
    let orchestrator = connect(&[worker.address]).await;
    let cancel = CancellationToken::new();
    let (progress, mut events) = broadcast::channel(64);
    let runner = Arc::new(FakeRunner::default());
    let (outcome, ()) = tokio::join!(orchestrator.prove(request(4), runner, progress, cancel.clone()), async {
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
