//! Where workers come from.

use std::fmt;

/// Where a worker comes from, as a number that the driver chooses. Workers of one origin may be one machine under
/// several names: they do not confirm each other, and a new one starts with the worst record of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginId(pub u128);

impl fmt::Display for OriginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "o{:x}", self.0)
    }
}
