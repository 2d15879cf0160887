//! Asks a worker about itself without becoming its orchestrator.

use super::dialer::{connect, secure};
use crate::{
    lock::lock,
    resolver::SystemResolver,
    runner::task::AttemptMemory,
    session::introduction::{attempt_memory, hardware_text},
    workers::{reach_error::ReachError, worker_address::WorkerAddress},
};
use sp1d_identity::TlsIdentity;
use sp1d_model::clean_line;
use sp1d_protocol::{
    Build, Connection, Mismatch, PreambleError, Role, dial, serve_connection,
    wire::{
        ArtifactPart, FetchRequest, FromWorker, HelloReply, HelloRequest, ToWorker, UploadPart, UploadReply,
        session_server::Session,
    },
};
use std::{
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};
use tokio_stream::Empty;
use tonic::{Request, Response, Status, Streaming};

/// Maximum wait for a worker to close the connection.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// Maximum wait for a worker's hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(3);

/// What a worker reported about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Its name.
    pub name: String,
    /// Number of threads that prove.
    pub threads: u32,
    /// Memory of its machine in bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// How much memory its attempts can use; `None` if unknown.
    pub memory: Option<AttemptMemory>,
    /// The most cells of a shard that it proves; `None` if only its memory bounds them.
    pub largest_cut: Option<u64>,
    /// Its processor, after its GPUs if it proves on them.
    pub hardware: String,
    /// Number of its provers that are loaded.
    pub ready_provers: u32,
    /// Number of its provers that can never be loaded.
    pub failed_provers: u32,
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The worker works for another orchestrator, so it is alive.
    #[error("{0}")]
    Busy(String),
    /// The build of the worker differs.
    #[error(transparent)]
    Build(#[from] Mismatch),
    /// The worker has no address, because it is in this process or joins by itself.
    #[error("cannot probe the worker {0}: it has no address to connect to")]
    NoAddress(WorkerAddress),
    /// The worker cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] ReachError),
}

/// Asks the worker at `worker_address` about itself, as an orchestrator of `build` with the identity `tls` would, and
/// disconnects. The worker keeps its attempts and its data, because it does not treat the caller as its orchestrator.
/// If it serves an orchestrator, the probe does not wait for it.
///
/// # Errors
/// Returns why the worker could not be asked.
pub async fn probe(
    worker_address: &WorkerAddress,
    build: &Build,
    tls: Option<&Arc<TlsIdentity>>,
) -> Result<Probed, ProbeError> {
    let WorkerAddress::Listed(address) = worker_address else {
        return Err(ProbeError::NoAddress(worker_address.clone()));
    };
    let stream = connect(address, &SystemResolver).await?;
    let mut stream = secure(stream, tls).await?;
    match dial(&mut stream, Role::IdleOrchestrator).await {
        Ok(_) => {}
        Err(PreambleError::Busy(busy)) => return Err(ProbeError::Busy(busy.text)),
        Err(error) => return Err(ReachError::Preamble(error).into()),
    }
    let (connection, closer) = Connection::new(stream);
    let (sender, mut hello) = oneshot::channel();
    let session = ProbeSession { build: build.clone(), hello: Arc::new(Mutex::new(Some(sender))) };
    let mut served = pin!(serve_connection(connection, &closer, session));
    let received = tokio::select! {
        _ = &mut served => return match hello.try_recv() {
            // The worker closed the connection right after its hello.
            Ok(outcome) => outcome.map_err(ProbeError::Build),
            Err(_) => Err(ReachError::EndedBeforeHello.into()),
        },
        received = timeout(HELLO_TIMEOUT, &mut hello) => received,
    };
    // The reply tells the worker that this was only a probe, and the worker closes the connection.
    let _ = timeout(GOODBYE_TIMEOUT, served).await;
    match received {
        Ok(Ok(outcome)) => outcome.map_err(ProbeError::Build),
        Ok(Err(_)) | Err(_) => Err(ReachError::NoHello(HELLO_TIMEOUT).into()),
    }
}

/// What a worker reported in its hello, or why its build does not match.
type ProbeOutcome = Result<Probed, Mismatch>;

/// The session of a probe: it receives the worker's hello and refuses everything else.
#[derive(Clone)]
struct ProbeSession {
    build: Build,
    /// Receives the outcome of the first hello.
    hello: Arc<Mutex<Option<oneshot::Sender<ProbeOutcome>>>>,
}

#[tonic::async_trait]
impl Session for ProbeSession {
    type ControlStream = Empty<Result<ToWorker, Status>>;
    type FetchStream = Empty<Result<ArtifactPart, Status>>;

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let request = request.into_inner();
        let worker: Build = request.build.unwrap_or_default().into();
        let short = |text: String| clean_line(&text, 64);
        let machine = request.machine.unwrap_or_default();
        let outcome = self.build.check_worker(&worker).map(|()| Probed {
            name: short(request.name),
            threads: machine.threads,
            memory_bytes: machine.memory_bytes,
            memory: attempt_memory(request.readiness.and_then(|readiness| readiness.memory)),
            largest_cut: Some(machine.largest_cut).filter(|cut| *cut > 0),
            hardware: short(hardware_text(&machine)),
            ready_provers: request.ready_provers,
            failed_provers: request.failed_provers,
        });
        if let Some(hello) = lock(&self.hello).take() {
            // The receiver is gone if the probe has timed out.
            let _ = hello.send(outcome);
        }
        Ok(Response::new(HelloReply {
            refusal: "this connection only checks whether the worker responds".to_owned(),
            ..HelloReply::default()
        }))
    }

    async fn control(&self, _: Request<Streaming<FromWorker>>) -> Result<Response<Self::ControlStream>, Status> {
        Err(Status::unimplemented("a probe only accepts a hello"))
    }

    async fn fetch(&self, _: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        Err(Status::unimplemented("a probe only accepts a hello"))
    }

    async fn upload(&self, _: Request<Streaming<UploadPart>>) -> Result<Response<UploadReply>, Status> {
        Err(Status::unimplemented("a probe only accepts a hello"))
    }
}
