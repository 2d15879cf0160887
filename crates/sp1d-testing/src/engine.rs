//! An engine that proves nothing. Its behavior is honest unless the test defines another one.

use crate::{
    fetched_inputs::fetch_inputs,
    shards::{events_of, honest_result},
};
use async_trait::async_trait;
use sp1d_protocol::{Assignment, FailureKind, made_prefix};
use sp1d_worker::{AttemptError, AttemptIo, EngineState, IoError, ProvingEngine};
use std::sync::Arc;
use tokio::sync::watch;

/// What a [`FakeEngine`] does with each assignment.
pub type Behavior = Arc<
    dyn Fn(Assignment, Arc<dyn AttemptIo>) -> futures::future::BoxFuture<'static, Result<(), AttemptError>>
        + Send
        + Sync,
>;

/// An engine whose behavior the test defines.
pub struct FakeEngine {
    behavior: Behavior,
    places: usize,
}

impl FakeEngine {
    /// Returns an engine with one place that runs `behavior` for each assignment.
    pub fn doing<F>(
        behavior: impl Fn(Assignment, Arc<dyn AttemptIo>) -> F + Send + Sync + 'static,
    ) -> Arc<dyn ProvingEngine>
    where
        F: Future<Output = Result<(), AttemptError>> + Send + 'static,
    {
        Arc::new(Self { behavior: Arc::new(move |assignment, io| Box::pin(behavior(assignment, io))), places: 1 })
    }

    /// Returns an engine that delivers [`honest_result`] for each assignment.
    pub fn honest() -> Arc<dyn ProvingEngine> {
        Self::doing(|assignment, io| async move { do_honestly(&assignment, &*io).await })
    }
}

#[async_trait]
impl ProvingEngine for FakeEngine {
    fn places(&self) -> usize {
        self.places
    }

    async fn run(&self, _: usize, assignment: Assignment, io: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
        (self.behavior)(assignment, io).await
    }
}

/// Fetches every input, completes the marker if there is one, and delivers the honest result.
///
/// # Errors
/// Fails if an artifact cannot be transferred.
pub async fn do_honestly(assignment: &Assignment, io: &dyn AttemptIo) -> Result<(), AttemptError> {
    let inputs = fetch_inputs(assignment, io).await?.concat();
    finish_honestly(assignment, io, &inputs).await
}

fn undelivered(error: IoError) -> AttemptError {
    AttemptError { kind: FailureKind::Output, text: error.to_string() }
}

/// Completes the marker if there is one, and delivers the honest result for `inputs`.
///
/// # Errors
/// Fails if an artifact cannot be transferred.
pub async fn finish_honestly(assignment: &Assignment, io: &dyn AttemptIo, inputs: &[u8]) -> Result<(), AttemptError> {
    finish_with(assignment, io, inputs, events_of(inputs)).await
}

/// Same as [`finish_honestly`], but uploads `events` as the deferred events.
///
/// # Errors
/// Fails if an artifact cannot be transferred.
pub async fn finish_with(
    assignment: &Assignment,
    io: &dyn AttemptIo,
    inputs: &[u8],
    events: Vec<u8>,
) -> Result<(), AttemptError> {
    upload_deferred_events(assignment, io, events).await?;
    deliver_result(assignment, io, inputs).await
}

/// Delivers the honest result for `inputs`.
///
/// # Errors
/// Fails if the result cannot be delivered.
pub async fn deliver_result(assignment: &Assignment, io: &dyn AttemptIo, inputs: &[u8]) -> Result<(), AttemptError> {
    io.deliver(assignment.payload.result(), honest_result(inputs)).await.map_err(undelivered)
}

/// Uploads and reports `events` as the deferred events, if the task has a marker.
///
/// # Errors
/// Fails if an artifact cannot be transferred.
pub async fn upload_deferred_events(
    assignment: &Assignment,
    io: &dyn AttemptIo,
    events: Vec<u8>,
) -> Result<(), AttemptError> {
    if let Some(marker) = assignment.payload.marker() {
        // The events are an artifact that the attempt names itself. The list of deferred events contains that name.
        let made = format!("{}events", made_prefix(assignment.attempt));
        io.deliver(&made, events).await.map_err(undelivered)?;
        io.deliver(&marker.event_list, made.into_bytes()).await.map_err(undelivered)?;
        io.report_deferred_events().await.map_err(undelivered)?;
    }
    Ok(())
}

/// Returns the state of an engine that is ready and stays ready.
#[must_use]
pub fn ready(engine: Arc<dyn ProvingEngine>) -> watch::Receiver<EngineState> {
    watch::channel(EngineState::Ready(engine)).1
}
