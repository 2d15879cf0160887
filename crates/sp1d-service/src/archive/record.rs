//! What the state folder remembers of its archive.

use super::{position::ArchivePosition, retention::UnusedBlobs};
use crate::state::replace_durably;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// Name of the file in the state folder.
const FILE: &str = "archive.json";

/// Name of the file in the state folder with the unused blobs of the archive.
const UNUSED_FILE: &str = "archive-unused.json";

/// What the state folder remembers of its archive. It is stored before the manifest is written, so it is never behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArchiveRecord {
    /// Random id of the state folder.
    pub(super) owner: String,
    #[serde(flatten)]
    pub(super) position: ArchivePosition,
}

/// Returns a new random id of 32 hexadecimal digits.
pub(super) fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl ArchiveRecord {
    /// Reads the record of the state folder `folder`. A folder without a record gets a new id.
    pub(super) fn load(folder: &Path) -> io::Result<Self> {
        match fs::read(folder.join(FILE)) {
            Ok(content) => Ok(serde_json::from_slice(&content)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { owner: random_id()?, position: ArchivePosition::default() })
            }
            Err(error) => Err(error),
        }
    }

    /// Stores the record in the state folder `folder`.
    pub(super) fn store(&self, folder: &Path) -> io::Result<()> {
        replace_durably(folder, FILE, &serde_json::to_vec(self)?)
    }
}

impl UnusedBlobs {
    /// Reads the unused blobs from the state folder `folder`. A folder without the file has none.
    pub(super) fn load(folder: &Path) -> io::Result<Self> {
        match fs::read(folder.join(UNUSED_FILE)) {
            Ok(content) => Ok(serde_json::from_slice(&content)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Stores the unused blobs in the state folder `folder`. An archive has at most `MAX_ARCHIVED_FILES` blobs.
    pub(super) fn store(&self, folder: &Path) -> io::Result<()> {
        replace_durably(folder, UNUSED_FILE, &serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = ArchiveRecord::load(folder.path()).unwrap();
        assert_ne!(record, ArchiveRecord::load(folder.path()).unwrap(), "a new id each time until it is stored");
        record.position = ArchivePosition { generation: 3, sequence: 7 };
        record.store(folder.path()).unwrap();
        assert_eq!(ArchiveRecord::load(folder.path()).unwrap(), record);
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(ArchiveRecord::load(folder.path()).is_err());
    }
}
