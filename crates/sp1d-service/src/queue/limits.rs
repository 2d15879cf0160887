//! The limits of requests, for the table of limits.

use super::{hosted, http_limits, request, settings, upload_places};
use sp1d_model::Limit;

pub(crate) fn limits() -> impl Iterator<Item = &'static Limit> {
    let groups = [http_limits::LIMITS, settings::LIMITS, request::LIMITS, upload_places::LIMITS, hosted::LIMITS];
    groups.into_iter().flatten()
}
