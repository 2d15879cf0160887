//! Proofs that wait for a worker that supports a task kind, before they submit a task.

use super::{
    hostile::{PIPE_BYTES, message},
    *,
};
use sp1d_orchestrator::{ShardSize, ShardWorker};
use sp1d_protocol::{
    Connection, connect_client, kind_to_wire,
    wire::{self, ExcludedFromShards, Gpu, from_worker, to_worker},
};
use tokio::{io::DuplexStream, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

/// A runner that prepares the proof until the test lets it continue, as the setup of a program does. Then it waits for
/// a worker that supports shards. Its cycles are the number of these workers.
#[derive(Clone, Default)]
struct Preparing {
    started: Arc<Notify>,
    prepared: Arc<Notify>,
}

#[async_trait::async_trait]
impl ProofRunner for Preparing {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.check_capability(TaskKind::ProveShard)?;
        self.started.notify_one();
        self.prepared.notified().await;
        let able = proof.wait_for_capability(TaskKind::ProveShard).await?;
        Ok(ProofOutput { proof: Vec::new(), cycles: able.len() as u64, public_values: Vec::new(), gas: None })
    }
}

/// Starts a worker that does not support shards.
async fn unable() -> RunningWorker {
    let capabilities = Capabilities::all().without(TaskKind::ProveShard, "it is too small");
    let change = |settings: &mut sp1d_worker::WorkerSettings| settings.introduction.capabilities = capabilities;
    RunningWorker::start("small", sp1d_testing::ready(FakeEngine::honest()), change).await
}

async fn prove_with(orchestrator: &Orchestrator, runner: Preparing) -> Result<Proven, ProofFailure> {
    let (progress, _) = broadcast::channel(64);
    orchestrator.prove(request(1), Arc::new(runner), progress, CancellationToken::new()).await
}

/// Checks that the proof failed because no connected worker supports shards.
async fn check_unsupported(orchestrator: &Orchestrator, outcome: Result<Proven, ProofFailure>) {
    let failure = outcome.unwrap_err();
    assert!(matches!(failure, ProofFailure::Unsupported { kind: TaskKind::ProveShard, .. }), "{failure}");
    assert_empty(orchestrator).await;
}

/// Waits until only the worker that does not support shards is connected.
async fn wait_for_loss(orchestrator: &Orchestrator) {
    wait_for_workers(orchestrator, |workers| workers.len() == 1 && workers[0].name == "small").await;
}

#[tokio::test]
async fn proof_fails_if_no_worker_that_it_waits_for_connects() {
    let worker = unable().await;
    let mut settings = settings();
    // Otherwise the proof fails at once.
    settings.wait_for_capabilities = true;
    let orchestrator = Orchestrator::connect(&list(&[worker.address]), settings, None).await.unwrap();
    let runner = Preparing::default();
    runner.prepared.notify_one();
    let outcome = prove_with(&orchestrator, runner).await;
    check_unsupported(&orchestrator, outcome).await;
    worker.stop().await;
}

#[tokio::test]
async fn proof_fails_if_the_last_capable_worker_leaves_before_the_first_task() {
    let (small, able) = (unable().await, RunningWorker::ready("able", FakeEngine::honest()).await);
    let orchestrator = connect(&[small.address, able.address]).await;
    wait_for_workers(&orchestrator, |workers| workers.len() == 2).await;
    let runner = Preparing::default();
    let (outcome, ()) = tokio::join!(prove_with(&orchestrator, runner.clone()), async {
        runner.started.notified().await;
        able.stop().await;
        wait_for_loss(&orchestrator).await;
        runner.prepared.notify_one();
    });
    check_unsupported(&orchestrator, outcome).await;
    small.stop().await;
}

#[tokio::test]
async fn proof_continues_when_a_capable_worker_returns() {
    let (small, able) = (unable().await, RunningWorker::ready("able", FakeEngine::honest()).await);
    let address = able.address;
    let mut settings = settings();
    settings.patience = PATIENCE;
    let orchestrator = Orchestrator::connect(&list(&[small.address, address]), settings, None).await.unwrap();
    wait_for_workers(&orchestrator, |workers| workers.len() == 2).await;
    let runner = Preparing::default();
    let (outcome, again) = tokio::join!(prove_with(&orchestrator, runner.clone()), async {
        runner.started.notified().await;
        able.stop().await;
        wait_for_loss(&orchestrator).await;
        runner.prepared.notify_one();
        let engine = sp1d_testing::ready(FakeEngine::honest());
        RunningWorker::start("again", engine, |settings| settings.listen = address.into()).await
    });
    assert_eq!(outcome.unwrap().output.cycles, 1);
    again.stop().await;
    small.stop().await;
}

/// A runner that records what bounds the shards of the connected workers.
#[derive(Clone, Default)]
struct Looking(Arc<Mutex<Vec<ShardWorker>>>);

#[async_trait::async_trait]
impl ProofRunner for Looking {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        *self.0.lock().unwrap() = proof.wait_for_capability(TaskKind::ProveShard).await?;
        Ok(ProofOutput { proof: Vec::new(), cycles: 0, public_values: Vec::new(), gas: None })
    }
}

/// Starts a worker that claims to prove on two GPUs.
async fn on_gpus() -> RunningWorker {
    let gpu = Gpu { model: "L4".to_owned(), memory_bytes: 24_000_000_000 };
    let change = |settings: &mut sp1d_worker::WorkerSettings| {
        let machine = &mut settings.introduction.machine;
        (machine.gpus, machine.provers, machine.cpu) = (vec![gpu.clone(), gpu], 2, "EPYC".to_owned());
        machine.largest_cut = 285_212_672;
    };
    RunningWorker::start("cards", sp1d_testing::ready(FakeEngine::honest()), change).await
}

#[tokio::test]
async fn a_pool_knows_the_bounds_of_gpus_and_processors() {
    let (cards, plain) =
        (on_gpus().await, RunningWorker::start("plain", sp1d_testing::ready(FakeEngine::honest()), |_| {}).await);
    let orchestrator = Orchestrator::connect(&list(&[cards.address, plain.address]), settings(), None).await.unwrap();
    wait_for_workers(&orchestrator, |workers| {
        workers.len() == 2 && workers.iter().all(|worker| worker.has_loaded_prover)
    })
    .await;
    let runner = Looking::default();
    let (progress, _) = broadcast::channel(64);
    let proven = orchestrator.prove(request(1), Arc::new(runner.clone()), progress, CancellationToken::new()).await;
    proven.unwrap();
    let found = std::mem::take(&mut *runner.0.lock().unwrap());
    let bounds = |name: &str| {
        let worker = found.iter().find(|worker| worker.name == name).unwrap();
        (worker.largest_cut, worker.provers)
    };
    assert_eq!((bounds("cards"), bounds("plain")), ((Some(285_212_672), 2), (None, 1)));
    let fits = |cells: u64| {
        let size = ShardSize { cells, memory_bytes: u64::MAX };
        found.iter().find(|worker| worker.name == "cards").unwrap().fits(size)
    };
    assert!(fits(285_212_672) && !fits(285_212_673));
    let shown = orchestrator.workers().into_iter().find(|worker| worker.name == "cards").unwrap();
    assert_eq!(shown.hardware, "2 x L4 24 GB, EPYC");
    cards.stop().await;
    plain.stop().await;
}

/// Trace cells of a shard that is too large for small GPUs.
const LARGE_CUT: u64 = 402_653_184;

/// A runner whose shards are too large for small GPUs, and that runs until the test is over.
#[derive(Clone)]
struct ExcludingRunner {
    excluded: Arc<Notify>,
    /// Whether it only sets the cut. Otherwise it excludes small workers itself.
    only_sets_cut: bool,
}

#[async_trait::async_trait]
impl ProofRunner for ExcludingRunner {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.wait_for_capability(TaskKind::ProveShard).await?;
        if self.only_sets_cut {
            proof.set_options("{}".to_owned(), LARGE_CUT).await;
        } else {
            proof.exclude_small_workers(ShardSize { cells: LARGE_CUT, memory_bytes: 0 }).await;
        }
        self.excluded.notify_one();
        std::future::pending().await
    }
}

/// Connects a worker on small GPUs through the pipe, and returns the notice that a proof excludes it.
async fn exclusion(connections: &mut mpsc::UnboundedReceiver<DuplexStream>) -> ExcludedFromShards {
    let (connection, _closer) = Connection::new(connections.recv().await.unwrap());
    let mut client = connect_client(connection).await.unwrap();
    let readiness = wire::Readiness { ready: true, ..Default::default() };
    let hello = wire::HelloRequest {
        build: Some(fake_build().into()),
        name: "card".to_owned(),
        kinds: TaskKind::ALL.into_iter().map(|kind| kind_to_wire(kind).into()).collect(),
        readiness: Some(readiness.clone()),
        machine: Some(wire::Machine { largest_cut: 285_212_672, ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(client.hello(hello).await.unwrap().into_inner().refusal, "");
    let (outbox, messages) = mpsc::channel(16);
    let mut inbound = client.control(ReceiverStream::new(messages)).await.unwrap().into_inner();
    outbox.send(message(from_worker::Message::Readiness(readiness))).await.unwrap();
    let _heartbeats = AbortOnDropHandle::new(tokio::spawn(async move {
        while outbox.send(message(from_worker::Message::Heartbeat(wire::Heartbeat {}))).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }));
    loop {
        let received =
            timeout(PATIENCE, inbound.message()).await.expect("the worker is not notified").unwrap().unwrap();
        if let Some(to_worker::Message::ExcludedFromShards(excluded)) = received.message {
            return excluded;
        }
    }
}

/// Runs a proof that excludes a worker on small GPUs. The worker is ready before the proof excludes it, or connects
/// later.
async fn check_notified(connects_later: bool, only_sets_cut: bool) {
    let large = RunningWorker::ready("large", FakeEngine::honest()).await;
    let (connector, mut connections) = PipeConnector::new(PIPE_BYTES);
    let orchestrator = Arc::new(Orchestrator::start(settings(), Some(Arc::new(connector)), None));
    let runner = ExcludingRunner { excluded: Arc::default(), only_sets_cut };
    let prove = || {
        let (orchestrator, runner) = (orchestrator.clone(), Arc::new(runner.clone()));
        let (progress, _) = broadcast::channel(64);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = orchestrator.prove(request(1), runner, progress, CancellationToken::new()).await;
        }))
    };
    let (excluded, _proof) = if connects_later {
        orchestrator.set_list(&list(&[large.address]));
        let proof = prove();
        timeout(PATIENCE, runner.excluded.notified()).await.expect("the proof does not start");
        orchestrator.set_list(&WorkerList(vec![large.address.into(), WorkerAddress::Local]));
        (exclusion(&mut connections).await, proof)
    } else {
        orchestrator.set_list(&WorkerList(vec![large.address.into(), WorkerAddress::Local]));
        let mut proof = None;
        let (excluded, ()) = tokio::join!(exclusion(&mut connections), async {
            let are_ready =
                |workers: &[WorkerInfo]| workers.len() == 2 && workers.iter().all(|worker| worker.has_loaded_prover);
            wait_for_workers(&orchestrator, are_ready).await;
            proof = Some(prove());
        });
        (excluded, proof.unwrap())
    };
    assert_eq!(excluded.cells, LARGE_CUT);
    assert!(!excluded.proof.is_empty());
    large.stop().await;
}

#[tokio::test]
async fn a_worker_is_notified_that_a_proof_excludes_it() {
    check_notified(false, false).await;
}

#[tokio::test]
async fn a_worker_that_connects_later_is_notified_that_a_proof_excludes_it() {
    check_notified(true, false).await;
}

#[tokio::test]
async fn a_worker_that_refuses_the_cut_is_excluded_when_the_cut_is_set() {
    check_notified(false, true).await;
}

#[tokio::test]
async fn a_worker_that_refuses_the_cut_and_connects_later_is_excluded() {
    check_notified(true, true).await;
}
