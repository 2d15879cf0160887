//! No worker gets a task of a proof that has failed or ended.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{AttemptId, Command, Event, TryId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct NothingStartsForAnEndedProof {
    started: BTreeSet<TryId>,
    failed: BTreeSet<TryId>,
    ended: BTreeSet<TryId>,
    assigned: BTreeMap<AttemptId, TryId>,
}

impl NothingStartsForAnEndedProof {
    fn check_running(&self, try_id: TryId) -> Result<(), String> {
        ensure(self.started.contains(&try_id), || format!("{try_id} was never accepted"))?;
        ensure(!self.ended.contains(&try_id), || format!("{try_id} has ended"))?;
        ensure(!self.failed.contains(&try_id), || format!("{try_id} has failed"))
    }
}

impl Invariant for NothingStartsForAnEndedProof {
    fn name(&self) -> &'static str {
        "no task starts for a proof that has ended"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        match step.event {
            Event::TryStarted { try_id, .. } => {
                self.started.insert(*try_id);
            }
            Event::TryEnded { try_id } => {
                self.ended.insert(*try_id);
            }
            _ => {}
        }
        for command in step.commands {
            match command {
                Command::Assign { try_id, attempt, .. } => {
                    self.check_running(*try_id)?;
                    self.assigned.insert(*attempt, *try_id);
                }
                Command::Continue { attempt, .. } => {
                    let try_id = self.assigned.get(attempt).ok_or_else(|| format!("{attempt} was never assigned"))?;
                    self.check_running(*try_id)?;
                }
                Command::FailTry { try_id, .. } => {
                    self.check_running(*try_id)?;
                    self.failed.insert(*try_id);
                }
                Command::AcceptResult { try_id, .. } => {
                    // A result that is accepted while a failed proof is being ended is harmless.
                    ensure(!self.ended.contains(try_id), || {
                        format!("a result was accepted for {try_id}, which has ended")
                    })?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::{SessionId, TaskId, TaskKind};

    fn fail(try_id: u64) -> Command {
        let (try_id, task, kind) = (TryId(try_id), TaskId(1), TaskKind::ProveShard);
        Command::FailTry { try_id, task, kind, history: Vec::new(), lacks_large_worker: false }
    }

    #[test]
    fn commands_before_the_start_or_after_the_end_are_detected() {
        let (example, mut invariant) = (Example::new(), NothingStartsForAnEndedProof::default());
        let start = || assign(1, 1, 1, 1);
        assert_broken(example.show(&mut invariant, &Event::Tick, &[start()]), "was never accepted");
        example.show(&mut invariant, &new_try(1), &[start()]).unwrap();
        assert_broken(example.show(&mut invariant, &Event::Tick, &[fail(1), start()]), "has failed");
        assert_broken(example.show(&mut invariant, &Event::Tick, &[fail(1)]), "has failed");
        assert_broken(example.show(&mut invariant, &ended(1), &[start()]), "has ended");
        assert_broken(example.show(&mut invariant, &passed(1), &[accept(1, 1, 1, 1)]), "has ended");
        let continues = Command::Continue { session: SessionId(2), attempt: AttemptId(1) };
        assert_broken(example.show(&mut invariant, &Event::Tick, &[continues]), "has ended");
    }
}
