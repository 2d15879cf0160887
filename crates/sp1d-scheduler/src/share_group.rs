//! Groups of tries that share the workers with other groups.

use std::fmt;

/// A group of tries, for example those of one tenant. Groups share the slots evenly, and the tries of a group share the
/// slots of their group. So a group with many tries gets no more slots than a group with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShareGroup(pub u64);

impl fmt::Display for ShareGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}
