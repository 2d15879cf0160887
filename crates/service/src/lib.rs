//! The proving service behind `sp1d serve`: accepts proof requests over HTTP, stores them on disk, and runs them.
//!
//! ```text
//!   HTTP ──► api ──► Service ─────► Orchestrator ──► workers
//!                     │   │              │
//!              Database   Blobs   DiskMemo (result cache)       all stored in one state folder
//! ```
//!
//! The service acknowledges a proof request only after the request is in the database and its program and input are on
//! disk. After a crash at any moment, the next start continues every accepted proof, and does not prove tasks again
//! whose results are in the result cache. A proof fails if the service crashed five times while that proof was running.
//!
//! This crate does not depend on SP1. An [`orchestrator::ProgramController`] checks and executes programs and verifies
//! their proofs.

mod api;
mod blobs;
mod database;
mod disk;
mod followed;
mod hint;
mod memo;
mod metrics;
mod request;
mod service;
mod spans;
mod state_folder;
mod timeline;

pub use api::{openapi, serve};
pub use blobs::BlobError;
pub use client::{EventRecord, FailureInfo, Mode, NewProof, Program, Proof, ProofEvent, ProofState, Tasks};
pub use database::DatabaseError;
pub use followed::follow_list;
pub use request::Refusal;
pub use service::{Service, Settings, StartError};
pub use state_folder::StateError;
