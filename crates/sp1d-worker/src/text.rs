//! Error texts that cross a boundary: from an orchestrator into this worker, or from an error into a log line.

use sp1d_model::{clean_line, hint};

sp1d_model::limits! {
    /// Maximum number of characters of a text in one line.
    const MAX_CHARACTERS: usize = 400; Count by Program;
}

/// Returns `text` as a single line of limited length, without its hint.
pub(crate) fn line_without_hint(text: &str) -> String {
    clean_line(hint::without(text), MAX_CHARACTERS)
}

/// Returns `text` as a single line of limited length, with its hint after a semicolon.
pub(crate) fn line_with_hint(text: &str) -> String {
    clean_line(&hint::one_line(text), MAX_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_line_without_its_hint() {
        assert_eq!(line_without_hint("versions differ\nhint: install the same release"), "versions differ");
        assert_eq!(line_without_hint("a\nb\tc\u{1b}[31m"), "a b c [31m");
        assert_eq!(line_without_hint(&"ä".repeat(1000)), "ä".repeat(MAX_CHARACTERS));
        assert_eq!(line_with_hint("versions differ\nhint: update"), "versions differ; update");
        assert_eq!(line_with_hint(&"a\t".repeat(1000)), "a ".repeat(MAX_CHARACTERS / 2));
    }
}
