//! How long attacks are measured.

use crate::{
    attack::{Attack, Party},
    pool::{SHARD_TIME, WORKERS},
};
use serde::Serialize;
use std::time::Duration;

/// Number of proofs at the same time.
const PROOFS: u32 = 4;

/// How long attacks are measured, and what is judged.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct BenchPlan {
    /// Time of an attack in each round, and of four proofs without an attack.
    #[serde(serialize_with = "seconds")]
    pub(crate) attack_time: Duration,
    /// Time of a flood.
    #[serde(serialize_with = "seconds")]
    pub(crate) flood_time: Duration,
    pub(crate) rounds: u32,
    /// Whether times are judged. They need a machine without other load.
    pub(crate) compares_times: bool,
}

/// Serializes a time as its seconds.
pub(super) fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl BenchPlan {
    /// Returns the number of shards of a proof, so that four proofs at the same time take `attack_time`.
    pub(crate) fn shards(&self) -> u64 {
        let all = self.attack_time.as_secs_f64() / SHARD_TIME.as_secs_f64() * f64::from(WORKERS);
        ((all / f64::from(PROOFS)) as u64).max(1)
    }

    /// Returns the rounds of `attack`: how often it alternates with proofs without it, and its time in each.
    pub(crate) fn rounds_of(&self, attack: &Attack) -> (u32, Duration) {
        match attack.party {
            // A flood lasts its whole time at once, between as many proofs as in the other rounds.
            Party::Connections => (1, self.flood_time),
            Party::Member | Party::Requester => (self.rounds, self.attack_time),
        }
    }
}
