//! The life of a prover process: loads the prover, and restarts the process whenever it ends.

use super::{
    command::ProverCommand,
    connection::{ConnectionEnd, ProcessConnection},
    exit::ProverExit,
    process::{ProverProcess, ProverState},
    restarts::{MAX_LOAD_FAILURES, ProcessProgress, ProverRestarts},
    rules::ProverRules,
};
use crate::{
    engine::AttemptError,
    load_error::LoadError,
    machine_memory::{StartLock, wait_for_memory},
};
use sp1d_machine::Memory;
use sp1d_model::hint;
use sp1d_protocol::FailureKind;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a restart waits for memory that other programs use.
const RESTART_MEMORY_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a process may take to end after its socket was closed. Then it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How one run of the process ended.
enum ProcessOutcome {
    Stopped,
    /// The prover cannot be loaded: never, or, after [`LoadError::Gpu`], not now.
    Unloadable(LoadError),
    Ended {
        exit: ProverExit,
        progress: ProcessProgress,
    },
}

impl ProverProcess {
    /// Starts the process, and restarts it whenever it ends. Returns when `stop` is cancelled or the prover cannot be
    /// loaded.
    pub(super) async fn keep_running(
        self: Arc<Self>,
        command: ProverCommand,
        rules: ProverRules,
        stop: CancellationToken,
    ) {
        let (mut restarts, mut load_time, mut first) = (ProverRestarts::default(), rules.load_estimate, true);
        loop {
            let outcome = self.run_once(&command, &rules, &mut load_time, first, &stop).await;
            first = false;
            let pause = match outcome {
                ProcessOutcome::Stopped => return,
                ProcessOutcome::Unloadable(LoadError::Gpu(reason)) => {
                    let pause = restarts.on_gpu_failure();
                    self.on_gpu_failure(&reason, pause, load_time);
                    pause
                }
                ProcessOutcome::Unloadable(error) => return self.give_up(error),
                ProcessOutcome::Ended { exit, progress } => {
                    let pause = restarts.on_end(progress);
                    self.on_end(exit, progress, pause, command.gpu.as_deref());
                    let Some(pause) = pause else {
                        let last = exit.failure(0, command.gpu.as_deref()).text;
                        return self.give_up(LoadError::Ended { tries: MAX_LOAD_FAILURES, last });
                    };
                    self.set_state(ProverState::Starting { ready_at: Instant::now() + pause + load_time });
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Records that the GPU cannot be used now, and that it is tried again after `pause`.
    fn on_gpu_failure(&self, reason: &str, pause: Duration, load_time: Duration) {
        let (prover, retry_in_s, reason) = (self.number, pause.as_secs(), hint::one_line(reason));
        tracing::warn!(prover, retry_in_s, %reason, "the GPU of a prover cannot be used now and is tried again");
        self.set_state(ProverState::Starting { ready_at: Instant::now() + pause + load_time });
        self.fail_attempts(&AttemptError { kind: FailureKind::Killed, text: reason });
    }

    /// Records that the prover can never be loaded.
    fn give_up(&self, error: LoadError) {
        let text = error.to_string();
        tracing::error!(prover = self.number, reason = %hint::without(&text), "the prover is given up");
        self.set_state(ProverState::Failed(error));
        self.fail_attempts(&AttemptError { kind: FailureKind::Killed, text });
    }

    /// Fails the attempts in a process that has ended. Without this, they would wait for the process, also if it was
    /// loaded before it reported that it cannot be loaded.
    fn fail_attempts(&self, failure: &AttemptError) {
        let attempts = {
            let mut contents = self.contents();
            contents.out = None;
            contents.process = None;
            std::mem::take(&mut contents.attempts)
        };
        for attempt in attempts.into_values() {
            attempt.end(Err(failure.clone()));
        }
        self.notify_freed();
    }

    /// Fails the attempts that were running in the process. It is restarted after `pause`, or given up if that is
    /// `None`.
    fn on_end(&self, exit: ProverExit, progress: ProcessProgress, pause: Option<Duration>, gpu: Option<&str>) {
        let (count, peak_bytes) = {
            let mut contents = self.contents();
            let count = contents.attempts.len();
            contents.solo |= exit == ProverExit::OutOfMemory && count > 1;
            (count, std::mem::take(&mut contents.peak_bytes))
        };
        let mut failure = exit.failure(peak_bytes, gpu);
        if exit == ProverExit::OutOfMemory && count > 1 {
            // Each attempt may fit into memory alone, so none of them is reported as out of memory.
            failure.kind = FailureKind::Killed;
            failure.text.push_str("; several attempts were running in it, so it now runs one at a time");
        }
        if exit == ProverExit::Cancelled {
            tracing::info!(prover = self.number, "prover restarted to end a cancelled attempt");
        } else {
            let (loaded, retry_in_s) = (progress != ProcessProgress::Loading, pause.map(|pause| pause.as_secs()));
            tracing::warn!(prover = self.number, attempts = count, loaded, retry_in_s, reason = %hint::without(&failure.text), "prover ended");
        }
        self.fail_attempts(&failure);
    }

    /// Starts the process and serves it until it has ended.
    async fn run_once(
        self: &Arc<Self>,
        command: &ProverCommand,
        rules: &ProverRules,
        load_time: &mut Duration,
        first: bool,
        stop: &CancellationToken,
    ) -> ProcessOutcome {
        let number = self.number;
        self.set_state(ProverState::Starting { ready_at: Instant::now() + *load_time });
        let lock = tokio::select! {
            () = stop.cancelled() => return ProcessOutcome::Stopped,
            prepared = self.prepare(rules, first) => match prepared {
                Ok(lock) => lock,
                Err(error) => return ProcessOutcome::Unloadable(error),
            },
        };
        let kills = Memory::oom_kills();
        let (child, stream) = match command.start() {
            Ok(started) => started,
            Err(error) => {
                let (program, reason) = (command.program.clone(), error.to_string());
                return ProcessOutcome::Unloadable(LoadError::Start { program, reason });
            }
        };
        let started = Instant::now();
        self.set_state(ProverState::Starting { ready_at: started + *load_time });
        tracing::info!(
            prover = number,
            about_seconds = load_time.as_secs(),
            threads = rules.threads,
            "loading the prover"
        );
        let mut connection = ProcessConnection::new(self, child, lock, started, load_time);
        let (end, killed_here) = connection.serve(stream, stop).await;
        let progress = match (connection.loaded, connection.has_succeeded || killed_here) {
            (false, _) => ProcessProgress::Loading,
            (true, false) => ProcessProgress::Loaded,
            (true, true) => ProcessProgress::Useful,
        };
        let mut child = connection.child;
        match end {
            ConnectionEnd::Stopped => {
                let _ = child.kill().await;
                return ProcessOutcome::Stopped;
            }
            ConnectionEnd::Unloadable(error) => {
                let _ = child.kill().await;
                return ProcessOutcome::Unloadable(error);
            }
            ConnectionEnd::Closed => {}
        }
        if killed_here || timeout(EXIT_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.start_kill();
        }
        let kills = kills.zip(Memory::oom_kills());
        match child.wait().await.map(|status| ProverExit::of(status, kills, killed_here)) {
            // The text of CUDA's error is lost, but the GPU is its cause.
            Ok(exit) if progress == ProcessProgress::Loading && exit.is_gpu_abort(command.gpu.as_deref()) => {
                ProcessOutcome::Unloadable(LoadError::Gpu(exit.failure(0, command.gpu.as_deref()).text))
            }
            Ok(exit) => ProcessOutcome::Ended { exit, progress },
            Err(error) => ProcessOutcome::Unloadable(LoadError::Wait(error.to_string())),
        }
    }

    /// Waits until no other prover of this user is loading and enough memory is free.
    async fn prepare(&self, rules: &ProverRules, first: bool) -> Result<StartLock, LoadError> {
        let number = self.number;
        let lock = StartLock::take(&rules.start_lock, || {
            tracing::info!(prover = number, "waiting for another prover on this machine to load");
        });
        let lock = lock.await;
        let wait = if first { rules.wait_memory } else { RESTART_MEMORY_TIMEOUT };
        wait_for_memory(rules.needed_bytes, wait).await?;
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends a loaded process as `end` does. Its attempt must fail with an error that contains `reason`.
    #[track_caller]
    fn check(end: impl FnOnce(&ProverProcess), reason: &str) {
        let (process, mut outcome) = ProverProcess::with_attempt();
        end(&process);
        let failure = outcome.try_recv().expect("the attempt has ended").unwrap_err();
        assert_eq!(failure.kind, FailureKind::Killed);
        assert!(failure.text.contains(reason), "{}", failure.text);
        assert!(process.contents().attempts.is_empty() && process.footprint().is_none());
        assert_eq!(process.attempts_if_open(), None, "the process is not open for attempts");
    }

    #[test]
    fn the_attempts_of_a_process_fail_however_it_ends() {
        let second = Duration::from_secs(1);
        check(|process| process.give_up(LoadError::Wait("no child".to_owned())), "no child");
        check(|process| process.on_gpu_failure("GPU is lost", second, second), "GPU is lost");
        let exit = ProverExit::Signal(11);
        check(|process| process.on_end(exit, ProcessProgress::Loaded, Some(second), None), "killed by signal 11");
    }
}
