//! Makes text from elsewhere harmless for a terminal.

use std::borrow::Cow;

/// Returns true for characters that a terminal does not show but obeys, and for those that reorder the text around
/// them. Line feeds and tabs are allowed.
fn is_unsafe(letter: char) -> bool {
    let reorders =
        matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    (letter.is_control() && !matches!(letter, '\n' | '\t')) || reorders
}

/// Returns `text` with each unsafe character as an escape like `\u001b`. Programs, their inputs and workers choose
/// texts that reach a terminal, for example the message of a panic. The escape also means the same character in a JSON
/// string, and JSON has such characters only in strings.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_unsafe(letter) {
            safe.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            safe.push(letter);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(printable(text), expected);
    }

    #[test]
    fn control_and_escape_characters_are_shown_as_escapes() {
        check("one\n\ttwo ✓ ü", "one\n\ttwo ✓ ü");
        check("\u{1b}[31mred\u{1b}[0m", "\\u001b[31mred\\u001b[0m");
        check("a\rb\u{7}\u{8}\u{7f}", "a\\u000db\\u0007\\u0008\\u007f");
        check("\u{9b}2J", "\\u009b2J");
        check("\u{202e}txt.exe", "\\u202etxt.exe");
    }

    #[test]
    fn escaped_json_means_the_same_value() {
        let value = serde_json::json!({ "text": "\u{1b}[2J \u{9b}2J \u{7f} \u{202e} line\nline" });
        let shown = value.to_string();
        let safe = printable(&shown);
        assert!(!safe.contains(is_unsafe));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
