//! The way from an attempt to its orchestrator, over the current session.

use super::transfer::SessionHandle;
use sp1d_protocol::{TaskOutput, TaskOutputs};
use sp1d_scheduler::AttemptId;
use std::sync::Arc;

/// An artifact that an attempt uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptOutput {
    /// An output that the assignment requests. Its name depends on the assignment.
    Requested(TaskOutput),
    /// An artifact that the attempt makes in addition to the requested outputs, by name.
    Additional(String),
}

/// A session, with the attempt's number and output names in this session.
#[derive(Clone)]
pub(super) struct AttemptRoute {
    pub(super) session: SessionHandle,
    pub(super) attempt: AttemptId,
    pub(super) outputs: Arc<TaskOutputs>,
}

impl AttemptRoute {
    pub(super) fn name(&self, output: &AttemptOutput) -> String {
        match output {
            // If this assignment requests fewer outputs than the first one, use a name that no assignment requests.
            AttemptOutput::Requested(output) => self.outputs.name(*output).unwrap_or_default().to_owned(),
            AttemptOutput::Additional(name) => name.clone(),
        }
    }
}
