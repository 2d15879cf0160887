//! The subcommands that talk to a service. This folder does not know how the service proves.

pub(super) mod explain;
mod problem;
pub(super) mod requests;
mod tenants;
pub(super) mod top;

pub(super) use problem::worker_problem;
pub(super) use tenants::have_several_tenants;
