//! The proving service behind `sp1d serve`: accepts proof requests over HTTP, stores them on disk, and runs them.
//!
//! ```text
//!   HTTP ──► api ──► queue: Service ─────► Orchestrator ──► workers
//!                       │         │              │
//!                state: Database, Blobs   DiskResultCache       all stored in one state folder
//!                          │
//!                archive: copies in a folder or an object store
//! ```
//!
//! The service acknowledges a proof request only after the request is in the database and its program and input are on
//! disk. After a crash at any moment, the next start continues every accepted proof, and does not prove tasks again
//! whose results are in the result cache. A proof fails if the service crashed five times while only that proof was
//! running.
//!
//! This crate does not depend on SP1. An [`sp1d_orchestrator::ServiceRunner`] checks and executes programs and
//! verifies their proofs.

mod access;
mod api;
mod archive;
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod queue;
mod state;
mod telemetry;

pub use access::{
    ApiToken, ApiTokenName, InvalidApiToken, InvalidApiTokenName, InvalidTenantName, InvalidTokenRole, TenantName,
    TenantQuota, TokenRole, TokenRoles,
};
pub use api::{HostedSettings, HostedSigners, SignersError, openapi, serve, serve_hosted};
pub use archive::{
    ArchiveError, ArchivePlace, InvalidArchivePlace, RestoreRequest, Restored, archived_copies, restore,
};
pub use limits::limits;
pub use queue::{
    HttpLimits, NewApiToken, RequestError, Service, ServiceSettings, StartError, TokenStore, TokenStoreError,
    TokenSummary, follow_list,
};
pub use sp1d_model::{
    EventRecord, FailureInfo, NewProof, ProgramSummary, ProofEvent, ProofFailureKind, ProofMode, ProofState,
    ProofSummary, TaskCounts,
};
pub use state::{BlobError, DatabaseError, StateError};
