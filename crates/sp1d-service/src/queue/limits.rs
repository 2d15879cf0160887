//! The limits of requests, for the table of limits.

use super::{http_limits, request, settings, upload_places};
use sp1d_model::Limit;

pub(crate) fn limits() -> impl Iterator<Item = &'static Limit> {
    [http_limits::LIMITS, settings::LIMITS, request::LIMITS, upload_places::LIMITS].into_iter().flatten()
}
