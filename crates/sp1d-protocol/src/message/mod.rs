//! Checked values for the messages on the wire, and how each is converted. It knows no connections.

mod assignment;
mod build;
mod incoming;
mod invalid;
mod kinds;
mod limits;
mod task;
mod transfer;

pub use assignment::Assignment;
pub use build::{Build, Mismatch};
pub use incoming::{IncomingArtifact, UploadError};
pub use invalid::Invalid;
pub use kinds::{failure_kind_from_wire, failure_kind_to_wire, kind_from_wire, kind_to_wire};
pub use limits::{MessageLimits, made_prefix};
pub use transfer::{ReceiveError, chunk_from_wire, chunk_to_wire};
