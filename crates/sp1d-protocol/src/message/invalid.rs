//! Checks of single fields.

use super::limits::MessageLimits;

/// Why a message is invalid. A `&str` names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// An assignment has no task, or one of a kind that this version does not know.
    #[error("an assignment has no task of a known kind")]
    NoTask,
    /// A required field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A name is empty, too long or not printable.
    #[error("{0} has an invalid name")]
    Name(&'static str),
    /// A digest does not have the length of a digest.
    #[error("{0} has an invalid digest")]
    Digest(&'static str),
    /// A text is longer than [`MessageLimits::TEXT_BYTES`], or a range than [`MessageLimits::RANGE_BYTES`].
    #[error("{0} is too long")]
    Text(&'static str),
    /// An artifact is larger than [`MessageLimits::ARTIFACT_BYTES`].
    #[error("{0} is too large")]
    Size(&'static str),
    /// A reduction has no parts, or more than [`MessageLimits::PARTS`].
    #[error("a reduction has {0} parts, and 1 to {most} are allowed", most = MessageLimits::PARTS)]
    Parts(usize),
    /// The worker has no engine yet.
    #[error("task for a worker that is not ready")]
    NotReady,
}

/// Checks a name. `field` names the field in the error.
pub(super) fn check_name(name: String, field: &'static str) -> Result<String, Invalid> {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if name.is_empty() || name.len() > MessageLimits::NAME_BYTES || !printable {
        return Err(Invalid::Name(field));
    }
    Ok(name)
}

/// Checks the length of a text. `field` names the field in the error.
pub(super) fn check_text(text: String, field: &'static str) -> Result<String, Invalid> {
    if text.len() > MessageLimits::TEXT_BYTES { Err(Invalid::Text(field)) } else { Ok(text) }
}

/// Checks the length of a range. `field` names the field in the error.
pub(super) fn check_range(range: String, field: &'static str) -> Result<String, Invalid> {
    if range.len() > MessageLimits::RANGE_BYTES { Err(Invalid::Text(field)) } else { Ok(range) }
}
