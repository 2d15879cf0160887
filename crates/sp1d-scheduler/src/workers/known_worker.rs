//! What the scheduler remembers about one worker beyond its sessions.

use super::{
    origin::OriginId,
    pace::Paces,
    standing::{KindRecord, LossFault, Standing},
};
use crate::{KindSet, SessionId, TaskKind, Timestamp};
use std::collections::BTreeMap;

/// A worker across all its sessions.
#[derive(Debug)]
pub(crate) struct KnownWorker {
    /// The session in which the worker is ready. Without one, the worker counts as disconnected, even if it has
    /// reconnected and still loads its first prover.
    pub(crate) session: Option<SessionId>,
    pub(crate) paces: Paces,
    pub(super) origin: OriginId,
    /// By kind.
    pub(super) records: [KindRecord; TaskKind::ALL.len()],
    /// The faults of the last loss of the worker. Empty once the worker is ready again.
    pub(super) last_loss: BTreeMap<TaskKind, LossFault>,
}

/// A quarantine for some kinds, with the same end and the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PresentQuarantine {
    pub(crate) kinds: KindSet,
    pub(crate) until: Timestamp,
    pub(crate) reason: String,
}

impl KnownWorker {
    pub(crate) const fn origin(&self) -> OriginId {
        self.origin
    }

    fn kinds_with(&self, is_it: impl Fn(Standing) -> bool) -> KindSet {
        TaskKind::ALL.into_iter().filter(|kind| is_it(self.records[kind.index()].standing())).collect()
    }

    /// Returns the kinds for which the worker is quarantined.
    pub(crate) fn quarantined(&self) -> KindSet {
        self.kinds_with(|standing| matches!(standing, Standing::Quarantined { .. }))
    }

    /// Returns the kinds whose quarantine ends early if the worker is needed.
    pub(crate) fn kinds_that_may_end_early(&self) -> KindSet {
        self.kinds_with(|standing| matches!(standing, Standing::Quarantined { is_firm: false, .. }))
    }

    /// Returns the kinds for which the worker is on probation.
    pub(crate) fn on_probation(&self) -> KindSet {
        self.kinds_with(|standing| standing == Standing::Probation)
    }

    /// Returns the quarantines, each with all its kinds.
    pub(crate) fn quarantines(&self) -> Vec<PresentQuarantine> {
        let mut found: Vec<PresentQuarantine> = Vec::new();
        for (kind, record) in TaskKind::ALL.into_iter().zip(&self.records) {
            let Some(until) = record.quarantined_until() else { continue };
            let kinds = KindSet::only(kind);
            match found.iter_mut().find(|other| other.until == until && other.reason == record.reason()) {
                Some(other) => other.kinds = other.kinds.with(kinds),
                None => found.push(PresentQuarantine { kinds, until, reason: record.reason().to_owned() }),
            }
        }
        found
    }

    /// Returns true if nothing bad is remembered.
    pub(super) fn is_clean(&self) -> bool {
        self.records.iter().all(KindRecord::is_clean)
    }
}
