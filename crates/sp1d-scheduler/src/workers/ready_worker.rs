//! What is known of a worker when it is ready for attempts.

use super::origin::OriginId;
use crate::{AttemptId, KindSet, ShardRoom, WorkerId};

/// A worker that is ready for attempts in a new session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyWorker {
    /// The worker's identity, the same in all its sessions.
    pub worker: WorkerId,
    /// Where the worker comes from.
    pub origin: OriginId,
    /// Whether the worker may get the tasks of tries that are only for trusted workers.
    pub trusted: bool,
    /// Orders workers by size after a task ran out of memory: the task goes only to workers that are clearly larger.
    /// For a worker on processors, the memory that one attempt can use. For a worker on GPUs, the memory that a full
    /// shard of its largest cut would take on a processor. `u64::MAX` if unknown.
    pub comparable_bytes: u64,
    /// What bounds its shards, in tries that exclude small workers.
    pub shard_room: ShardRoom,
    /// Maximum number of attempts that the worker holds at a time. 0 counts as 1.
    pub slots: u32,
    /// The task kinds that the worker supports.
    pub supported_kinds: KindSet,
    /// Attempts of the worker's earlier sessions that it still proves, or whose results it still has. For each of them,
    /// [`Command::Continue`](crate::Command::Continue) or [`Command::Cancel`](crate::Command::Cancel) follows.
    pub holds: Vec<AttemptId>,
}
