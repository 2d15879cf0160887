//! The scheduler ends a session only if its worker is silent, or if the same worker has a newer session. Time in which
//! the orchestrator itself was paused does not count as silence.

use super::{Invariant, Step, ensure};
use scheduler::{Command, Event, PeerId, Timestamp, WorkerId};
use std::{collections::BTreeMap, time::Duration};

#[derive(Debug, Default)]
pub(crate) struct SilenceAloneExpires {
    last: Timestamp,
    /// Time that has passed, without pauses of the orchestrator.
    counted: Duration,
    /// The peer of each session, and when its worker was last heard.
    sessions: BTreeMap<WorkerId, (PeerId, Duration)>,
}

impl Invariant for SilenceAloneExpires {
    fn name(&self) -> &'static str {
        "only silence or a newer session ends a session"
    }

    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        self.counted += step.now.saturating_since(self.last).min(step.config.max_clock_step);
        self.last = self.last.max(step.now);
        let now = self.counted;
        let mut joined = None;
        match step.event {
            Event::WorkerJoined { worker, peer, .. } => {
                self.sessions.entry(*worker).or_insert((*peer, now));
                joined = Some((*worker, *peer));
            }
            Event::LeasesRenewed { worker } => {
                if let Some((_, heard)) = self.sessions.get_mut(worker) {
                    *heard = now;
                }
            }
            Event::WorkerLost { worker } => {
                self.sessions.remove(worker);
            }
            _ => {}
        }
        for command in step.commands {
            if let Command::ExpireWorker { worker } = command {
                let (peer, heard) = self
                    .sessions
                    .remove(worker)
                    .ok_or_else(|| format!("{worker} was expired, but is not connected"))?;
                let replaced = joined.is_some_and(|(session, of)| of == peer && session != *worker);
                let silence = now - heard;
                ensure(replaced || silence >= step.config.lease_ttl, || {
                    format!("{worker} was expired after a silence of {silence:?}")
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
    use scheduler::KindSet;

    const EXPIRE: Command = Command::ExpireWorker { worker: WorkerId(1) };

    #[test]
    fn ending_a_session_without_silence_is_detected() {
        let (example, mut invariant) = (Example::new(), SilenceAloneExpires::default());
        example.show(&mut invariant, &joined(1, 1, 1, KindSet::all()), &[]).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[EXPIRE]), "after a silence of 0ns");
        assert_broken(example.show(&mut invariant, &Event::Tick, &[EXPIRE]), "is not connected");
    }

    #[test]
    fn counting_a_pause_as_silence_is_detected() {
        let (mut example, mut invariant) = (Example::new(), SilenceAloneExpires::default());
        example.show(&mut invariant, &joined(1, 1, 1, KindSet::all()), &[]).unwrap();
        example.now = example.now + Duration::from_secs(60);
        assert_broken(example.show(&mut invariant, &Event::Tick, &[EXPIRE]), "after a silence of 1.5s");
    }

    #[test]
    fn silence_and_a_newer_session_may_end_a_session() {
        let (mut example, mut invariant) = (Example::new(), SilenceAloneExpires::default());
        example.show(&mut invariant, &joined(1, 1, 1, KindSet::all()), &[]).unwrap();
        example.show(&mut invariant, &joined(2, 1, 1, KindSet::all()), &[EXPIRE]).unwrap();
        example.show(&mut invariant, &joined(1, 2, 1, KindSet::all()), &[]).unwrap();
        for _ in 0..3 {
            example.now = example.now + Duration::from_secs(1);
            example.show(&mut invariant, &Event::Tick, &[]).unwrap();
        }
        example.show(&mut invariant, &Event::Tick, &[EXPIRE]).unwrap();
    }
}
