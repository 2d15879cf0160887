//! The manifest of an archive, and which service may write it.
//!
//! The manifest names the latest copy of the database. It is written last, so what it names is complete. Each write has
//! the condition that the manifest is still the one that the writer has read or written before. Each start of a service
//! claims the archive with a higher generation. The condition then fails for an earlier process that is still alive.

use super::{copy_name::CopyName, limits::MAX_MANIFEST_BYTES, position::ArchivePosition};
use serde::{Deserialize, Serialize};
use sp1d_model::Moment;

/// Name of the manifest in the archive.
pub(super) const MANIFEST: &str = "manifest.json";

/// Version of the manifest and of the files that it names.
const FORMAT: u32 = 1;

/// The manifest of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArchiveManifest {
    format: u32,
    /// Random id of the state folder, which a restored folder keeps.
    pub(super) owner: String,
    /// Random id of the process that wrote the manifest.
    pub(super) writer: String,
    #[serde(flatten)]
    pub(super) position: ArchivePosition,
    /// When the manifest was written.
    pub(super) at: Moment,
    /// Release of the process that wrote the manifest.
    release: String,
    /// Name of the latest copy of the database; `None` before the first copy.
    pub(super) database: Option<String>,
}

/// Why a service may not archive to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimRefusal {
    /// The archive belongs to another state folder.
    Foreign,
    /// The archive has a later copy than this state folder has made.
    Newer,
}

impl ArchiveManifest {
    pub(super) fn new(owner: String, writer: String, position: ArchivePosition, at: Moment) -> Self {
        Self {
            format: FORMAT,
            owner,
            writer,
            position,
            at,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            database: None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest contains no maps")
    }

    /// Reads a manifest. The error is the end of a sentence.
    pub(super) fn decode(content: &[u8]) -> Result<Self, String> {
        if content.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(format!("is longer than {MAX_MANIFEST_BYTES} bytes"));
        }
        let manifest: Self = serde_json::from_slice(content).map_err(|error| format!("is not valid: {error}"))?;
        if manifest.format != FORMAT {
            return Err(format!("has the format {}, and this release supports {FORMAT}", manifest.format));
        }
        if manifest.database.as_ref().is_some_and(|name| name.parse::<CopyName>().is_err()) {
            return Err("names a file that is not a valid copy of a database".to_owned());
        }
        Ok(manifest)
    }
}

/// Decides whether the state folder `owner`, which has written up to `own`, may archive where the manifest is `found`.
/// Returns the position of the claim.
pub(super) fn claim(
    found: Option<&ArchiveManifest>,
    owner: &str,
    own: ArchivePosition,
) -> Result<ArchivePosition, ClaimRefusal> {
    let last = match found {
        None => own.generation,
        Some(found) if found.owner != owner => return Err(ClaimRefusal::Foreign),
        Some(found) if found.position > own => return Err(ClaimRefusal::Newer),
        Some(found) => own.generation.max(found.position.generation),
    };
    Ok(ArchivePosition { generation: last + 1, sequence: own.sequence + 1 })
}

/// Returns true if the manifest `found` was written by the process `writer`, although the store refused its write or
/// did not confirm it. Then the process only lost the response, and may continue.
pub(super) fn is_own(found: Option<&ArchiveManifest>, writer: &str) -> bool {
    found.is_some_and(|found| found.writer == writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(generation: u64, sequence: u64) -> ArchivePosition {
        ArchivePosition { generation, sequence }
    }

    fn manifest(owner: &str, generation: u64, sequence: u64) -> ArchiveManifest {
        ArchiveManifest::new(owner.to_owned(), "writer".to_owned(), position(generation, sequence), Moment(0))
    }

    #[track_caller]
    fn check(found: Option<ArchiveManifest>, own: ArchivePosition, expected: Result<ArchivePosition, ClaimRefusal>) {
        assert_eq!(claim(found.as_ref(), "own", own), expected, "{found:?} {own:?}");
    }

    #[test]
    fn each_start_has_a_higher_generation_and_an_old_or_foreign_folder_is_refused() {
        check(None, position(0, 0), Ok(position(1, 1)));
        // The prefix was emptied, or another one was chosen.
        check(None, position(4, 9), Ok(position(5, 10)));
        check(Some(manifest("own", 4, 9)), position(4, 9), Ok(position(5, 10)));
        // The process ended between its own record and the write of the manifest.
        check(Some(manifest("own", 4, 9)), position(4, 10), Ok(position(5, 11)));
        check(Some(manifest("own", 4, 9)), position(5, 10), Ok(position(6, 11)));
        check(Some(manifest("own", 4, 9)), position(4, 8), Err(ClaimRefusal::Newer));
        check(Some(manifest("own", 5, 1)), position(4, 8), Err(ClaimRefusal::Newer));
        check(Some(manifest("other", 1, 1)), position(4, 8), Err(ClaimRefusal::Foreign));
    }

    #[test]
    fn a_process_recognizes_its_own_manifest() {
        let found = manifest("own", 1, 1);
        assert!(is_own(Some(&found), "writer"));
        assert!(!is_own(Some(&found), "another"));
        assert!(!is_own(None, "writer"));
    }

    #[test]
    fn manifests_are_read_strictly() {
        let mut written = manifest("own", 2, 3);
        written.database = Some(format!("databases/0000000000001-000002-000000003-{}.zst", "0a".repeat(32)));
        assert_eq!(ArchiveManifest::decode(&written.encode()), Ok(written.clone()));
        written.database = Some("databases/../../etc/passwd".to_owned());
        assert!(ArchiveManifest::decode(&written.encode()).unwrap_err().contains("not a valid copy"));
        written.format = 2;
        assert!(ArchiveManifest::decode(&written.encode()).unwrap_err().contains("format 2"));
        assert!(ArchiveManifest::decode(b"{}").unwrap_err().contains("not valid"));
        let long = vec![b' '; usize::try_from(MAX_MANIFEST_BYTES).unwrap() + 1];
        assert!(ArchiveManifest::decode(&long).unwrap_err().contains("longer"));
    }
}
