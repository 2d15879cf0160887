//! Error texts that cross a boundary: from an orchestrator into this worker, or from an error into a log line.

/// Maximum number of characters of a text in one line.
const MAX_CHARACTERS: usize = 400;

/// Returns `text` as a single line of limited length, without its hint.
pub(crate) fn one_line(text: &str) -> String {
    let visible = |character: char| if character.is_control() { ' ' } else { character };
    without_hint(text).chars().map(visible).take(MAX_CHARACTERS).collect()
}

/// Returns an error text without its hint. Log lines and reasons inside other messages have no hints.
pub(crate) fn without_hint(text: &str) -> &str {
    text.split_once("\nhint: ").map_or(text, |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_line_without_its_hint() {
        assert_eq!(one_line("versions differ\nhint: install the same release"), "versions differ");
        assert_eq!(one_line("a\nb\tc\u{1b}[31m"), "a b c [31m");
        assert_eq!(one_line(&"ä".repeat(1000)), "ä".repeat(MAX_CHARACTERS));
        assert_eq!(without_hint("the hint: is missing"), "the hint: is missing");
    }
}
