//! Error texts that cross a boundary: from an orchestrator into this worker, or from an error into a log line.

use sp1d_model::hint;

/// Maximum number of characters of a text in one line.
const MAX_CHARACTERS: usize = 400;

/// Returns `text` as a single line of limited length, without its hint.
pub(crate) fn one_line(text: &str) -> String {
    let visible = |character: char| if character.is_control() { ' ' } else { character };
    hint::without(text).chars().map(visible).take(MAX_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_line_without_its_hint() {
        assert_eq!(one_line("versions differ\nhint: install the same release"), "versions differ");
        assert_eq!(one_line("a\nb\tc\u{1b}[31m"), "a b c [31m");
        assert_eq!(one_line(&"ä".repeat(1000)), "ä".repeat(MAX_CHARACTERS));
    }
}
