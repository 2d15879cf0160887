//! Texts of programs and of remote peers, made safe for terminals and logs.
//!
//! Such a text passes this function where it enters this software. All later code can then show and store it
//! as it is.

/// Returns true for characters that change how a terminal shows the text around them: control characters, escape
/// characters, line separators, and characters that change the direction of text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// Returns the first `max_characters` characters of `text` as a single line. A space replaces each character that is
/// not safe to show.
#[must_use]
pub fn clean_line(text: &str, max_characters: usize) -> String {
    let shown = |character| if is_unsafe(character) { ' ' } else { character };
    text.chars().take(max_characters).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, line: &str) {
        assert_eq!(clean_line(text, 20), line, "{text:?}");
    }

    #[test]
    fn characters_that_control_a_terminal_are_replaced() {
        check("worker-7", "worker-7");
        check("Prüfer 七", "Prüfer 七");
        check("\u{1b}]0;title\u{7}", " ]0;title ");
        check("a\u{9b}31mb", "a 31mb");
        check("a\r\nb\tc", "a  b c");
        check("a\u{202e}b\u{2028}c\u{200f}d", "a b c d");
    }

    #[test]
    fn a_line_is_cut() {
        check(&"ä".repeat(30), &"ä".repeat(20));
    }
}
