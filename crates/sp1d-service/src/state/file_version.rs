//! Recognizes changes of a file without reading it.

use std::{fs::Metadata, os::unix::fs::MetadataExt};

/// What changes whenever the content of a file changes, or the file is replaced. All values are 0 for a missing file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FileVersion {
    pub(crate) inode: u64,
    pub(crate) length: u64,
    /// Time of the last change of the file or its attributes, in seconds and nanoseconds. Programs cannot set it.
    pub(crate) changed: (i64, i64),
}

impl FileVersion {
    pub(crate) fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), length: file.len(), changed: (file.ctime(), file.ctime_nsec()) }
    }
}
