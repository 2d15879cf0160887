//! The messages between orchestrator and worker, and how their connections are established.
//!
//! ```text
//! TCP ──► preamble (8 bytes each way) ──► HTTP/2, the orchestrator serves ──► Hello ──► Control, Fetch, Upload
//!                     │          ▲
//!                     └► queue ──┘  while the worker serves another orchestrator
//! ```
//!
//! The side that dials and the side that serves are independent choices: the orchestrator dials and then serves on the
//! stream that it opened. This crate contains messages, versions and addresses. It knows neither how work is scheduled
//! nor how a shard is proven.

mod connection;
mod limits;
mod message;
mod task;

/// Generated messages, client and server of the session service.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
pub mod wire {
    tonic::include_proto!("sp1_distributed.session.v1");
}

/// Generated messages between a worker and its prover process.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
pub mod prover_wire {
    tonic::include_proto!("sp1_distributed.prover.v1");
}

pub use connection::{
    Address, AddressError, Admission, Backoff, BusyWorker, Closer, Connection, Filter, FilterError, HolderId,
    PREAMBLE_TIMEOUT, PeerLimits, PeerNetwork, PeerPlace, PeerPlaces, PeerPort, PortGuard, PortPlace, PreambleError,
    PreambleReply, QueuePlace, RateLimiter, ReservedPort, Role, connect_client, dial, open_listener, read_dialer,
    receive_place, reply, send_place, serve_connection, spread_out,
};
pub use limits::limits;
pub use message::{
    Assignment, Build, IncomingArtifact, Invalid, MessageLimits, Mismatch, ReceiveError, UploadError, chunk_from_wire,
    chunk_to_wire, failure_kind_from_wire, failure_kind_to_wire, kind_from_wire, kind_to_wire, made_prefix,
};
pub use sp1d_model::{FailureKind, Rate};
pub use task::{
    ArtifactRef, DeferredTask, ReducePart, ReduceTask, ShardMarker, ShardTask, TaskInput, TaskOutput, TaskOutputs,
    TaskPayload, WrapTask,
};

/// Version of all messages and the connection setup. A peer with another version is refused before anything else is
/// read from it.
pub const PROTOCOL_VERSION: u16 = 7;
