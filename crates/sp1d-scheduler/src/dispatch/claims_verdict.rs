//! The verdict on the deferred events that an attempt claims for its shard.

use crate::WorkerId;
use std::fmt;

/// The verdict on the deferred claims of an attempt: the deferred events that it uploaded for its marker. They cannot
/// be verified on their own. They are accepted at once, unless the proof restarted to compare claims. Then a second
/// worker must make the same claims. One worker is enough only if no other worker is available and none has disagreed.
/// Workers of one origin count as one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimsVerdict {
    /// The claims are accepted.
    Accepted {
        /// Workers that made other claims for the shard. They count as wrong, because two workers agree on this one.
        refuted: Vec<WorkerId>,
    },
    /// Two other workers agree on other claims, so these count as wrong.
    Contradicted,
    /// No worker of another origin has made the same claims, so the task goes to another worker.
    Unconfirmed,
    /// The proof already has artifacts with the names of the uploaded ones, but with other content. It is not known
    /// which of them are right.
    ///
    /// Artifact names contain an attempt number. After a restart of the orchestrator, each worker itself says which
    /// attempt it resumes. So two workers can name the same attempt, and upload different content under the same names.
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
