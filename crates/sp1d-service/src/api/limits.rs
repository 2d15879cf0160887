//! The limits of the HTTP interface, for the table of limits.

use super::{body, event_stream, hosted, page, proofs, server, trace, upload};
use sp1d_model::Limit;

pub(crate) fn limits() -> impl Iterator<Item = &'static Limit> {
    let groups = [
        server::LIMITS,
        server::HTTP2_LIMITS,
        body::LIMITS,
        upload::LIMITS,
        proofs::LIMITS,
        event_stream::LIMITS,
        trace::LIMITS,
        page::LIMITS,
    ];
    groups.into_iter().flatten().chain(hosted::limits())
}
