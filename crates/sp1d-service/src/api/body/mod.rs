//! The bodies of requests: how long they may take, and how much of a form may be in memory.

mod fault;
mod form_body;
mod paced_body;

pub(super) use fault::body_problem;
pub(super) use form_body::{FormBody, FormHeads, LIMITS};
pub(super) use paced_body::PacedBody;
