//! Finds and removes the shared memory segments of SP1's executor.

use std::{collections::BTreeSet, fs, path::Path};

/// Where the operating system keeps shared memory.
pub(super) const SHARED_MEMORY_FOLDER: &str = "/dev/shm";

/// Returns the names of SP1's segments that this process has mapped.
pub(super) fn mapped_segments() -> BTreeSet<String> {
    segments_of("self").unwrap_or_default()
}

/// Returns the names of SP1's segments that `process` has mapped. Returns `None` if its maps cannot be read.
pub(super) fn segments_of(process: &str) -> Option<BTreeSet<String>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let names = maps.lines().filter_map(|line| line.split_once("/dev/shm/")).map(|(_, name)| name);
    // A segment whose file was removed is listed as "NAME (deleted)".
    Some(names.filter(|name| name.starts_with("sp1_") && !name.contains(' ')).map(str::to_owned).collect())
}

/// Removes a segment and its semaphores. Semaphores are files too. Most segments have none.
pub(super) fn remove_segment(name: &str) {
    for file in [name.to_owned(), format!("sem.{name}_filled"), format!("sem.{name}_empty")] {
        let _ = fs::remove_file(Path::new(SHARED_MEMORY_FOLDER).join(file));
    }
}
