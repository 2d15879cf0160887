//! The calls that a worker can make in its session: the handshake, the control stream, and the transfers of artifacts.

use super::{fetches::ArtifactStream, introduction::WorkerIntroduction, worker_session::WorkerSession};
use crate::{
    state::shared_state::SharedState,
    workers::{connected_worker::ConnectedWorker, worker_address::WorkerAddress},
};
use sp1d_model::hint::one_line;
use sp1d_protocol::{
    Build,
    wire::{
        FetchRequest, FromWorker, HelloReply, HelloRequest, ToWorker, UploadPart, UploadReply, session_server::Session,
    },
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of messages that wait for the worker to read them. A worker with more waiting messages counts as
    /// lost.
    const MAX_WAITING_MESSAGES: usize = 1024; Count by Worker;
}

/// The calls that a worker can make in its session.
#[derive(Clone)]
pub(super) struct SessionCalls(pub(super) Arc<WorkerSession>);

#[tonic::async_trait]
impl Session for SessionCalls {
    type ControlStream = ReceiverStream<Result<ToWorker, Status>>;
    type FetchStream = ArtifactStream;

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let session = &self.0;
        let mut request = request.into_inner();
        let worker: Build = request.build.take().unwrap_or_default().into();
        let settings = &session.shared.settings;
        let mut reply = HelloReply {
            build: Some(settings.build.clone().into()),
            refusal: String::new(),
            session: session.session_id.0,
            heartbeat_ms: u32::try_from(settings.heartbeat.as_millis()).unwrap_or(u32::MAX),
            silence_ms: u32::try_from(settings.silence().as_millis()).unwrap_or(u32::MAX),
            orchestrator: session.shared.instance.to_vec().into(),
            lineage: settings.lineage.map_or_else(Default::default, |lineage| lineage.to_vec().into()),
            name: settings.name.clone(),
        };
        if let Err(mismatch) = settings.build.check_worker(&worker) {
            reply.refusal = one_line(&mismatch.to_string());
            session.close_reason.set(reply.refusal.clone());
            session.refuse(mismatch);
            return Ok(Response::new(reply));
        }
        let introduction = WorkerIntroduction::new(request, &session.address, settings);
        if session.introduction.set(introduction).is_err() {
            return Err(Status::invalid_argument("the session already has a hello"));
        }
        Ok(Response::new(reply))
    }

    async fn control(&self, request: Request<Streaming<FromWorker>>) -> Result<Response<Self::ControlStream>, Status> {
        let session = &self.0;
        let introduction =
            session.introduction.get().ok_or_else(|| Status::invalid_argument("the hello must come first"))?.clone();
        if session.has_control_stream.swap(true, Ordering::Relaxed) {
            return Err(Status::invalid_argument("the session already has a control stream"));
        }
        let (outbox, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        let shared = &session.shared;
        let identity = shared.identify(&introduction.name, &session.address, session.peer.as_ref());
        let worker = ConnectedWorker {
            worker_id: identity.id,
            origin: identity.origin,
            name: introduction.name.as_str().into(),
            certificate: session.peer.as_ref().map(|peer| peer.name.clone()),
            trusted: session.peer.as_ref().map_or(session.address == WorkerAddress::Local, |peer| peer.trusted),
            address: session.address.clone(),
            address_text: session.address.to_string().into(),
            supported_kinds: introduction.supported_kinds,
            missing_capabilities: introduction.missing_capabilities.clone(),
            outbox: outbox.clone(),
            closer: session.closer.clone(),
            close_reason: session.close_reason.clone(),
            threads: introduction.threads,
            slots: introduction.slots,
            machine_bytes: introduction.machine_bytes,
            attempt_memory: Mutex::new(introduction.attempt_memory),
            provers: introduction.provers,
            largest_cut: introduction.largest_cut,
            cut_of_last_result: Default::default(),
            hardware: introduction.hardware.clone(),
            gpus: Mutex::default(),
            done: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            left_on_purpose: AtomicBool::new(false),
        };
        let worker = Arc::new(worker);
        let register = || {
            warn_of_shared_certificate(shared, &worker);
            shared.workers().insert(session.session_id, worker.clone());
            shared.disconnected().remove(&worker.address, &worker.name, worker.certificate.as_ref());
        };
        if !session.start(introduction.name.clone(), register) {
            return Err(Status::failed_precondition("the worker was refused, or its control stream came too late"));
        }
        shared.counters.on_session();
        session.background.spawn(session.clone().keep_alive(outbox));
        let inbound = request.into_inner();
        let (receiving, ended) = (session.clone().receive(inbound, introduction), session.closer.clone());
        session.background.spawn(async move { run_until(receiving, ended.ended()).await });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        self.0.send_artifact(request.get_ref()).map(Response::new)
    }

    async fn upload(&self, request: Request<Streaming<UploadPart>>) -> Result<Response<UploadReply>, Status> {
        self.0.receive_upload(request.into_inner()).await?;
        Ok(Response::new(UploadReply {}))
    }
}

/// Runs `receiving` until `ended` resolves. Messages that have arrived are handled first: a worker may end its
/// connection right after it has reported a result.
async fn run_until(receiving: impl Future<Output = ()>, ended: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = receiving => {}
        () = ended => {}
    }
}

/// Warns when `worker`, which is about to be registered, is the second worker with its certificate. Later ones are not
/// mentioned, because a large pool would repeat the line.
fn warn_of_shared_certificate(shared: &SharedState, worker: &ConnectedWorker) {
    let Some(certificate) = &worker.certificate else { return };
    let is_other = |other: &&Arc<ConnectedWorker>| {
        other.certificate.as_ref() == Some(certificate) && other.worker_id != worker.worker_id
    };
    let others: BTreeSet<_> = shared.workers().values().filter(is_other).map(|other| other.worker_id).collect();
    if others.len() == 1
        && let Some(suppressed) = shared.may_log_about(worker.origin)
    {
        tracing::warn!(
            %certificate,
            worker = %worker.name,
            suppressed,
            "several workers share a certificate: faults of one count for all, and so does its revocation"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_that_have_arrived_are_handled_although_the_connection_has_ended() {
        // Often, because `select!` would otherwise choose at random.
        for _ in 0..100 {
            let mut is_handled = false;
            run_until(async { is_handled = true }, async {}).await;
            assert!(is_handled);
        }
    }
}
