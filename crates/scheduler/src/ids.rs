//! Identities and time.

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
    /// One user request: a program, its input and a proof mode.
    ProofId,
    "p"
);
id!(
    /// A schedulable unit of a proof. Chosen by the caller, unique over all proofs.
    TaskId,
    "t"
);
id!(
    /// One numbered registration of a worker: a worker that reconnects gets a new one.
    WorkerId,
    "w"
);
id!(
    /// Who is behind a session: a worker that reconnects keeps it. What is known of a worker beyond one session is
    /// known of this.
    PeerId,
    "peer"
);
id!(
    /// One assignment of a task to a worker. Numbered by the scheduler, never used twice.
    AttemptId,
    "a"
);

/// A point of the driver's monotonic clock, as time since an origin that the driver chose. Means nothing across
/// restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The point `since_origin` after the origin.
    #[must_use]
    pub const fn new(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// Time since the origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to `self`, zero when `earlier` is later.
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
