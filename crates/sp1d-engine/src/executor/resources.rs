//! Finds and frees what an execution has outside of this process.

use super::{
    helper,
    processes::{ProcStat, children, kill, process},
    segments::{SHARED_MEMORY_FOLDER, mapped_segments, remove_segment},
};
use std::{
    collections::BTreeSet,
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

    pub(super) fn processor_time(&self) -> Option<Duration> {
        Some(process(self.child?)?.processor_time)
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
        if let Some(child) = self.child.filter(|child| children().iter().any(|found| found.id == *child)) {
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
