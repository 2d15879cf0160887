//! A copy of the database that is ready for the archive.

use super::error::ArchiveError;
use crate::state::DatabaseCopier;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Seek, Write},
    path::Path,
};
use tempfile::TempDir;

/// What the name of a folder in the state folder starts with, if it has a copy that is being archived.
const FOLDER: &str = "archiving-";

/// Level of zstd. Higher levels save little and take much longer.
const LEVEL: i32 = 1;

/// A consistent copy of the database, compressed. Removed when dropped.
#[derive(Debug)]
pub(super) struct PreparedCopy {
    /// Contains the file.
    _folder: TempDir,
    /// The compressed file, at its start.
    pub(super) file: File,
    /// Its length.
    pub(super) bytes: u64,
    /// Its BLAKE3 digest.
    pub(super) digest: String,
    /// Version of the database. It may contain later changes, but no later version does not contain its changes.
    pub(super) version: i64,
    /// Digests of the blobs that the copy refers to.
    pub(super) needed: HashSet<String>,
}

/// Passes on what is written, and digests it.
struct DigestingWriter {
    file: File,
    hasher: blake3::Hasher,
}

impl Write for DigestingWriter {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let written = self.file.write(part)?;
        self.hasher.update(&part[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes the copies that a killed process has left in the state folder `state`. Blocks.
pub(crate) fn remove_unarchived_copies(state: &Path) {
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(FOLDER.as_bytes()) {
            // What stays only takes space, until the next start.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl PreparedCopy {
    /// Copies the database in the state folder `state`. Blocks.
    pub(super) fn make(copier: &mut DatabaseCopier, state: &Path) -> Result<Self, ArchiveError> {
        let local = |path: &Path| {
            let path = path.to_owned();
            move |reason| ArchiveError::Local { path, reason }
        };
        // Folders of `tempfile` are private. Each copy has its own: an earlier call may still be running.
        let folder = tempfile::Builder::new().prefix(FOLDER).tempdir_in(state).map_err(local(state))?;
        // Before the copy: a change during the copy must lead to another copy.
        let version = copier.version()?;
        let plain = folder.path().join("service.db");
        let needed = copier.copy_to(&plain)?;
        let packed = folder.path().join("service.db.zst");
        let (file, digest) = pack(&plain, &packed).map_err(local(&packed))?;
        fs::remove_file(&plain).map_err(local(&plain))?;
        let bytes = file.metadata().map_err(local(&packed))?.len();
        Ok(Self { _folder: folder, file, bytes, digest, version, needed })
    }
}

/// Compresses the file `plain` into the new file `packed`. Returns the new file, at its start, and its digest.
fn pack(plain: &Path, packed: &Path) -> io::Result<(File, String)> {
    let file = File::options().create_new(true).read(true).write(true).open(packed)?;
    let mut writer = DigestingWriter { file, hasher: blake3::Hasher::new() };
    zstd::stream::copy_encode(File::open(plain)?, &mut writer, LEVEL)?;
    let DigestingWriter { mut file, hasher } = writer;
    file.rewind()?;
    Ok((file, hasher.finalize().to_hex().to_string()))
}
