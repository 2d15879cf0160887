//! The limits of the client, for the table of limits.

use crate::{client, settings};
use sp1d_model::Limit;

/// Returns the limits that a service can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    [settings::LIMITS, client::LIMITS].into_iter().flatten()
}
