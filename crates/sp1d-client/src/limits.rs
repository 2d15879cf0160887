//! The limits of the client, for the table of limits.

use crate::client::LIMITS;
use sp1d_model::Limit;

/// Returns the limits that a service can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    LIMITS.iter()
}
