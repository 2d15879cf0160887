//! The limits of what an archive sends, for the table of limits.

use sp1d_model::Limit;

sp1d_model::limits! {
    /// Maximum length of an archive's manifest.
    pub(super) const MAX_MANIFEST_BYTES: u64 = 64 << 10; Bytes by Archive;
    /// Maximum length of one response of an object store to a request for names. A response has at most 1000 names.
    pub(super) const MAX_LIST_BYTES: u64 = 4 << 20; Bytes by Archive;
    /// Maximum number of responses of an object store to a request for all names. Usually, each has 1000 names.
    pub(super) const MAX_LIST_PAGES: u64 = 2000; Count by Archive;
    /// Maximum number of files in an archive. The service keeps their names in memory.
    pub(super) const MAX_ARCHIVED_FILES: u64 = 1_000_000; Count by Archive;
    /// Maximum length of a restored database.
    pub(super) const MAX_DATABASE_BYTES: u64 = 64 << 30; Bytes by Archive;
    /// Maximum length of a reply with credentials.
    pub(super) const MAX_CREDENTIALS_BYTES: u64 = 64 << 10; Bytes by Archive;
    /// Maximum length of an error reply of an object store that is read.
    pub(super) const MAX_ERROR_BYTES: u64 = 64 << 10; Bytes by Archive;
}

pub(crate) fn limits() -> impl Iterator<Item = &'static Limit> {
    LIMITS.iter()
}
