//! A task of a proof that is only for trusted workers never goes to another worker, also not when a worker returns with
//! an attempt and is not trusted any more.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{AttemptId, Command, Event, SessionId, TryId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct OnlyTrustedWorkersGetPrivateTasks {
    private: BTreeSet<TryId>,
    /// The sessions of trusted workers, those that have ended included.
    trusted: BTreeSet<SessionId>,
    known: BTreeSet<SessionId>,
    assigned: BTreeMap<AttemptId, TryId>,
}

impl OnlyTrustedWorkersGetPrivateTasks {
    fn check_session(&self, try_id: TryId, session: SessionId) -> Result<(), String> {
        ensure(!self.private.contains(&try_id) || self.trusted.contains(&session), || {
            format!("{session} is not trusted and gets a task of {try_id}")
        })
    }
}

impl Invariant for OnlyTrustedWorkersGetPrivateTasks {
    fn name(&self) -> &'static str {
        "only trusted workers get the tasks of a proof for trusted workers"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        match step.event {
            Event::TryStarted { try_id, trusted_only: true, .. } => _ = self.private.insert(*try_id),
            // A second such event of a session changes nothing.
            Event::WorkerReady { session, ready, .. } if self.known.insert(*session) && ready.trusted => {
                self.trusted.insert(*session);
            }
            _ => {}
        }
        step.commands.iter().try_for_each(|command| match command {
            Command::Assign { session, attempt, try_id, .. } => {
                self.assigned.insert(*attempt, *try_id);
                self.check_session(*try_id, *session)
            }
            Command::Continue { session, attempt } => {
                self.assigned.get(attempt).map_or(Ok(()), |try_id| self.check_session(*try_id, *session))
            }
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::{KindSet, ShareGroup};

    fn ready_as(session: u64, is_trusted: bool) -> Event {
        let mut event = ready(session, session, 1, KindSet::all());
        let Event::WorkerReady { ready, .. } = &mut event else { unreachable!("`ready` returns this event") };
        ready.trusted = is_trusted;
        event
    }

    #[test]
    fn a_private_task_on_another_worker_is_detected() {
        let (example, mut invariant) = (Example::new(), OnlyTrustedWorkersGetPrivateTasks::default());
        let private = Event::TryStarted { try_id: TryId(1), group: ShareGroup(0), trusted_only: true };
        for event in [ready_as(1, true), ready_as(2, false), private, new_try(2)] {
            example.show(&mut invariant, &event, &[]).unwrap();
        }
        example.show(&mut invariant, &Event::Tick, &[assign(1, 1, 1, 1), assign(2, 2, 2, 3)]).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[assign(2, 3, 1, 1)]), "s2 is not trusted");
        let (session, attempt) = (SessionId(2), AttemptId(1));
        let continued = Command::Continue { session, attempt };
        assert_broken(example.show(&mut invariant, &Event::Tick, &[continued]), "s2 is not trusted");
    }
}
