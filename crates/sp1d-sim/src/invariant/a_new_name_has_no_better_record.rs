//! A worker that is ready for the first time is quarantined or on probation for a kind if another worker of its origin
//! is quarantined for it.

use super::{
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{Event, KindSet, OriginId, ReadyWorker, WorkerId, WorkerStanding};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct ANewNameHasNoBetterRecord {
    known: BTreeSet<WorkerId>,
    of_origin: BTreeMap<OriginId, BTreeSet<WorkerId>>,
}

impl Invariant for ANewNameHasNoBetterRecord {
    fn name(&self) -> &'static str {
        "a new name has no better record than its origin"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        let Event::WorkerReady { session, ready: ReadyWorker { worker, origin, .. }, .. } = *step.event else {
            return Ok(());
        };
        let is_new = self.known.insert(worker);
        let of_origin = self.of_origin.entry(origin).or_default();
        of_origin.insert(worker);
        let Some(status) = step.scheduler.worker_status(session).filter(|_| is_new) else { return Ok(()) };
        let trusted = status.available_kinds.without(status.on_probation);
        of_origin.iter().filter(|other| **other != worker).try_for_each(|other| {
            let WorkerStanding::Quarantined { kinds, .. } = step.scheduler.worker_standing(*other) else {
                return Ok(());
            };
            let both: KindSet = kinds.iter().filter(|kind| trusted.contains(*kind)).collect();
            ensure(both.is_empty(), || {
                format!("{worker} is trusted with {both}, but {other} of the same origin is quarantined")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;

    #[test]
    fn a_clean_start_beside_a_quarantined_worker_is_detected() {
        let (mut example, mut invariant) = (Example::new(), ANewNameHasNoBetterRecord::default());
        let first = ready(1, 1, 1, KindSet::all());
        example.send_to_scheduler(first.clone());
        example.show(&mut invariant, &first, &[]).unwrap();
        example.send_to_scheduler(Event::ProvenWrong { worker: WorkerId(1), reason: "wrong".to_owned() });
        // For the scheduler the second worker has another origin, so it starts clean.
        let mut second = ready(2, 2, 1, KindSet::all());
        example.send_to_scheduler(second.clone());
        example.show(&mut invariant, &second, &[]).unwrap();
        let mut invariant = ANewNameHasNoBetterRecord::default();
        example.show(&mut invariant, &first, &[]).unwrap();
        let Event::WorkerReady { ready, .. } = &mut second else { unreachable!("`ready` returns this event") };
        ready.origin = OriginId(1);
        assert_broken(example.show(&mut invariant, &second, &[]), "w1 of the same origin is quarantined");
    }
}
