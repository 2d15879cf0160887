//! The limits of the interface for sp1-sdk's network client.

use super::{calls, held_calls, request, routes, signers, upload, url_permit};
use sp1d_model::Limit;

pub(in crate::api) fn limits() -> impl Iterator<Item = &'static Limit> {
    let groups = [
        routes::LIMITS,
        calls::LIMITS,
        held_calls::LIMITS,
        request::LIMITS,
        url_permit::LIMITS,
        upload::LIMITS,
        signers::LIMITS,
    ];
    groups.into_iter().flatten()
}
