//! Revisions of files, for replacements with a condition.

/// Says which content a file had when it was read. Content is only replaced if this is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Revision {
    /// The file does not exist.
    Absent,
    /// What changes with the content: a digest, or the `ETag` of an object.
    Tag(String),
}
