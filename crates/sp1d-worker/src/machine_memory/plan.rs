//! The memory that a worker's provers are expected to use.

/// The expected memory use of a worker's provers, as known before they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryPlan {
    /// Bytes that all provers together use while they prove nothing.
    pub rest_bytes: u64,
    /// Maximum number of attempts that the provers prove at the same time.
    pub parallel_attempts: u32,
    /// The most memory of the machine that an attempt takes, if its estimate is for provers on processors. `None` if
    /// the estimate counts.
    pub max_attempt_bytes: Option<u64>,
}
