//! Ids and time.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// One proof request: a program, its input and a proof mode.
    ProofId,
    "p"
);
id!(
    /// One task of a proof. The driver chooses the number, which is unique over all proofs.
    TaskId,
    "t"
);
id!(
    /// One session of a worker. A worker that reconnects gets a new number.
    WorkerId,
    "w"
);
id!(
    /// One worker across all its sessions. What the scheduler knows about a worker beyond one session belongs to this
    /// id.
    PeerId,
    "peer"
);
id!(
    /// One assignment of a task to a worker. The scheduler chooses the number and never uses it twice.
    AttemptId,
    "a"
);

/// A point on the driver's monotonic clock, as time since an origin that the driver chose. It has no meaning after a
/// restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// Creates the timestamp `since_origin` after the origin.
    #[must_use]
    pub const fn new(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// Returns the time since the origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// Returns the time from `earlier` to `self`, or zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}
