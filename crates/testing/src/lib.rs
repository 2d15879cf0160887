//! Test doubles for SP1: an engine and a controller that prove nothing, and workers with such an engine. Other crates
//! test everything around the prover with them. The programs `fake-worker` and `fake-orchestrator` run the same doubles
//! as separate processes.
//!
//! This is a separate crate, and not a feature of `worker`, because the prover would otherwise be compiled twice: with
//! and without that feature.

mod controller;

pub use controller::{FakeController, PRECOMPILES, events_of, expected_proof, record, request, shard_of};

use async_trait::async_trait;
use protocol::{Assignment, Build, FailureKind, InputValue, made_prefix, wire::Machine};
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use worker::{
    Abilities, AttemptError, AttemptIo, EngineState, Introduction, IoError, MemoryPlan, ProvingEngine, Settings, Worker,
};

/// What a [`FakeEngine`] does with each assignment.
pub type Behaviour = Arc<
    dyn Fn(Assignment, Arc<dyn AttemptIo>) -> futures::future::BoxFuture<'static, Result<(), AttemptError>>
        + Send
        + Sync,
>;

/// An engine whose behavior the test defines.
pub struct FakeEngine {
    behaviour: Behaviour,
    slots: usize,
}

impl FakeEngine {
    /// Returns an engine with one slot that runs `behaviour` for each assignment.
    pub fn doing<F>(
        behaviour: impl Fn(Assignment, Arc<dyn AttemptIo>) -> F + Send + Sync + 'static,
    ) -> Arc<dyn ProvingEngine>
    where
        F: Future<Output = Result<(), AttemptError>> + Send + 'static,
    {
        Arc::new(Self { behaviour: Arc::new(move |assignment, io| Box::pin(behaviour(assignment, io))), slots: 1 })
    }

    /// Returns an engine that delivers [`honest_result`] for each assignment.
    pub fn honest() -> Arc<dyn ProvingEngine> {
        Self::doing(|assignment, io| async move { do_honestly(&assignment, &*io).await })
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

fn failed(kind: FailureKind) -> impl Fn(IoError) -> AttemptError {
    move |error| AttemptError { kind, text: error.to_string() }
}

/// Fetches every input and returns the contents in order.
///
/// # Errors
/// Fails if an input cannot be fetched.
pub async fn fetch_inputs(assignment: &Assignment, io: &dyn AttemptIo) -> Result<Vec<Vec<u8>>, AttemptError> {
    let mut inputs = Vec::new();
    for input in &assignment.inputs {
        inputs.push(match input {
            InputValue::Literal(text) => text.clone().into_bytes(),
            InputValue::Artifact { name, .. } => io.fetch(name).await.map_err(failed(FailureKind::Input))?,
        });
    }
    Ok(inputs)
}

/// Completes the marker if there is one, and delivers the honest result for `inputs`.
///
/// # Errors
/// Fails if an artifact cannot be transferred.
pub async fn finish_honestly(assignment: &Assignment, io: &dyn AttemptIo, inputs: &[u8]) -> Result<(), AttemptError> {
    finish_with(assignment, io, inputs, events_of(inputs)).await
}

/// Same as [`finish_honestly`], but delivers `events` for the marker.
///
/// # Errors
/// Fails if an artifact cannot be transferred.
pub async fn finish_with(
    assignment: &Assignment,
    io: &dyn AttemptIo,
    inputs: &[u8],
    events: Vec<u8>,
) -> Result<(), AttemptError> {
    complete_marker(assignment, io, events).await?;
    deliver_result(assignment, io, inputs).await
}

/// Delivers the honest result for `inputs`.
///
/// # Errors
/// Fails if the result cannot be delivered.
pub async fn deliver_result(assignment: &Assignment, io: &dyn AttemptIo, inputs: &[u8]) -> Result<(), AttemptError> {
    io.deliver(&assignment.outputs[0], honest_result(inputs)).await.map_err(failed(FailureKind::Output))
}

/// Delivers `events` and completes the marker, if there is one.
///
/// # Errors
/// Fails if an artifact cannot be transferred.
pub async fn complete_marker(assignment: &Assignment, io: &dyn AttemptIo, events: Vec<u8>) -> Result<(), AttemptError> {
    if assignment.marker.is_some() {
        // The events are an artifact that the attempt names itself. The second output contains that name.
        let name = assignment.outputs.get(1).cloned().unwrap_or_default();
        let made = format!("{}events", made_prefix(assignment.attempt));
        io.deliver(&made, events).await.map_err(failed(FailureKind::Output))?;
        io.deliver(&name, made.into_bytes()).await.map_err(failed(FailureKind::Output))?;
        io.complete_marker().await.map_err(failed(FailureKind::Output))?;
    }
    Ok(())
}

/// Returns the result that an honest worker delivers for its concatenated inputs: the bytes in reverse order.
#[must_use]
pub fn honest_result(inputs: &[u8]) -> Vec<u8> {
    inputs.iter().rev().copied().collect()
}

#[async_trait]
impl ProvingEngine for FakeEngine {
    fn slots(&self) -> usize {
        self.slots
    }

    async fn run(&self, _: usize, assignment: Assignment, io: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
        (self.behaviour)(assignment, io).await
    }
}

/// Returns a build that is compatible only with itself.
#[must_use]
pub fn fake_build() -> Build {
    Build {
        sp1_version: "6.10.0".to_owned(),
        circuit_version: "fake".to_owned(),
        recursion_root: vec![7; 32],
        features: Vec::new(),
        release: "0.0.0".to_owned(),
    }
}

/// Returns the introduction of a worker called `name` that supports every task kind.
#[must_use]
pub fn introduction(name: &str) -> Introduction {
    introduction_with(name, 0)
}

/// Same as [`introduction`], with `memory_bytes` of memory. 0 means that the memory is unknown.
#[must_use]
pub fn introduction_with(name: &str, memory_bytes: u64) -> Introduction {
    Introduction {
        name: name.to_owned(),
        build: fake_build(),
        machine: Machine { memory_bytes, ..Machine::default() },
        abilities: Abilities::all(),
        plan: MemoryPlan::default(),
    }
}

/// A worker that runs in this process. It stops when dropped.
pub struct RunningWorker {
    /// The address on which the worker listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RunningWorker {
    /// Starts a worker called `name` on a free port of the loopback interface. Its build is [`fake_build`]. `change`
    /// may change the settings.
    pub async fn start(name: &str, engine: watch::Receiver<EngineState>, change: impl FnOnce(&mut Settings)) -> Self {
        // Find a free port in advance: addresses with port 0 are rejected on purpose.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let listen = free.expect("the loopback interface has a free port");
        let mut settings = Settings {
            listen: listen.into(),
            orchestrators: "127.0.0.1,::1".parse().expect("the filter is valid"),
            introduction: introduction(name),
        };
        change(&mut settings);
        let worker = Worker::bind(settings).await.expect("the port was free a moment ago");
        let address = worker.local_addr().expect("a listener has an address");
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let token = stop.clone();
        tasks.spawn(async move { worker.serve(engine, token).await });
        Self { address, stop, tasks }
    }

    /// Starts a worker whose engine is ready.
    pub async fn ready(name: &str, engine: Arc<dyn ProvingEngine>) -> Self {
        Self::start(name, ready(engine), |_| {}).await
    }

    /// Stops the worker and waits until all of its tasks have ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Returns the state of an engine that is ready and stays ready.
#[must_use]
pub fn ready(engine: Arc<dyn ProvingEngine>) -> watch::Receiver<EngineState> {
    watch::channel(EngineState::Ready(engine)).1
}
