//! Checks who makes a request, and what they may do and see.

mod audit;
mod caller;
mod credentials;
mod gate;
pub(super) mod login;
mod route_access;
mod until_refused;

pub(super) use audit::AuditedObject;
pub(super) use caller::{CurrentCaller, VisibleProof};
pub(super) use credentials::token_in;
pub(super) use gate::authorize;
pub(super) use until_refused::until_refused;
