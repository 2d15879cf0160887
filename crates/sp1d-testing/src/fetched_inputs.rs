//! The inputs of a task, as a fake engine fetches them.

use crate::shards::{events_in, shard_of};
use sp1d_protocol::{Assignment, FailureKind};
use sp1d_worker::{AttemptError, AttemptIo};

/// The fetched inputs of a task.
pub struct FetchedInputs {
    /// The number of the shard that the task proves. `None` for the shard of precompiles and for other kinds of tasks.
    pub shard: Option<u64>,
    /// True if the task proves the shard of precompiles.
    pub is_precompile: bool,
    /// The inputs in the order of [`sp1d_protocol::TaskPayload::inputs`], then the deferred events that the record
    /// names.
    contents: Vec<Vec<u8>>,
}

impl FetchedInputs {
    /// Returns all inputs, one after another.
    #[must_use]
    pub fn concat(&self) -> Vec<u8> {
        self.contents.concat()
    }

    /// Returns true if one of the inputs has this content.
    #[must_use]
    pub fn contains(&self, content: &[u8]) -> bool {
        self.contents.iter().any(|input| input == content)
    }
}

/// Fetches every input. For the shard of precompiles, also fetches the deferred events that its record names.
///
/// # Errors
/// Fails if an artifact cannot be fetched.
pub async fn fetch_inputs(assignment: &Assignment, io: &dyn AttemptIo) -> Result<FetchedInputs, AttemptError> {
    let record = assignment.payload.shard().map(|task| &task.record);
    let mut fetched = FetchedInputs { shard: None, is_precompile: false, contents: Vec::new() };
    let mut events = Vec::new();
    for input in assignment.payload.inputs() {
        let content = fetch(io, &input.artifact.name).await?;
        if Some(input.artifact) == record {
            match events_in(&content) {
                Some(names) => {
                    fetched.is_precompile = true;
                    events = names;
                }
                None => fetched.shard = shard_of(&content),
            }
        }
        fetched.contents.push(content);
    }
    for name in events {
        fetched.contents.push(fetch(io, &name).await?);
    }
    Ok(fetched)
}

async fn fetch(io: &dyn AttemptIo, name: &str) -> Result<Vec<u8>, AttemptError> {
    let failed = |error: sp1d_worker::IoError| AttemptError { kind: FailureKind::Input, text: error.to_string() };
    io.fetch(name).await.map_err(failed)
}
