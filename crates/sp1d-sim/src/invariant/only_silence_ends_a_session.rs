//! The scheduler ends a session only if its worker is silent, or if the same worker has a newer session. Time in which
//! the orchestrator itself was paused does not count as silence.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{Command, Event, ReadyWorker, SessionId, Timestamp, WorkerId};
use std::{collections::BTreeMap, time::Duration};

#[derive(Debug, Default)]
pub(crate) struct OnlySilenceEndsASession {
    last: Timestamp,
    /// Time that has passed, without pauses of the orchestrator.
    counted: Duration,
    /// The worker of each session, and when it was last heard.
    sessions: BTreeMap<SessionId, (WorkerId, Duration)>,
}

impl Invariant for OnlySilenceEndsASession {
    fn name(&self) -> &'static str {
        "only silence or a newer session ends a session"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        self.counted += step.now.saturating_since(self.last).min(step.config.max_clock_step);
        self.last = self.last.max(step.now);
        let now = self.counted;
        let mut ready = None;
        match step.event {
            Event::WorkerReady { session, ready: ReadyWorker { worker, .. }, .. } => {
                self.sessions.entry(*session).or_insert((*worker, now));
                ready = Some((*session, *worker));
            }
            Event::LeaseRenewed { session } => {
                if let Some((_, heard)) = self.sessions.get_mut(session) {
                    *heard = now;
                }
            }
            Event::SessionEnded { session } => {
                self.sessions.remove(session);
            }
            _ => {}
        }
        for command in step.commands {
            if let Command::EndSession { session } = command {
                let (worker, heard) = self
                    .sessions
                    .remove(session)
                    .ok_or_else(|| format!("{session} was ended, but is not connected"))?;
                let replaced = ready.is_some_and(|(newer, of)| of == worker && newer != *session);
                let silence = now - heard;
                ensure(replaced || silence >= step.config.lease_ttl, || {
                    format!("{session} was ended after a silence of {silence:?}")
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::KindSet;

    const END_SESSION: Command = Command::EndSession { session: SessionId(1) };

    #[test]
    fn ending_a_session_without_silence_is_detected() {
        let (example, mut invariant) = (Example::new(), OnlySilenceEndsASession::default());
        example.show(&mut invariant, &ready(1, 1, 1, KindSet::all()), &[]).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[END_SESSION]), "after a silence of 0ns");
        assert_broken(example.show(&mut invariant, &Event::Tick, &[END_SESSION]), "is not connected");
    }

    #[test]
    fn counting_a_pause_as_silence_is_detected() {
        let (mut example, mut invariant) = (Example::new(), OnlySilenceEndsASession::default());
        example.show(&mut invariant, &ready(1, 1, 1, KindSet::all()), &[]).unwrap();
        example.now = example.now + Duration::from_secs(60);
        assert_broken(example.show(&mut invariant, &Event::Tick, &[END_SESSION]), "after a silence of 1.5s");
    }

    #[test]
    fn silence_and_a_newer_session_may_end_a_session() {
        let (mut example, mut invariant) = (Example::new(), OnlySilenceEndsASession::default());
        example.show(&mut invariant, &ready(1, 1, 1, KindSet::all()), &[]).unwrap();
        example.show(&mut invariant, &ready(2, 1, 1, KindSet::all()), &[END_SESSION]).unwrap();
        example.show(&mut invariant, &ready(1, 2, 1, KindSet::all()), &[]).unwrap();
        for _ in 0..3 {
            example.now = example.now + Duration::from_secs(1);
            example.show(&mut invariant, &Event::Tick, &[]).unwrap();
        }
        example.show(&mut invariant, &Event::Tick, &[END_SESSION]).unwrap();
    }
}
