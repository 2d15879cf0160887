//! Prove SP1 programs on many machines, from the program that needs the proof.
//!
//! ```no_run
//! # async fn prove(elf: Vec<u8>, stdin: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
//! use sp1_distributed::{Controller, CutOptions, Orchestrator, ProofMode, ProofRequest, Settings, WorkerList, build_identity};
//! use std::{path::Path, sync::Arc};
//!
//! let workers = WorkerList::read(Path::new("distributed.json"))?;
//! let orchestrator = Orchestrator::connect(&workers, Settings::new(build_identity())).await?;
//! let request = ProofRequest {
//!     elf: elf.into(),
//!     stdin: stdin.into(),
//!     mode: ProofMode::Core,
//!     cycle_limit: None,
//!     nonce: [0; 4],
//!     options: CutOptions::from_environment()?.encode(),
//!     timeout: None,
//! };
//! let (progress, _) = tokio::sync::broadcast::channel(1024);
//! let controller = Arc::new(Controller::new().await);
//! let proven = orchestrator.prove(request, controller, progress, Default::default()).await?;
//! println!("{} bytes of proof, {} shards", proven.output.proof.len(), proven.shards);
//! # Ok(())
//! # }
//! ```

pub use engine::{Controller, CutOptions, Executed, OptionsError, ProgramError, build_identity, check_program};
pub use orchestrator::{
    ConnectError, ListError, Orchestrator, Progress, ProofFailure, ProofMode, ProofOutput, ProofRequest, Proven,
    Settings, WorkerList, WorkerShare,
};
