//! The HTTP API and the status page. It translates requests into calls of the service, and knows neither the database
//! nor the workers. Every error response is a problem document, see RFC 9457.

mod auth;
mod body;
mod browser_guard;
mod event_stream;
mod form;
mod health;
mod hosted;
mod limits;
mod live;
mod page;
mod path_part;
mod problem;
mod programs;
mod proofs;
mod router;
mod server;
mod tasks;
mod trace;
mod upload;
mod workers;

pub(crate) use form::{ProofFormPart, ProofFormReader};
pub use hosted::{
    HostedRequestFacts, HostedSettings, HostedSigners, SignersError, decompress_hosted_upload, hosted_file_url,
    opens_hosted_url, read_hosted_artifact, read_hosted_registration, read_hosted_request, serve_hosted,
};
pub(crate) use limits::limits;
pub use router::openapi;
pub use server::serve;
pub(crate) use upload::UploadKind;
