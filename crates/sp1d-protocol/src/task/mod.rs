//! Tasks: one variant for each kind, with named inputs and outputs.
//!
//! This folder does not know wire messages, or how an engine uses the inputs.

mod artifact_ref;
mod outputs;
mod payload;
mod shapes;

pub use artifact_ref::ArtifactRef;
pub use outputs::{TaskOutput, TaskOutputs};
pub use payload::{TaskInput, TaskPayload};
pub use shapes::{DeferredTask, ReducePart, ReduceTask, ShardMarker, ShardTask, WrapTask};
