//! The owners of artifacts.

/// The owner of a group of artifacts. All artifacts of a scope can be removed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The try of a proof request with this number.
    Try(u64),
    /// The attempt with this number. Its artifacts are not accepted yet.
    Attempt(u64),
}
