//! A worker that speaks the protocol by itself, and sends what no honest worker sends.

use super::*;
use futures::StreamExt;
use sp1d_protocol::{
    Closer, Connection, chunk_to_wire, connect_client, kind_to_wire,
    wire::{self, FromWorker, UploadPart, from_worker, session_client::SessionClient, to_worker, upload_part::Part},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, transport::Channel};

/// Bytes that can be on the way to or from a worker that speaks the protocol by itself: some chunks of an artifact.
pub(super) const PIPE_BYTES: usize = 4 << 20;

/// A proof whose first shard was assigned to a hostile worker.
struct HostileWorker {
    client: SessionClient<Channel>,
    attempt: u64,
    /// Names of the result and of the list of deferred events.
    result: String,
    events: String,
    closer: Closer,
    /// The messages of its control stream.
    outbox: mpsc::Sender<FromWorker>,
    tasks: Vec<JoinHandle<()>>,
    _orchestrator: Arc<Orchestrator>,
}

impl Drop for HostileWorker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl HostileWorker {
    async fn start() -> Self {
        let (connector, mut connections) = PipeConnector::new(PIPE_BYTES);
        let orchestrator = Arc::new(Orchestrator::start(settings(), Some(Arc::new(connector)), None));
        orchestrator.set_list(&WorkerList(vec![WorkerAddress::Local]));
        let (connection, closer) = Connection::new(connections.recv().await.unwrap());
        let mut client = connect_client(connection).await.unwrap();
        let readiness = wire::Readiness { ready: true, ..Default::default() };
        let hello = wire::HelloRequest {
            build: Some(fake_build().into()),
            name: "hostile".to_owned(),
            kinds: TaskKind::ALL.into_iter().map(|kind| kind_to_wire(kind).into()).collect(),
            readiness: Some(readiness.clone()),
            ..Default::default()
        };
        assert_eq!(client.hello(hello).await.unwrap().into_inner().refusal, "");
        let (outbox, messages) = mpsc::channel(16);
        let mut inbound = client.control(ReceiverStream::new(messages)).await.unwrap().into_inner();
        outbox.send(message(from_worker::Message::Readiness(readiness))).await.unwrap();
        let beats = outbox.clone();
        let heartbeats = tokio::spawn(async move {
            while beats.send(message(from_worker::Message::Heartbeat(wire::Heartbeat {}))).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let proof = tokio::spawn({
            let orchestrator = orchestrator.clone();
            async move {
                let (progress, _) = broadcast::channel(64);
                let request = sp1d_testing::request(2, Duration::from_secs(600));
                let runner = Arc::new(FakeRunner::default());
                let _ = orchestrator.prove(request, runner, progress, CancellationToken::new()).await;
            }
        });
        let assign = loop {
            let received = inbound.message().await.unwrap().unwrap();
            if let Some(to_worker::Message::Assign(assign)) = received.message {
                break assign;
            }
        };
        let Some(wire::assign::Task::ProveShard(task)) = assign.task.clone() else { panic!("{assign:?}") };
        // The orchestrator's messages must be read, or it would close the session.
        let reader = tokio::spawn(async move { while let Ok(Some(_)) = inbound.message().await {} });
        Self {
            client,
            attempt: assign.attempt,
            result: task.result,
            events: task.marker.unwrap().event_list,
            closer,
            outbox,
            tasks: vec![heartbeats, proof, reader],
            _orchestrator: orchestrator,
        }
    }

    fn header(&self, name: &str, length: u64) -> UploadPart {
        part(Part::Header(wire::UploadHeader { attempt: self.attempt, name: name.to_owned(), length }))
    }

    /// Uploads `parts`, and checks how the orchestrator ends the call.
    #[track_caller]
    fn check(&self, parts: Vec<UploadPart>, expected: Option<Code>) -> impl Future<Output = ()> + use<> {
        let mut client = self.client.clone();
        let caller = std::panic::Location::caller();
        async move {
            let reply = client.upload(tokio_stream::iter(parts)).await;
            assert_eq!(reply.as_ref().err().map(tonic::Status::code), expected, "{caller}: {reply:?}");
        }
    }
}

pub(super) fn message(message: from_worker::Message) -> FromWorker {
    FromWorker { message: Some(message) }
}

fn part(part: Part) -> UploadPart {
    UploadPart { part: Some(part) }
}

fn end(content: &[u8]) -> UploadPart {
    part(Part::End(wire::UploadEnd { digest: Digest::of(content).as_bytes().to_vec().into() }))
}

fn raw_chunk(content: &'static [u8]) -> UploadPart {
    let decoded_length = u32::try_from(content.len()).unwrap();
    part(Part::Chunk(wire::Chunk { zstd: false, decoded_length, content: content.into() }))
}

#[tokio::test]
async fn chunks_of_one_byte_are_refused() {
    let worker = HostileWorker::start().await;
    let bytes = vec![worker.header(&worker.events, 2), raw_chunk(b"a"), raw_chunk(b"b"), end(b"ab")];
    worker.check(bytes, Some(Code::InvalidArgument)).await;
    let whole = vec![worker.header(&worker.events, 2), raw_chunk(b"ab"), end(b"ab")];
    worker.check(whole, None).await;
}

#[tokio::test]
async fn an_upload_ends_at_an_invalid_digest() {
    let worker = HostileWorker::start().await;
    // The stream stays open: only the digest can end the delivery.
    let parts = [worker.header(&worker.events, 2), part(Part::End(wire::UploadEnd::default()))];
    let mut client = worker.client.clone();
    let delivery = client.upload(futures::stream::iter(parts).chain(futures::stream::pending()));
    let reply = tokio::time::timeout(PATIENCE, delivery).await.expect("the upload ends");
    assert_eq!(reply.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_attempt_uploads_no_more_uncompressed_bytes_than_its_task_can_produce() {
    // Encoded first, because it blocks the thread of the session.
    let zeros = Blob::encode(&vec![0; 100 << 20]);
    let worker = HostileWorker::start().await;
    // The runner allows 64 MiB for the marker of a shard, and a result has at most 64 MiB.
    let made = |number: u32| format!("made-a{}-{number}", worker.attempt);
    let mut parts = vec![worker.header(&made(1), zeros.len())];
    parts.extend(zeros.chunks().iter().map(|chunk| part(Part::Chunk(chunk_to_wire(chunk.clone())))));
    parts.push(part(Part::End(wire::UploadEnd { digest: zeros.digest().as_bytes().to_vec().into() })));
    worker.check(parts, None).await;
    worker.check(vec![worker.header(&made(2), 29 << 20)], Some(Code::ResourceExhausted)).await;
    worker.check(vec![worker.header(&worker.result, 29 << 20)], Some(Code::ResourceExhausted)).await;
    // A result that is within the limit of the attempt, but longer than any result.
    worker.check(vec![worker.header(&worker.result, 65 << 20)], Some(Code::InvalidArgument)).await;
}

#[tokio::test]
async fn a_session_has_few_transfers_at_a_time() {
    let worker = HostileWorker::start().await;
    let stuck: Vec<_> = (0..20)
        .map(|number| {
            let (mut client, header) =
                (worker.client.clone(), worker.header(&format!("made-a{}-{number}", worker.attempt), 1));
            tokio::spawn(async move {
                // The stream stays open: a header without its content.
                let parts = futures::stream::iter([header]).chain(futures::stream::pending());
                client.upload(parts).await.map(|_| ())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let whole = vec![worker.header(&worker.events, 2), raw_chunk(b"ab"), end(b"ab")];
    let mut delivery = std::pin::pin!(worker.check(whole, None));
    let waited = tokio::time::timeout(Duration::from_millis(500), &mut delivery).await;
    assert!(waited.is_err(), "20 open transfers left room for another one");
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::timeout(PATIENCE, delivery).await.expect("the transfers have ended");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_had_a_prover_does_not_stay_without_one_forever() {
    let worker = HostileWorker::start().await;
    let lost = wire::Readiness { ready: false, ..Default::default() };
    worker.outbox.send(message(from_worker::Message::Readiness(lost))).await.unwrap();
    let in_time = tokio::time::timeout(Duration::from_secs(29 * 60), worker.closer.ended()).await;
    assert!(in_time.is_err(), "the prover may still load");
    tokio::time::timeout(Duration::from_secs(2 * 60), worker.closer.ended()).await.expect("the session ends");
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_progress_ends() {
    let worker = HostileWorker::start().await;
    let (sender, parts) = mpsc::channel(1);
    sender.send(worker.header(&worker.events, 2)).await.unwrap();
    let mut client = worker.client.clone();
    let stuck = client.upload(ReceiverStream::new(parts));
    let reply = tokio::time::timeout(Duration::from_secs(90), stuck).await.expect("the upload ends");
    assert_eq!(reply.unwrap_err().code(), Code::DeadlineExceeded);
    drop(sender);
}
