//! The interface for programs that are built against plain sp1-sdk (`SP1_PROVER=hosted`): the calls of SP1's prover
//! network that such a program makes.
//!
//! ```text
//!  sp1-sdk ──gRPC──► calls ──► request, signature, signers ──► Service: the ordinary queue
//!     └──PUT, GET──► files ──► upload, url_permit ───────────► Service: the ordinary uploads and results
//! ```
//!
//! Requests become ordinary proofs. The decisions are pure: who has signed (`signature`), who may ask (`signers`),
//! which fields are valid (`request`), what a URL permits (`url_permit`) and how a proof's state is reported
//! (`progress`). Like the rest of the service, this module does not depend on SP1. It knows bytes of the client's
//! format: the name of a program (`program_hash`), and that a program is a sequence with its length in front
//! (`upload`).

mod address;
mod audit;
mod calls;
mod files;
mod fuzzing;
mod held_calls;
mod interface;
mod limits;
mod nonces;
mod program_hash;
mod progress;
mod refusal;
mod request;
mod routes;
mod serve;
mod signature;
mod signers;
mod upload;
mod url_permit;
mod wire;

pub use fuzzing::{
    HostedRequestFacts, decompress_hosted_upload, hosted_file_url, opens_hosted_url, read_hosted_artifact,
    read_hosted_registration, read_hosted_request,
};
pub(super) use limits::limits;
pub use serve::{HostedSettings, serve_hosted};
pub use signers::{HostedSigners, SignersError};
