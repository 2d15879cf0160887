//! Hints in error texts. A hint tells the user the next step, on a line of its own that starts with `hint: `.

/// Splits the text of an error at its first line that starts with `hint: `. Returns the text before that line, and the
/// rest without this `hint: `. Further hints in the rest keep theirs. The first line of a text is never a hint.
pub(crate) fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once("\nhint: ") {
        Some((error, hint)) => (error, Some(hint)),
        None => (text, None),
    }
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
        }
    }
}
