//! What the scheduler remembers about workers beyond one session.

use crate::{PeerId, TaskKind, Timestamp, WorkerId, pace::Paces};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// When and for how long a worker is quarantined.
///
/// - One fault: a failed or overdue attempt, an attempt that was never started, or the loss of the worker while it
///   proves.
/// - Two faults: a result that does not verify.
///
/// An accepted result removes one fault. If a task fails for good, the faults that it caused are removed, because the
/// task itself is to blame. A worker is not quarantined if no other worker is available for one of its task kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineRules {
    /// Number of faults that lead to quarantine, at least 1.
    pub max_faults: u32,
    /// Duration of the first quarantine. Each further quarantine lasts twice as long as the one before. Each accepted
    /// result of a worker without faults takes back one doubling.
    pub first: Duration,
    /// Maximum duration of a quarantine.
    pub longest: Duration,
}

impl Default for QuarantineRules {
    /// Quarantine after three faults, first for one minute, at most for one hour.
    fn default() -> Self {
        Self { max_faults: 3, first: Duration::from_secs(60), longest: Duration::from_secs(3600) }
    }
}

impl QuarantineRules {
    fn duration(&self, earlier: u32) -> Duration {
        self.first.saturating_mul(1_u32.checked_shl(earlier).unwrap_or(u32::MAX)).min(self.longest)
    }
}

/// How far the scheduler trusts a worker with tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    #[default]
    Good,
    /// The worker gets nothing until this time on the lease clock.
    Quarantined(Timestamp),
    /// The worker gets one task at a time.
    Probation,
}

/// A worker across all its sessions.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// The current session; `None` while the worker is disconnected.
    pub(crate) session: Option<WorkerId>,
    pub(crate) standing: Standing,
    pub(crate) paces: Paces,
    /// The reason for the last quarantine.
    pub(crate) reason: String,
    /// The last loss of the worker counts as a fault. The fault is removed if the worker returns with its attempts.
    lost: bool,
    faults: u32,
    quarantines: u32,
}

/// Maximum number of disconnected workers that are remembered.
const MOST_PEERS: usize = 4096;

/// All workers that are or were connected.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    /// Quarantines by their end.
    ends: BTreeSet<(Timestamp, PeerId)>,
    /// The disconnected workers.
    absent: BTreeSet<PeerId>,
}

impl Peers {
    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(&id)
    }

    /// Notes that `id` has connected with `session`. Returns its earlier session if that has not ended.
    pub(crate) fn join(&mut self, id: PeerId, session: WorkerId) -> Option<WorkerId> {
        self.absent.remove(&id);
        self.peers.entry(id).or_default().session.replace(session)
    }

    /// Notes that `session` of `id` has ended.
    pub(crate) fn leave(&mut self, id: PeerId, session: WorkerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.session == Some(session)) else { return };
        peer.session = None;
        self.absent.insert(id);
        if self.absent.len() > MOST_PEERS
            && let Some(first) = self.absent.pop_first()
            && let Some(forgotten) = self.peers.remove(&first)
            && let Standing::Quarantined(end) = forgotten.standing
        {
            self.ends.remove(&(end, first));
        }
    }

    /// Notes that a task of `kind` took `took` on `id`. Returns the expected duration of the next one.
    pub(crate) fn learn(&mut self, id: PeerId, kind: TaskKind, took: Duration) -> Option<Duration> {
        let peer = self.peers.get_mut(&id)?;
        peer.paces.learn(kind).learn(took);
        peer.paces.expected(kind)
    }

    /// Records a success of `id`. Returns true if that ends its probation.
    pub(crate) fn praise(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if peer.faults > 0 {
            peer.faults -= 1;
        } else {
            peer.quarantines = peer.quarantines.saturating_sub(1);
        }
        let ends = peer.standing == Standing::Probation;
        if ends {
            peer.standing = Standing::Good;
        }
        ends
    }

    /// Records `faults` faults of `id`. If that reaches the limit and `may` is true, `id` is quarantined from `now` on.
    /// Returns the duration of the quarantine.
    pub(crate) fn blame(
        &mut self,
        id: PeerId,
        faults: u32,
        rules: &QuarantineRules,
        may: bool,
        now: Timestamp,
    ) -> Option<Duration> {
        let peer = self.peers.get_mut(&id)?;
        if let Standing::Quarantined(_) = peer.standing {
            return None;
        }
        peer.faults = peer.faults.saturating_add(faults);
        if !may || peer.faults < rules.max_faults.max(1) && peer.standing != Standing::Probation {
            return None;
        }
        let duration = rules.duration(peer.quarantines);
        peer.quarantines += 1;
        peer.faults = 0;
        peer.standing = Standing::Quarantined(now + duration);
        self.ends.insert((now + duration, id));
        Some(duration)
    }

    /// Records the loss of `id` while it proved. If that reaches the limit of faults and `may` is true, `id` is
    /// quarantined from `now` on.
    pub(crate) fn lose(&mut self, id: PeerId, rules: &QuarantineRules, may: bool, now: Timestamp) {
        let quarantined = self.blame(id, 1, rules, may, now).is_some();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.lost = true;
            if quarantined {
                peer.reason = "the worker was lost while it was proving".to_owned();
            }
        }
    }

    /// Removes the fault of the last loss: `id` has returned with an attempt that it held.
    pub(crate) fn find_again(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && std::mem::take(&mut peer.lost)
        {
            peer.faults = peer.faults.saturating_sub(1);
        }
    }

    /// Sets the reason for the quarantine of `id`.
    pub(crate) fn set_reason(&mut self, id: PeerId, reason: &str) {
        if let Some(peer) = self.peers.get_mut(&id) {
            reason.clone_into(&mut peer.reason);
        }
    }

    /// Removes `faults` faults of `id`.
    pub(crate) fn pardon(&mut self, id: PeerId, faults: u32) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.faults = peer.faults.saturating_sub(faults);
        }
    }

    /// Ends the quarantine of `id` early, because it is needed. `id` is then on probation.
    pub(crate) fn release(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && let Standing::Quarantined(end) = peer.standing
        {
            self.ends.remove(&(end, id));
            peer.standing = Standing::Probation;
        }
    }

    /// Returns the first worker whose quarantine has ended at `now`, and puts it on probation.
    pub(crate) fn next_on_probation(&mut self, now: Timestamp) -> Option<PeerId> {
        let (_, id) = *self.ends.first().filter(|(end, _)| *end <= now)?;
        self.ends.pop_first();
        let peer = self.peers.get_mut(&id).expect("the index of quarantines contains only known workers");
        peer.standing = Standing::Probation;
        Some(id)
    }

    /// Checks the indexes against the workers. Returns the connected workers by session.
    pub(crate) fn check_invariants(&self) -> BTreeMap<WorkerId, PeerId> {
        let ends = self.peers.iter().filter_map(|(id, peer)| match peer.standing {
            Standing::Quarantined(end) => Some((end, *id)),
            Standing::Good | Standing::Probation => None,
        });
        assert_eq!(self.ends, ends.collect(), "the index of quarantines is wrong");
        let absent = self.peers.iter().filter(|(_, peer)| peer.session.is_none()).map(|(id, _)| *id);
        assert_eq!(self.absent, absent.collect(), "the index of disconnected workers is wrong");
        self.peers.iter().filter_map(|(id, peer)| Some((peer.session?, *id))).collect()
    }
}
