//! Hints in error texts. A hint tells the user the next step, on a line of its own that starts with `hint: `. It comes
//! after the error, so the first line of a text is never a hint.

/// The start of a line that is a hint.
pub const PREFIX: &str = "hint: ";

/// The start of a hint after other lines.
const NEXT_LINE: &str = "\nhint: ";

/// Splits a text at its first hint. Returns the text before the hint, and the rest without the hint's prefix. Further
/// hints in the rest keep their prefix.
#[must_use]
pub fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(NEXT_LINE) {
        Some((error, hint)) => (error, Some(hint)),
        None => (text, None),
    }
}

/// Returns a text without its hints. Log lines and reasons inside other messages have no hints.
#[must_use]
pub fn without(text: &str) -> &str {
    split(text).0
}

/// Returns a text with its hints on the same line, each after a semicolon. For a log line, or for the middle of another
/// message.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.replace(NEXT_LINE, "; ")
}

/// Separates the hints from the texts of an error and its causes. Every line that starts with `hint: ` is a hint.
/// Returns the texts without hints, joined with `: `, and the hints in order, without their prefix and without
/// duplicates.
pub fn separate(texts: impl IntoIterator<Item = String>) -> (String, Vec<String>) {
    let (mut causes, mut hints): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for text in texts {
        let mut rest: Vec<&str> = Vec::new();
        for line in text.lines() {
            match line.strip_prefix(PREFIX) {
                Some(hint) if hints.iter().any(|known| known == hint) => {}
                Some(hint) => hints.push(hint.to_owned()),
                None => rest.push(line),
            }
        }
        if !rest.is_empty() {
            causes.push(rest.join("\n"));
        }
    }
    (causes.join(": "), hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_split_at_its_first_hint() {
        for (text, expected) in [
            ("", ("", None)),
            ("failed", ("failed", None)),
            ("failed\nhint: do this", ("failed", Some("do this"))),
            ("failed\nfor a reason\nhint: do this", ("failed\nfor a reason", Some("do this"))),
            ("failed\nhint: do this\nhint: or that", ("failed", Some("do this\nhint: or that"))),
            ("failed; hint: not a line", ("failed; hint: not a line", None)),
            ("hint: first line", ("hint: first line", None)),
        ] {
            assert_eq!(split(text), expected, "{text:?}");
            assert_eq!(without(text), expected.0, "{text:?}");
        }
    }

    #[test]
    fn a_hint_stays_on_the_same_line() {
        assert_eq!(one_line("the disk is full\nhint: free space"), "the disk is full; free space");
        assert_eq!(one_line("the disk is full"), "the disk is full");
    }

    /// Checks the error line and the hints of an error with these texts.
    #[track_caller]
    fn check_separated(texts: &[&str], line: &str, hints: &[&str]) {
        let (found_line, found_hints) = separate(texts.iter().map(ToString::to_string));
        assert_eq!(found_line, line);
        assert_eq!(found_hints, hints);
    }

    #[test]
    fn hints_of_all_causes_follow_the_error_line() {
        check_separated(&["cannot read a: not found"], "cannot read a: not found", &[]);
        check_separated(&["cannot read a\nhint: create a"], "cannot read a", &["create a"]);
        check_separated(&["first\nhint: one", "second", "third\nhint: two"], "first: second: third", &["one", "two"]);
        check_separated(&["first\nhint: one", "second\nhint: one\nhint: two"], "first: second", &["one", "two"]);
        check_separated(&["hint: one", "second"], "second", &["one"]);
        check_separated(&["a hint: is part of this text"], "a hint: is part of this text", &[]);
    }
}
