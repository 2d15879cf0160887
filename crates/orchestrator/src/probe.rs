//! Asks a worker about itself without becoming its orchestrator.

use crate::{controller::AttemptMemory, dialler::connect, list::Member, session::attempt_memory};
use protocol::{
    Build, Connection, Mismatch, PreambleError, Role, dial, serve_connection,
    wire::{
        ArtifactPart, DeliverPart, DeliverReply, FetchRequest, FromWorker, HelloReply, HelloRequest, ToWorker,
        session_server::Session,
    },
};
use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};
use tokio_stream::Empty;
use tonic::{Request, Response, Status, Streaming};

/// Maximum wait for a worker to close the connection.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

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
    /// Its processor.
    pub cpu: String,
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
    /// The worker cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

/// Asks the worker `member` about itself, as an orchestrator of `build` would, and disconnects. The worker keeps its
/// attempts and its data, because it does not treat the caller as its orchestrator.
///
/// # Errors
/// Returns why the worker could not be asked.
pub async fn probe(member: &Member, build: &Build) -> Result<Probed, ProbeError> {
    let unreachable = |reason: String| ProbeError::Unreachable(reason);
    let Member::Remote(address) = member else {
        return Err(unreachable(format!("cannot probe the worker {member}: it has no address to connect to")));
    };
    let mut stream = connect(address).await.map_err(unreachable)?;
    match dial(&mut stream, Role::Orchestrator).await {
        Ok(()) => {}
        Err(PreambleError::Busy(text)) => return Err(ProbeError::Busy(text)),
        Err(error) => return Err(unreachable(error.to_string())),
    }
    let (connection, closer) = Connection::new(stream);
    let (said, hears) = oneshot::channel();
    let visit = Visit { build: build.clone(), said: Arc::new(Mutex::new(Some(said))) };
    let mut served = pin!(serve_connection(connection, &closer, visit));
    let heard = tokio::select! {
        _ = &mut served => return Err(unreachable("the connection ended before the worker sent its hello".to_owned())),
        heard = timeout(HELLO_TIMEOUT, hears) => heard,
    };
    // The reply tells the worker that this was only a probe, and the worker closes the connection.
    let _ = timeout(FAREWELL_TIMEOUT, served).await;
    match heard {
        Ok(Ok(said)) => said.map_err(ProbeError::Build),
        Ok(Err(_)) | Err(_) => {
            Err(unreachable(format!("the worker sent no hello within {} s", HELLO_TIMEOUT.as_secs())))
        }
    }
}

type Said = Result<Probed, Mismatch>;

/// The session of a probe: it receives the worker's hello and refuses everything else.
#[derive(Clone)]
struct Visit {
    build: Build,
    said: Arc<Mutex<Option<oneshot::Sender<Said>>>>,
}

#[tonic::async_trait]
impl Session for Visit {
    type ControlStream = Empty<Result<ToWorker, Status>>;
    type FetchStream = Empty<Result<ArtifactPart, Status>>;

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let request = request.into_inner();
        let worker: Build = request.build.unwrap_or_default().into();
        let short = |text: String| text.chars().filter(|letter| !letter.is_control()).take(64).collect::<String>();
        let machine = request.machine.unwrap_or_default();
        let said = self.build.check_worker(&worker).map(|()| Probed {
            name: short(request.name),
            threads: machine.threads,
            memory_bytes: machine.memory_bytes,
            memory: attempt_memory(request.readiness.and_then(|readiness| readiness.memory)),
            cpu: short(machine.cpu),
        });
        if let Some(hears) = self.said.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The receiver is gone if the probe has timed out.
            let _ = hears.send(said);
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

    async fn deliver(&self, _: Request<Streaming<DeliverPart>>) -> Result<Response<DeliverReply>, Status> {
        Err(Status::unimplemented("a probe only accepts a hello"))
    }
}
