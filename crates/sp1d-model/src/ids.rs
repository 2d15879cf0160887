//! Ids of proofs, tasks, workers, sessions and attempts.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// The number of one try of a proof request. A proof that restarts gets a new number. Logs name a proof by the
    /// label of its request, or by this number if the request has no label.
    TryId,
    "try-"
);
id!(
    /// The number of one task of a proof. The driver chooses the number, which is unique over all proofs.
    TaskId,
    "t"
);
id!(
    /// One worker across all its sessions.
    WorkerId,
    "w"
);
id!(
    /// One session of a worker. A worker that reconnects keeps its [`WorkerId`] and gets a new `SessionId`.
    SessionId,
    "s"
);
id!(
    /// One assignment of a task to a worker. The scheduler chooses the number and never uses it twice.
    AttemptId,
    "a"
);
