//! Combines the prover processes of a worker into one engine.

use super::{
    command::ProverCommand,
    process::{ProverProcess, ProverState},
    rules::ProverRules,
};
use crate::{
    engine::{AttemptError, AttemptIo, Footprint, ProverCounts, ProvingEngine},
    load_error::LoadError,
    state::{EngineState, engine_state},
};
use async_trait::async_trait;
use sp1d_protocol::Assignment;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

/// The prover processes of a worker, as one engine. Each attempt runs in the process with the fewest attempts.
pub struct Provers {
    processes: Vec<Arc<ProverProcess>>,
    places_each: usize,
    freed: Arc<Notify>,
}

impl Provers {
    /// Starts one process for each of `commands`, at least one, and restarts each process that ends, until `stop` is
    /// cancelled. The engine is ready while at least one process is ready.
    ///
    /// Returns the engine's state and a tracker of the tasks that own the processes. Call this on the sessions'
    /// runtime.
    #[must_use]
    pub fn start(
        commands: Vec<ProverCommand>,
        rules: &ProverRules,
        stop: &CancellationToken,
    ) -> (watch::Receiver<EngineState>, BackgroundTasks) {
        let freed = Arc::new(Notify::new());
        let process = |number| Arc::new(ProverProcess::new(number, rules, freed.clone()));
        let processes: Vec<Arc<ProverProcess>> = (0..commands.len()).map(process).collect();
        let tasks = BackgroundTasks::new();
        for (process, command) in processes.iter().zip(commands) {
            tasks.spawn(process.clone().keep_running(command, rules.clone(), stop.clone()));
        }
        let (sender, receiver) = engine_state(rules.load_estimate);
        let engine = Arc::new(Self { processes, places_each: rules.places.max(1), freed });
        let stop = stop.clone();
        tasks.spawn(async move {
            let mut states: Vec<_> = engine.processes.iter().map(|process| process.state()).collect();
            loop {
                let now: Vec<ProverState> = states.iter_mut().map(|state| state.borrow_and_update().clone()).collect();
                sender.send_replace(engine.clone().combined_state(&now));
                let changes = states.iter_mut().map(|state| Box::pin(state.changed()));
                tokio::select! {
                    () = stop.cancelled() => return,
                    (changed, _, _) = futures::future::select_all(changes) => if changed.is_err() { return },
                }
            }
        });
        tasks.close();
        (receiver, tasks)
    }

    /// Combines the states of the processes into the state of the engine.
    fn combined_state(self: Arc<Self>, states: &[ProverState]) -> EngineState {
        if states.contains(&ProverState::Ready) {
            return EngineState::Ready(self);
        }
        let starting = states.iter().filter_map(|state| match state {
            ProverState::Starting { ready_at } => Some(*ready_at),
            ProverState::Ready | ProverState::Failed(_) => None,
        });
        match (starting.min(), states.first()) {
            (Some(ready_at), _) => EngineState::Starting { ready_at, failed_provers: count(states).failed },
            (None, Some(ProverState::Failed(error))) => EngineState::Failed(error.clone()),
            (None, _) => EngineState::Failed(LoadError::NoProver),
        }
    }

    /// Returns the process with the fewest attempts among those that can take another one.
    fn open_process(&self) -> Option<&Arc<ProverProcess>> {
        let open = self.processes.iter().filter_map(|process| Some((process.load()?, process)));
        open.min_by_key(|(load, _)| *load).map(|(_, process)| process)
    }

    /// Waits until a process can take another attempt, and returns this process.
    async fn wait_for_open_process(&self) -> &Arc<ProverProcess> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Register before the check, so that no notification after it is missed.
            freed.as_mut().enable();
            if let Some(process) = self.open_process() {
                return process;
            }
            freed.await;
        }
    }
}

fn count(states: &[ProverState]) -> ProverCounts {
    states.iter().fold(ProverCounts::default(), |mut counts, state| {
        match state {
            ProverState::Starting { .. } => {}
            ProverState::Ready => counts.ready += 1,
            ProverState::Failed(_) => counts.failed += 1,
        }
        counts
    })
}

#[async_trait]
impl ProvingEngine for Provers {
    fn places(&self) -> usize {
        self.places_each * self.processes.len()
    }

    async fn ready(&self) {
        self.wait_for_open_process().await;
    }

    fn footprint(&self) -> Footprint {
        let loaded = self.processes.iter().filter_map(|process| process.footprint());
        loaded.fold(Footprint::default(), |mut sum, (process, rest_bytes)| {
            sum.processes.push(process);
            sum.rest_bytes += rest_bytes;
            sum
        })
    }

    fn prover_counts(&self) -> ProverCounts {
        let states: Vec<ProverState> = self.processes.iter().map(|process| process.state().borrow().clone()).collect();
        count(&states)
    }

    async fn run(&self, _: usize, assignment: Assignment, io: Arc<dyn AttemptIo>) -> Result<(), AttemptError> {
        let mut attempt = (assignment, io);
        loop {
            let process = self.wait_for_open_process().await;
            match process.run(attempt.0, attempt.1).await {
                Ok(outcome) => return outcome,
                // Another attempt took the place first.
                Err(back) => attempt = back,
            }
        }
    }

    fn release_memory(&self) {
        self.processes.iter().for_each(|process| process.release_memory());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[test]
    fn provers_are_counted_by_state() {
        let starting = ProverState::Starting { ready_at: Instant::now() };
        let failed = ProverState::Failed(LoadError::Wait("no such process".to_owned()));
        let states = [starting, ProverState::Ready, failed, ProverState::Ready];
        assert_eq!(count(&states), ProverCounts { ready: 2, failed: 1 });
    }
}
