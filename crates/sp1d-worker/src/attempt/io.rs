//! The artifacts of one attempt, over all sessions of its orchestrator.

use super::{
    journal::{AttemptJournal, AttemptOutput, AttemptReport, AttemptRoute},
    transfer::{RETRY_PAUSE, TransferError},
};
use crate::{
    cache::Cache,
    engine::{AttemptIo, IoAction, IoError, MemoryUse},
};
use async_trait::async_trait;
use bytes::Bytes;
use sp1d_artifacts::Blob;
use sp1d_model::AttemptId;
use sp1d_protocol::{ArtifactRef, Assignment, TaskInput, TaskOutputs};
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use tokio::{runtime::Handle, sync::watch, task::JoinError, time::sleep};
use tokio_util::sync::CancellationToken;

/// An attempt's path to the orchestrator: the current session or, after a lost connection, the next session.
#[derive(Clone)]
pub(super) struct AttemptLink {
    /// `None` while no session is attached.
    pub(super) routes: watch::Receiver<Option<AttemptRoute>>,
    pub(super) cache: Arc<Mutex<Cache>>,
    /// The runtime of the sessions' thread. All I/O on a connection happens there, whatever thread the engine calls
    /// from.
    pub(super) runtime: Handle,
    /// Cancelled when the attempt is dropped. Requests of a stage that cannot be interrupted then fail at once.
    pub(super) end: CancellationToken,
}

/// The attempt was dropped.
#[derive(Debug, thiserror::Error)]
#[error("the attempt has ended")]
struct AttemptOver;

impl AttemptLink {
    /// Returns the current route, or waits for the next one.
    async fn route(&self) -> Result<AttemptRoute, AttemptOver> {
        let mut routes = self.routes.clone();
        let route = routes.wait_for(Option::is_some).await.map_err(|_| AttemptOver)?;
        Ok(route.clone().expect("`wait_for` returns once there is a route"))
    }

    /// Resolves when no session is attached.
    async fn detached(&self) {
        let mut routes = self.routes.clone();
        // An error means that the journal was dropped. The attempt is then over, and no caller waits for it.
        let _ = routes.wait_for(Option::is_none).await;
    }

    /// Runs `act` on a session. Runs it again after a temporary error, and on the next session if the connection is
    /// lost meanwhile.
    async fn over_sessions<T, E, F>(&self, act: impl Fn(AttemptRoute) -> F) -> Result<T, String>
    where
        E: TransferError,
        F: Future<Output = Result<T, E>>,
    {
        tokio::select! {
            () = self.end.cancelled() => Err(AttemptOver.to_string()),
            done = self.retry(act) => done,
        }
    }

    async fn retry<T, E, F>(&self, act: impl Fn(AttemptRoute) -> F) -> Result<T, String>
    where
        E: TransferError,
        F: Future<Output = Result<T, E>>,
    {
        loop {
            let route = self.route().await.map_err(|over| over.to_string())?;
            let session = route.session.clone();
            match act(route).await {
                Ok(done) => return Ok(done),
                Err(error) if error.is_temporary() => {
                    tracing::debug!(%error, "transfer failed; trying again");
                    sleep(RETRY_PAUSE).await;
                }
                Err(error) if error.may_be_connection_loss() && session.is_ending().await => {
                    tracing::debug!(%error, "connection lost; waiting for the next session");
                    // Wait until the journal is detached from the ended session. Otherwise the next try would use it
                    // again.
                    let mut routes = self.routes.clone();
                    let gone =
                        routes.wait_for(|now| now.as_ref().is_none_or(|now| !now.session.is_same(&session))).await;
                    gone.map_err(|_| AttemptOver.to_string())?;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn with_cache<T>(&self, act: impl FnOnce(&mut Cache) -> T) -> T {
        act(&mut self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches an artifact in compressed form. Its content is checked when it is decoded.
    async fn fetch_blob(&self, name: &str) -> Result<Blob, String> {
        self.over_sessions(|route| async move { route.session.fetch_blob(route.attempt, name).await }).await
    }

    /// Fetches an artifact's content. The artifact is decoded while it arrives, so memory never holds both of its
    /// forms.
    async fn fetch_content(&self, name: &str) -> Result<Vec<u8>, String> {
        self.over_sessions(|route| async move { route.session.fetch_content(route.attempt, name).await }).await
    }

    /// Delivers an artifact. If the reply is lost with the connection, the artifact is sent again on the next session,
    /// and the orchestrator counts it once. Returns the attempt number under which the artifact arrived.
    async fn deliver(&self, output: &AttemptOutput, content: Bytes) -> Result<AttemptId, String> {
        self.over_sessions(|route| {
            let (name, content) = (route.name(output), content.clone());
            async move { route.session.upload(route.attempt, name, content).await.map(|()| route.attempt) }
        })
        .await
    }
}

/// The artifacts of one attempt. Inputs are fetched in advance and held compressed. Other artifacts are fetched when
/// the engine asks for them.
pub(super) struct SessionIo {
    link: AttemptLink,
    journal: Arc<AttemptJournal>,
    /// Output names of the first assignment. The engine uses these names even after the attempt gets another number.
    outputs: TaskOutputs,
    prefetched: Mutex<HashMap<String, Blob>>,
    memory: OnceLock<MemoryUse>,
}

impl SessionIo {
    /// Returns the attempt's memory use, or `None` if it was not measured.
    pub(super) fn memory(&self) -> Option<MemoryUse> {
        self.memory.get().copied()
    }

    /// Fetches the attempt's inputs, so that they are present when the engine asks for them.
    ///
    /// # Errors
    /// Fails if an input cannot be fetched, or if it is not the announced artifact.
    pub(super) async fn prefetch(
        link: AttemptLink,
        journal: Arc<AttemptJournal>,
        assignment: &Assignment,
    ) -> Result<Self, IoError> {
        let mut prefetched = HashMap::new();
        for TaskInput { artifact, kept } in assignment.payload.inputs() {
            let ArtifactRef { name, digest, .. } = artifact;
            let failed = |reason: String| IoError { action: IoAction::Fetch, name: name.clone(), reason };
            let blob = match link.with_cache(|cache| cache.get(*digest)) {
                Some(blob) => blob,
                None => link.fetch_blob(name).await.map_err(failed)?,
            };
            if blob.digest() != *digest {
                return Err(failed("its digest differs from the announced digest".to_owned()));
            }
            if kept {
                link.with_cache(|cache| cache.put(blob.clone()));
            }
            prefetched.insert(name.clone(), blob);
        }
        Ok(Self {
            link,
            journal,
            outputs: assignment.payload.outputs(),
            prefetched: Mutex::new(prefetched),
            memory: OnceLock::new(),
        })
    }
}

#[async_trait]
impl AttemptIo for SessionIo {
    async fn fetch(&self, name: &str) -> Result<Vec<u8>, IoError> {
        let failed = |reason: String| IoError { action: IoAction::Fetch, name: name.to_owned(), reason };
        // Take the blob out: the engine asks only once, and a blob without another owner frees its chunks while it is
        // decoded.
        let prefetched = self.prefetched.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let (link, journal, wanted) = (self.link.clone(), self.journal.clone(), name.to_owned());
        let task = self.link.runtime.spawn(async move {
            let Some(blob) = prefetched else {
                let lost = async {
                    link.detached().await;
                    // After a restart, the orchestrator has no artifact with this name.
                    journal.mark_incomplete();
                    std::future::pending::<Infallible>().await
                };
                return tokio::select! {
                    content = link.fetch_content(&wanted) => content,
                    never = lost => match never {},
                };
            };
            let digest = blob.digest();
            let decoded = tokio::task::spawn_blocking(move || blob.decode()).await;
            decoded.map_err(|error| task_failure(&error))?.map_err(|error| {
                link.with_cache(|cache| cache.forget(digest));
                error.to_string()
            })
        });
        task.await.map_err(|error| failed(task_failure(&error)))?.map_err(failed)
    }

    async fn deliver(&self, name: &str, content: Vec<u8>) -> Result<(), IoError> {
        let failed = |reason: String| IoError { action: IoAction::Deliver, name: name.to_owned(), reason };
        let (link, journal, content) = (self.link.clone(), self.journal.clone(), Bytes::from(content));
        let output = match self.outputs.find(name) {
            Some(output) => AttemptOutput::Requested(output),
            None => AttemptOutput::Additional(name.to_owned()),
        };
        let kept = journal.keep(output.clone(), content.clone());
        let task = self.link.runtime.spawn(async move {
            tokio::select! {
                delivered = link.deliver(&output, content) => {
                    let attempt = delivered?;
                    kept.into_iter().for_each(|index| journal.record_arrival(index, attempt));
                }
                // The journal keeps the artifact for the next session, so the engine need not wait.
                () = link.detached(), if kept.is_some() => {}
            }
            Ok::<_, String>(())
        });
        task.await.map_err(|error| failed(task_failure(&error)))?.map_err(failed)
    }

    async fn report_deferred_events(&self) -> Result<(), IoError> {
        self.journal.report(AttemptReport::DeferredEvents).await;
        Ok(())
    }

    fn note_memory(&self, memory: MemoryUse) {
        // Only the first value counts.
        let _ = self.memory.set(memory);
    }
}

/// Returns why a task of a transfer has no result.
fn task_failure(error: &JoinError) -> String {
    let text = if error.is_panic() {
        "the transfer panicked; the worker's log has the panic message"
    } else {
        "the worker is stopping"
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::SessionHandle;
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };
    use tokio::time::timeout;
    use tonic::{Code, Status};

    #[tokio::test]
    async fn a_panic_of_a_transfer_does_not_look_like_a_worker_that_stops() {
        let decode = || -> Vec<u8> { panic!("a broken decoder") };
        let panicked = tokio::task::spawn_blocking(decode).await.unwrap_err();
        assert!(task_failure(&panicked).contains("panicked"));
        let stopped = tokio::spawn(std::future::pending::<()>());
        stopped.abort();
        assert_eq!(task_failure(&stopped.await.unwrap_err()), "the worker is stopping");
    }

    /// Checks how often a transfer is made whose first call fails with `code`, on a connection that stays.
    async fn check_calls(code: Code, expected: u32) {
        let outputs = Arc::new(TaskOutputs { result: "result".to_owned(), event_list: None });
        let route = AttemptRoute { session: SessionHandle::unconnected(), attempt: AttemptId(1), outputs };
        let (_routes, routes) = watch::channel(Some(route));
        let cache = Arc::new(Mutex::new(Cache::new(0)));
        let link = AttemptLink { routes, cache, runtime: Handle::current(), end: CancellationToken::new() };
        let calls = AtomicU32::new(0);
        let call = |_| {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            async move { if call == 0 { Err(Status::new(code, "refused")) } else { Ok(()) } }
        };
        let done = timeout(Duration::from_secs(60), link.over_sessions(call)).await.expect("the transfer ends");
        assert_eq!(done.is_ok(), expected > 1, "{code:?}");
        assert_eq!(calls.load(Ordering::Relaxed), expected, "{code:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_for_which_the_orchestrator_has_no_memory_is_tried_again() {
        check_calls(Code::Aborted, 2).await;
        check_calls(Code::ResourceExhausted, 1).await;
    }
}
