//! Combines the prover processes of a worker into one engine.

use super::{
    command::ProverCommand,
    process::{ProverProcess, ProverState},
    rules::ProverRules,
};
use crate::{
    engine::{AttemptError, AttemptIo, EngineRoom, Footprint, ProverCounts, ProvingEngine},
    engine_state::{EngineState, engine_state},
    load_error::LoadError,
};
use async_trait::async_trait;
use sp1d_protocol::Assignment;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

/// The prover processes of a worker, as one engine. Each attempt runs in the process with the fewest attempts.
pub struct Provers {
    processes: Vec<Arc<ProverProcess>>,
    places_each: usize,
    rooms: Arc<Rooms>,
    freed: Arc<Notify>,
}

/// The attempts for which the processes keep room. A process may have less room than places: it loads, it runs one
/// attempt at a time, or a stage of a cancelled attempt may hang in it. Without this count, two attempts would see the
/// same room, and both would count as started.
struct Rooms {
    kept: Mutex<usize>,
    freed: Arc<Notify>,
}

impl Rooms {
    fn kept(&self) -> MutexGuard<'_, usize> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps room for another attempt, if the processes can run `capacity` attempts at the same time.
    fn keep(self: &Arc<Self>, capacity: usize) -> Option<KeptRoom> {
        let mut kept = self.kept();
        if *kept >= capacity {
            return None;
        }
        *kept += 1;
        Some(KeptRoom(self.clone()))
    }
}

/// Room for one attempt. It is free again when this value is dropped.
struct KeptRoom(Arc<Rooms>);

impl Drop for KeptRoom {
    fn drop(&mut self) {
        *self.0.kept() -= 1;
        self.0.freed.notify_waiters();
    }
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
        let background = BackgroundTasks::new();
        for (process, command) in processes.iter().zip(commands) {
            background.spawn(process.clone().keep_running(command, rules.clone(), stop.clone()));
        }
        let (sender, receiver) = engine_state(rules.load_estimate);
        let rooms = Arc::new(Rooms { kept: Mutex::default(), freed: freed.clone() });
        let engine = Arc::new(Self { processes, places_each: rules.places.max(1), rooms, freed });
        let stop = stop.clone();
        background.spawn(async move {
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
        background.close();
        (receiver, background)
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
        let open = self.processes.iter().filter_map(|process| Some((process.attempts_if_open()?, process)));
        open.min_by_key(|(attempts, _)| *attempts).map(|(_, process)| process)
    }

    /// Waits until `find` finds something. It is called again whenever a place may have become free.
    async fn wait_until<T>(&self, find: impl Fn() -> Option<T>) -> T {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Register before the check, so that no notification after it is missed.
            freed.as_mut().enable();
            if let Some(found) = find() {
                return found;
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

    async fn ready(&self) -> EngineRoom {
        let capacity = || self.processes.iter().map(|process| process.capacity()).sum::<usize>();
        EngineRoom::new(self.wait_until(|| self.rooms.keep(capacity())).await)
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
            let process = self.wait_until(|| self.open_process()).await;
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
    use futures::FutureExt;
    use tokio::{sync::mpsc, time::Instant};

    /// Returns provers with one loaded process that has two places.
    fn one_process() -> Provers {
        let rules = ProverRules::example();
        let freed = Arc::new(Notify::new());
        let process = Arc::new(ProverProcess::new(0, &rules, freed.clone()));
        process.contents().out = Some(mpsc::channel(1).0);
        process.set_state(ProverState::Ready);
        let rooms = Arc::new(Rooms { kept: Mutex::default(), freed: freed.clone() });
        Provers { processes: vec![process], places_each: rules.places, rooms, freed }
    }

    #[tokio::test]
    async fn a_process_has_room_for_as_many_attempts_as_it_has_places() {
        let provers = one_process();
        let _first = provers.ready().await;
        let second = provers.ready().await;
        assert!(provers.ready().now_or_never().is_none());
        drop(second);
        assert!(provers.ready().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_process_that_runs_one_attempt_at_a_time_has_room_for_one() {
        let provers = one_process();
        provers.processes[0].contents().solo = true;
        let first = provers.ready().await;
        assert!(provers.ready().now_or_never().is_none(), "a second attempt would count as started");
        let (second, ()) = tokio::join!(provers.ready(), async { drop(first) });
        // The process is loaded again and stays as it is.
        provers.processes[0].set_state(ProverState::Starting { ready_at: Instant::now() });
        drop(second);
        assert!(provers.ready().now_or_never().is_none());
        provers.processes[0].set_state(ProverState::Ready);
        let _third = provers.ready().await;
        assert!(provers.ready().now_or_never().is_none());
    }

    #[test]
    fn provers_are_counted_by_state() {
        let starting = ProverState::Starting { ready_at: Instant::now() };
        let failed = ProverState::Failed(LoadError::Wait("no such process".to_owned()));
        let states = [starting, ProverState::Ready, failed, ProverState::Ready];
        assert_eq!(count(&states), ProverCounts { ready: 2, failed: 1 });
    }
}
