//! The prover process's side of the socket. It runs attempts for the worker at the other end.

use super::frames::frames;
use crate::{
    engine::{AttemptError, AttemptIo, IoAction, IoError, ProvingEngine},
    load_error::LoadError,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use prost::Message;
use sp1d_protocol::{
    Assignment, FailureKind, MessageLimits,
    prover_wire::{self as wire, FromProver, ToProver, call, from_prover, reply, to_prover},
};
use std::{
    collections::HashMap,
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

/// A stage that ends this soon after its attempt was cancelled is not reported as busy.
const BUSY_REPORT_DELAY: Duration = Duration::from_millis(250);

/// How long a process that ends waits until its last report is written.
const LAST_REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Calls that wait for a reply from the worker, by call number.
#[derive(Default)]
struct PendingCalls {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<Bytes, IoError>>>>,
}

impl PendingCalls {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Result<Bytes, IoError>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the call with the reply.
    ///
    /// # Errors
    /// Fails if the worker names an action that does not exist.
    fn resolve(&self, reply: wire::Reply) -> io::Result<()> {
        let outcome = match reply.outcome {
            Some(reply::Outcome::Error(error)) => {
                let action = match error.action() {
                    wire::IoAction::Fetch => IoAction::Fetch,
                    wire::IoAction::Deliver => IoAction::Deliver,
                    wire::IoAction::ReportDeferredEvents => IoAction::ReportDeferredEvents,
                    wire::IoAction::Unspecified => {
                        let text = format!("the worker sent the unknown action {}", error.action);
                        return Err(io::Error::other(text));
                    }
                };
                Err(IoError { action, name: error.name, reason: error.reason })
            }
            Some(reply::Outcome::Content(content)) => Ok(content),
            None => Ok(Bytes::new()),
        };
        if let Some(waiting) = self.waiting().remove(&reply.call) {
            // A cancelled attempt no longer waits for its reply.
            let _ = waiting.send(outcome);
        }
        Ok(())
    }
}

/// A call that waits for its reply. It no longer waits when this value is dropped.
struct PendingCall<'a> {
    calls: &'a PendingCalls,
    call: u64,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        self.calls.waiting().remove(&self.call);
    }
}

/// The artifacts of an attempt, transferred through the worker.
struct RemoteIo {
    /// Number of the attempt in this process.
    number: u64,
    calls: Arc<PendingCalls>,
    out: mpsc::Sender<FromProver>,
}

impl RemoteIo {
    async fn call(&self, action: IoAction, name: &str, what: call::What) -> Result<Bytes, IoError> {
        let call = self.calls.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.calls.waiting().insert(call, sender);
        let _pending = PendingCall { calls: &self.calls, call };
        let message = wire::Call { call, attempt: self.number, what: Some(what) };
        let sent = self.out.send(FromProver { message: Some(from_prover::Message::Call(message)) }).await;
        let lost =
            || IoError { action, name: name.to_owned(), reason: "the connection to the worker is lost".to_owned() };
        if sent.is_err() {
            return Err(lost());
        }
        reply.await.unwrap_or_else(|_| Err(lost()))
    }
}

#[async_trait]
impl AttemptIo for RemoteIo {
    async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError> {
        // This makes no copy, because the reply is the only owner of its bytes.
        Ok(self.call(IoAction::Fetch, name, call::What::Fetch(name.to_owned())).await?.into())
    }

    async fn deliver(&self, name: &str, content: Vec<u8>) -> Result<(), IoError> {
        let delivery = wire::Delivery { name: name.to_owned(), content: content.into() };
        self.call(IoAction::Deliver, name, call::What::Deliver(delivery)).await.map(|_| ())
    }

    async fn report_deferred_events(&self) -> Result<(), IoError> {
        self.call(
            IoAction::ReportDeferredEvents,
            "the deferred events",
            call::What::ReportDeferredEvents(wire::ReportDeferredEvents {}),
        )
        .await
        .map(|_| ())
    }
}

/// Loads a prover with `load`, which may block. Then runs attempts on it for the worker at the other end of `stream`,
/// until the stream ends or the prover is broken. Call this on a runtime whose threads do no heavy work.
///
/// # Errors
/// Fails if the stream fails or the worker sends an invalid message. If the prover cannot be loaded, this reports the
/// reason to the worker and returns `Ok`.
pub async fn serve_prover(
    stream: UnixStream,
    load: impl FnOnce() -> Result<Arc<dyn ProvingEngine>, LoadError> + Send + 'static,
) -> io::Result<()> {
    let (mut reader, out, writing) = frames::<FromProver>(stream);
    let written = tokio::spawn(writing);
    let loaded = tokio::select! {
        loaded = tokio::task::spawn_blocking(load) => loaded,
        // The worker sends nothing before this side is ready, so this is the end of the worker. It needs no prover.
        end = reader.next::<ToProver>() => return end.map(|_| ()),
    };
    let engine = match loaded.unwrap_or(Err(LoadError::Panicked)) {
        Ok(engine) => engine,
        Err(error) => {
            let is_temporary = matches!(error, LoadError::Gpu(_));
            let failed = wire::LoadFailed { reason: error.to_string(), is_temporary };
            let _ = out.send(FromProver { message: Some(from_prover::Message::LoadFailed(failed)) }).await;
            drop(out);
            // Wait until the message is written.
            let _ = written.await;
            return Ok(());
        }
    };
    let ready = FromProver { message: Some(from_prover::Message::Ready(wire::Ready {})) };
    if out.send(ready).await.is_err() {
        return Ok(());
    }
    let broken = Arc::new(Notify::new());
    let mut server = ProverServer {
        engine,
        out,
        calls: Arc::default(),
        attempts: HashMap::new(),
        resting: None,
        broken: broken.clone(),
    };
    loop {
        let message = tokio::select! {
            message = reader.next::<ToProver>() => message?,
            () = broken.notified() => {
                // The process ends now. Freeing what the engine holds on a broken device could fail.
                std::mem::forget(server.engine.clone());
                drop(server);
                let _ = timeout(LAST_REPORT_TIMEOUT, written).await;
                return Ok(());
            }
        };
        let Some(message) = message else { return Ok(()) };
        server.on_message(message).await?;
    }
}

struct ProverServer {
    engine: Arc<dyn ProvingEngine>,
    out: mpsc::Sender<FromProver>,
    calls: Arc<PendingCalls>,
    attempts: HashMap<u64, AbortOnDropHandle<()>>,
    /// Waits for the stages of cancelled attempts to end.
    resting: Option<AbortOnDropHandle<()>>,
    /// Notified when the engine is broken, after the outcome of the attempt that found it was sent.
    broken: Arc<Notify>,
}

impl ProverServer {
    async fn on_message(&mut self, message: ToProver) -> io::Result<()> {
        match message.message {
            Some(to_prover::Message::Run(run)) => self.start(run).await,
            Some(to_prover::Message::Cancel(cancel)) => self.cancel(cancel),
            Some(to_prover::Message::Reply(reply)) => self.calls.resolve(reply)?,
            Some(to_prover::Message::ReleaseMemory(_)) => {
                let engine = self.engine.clone();
                tokio::task::spawn_blocking(move || engine.release_memory());
            }
            None => {}
        }
        Ok(())
    }

    async fn start(&mut self, wire::Run { attempt, place, assign }: wire::Run) {
        self.attempts.retain(|_, task| !task.is_finished());
        let decoded = sp1d_protocol::wire::Assign::decode(assign).map_err(|error| error.to_string());
        let assignment = decoded.and_then(|assign| Assignment::try_from(assign).map_err(|error| error.to_string()));
        let assignment = match assignment {
            Ok(assignment) => assignment,
            Err(text) => {
                let error = AttemptError { kind: FailureKind::Input, text };
                let _ = self.out.send(ended(attempt, Err(error))).await;
                return;
            }
        };
        let io = Arc::new(RemoteIo { number: attempt, calls: self.calls.clone(), out: self.out.clone() });
        let (engine, out, broken) = (self.engine.clone(), self.out.clone(), self.broken.clone());
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let task = tokio::spawn(async move {
            let ran = AssertUnwindSafe(engine.run(place, assignment, io)).catch_unwind().await;
            let outcome =
                ran.unwrap_or_else(|panic| Err(AttemptError { kind: FailureKind::Panic, text: panic_text(&*panic) }));
            // If this fails, the worker is gone and does not need the outcome.
            let _ = out.send(ended(attempt, outcome)).await;
            if engine.is_broken() {
                broken.notify_one();
            }
        });
        self.attempts.insert(attempt, AbortOnDropHandle::new(task));
    }

    fn cancel(&mut self, wire::Cancel { attempt, is_last }: wire::Cancel) {
        self.attempts.remove(&attempt);
        if !is_last {
            return;
        }
        let (engine, out) = (self.engine.clone(), self.out.clone());
        let rest = async move {
            let busy = |busy| FromProver { message: Some(from_prover::Message::Busy(wire::Busy { busy })) };
            if timeout(BUSY_REPORT_DELAY, engine.rests()).await.is_err() {
                let _ = out.send(busy(true)).await;
                engine.rests().await;
            }
            // Sent in each case, because the worker sends no attempt before.
            let _ = out.send(busy(false)).await;
        };
        self.resting = Some(AbortOnDropHandle::new(tokio::spawn(rest)));
    }
}

fn ended(attempt: u64, outcome: Result<(), AttemptError>) -> FromProver {
    let failure = outcome.err().map(|AttemptError { kind, mut text }| {
        text.truncate(text.floor_char_boundary(MessageLimits::FAILURE_BYTES));
        wire::Failure { kind: sp1d_protocol::failure_kind_to_wire(kind).into(), text }
    });
    FromProver { message: Some(from_prover::Message::Ended(wire::Ended { attempt, failure })) }
}

/// Returns an error text with the panic's message.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the prover panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_model::AttemptId;
    use sp1d_protocol::{ArtifactRef, TaskPayload, WrapTask};
    use std::sync::atomic::AtomicBool;

    /// An engine whose attempts fail. After the second one it is broken.
    #[derive(Default)]
    struct BreakingEngine {
        has_failed: AtomicBool,
        is_broken: AtomicBool,
    }

    #[async_trait]
    impl ProvingEngine for BreakingEngine {
        fn places(&self) -> usize {
            1
        }

        async fn run(&self, _: usize, _: Assignment, _: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
            if self.has_failed.swap(true, Ordering::Relaxed) {
                self.is_broken.store(true, Ordering::Relaxed);
            }
            Err(AttemptError { kind: FailureKind::Engine, text: "the GPU reported an error".to_owned() })
        }

        fn is_broken(&self) -> bool {
            self.is_broken.load(Ordering::Relaxed)
        }
    }

    fn run(number: u64) -> ToProver {
        let proof = ArtifactRef { name: "proof".to_owned(), digest: sp1d_artifacts::Digest::of(b"proof"), length: 5 };
        let assignment = Assignment {
            attempt: AttemptId(number),
            proof: "a proof".to_owned(),
            payload: TaskPayload::ShrinkWrap(WrapTask { proof, result: "wrapped".to_owned() }),
            options: "{}".to_owned(),
            memory_bytes: 0,
            key: None,
            resumes: None,
        };
        let assign = sp1d_protocol::wire::Assign::from(assignment).encode_to_vec().into();
        ToProver { message: Some(to_prover::Message::Run(wire::Run { attempt: number, place: 0, assign })) }
    }

    #[tokio::test]
    async fn a_broken_prover_reports_its_attempt_and_ends() {
        let (worker, prover) = UnixStream::pair().unwrap();
        let engine: Arc<dyn ProvingEngine> = Arc::new(BreakingEngine::default());
        let served = tokio::spawn(serve_prover(prover, move || Ok(engine)));
        let (mut reader, out, writing) = frames::<ToProver>(worker);
        let _writing = AbortOnDropHandle::new(tokio::spawn(writing));
        let ready = reader.next::<FromProver>().await.unwrap().unwrap();
        assert!(matches!(ready.message, Some(from_prover::Message::Ready(_))), "{ready:?}");
        for number in [1, 2] {
            out.send(run(number)).await.unwrap();
            let ended = reader.next::<FromProver>().await.unwrap().unwrap();
            let Some(from_prover::Message::Ended(ended)) = ended.message else { panic!("no attempt ended") };
            assert_eq!(ended.attempt, number);
            assert_eq!(ended.failure.unwrap().text, "the GPU reported an error");
        }
        assert!(reader.next::<FromProver>().await.unwrap().is_none(), "the process must end");
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_no_longer_waits_for_its_reply() {
        for is_sent in [true, false] {
            let (out, _messages) = mpsc::channel(1);
            if !is_sent {
                out.try_send(FromProver::default()).unwrap();
            }
            let io = RemoteIo { number: 1, calls: Arc::default(), out };
            assert!(io.fetch("proof").now_or_never().is_none());
            assert!(io.calls.waiting().is_empty(), "{is_sent}");
        }
    }

    #[tokio::test]
    async fn the_worker_always_learns_that_the_stages_of_a_cancelled_attempt_have_ended() {
        let (worker, prover) = UnixStream::pair().unwrap();
        let engine: Arc<dyn ProvingEngine> = Arc::new(BreakingEngine::default());
        let _served = AbortOnDropHandle::new(tokio::spawn(serve_prover(prover, move || Ok(engine))));
        let (mut reader, out, writing) = frames::<ToProver>(worker);
        let _writing = AbortOnDropHandle::new(tokio::spawn(writing));
        let ready = reader.next::<FromProver>().await.unwrap().unwrap();
        assert!(matches!(ready.message, Some(from_prover::Message::Ready(_))), "{ready:?}");
        let cancel = to_prover::Message::Cancel(wire::Cancel { attempt: 1, is_last: true });
        out.send(ToProver { message: Some(cancel) }).await.unwrap();
        let report = timeout(Duration::from_secs(10), reader.next::<FromProver>()).await.expect("a report");
        let expected = from_prover::Message::Busy(wire::Busy { busy: false });
        assert_eq!(report.unwrap().unwrap().message, Some(expected));
    }

    /// Reports `error` as the reason why the prover cannot be loaded. Checks whether the worker tries again.
    async fn check_load_failure(error: LoadError, is_temporary: bool) {
        let (worker, prover) = UnixStream::pair().unwrap();
        let reason = error.to_string();
        let served = tokio::spawn(serve_prover(prover, move || Err(error)));
        let (mut reader, _out, writing) = frames::<ToProver>(worker);
        let _writing = AbortOnDropHandle::new(tokio::spawn(writing));
        let failed = reader.next::<FromProver>().await.unwrap().unwrap().message;
        let expected = from_prover::Message::LoadFailed(wire::LoadFailed { reason, is_temporary });
        assert_eq!(failed, Some(expected));
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn only_a_fault_of_the_gpu_is_a_temporary_failure() {
        check_load_failure(LoadError::Gpu("the GPU ran out of memory".to_owned()), true).await;
        check_load_failure(LoadError::Engine("no file".to_owned()), false).await;
        check_load_failure(LoadError::Panicked, false).await;
    }
}
