//! The HTTP server: accepts connections within their limits and serves requests on them. Routes and handlers are not
//! its concern.

mod busy_body;
mod connection_table;
mod connections;
mod preface_deadline;
mod serve;
mod write_deadline;

pub(super) use connections::LIMITS;
pub(super) use serve::LIMITS as HTTP2_LIMITS;
pub use serve::serve;
pub(super) use serve::serve_router;
