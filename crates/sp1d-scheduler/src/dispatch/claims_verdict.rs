//! The verdict on what an attempt claims for its marker.

use crate::WorkerId;
use std::fmt;

/// The verdict on the deferred claims of an attempt: the deferred events that it uploaded for its marker. They cannot
/// be verified on their own. They are accepted at once, unless the proof restarted to compare claims. Then a second
/// worker must make the same claims, if another worker is available or has made other claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimsVerdict {
    /// The claims are accepted.
    Accepted {
        /// Workers that made other claims for the shard, which are now known to be wrong.
        refuted: Vec<WorkerId>,
    },
    /// The claims are wrong, because two other workers agree on other ones.
    Contradicted,
    /// No other worker has made the same claims, so the task goes to another worker.
    Unconfirmed,
    /// The proof already has artifacts with the names of the uploaded ones, but with other content. It is not known
    /// which of them are right. This is possible after a restart of the orchestrator: each worker itself says which
    /// attempt it resumes, and the names of its artifacts contain the number of that attempt.
    NamesTaken,
}

impl fmt::Display for ClaimsVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { refuted } if refuted.is_empty() => f.write_str("accepted"),
            Self::Accepted { refuted } => {
                f.write_str("accepted, which refutes")?;
                refuted.iter().try_for_each(|worker| write!(f, " {worker}"))
            }
            Self::Contradicted => f.write_str("contradicted by two other workers"),
            Self::Unconfirmed => f.write_str("not confirmed"),
            Self::NamesTaken => f.write_str("names already taken"),
        }
    }
}
