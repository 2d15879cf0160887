//! Finds and frees what an execution has outside of this process.

use super::{
    helper,
    processes::{ProcStat, children, kill, process},
    segments::{SHARED_MEMORY_FOLDER, mapped_segments, remove_segment},
};
use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::sleep;

/// What an execution has outside of this process: a child process and shared memory segments.
pub(super) struct ExecutionResources {
    children_before: BTreeSet<i32>,
    segments_before: BTreeSet<String>,
    child: Option<i32>,
    segments: BTreeSet<String>,
}

impl ExecutionResources {
    /// Records what exists before the execution starts, so that new children and segments can be recognized.
    pub(super) fn before() -> Self {
        Self {
            children_before: children().into_iter().map(|child| child.id).collect(),
            segments_before: mapped_segments(),
            child: None,
            segments: BTreeSet::new(),
        }
    }

    /// Looks for new children and segments. Returns true once the child exists; it is created last.
    pub(super) fn look(&mut self) -> bool {
        let new = |child: &ProcStat| !self.children_before.contains(&child.id);
        if self.child.is_none() {
            self.child = children().iter().find(|child| new(child)).map(|child| child.id);
            self.child.into_iter().for_each(helper::remember);
        }
        self.segments.extend(mapped_segments().difference(&self.segments_before).cloned());
        self.child.is_some()
    }

    /// The process id of the child, once it was found.
    pub(super) fn child(&self) -> Option<i32> {
        self.child
    }

    /// Returns true if the child was found and has not ended.
    pub(super) fn is_running(&self) -> bool {
        self.child.is_some_and(|child| children().iter().any(|found| found.id == child))
    }

    pub(super) fn processor_time(&self) -> Option<Duration> {
        Some(process(self.child?)?.processor_time)
    }

    /// Returns the shared memory that the execution uses, in bytes.
    pub(super) fn shared_bytes(&self) -> u64 {
        /// The unit of the number of blocks of a file, independent of the file system.
        const BLOCK_BYTES: u64 = 512;
        let files = self.segments.iter().map(|name| Path::new(SHARED_MEMORY_FOLDER).join(name));
        let blocks = files.filter_map(|path| Some(path.metadata().ok()?.blocks()));
        blocks.fold(0, u64::saturating_add).saturating_mul(BLOCK_BYTES)
    }

    /// Returns true if the execution has shared memory.
    pub(super) fn has_segments(&self) -> bool {
        !self.remaining().is_empty()
    }

    fn remaining(&self) -> Vec<PathBuf> {
        self.segments
            .iter()
            .map(|name| Path::new(SHARED_MEMORY_FOLDER).join(name))
            .filter(|path| path.exists())
            .collect()
    }

    /// Kills the child and removes its shared memory. SP1's runner notices the end of the child, reaps it and removes
    /// the segments. After 2 s the remaining segments are removed here.
    pub(super) async fn remove(self) {
        if let Some(child) = self.child.filter(|_| self.is_running()) {
            kill(child);
        }
        for _ in 0..200 {
            if self.remaining().is_empty() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        tracing::warn!(remaining = ?self.remaining(), "execution left shared memory behind");
        self.segments.iter().for_each(|name| remove_segment(name));
    }
}
