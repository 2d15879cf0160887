//! The limits of the service, for the table of limits.

use crate::{api, archive, queue, state};
use sp1d_model::Limit;

/// Returns the limits that clients of the service and its archive can reach.
pub fn limits() -> impl Iterator<Item = &'static Limit> {
    queue::limits().chain(api::limits()).chain(archive::limits()).chain(state::AUDIT_LIMITS)
}
