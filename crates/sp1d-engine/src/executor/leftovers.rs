//! Cleans up after executions whose supervisor is gone or about to go.

use super::{
    processes::{CHILD_NAME, children, kill, processes},
    segments::{SHARED_MEMORY_FOLDER, mapped_segments, remove_segment, segments_of},
};
use std::{collections::BTreeSet, fs, os::linux::fs::MetadataExt as _, time::Duration};

/// What [`remove_leftovers`] has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Number of executors that were killed because their parent process is gone.
    pub executors: usize,
    /// Number of shared memory files that were removed because no process uses them.
    pub files: usize,
}

/// Kills executors of this user whose parent process is gone, and removes shared memory of this user that no process
/// has mapped. Executions of other living processes are not touched.
pub fn remove_leftovers() -> Leftovers {
    /// A segment is created some moments before it is mapped, so young files are kept.
    const YOUNG: Duration = Duration::from_secs(60);
    let mut removed = Leftovers::default();
    let own = rustix::process::geteuid().as_raw();
    for orphan in processes().filter(|process| process.name == CHILD_NAME) {
        // An executor's original parent has the trace segments mapped. A parent that has none mapped adopted the
        // executor after the original parent ended.
        let is_ours = fs::metadata(format!("/proc/{}", orphan.id)).is_ok_and(|file| file.st_uid() == own);
        // Parent 1 alone does not prove an adoption: in a container, process 1 may be the original parent.
        let adopted =
            segments_of(&orphan.parent.to_string()).map_or(orphan.parent == 1, |segments| segments.is_empty());
        if is_ours && adopted {
            kill(orphan.id);
            removed.executors += 1;
        }
    }
    if removed.executors > 0 {
        // The memory of a killed executor stays mapped until the process is gone.
        std::thread::sleep(Duration::from_millis(200));
    }
    let used: BTreeSet<String> =
        processes().filter_map(|process| segments_of(&process.id.to_string())).flatten().collect();
    for file in fs::read_dir(SHARED_MEMORY_FOLDER).into_iter().flatten().flatten() {
        let Ok(name) = file.file_name().into_string() else { continue };
        let segment = name.strip_prefix("sem.").unwrap_or(&name);
        let segment = segment.strip_suffix("_filled").or(segment.strip_suffix("_empty")).unwrap_or(segment);
        let is_left = file.metadata().is_ok_and(|file| {
            let age = file.modified().ok().and_then(|time| time.elapsed().ok());
            file.st_uid() == own && age.is_some_and(|age| age > YOUNG)
        });
        if segment.starts_with("sp1_") && !used.contains(segment) && is_left && fs::remove_file(file.path()).is_ok() {
            removed.files += 1;
        }
    }
    removed
}

/// Kills all executions of this process and removes their shared memory. For a process that is about to end without
/// waiting.
pub fn kill_executions() {
    children().iter().for_each(|child| kill(child.id));
    mapped_segments().iter().for_each(|name| remove_segment(name));
}
