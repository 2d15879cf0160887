//! Many proofs, kept safe: the service behind `sp1d serve`.
//!
//! ```text
//!   HTTP ──► api ──► Service ──► Orchestrator ──► workers
//!                      │  ▲           │
//!               Database  Blobs      Memo          all of it under one state folder
//! ```
//!
//! A proof that was accepted is in the database, and its program and input on disk, before anybody hears of it. Killed
//! at any instant and started again, the service goes on with every proof; what the memo has of them is not proven
//! again. It knows nothing of SP1: what a program is, its [`orchestrator::ProgramController`] knows.

mod api;
mod blobs;
mod database;
mod disk;
mod followed;
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
