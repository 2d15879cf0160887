//! What is known of workers beyond one session.

use crate::{PeerId, TaskKind, Timestamp, WorkerId, pace::Paces};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// When a worker gets nothing for a while.
///
/// A failed or overdue attempt is a fault, a result that doesn't verify counts for two, an accepted result takes one
/// fault back. A task that fails everywhere is to blame itself: the faults it brought are taken back. Where nobody else
/// does what a worker failed at, it is not quarantined: its tasks would wait for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineRules {
    /// Faults that lead to quarantine, at least 1.
    pub max_faults: u32,
    /// How long the first quarantine lasts. Each that follows lasts twice as long, until a worker has done well for as
    /// many results.
    pub first: Duration,
    /// The longest that one lasts.
    pub longest: Duration,
}

impl Default for QuarantineRules {
    /// Three faults, one minute, one hour.
    fn default() -> Self {
        Self { max_faults: 3, first: Duration::from_secs(60), longest: Duration::from_secs(3600) }
    }
}

impl QuarantineRules {
    fn duration(&self, earlier: u32) -> Duration {
        self.first.saturating_mul(1_u32.checked_shl(earlier).unwrap_or(u32::MAX)).min(self.longest)
    }
}

/// How far a worker is trusted with tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    #[default]
    Good,
    /// It gets nothing until then, a time of the leases' clock.
    Quarantined(Timestamp),
    /// It gets one task at a time.
    Probation,
}

/// A worker, whatever its session.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Its present session.
    pub(crate) session: Option<WorkerId>,
    pub(crate) standing: Standing,
    pub(crate) paces: Paces,
    /// Why it was last quarantined.
    pub(crate) reason: String,
    /// Its last loss counts as a fault, which is taken back if it returns with what it held.
    lost: bool,
    faults: u32,
    quarantines: u32,
}

/// Workers remembered after they have left.
const MOST_PEERS: usize = 4096;

/// All workers that are or were connected.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    /// Quarantines by their end.
    ends: BTreeSet<(Timestamp, PeerId)>,
    /// Those not connected.
    absent: BTreeSet<PeerId>,
}

impl Peers {
    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(&id)
    }

    /// `id` is connected by `session`; answers the session it had until now, if that has not ended.
    pub(crate) fn join(&mut self, id: PeerId, session: WorkerId) -> Option<WorkerId> {
        self.absent.remove(&id);
        self.peers.entry(id).or_default().session.replace(session)
    }

    /// `session` of `id` has ended.
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

    /// A task of `kind` took `took` on `id`; answers what is expected of the next.
    pub(crate) fn learn(&mut self, id: PeerId, kind: TaskKind, took: Duration) -> Option<Duration> {
        let peer = self.peers.get_mut(&id)?;
        peer.paces.learn(kind).learn(took);
        peer.paces.expected(kind)
    }

    /// `id` did well; answers true when that ends its probation.
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

    /// `id` did badly, by `faults`. From `now` on it is quarantined for it, if it `may` be and that was one too many;
    /// answers for how long.
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

    /// `id` was lost while it proved. From `now` on it is quarantined for that, if it `may` be and that was one too
    /// many.
    pub(crate) fn lose(&mut self, id: PeerId, rules: &QuarantineRules, may: bool, now: Timestamp) {
        let quarantined = self.blame(id, 1, rules, may, now).is_some();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.lost = true;
            if quarantined {
                peer.reason = "it was lost while it proved".to_owned();
            }
        }
    }

    /// `id` has returned with what it held: its last loss is no fault.
    pub(crate) fn find_again(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && std::mem::take(&mut peer.lost)
        {
            peer.faults = peer.faults.saturating_sub(1);
        }
    }

    /// Notes why `id` was quarantined.
    pub(crate) fn set_reason(&mut self, id: PeerId, reason: &str) {
        if let Some(peer) = self.peers.get_mut(&id) {
            reason.clone_into(&mut peer.reason);
        }
    }

    /// So many faults of `id` were none.
    pub(crate) fn pardon(&mut self, id: PeerId, faults: u32) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.faults = peer.faults.saturating_sub(faults);
        }
    }

    /// `id` is needed: its quarantine is over.
    pub(crate) fn release(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && let Standing::Quarantined(end) = peer.standing
        {
            self.ends.remove(&(end, id));
            peer.standing = Standing::Probation;
        }
    }

    /// The first whose quarantine is over at `now`; from now on it is on probation.
    pub(crate) fn next_on_probation(&mut self, now: Timestamp) -> Option<PeerId> {
        let (_, id) = *self.ends.first().filter(|(end, _)| *end <= now)?;
        self.ends.pop_first();
        let peer = self.peers.get_mut(&id).expect("quarantines are of known workers");
        peer.standing = Standing::Probation;
        Some(id)
    }

    /// Who is connected by which session, after comparing the indices with it.
    pub(crate) fn check_invariants(&self) -> BTreeMap<WorkerId, PeerId> {
        let ends = self.peers.iter().filter_map(|(id, peer)| match peer.standing {
            Standing::Quarantined(end) => Some((end, *id)),
            Standing::Good | Standing::Probation => None,
        });
        assert_eq!(self.ends, ends.collect(), "the index of quarantines is wrong");
        let absent = self.peers.iter().filter(|(_, peer)| peer.session.is_none()).map(|(id, _)| *id);
        assert_eq!(self.absent, absent.collect(), "the index of absent workers is wrong");
        self.peers.iter().filter_map(|(id, peer)| Some((peer.session?, *id))).collect()
    }
}
