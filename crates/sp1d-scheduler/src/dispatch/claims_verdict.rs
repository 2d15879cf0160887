//! The verdict on what an attempt claims for its marker.

use crate::WorkerId;
use std::fmt;

/// The verdict on the deferred claims of an attempt: the precompile events that it uploaded for its marker. They cannot
/// be verified on their own, so the driver compares them with the claims of other workers for the same shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimsVerdict {
    /// The claims are accepted.
    Accepted {
        /// Workers that made other claims for the shard, which are now known to be wrong.
        refuted: Vec<WorkerId>,
    },
    /// The claims are wrong, because two other workers agree on other ones.
    Contradicted,
    /// No other worker has confirmed the claims, so another worker must be asked.
    Unconfirmed,
    /// The proof already has other artifacts under the names of the claims. It is unknown which of them are right. This
    /// can happen because a worker itself names the attempt that it resumes, and its artifacts have that attempt's
    /// names.
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
