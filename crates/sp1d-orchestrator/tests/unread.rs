//! Measures how much memory transfers take that a worker does not read. The binary has only one test, because its
//! allocator counts the memory of the whole process.

use peak_alloc::PeakAlloc;
use sp1d_artifacts::StoreLimits;
use sp1d_orchestrator::{Orchestrator, OrchestratorSettings, WorkerAddress, WorkerList};
use sp1d_protocol::{
    Connection, connect_client, kind_to_wire,
    wire::{self, FetchRequest, FromWorker, artifact_part::Part, from_worker, to_worker},
};
use sp1d_scheduler::TaskKind;
use sp1d_testing::{FakeRunner, PipeConnector, fake_build};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{broadcast, mpsc},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Counts the memory of this process.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const PATIENCE: Duration = Duration::from_secs(20);

/// Size of the artifact. It does not compress.
const RECORD_BYTES: usize = 64 << 20;

/// Number of unread transfers. A session has 16 calls at a time, and one of them is its control stream.
const TRANSFERS: usize = 15;

/// Maximum memory of all transfers: eight chunks for each, in the orchestrator, in HTTP/2 on both sides, and in the
/// pipe between them. The whole artifact for each would be eight times as much.
const MAX_BYTES: usize = 16 * (8 << 20);

fn message(message: from_worker::Message) -> FromWorker {
    FromWorker { message: Some(message) }
}

/// Waits until the transfers take no more memory.
async fn wait_until_full() {
    let (mut seen, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        let used = MEMORY.current_usage();
        if used > seen + (64 << 10) {
            (seen, since) = (used, Instant::now());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_transfers_of_a_spilled_artifact_take_a_few_chunks_each() {
    let mut settings = OrchestratorSettings::new(fake_build());
    settings.store =
        StoreLimits { memory_bytes: 1 << 20, disk_bytes: 1 << 30, spill_folder: Some(std::env::temp_dir()) };
    let (connector, mut connections) = PipeConnector::new(1 << 20);
    let orchestrator = Arc::new(Orchestrator::start(settings, Some(Arc::new(connector)), None));
    orchestrator.set_list(&WorkerList(vec![WorkerAddress::Local]));
    let (connection, _closer) = Connection::new(connections.recv().await.unwrap());
    let mut client = connect_client(connection).await.unwrap();
    let readiness = wire::Readiness { ready: true, ..Default::default() };
    let hello = wire::HelloRequest {
        build: Some(fake_build().into()),
        name: "unread".to_owned(),
        kinds: TaskKind::ALL.into_iter().map(|kind| kind_to_wire(kind).into()).collect(),
        readiness: Some(readiness.clone()),
        ..Default::default()
    };
    assert_eq!(client.hello(hello).await.unwrap().into_inner().refusal, "");
    let (outbox, messages) = mpsc::channel(16);
    let mut inbound = client.control(ReceiverStream::new(messages)).await.unwrap().into_inner();
    outbox.send(message(from_worker::Message::Readiness(readiness))).await.unwrap();
    let _heartbeats = AbortOnDropHandle::new(tokio::spawn(async move {
        while outbox.send(message(from_worker::Message::Heartbeat(wire::Heartbeat {}))).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    }));
    let proving = orchestrator.clone();
    let _proof = AbortOnDropHandle::new(tokio::spawn(async move {
        let (progress, _) = broadcast::channel(64);
        let runner = Arc::new(FakeRunner { record_bytes: RECORD_BYTES, ..FakeRunner::default() });
        let request = sp1d_testing::request(1, Duration::from_secs(600));
        let _ = proving.prove(request, runner, progress, CancellationToken::new()).await;
    }));
    let assign = loop {
        let received = timeout(PATIENCE, inbound.message()).await.unwrap().unwrap().unwrap();
        if let Some(to_worker::Message::Assign(assign)) = received.message {
            break assign;
        }
    };
    // The messages of the orchestrator must be read, or it would close the session.
    let _reader =
        AbortOnDropHandle::new(tokio::spawn(async move { while let Ok(Some(_)) = inbound.message().await {} }));
    let Some(wire::assign::Task::ProveShard(task)) = assign.task else { panic!("the task proves no shard") };
    let request = FetchRequest { attempt: assign.attempt, name: task.record.unwrap().name };

    let before = MEMORY.current_usage();
    assert!(before < RECORD_BYTES, "the artifact is still in memory: {before} bytes are used");
    MEMORY.reset_peak_usage();
    let mut unread = Vec::new();
    for _ in 0..TRANSFERS {
        let response = timeout(PATIENCE, client.fetch(request.clone())).await.expect("the session has room");
        unread.push(response.unwrap().into_inner());
    }
    wait_until_full().await;
    let grown = MEMORY.peak_usage().saturating_sub(before);
    assert!(grown > TRANSFERS << 20, "only {grown} bytes are used, so the transfers have not started");
    assert!(grown < MAX_BYTES, "{TRANSFERS} unread transfers take {grown} bytes");

    let mut read = unread.swap_remove(0);
    // The other transfers leave the connection to this one.
    drop(unread);
    let mut length = 0;
    while let Some(part) = timeout(PATIENCE, read.message()).await.unwrap().unwrap() {
        if let Some(Part::Chunk(chunk)) = part.part {
            length += chunk.decoded_length as usize;
        }
    }
    assert_eq!(length, RECORD_BYTES);
}
