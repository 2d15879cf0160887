//! The inputs and outputs of each kind of task.
//!
//! `A` is how an input artifact is named: by its name in the orchestrator, and by an
//! [`ArtifactRef`](super::ArtifactRef) in an assignment.

use sp1d_model::TaskId;

/// Proves one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardTask<A> {
    /// The program. All shards of a proof use it.
    pub program: A,
    /// What all shards of a proof have in common, for example the nonce. Tasks for input proofs use it too.
    pub common_input: A,
    /// The record of the shard. No other task uses it.
    pub record: A,
    /// Name of the result.
    pub result: String,
    /// The marker, whose deferred events an attempt reports before it delivers its result. Only core shards have one.
    pub marker: Option<ShardMarker>,
}

/// The marker of a core shard. An attempt uploads the shard's deferred events and reports them. The marker is complete
/// once the events are checked and the claims accepted. A result that arrives during these checks waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMarker {
    /// The marker's own task.
    pub task: TaskId,
    /// Name of the list of deferred events. The list names the artifacts that contain the events.
    pub event_list: String,
}

/// Combines proofs of adjacent parts of a run into one proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReduceTask<A> {
    /// True for the last reduction of the proof.
    pub is_last: bool,
    /// The range of all parts together, in the engine's serialization.
    pub range: String,
    /// The parts, in the order of the run.
    pub parts: Vec<ReducePart<A>>,
    /// Name of the result.
    pub result: String,
}

/// One part of a reduction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReducePart<A> {
    /// The range of the part, in the engine's serialization.
    pub range: String,
    /// The proof of the part. No other task uses it.
    pub proof: A,
}

/// Verifies an input proof inside of a recursion proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredTask<A> {
    /// What all shards of the proof have in common.
    pub common_input: A,
    /// The input proof with its place among the input proofs. No other task uses it.
    pub deferred_data: A,
    /// Name of the result.
    pub result: String,
}

/// Wraps a proof: the next task of an on-chain proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrapTask<A> {
    /// The proof to continue from. It stays when the result is accepted, because SP1's controller removes it.
    pub proof: A,
    /// Name of the result.
    pub result: String,
}

impl<A> ShardTask<A> {
    pub(super) fn try_map<B, E>(&self, name: &mut impl FnMut(&A) -> Result<B, E>) -> Result<ShardTask<B>, E> {
        Ok(ShardTask {
            program: name(&self.program)?,
            common_input: name(&self.common_input)?,
            record: name(&self.record)?,
            result: self.result.clone(),
            marker: self.marker.clone(),
        })
    }
}

impl<A> ReduceTask<A> {
    pub(super) fn try_map<B, E>(&self, name: &mut impl FnMut(&A) -> Result<B, E>) -> Result<ReduceTask<B>, E> {
        let part = |part: &ReducePart<A>| -> Result<ReducePart<B>, E> {
            Ok(ReducePart { range: part.range.clone(), proof: name(&part.proof)? })
        };
        Ok(ReduceTask {
            is_last: self.is_last,
            range: self.range.clone(),
            parts: self.parts.iter().map(part).collect::<Result<_, E>>()?,
            result: self.result.clone(),
        })
    }
}

impl<A> DeferredTask<A> {
    pub(super) fn try_map<B, E>(&self, name: &mut impl FnMut(&A) -> Result<B, E>) -> Result<DeferredTask<B>, E> {
        Ok(DeferredTask {
            common_input: name(&self.common_input)?,
            deferred_data: name(&self.deferred_data)?,
            result: self.result.clone(),
        })
    }
}

impl<A> WrapTask<A> {
    pub(super) fn try_map<B, E>(&self, name: &mut impl FnMut(&A) -> Result<B, E>) -> Result<WrapTask<B>, E> {
        Ok(WrapTask { proof: name(&self.proof)?, result: self.result.clone() })
    }
}
