//! A passage: text that people read, without its markup, and where it stands.

use super::Place;

/// Text of one comment, string, paragraph or test name. Its length in bytes differs from the source, so each line knows
/// where it starts.
pub(crate) struct Passage {
    place: Place,
    text: String,
    /// Offset in `text` and line number of each line.
    lines: Vec<(usize, usize)>,
}

impl Passage {
    /// Returns a passage of the lines of `text`, the first of which is line `line` of its file. Code in backticks and
    /// placeholders in braces are replaced, because they are not prose.
    pub(crate) fn new(place: Place, line: usize, text: &str) -> Self {
        Self::of_lines(place, text.split('\n').enumerate().map(|(at, text)| (line + at, text.to_owned())))
    }

    /// Same as [`Passage::new`], for lines with their numbers.
    pub(crate) fn of_lines(place: Place, numbered: impl Iterator<Item = (usize, String)>) -> Self {
        let (mut text, mut lines, mut fenced) = (String::new(), Vec::new(), false);
        for (number, line) in numbered {
            lines.push((text.len(), number));
            let is_fence = line.trim_start().starts_with("```");
            if !is_fence && !fenced {
                text.push_str(&line);
            }
            fenced ^= is_fence;
            text.push('\n');
        }
        Self { place, text: without_placeholders(&without_code(&text)), lines }
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the line number of the byte at `offset`.
    pub(crate) fn line(&self, offset: usize) -> usize {
        let after = self.lines.partition_point(|(start, _)| *start <= offset);
        after.checked_sub(1).map_or(0, |at| self.lines[at].1)
    }
}

/// Replaces code in backticks. Code that starts with several backticks ends with as many. A backtick without a partner
/// belongs to the text.
fn without_code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let ticks = rest[at..].len() - rest[at..].trim_start_matches('`').len();
        let (fence, inner) = (&rest[at..at + ticks], at + ticks);
        // A paragraph ends at an empty line, and so does its code.
        let paragraph = rest[inner..].find("\n\n").map_or(rest.len(), |end| inner + end);
        match rest[inner..paragraph].find(fence) {
            Some(len) => {
                out.push_str(&rest[..at]);
                out.push_str(&blank(&rest[at..inner + len + ticks]));
                rest = &rest[inner + len + ticks..];
            }
            None => {
                out.push_str(&rest[..inner]);
                rest = &rest[inner..];
            }
        }
    }
    out + rest
}

/// Replaces `{name}` and `{name:?}`, whose names are code.
fn without_placeholders(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let end = rest[at..].find(['}', ' ', '\n']).map_or(rest.len(), |end| at + end + 1);
        let span = &rest[at..end];
        out.push_str(&rest[..at]);
        out.push_str(&if span.ends_with('}') { blank(span) } else { span.to_owned() });
        rest = &rest[end..];
    }
    out + rest
}

/// Returns `code` with every byte except line ends replaced, so that offsets stay the same.
fn blank(code: &str) -> String {
    code.bytes().map(|byte| if byte == b'\n' { '\n' } else { '#' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(Passage::new(Place::Comment, 1, text).text(), format!("{expected}\n"));
    }

    #[test]
    fn code_and_placeholders_are_not_prose() {
        check("a `b c` d ``e ` f`` g", "a ##### d ######### g");
        check("a `b\nc` d", "a ##\n## d");
        check("a ` b\n\nc ` d", "a ` b\n\nc ` d");
        check("a {b} {c:?} {not one} }", "a ### ##### {not one} }");
        check("a\n```text\nb\n```\nc", "a\n\n\n\nc");
    }

    #[test]
    fn every_line_has_its_number() {
        let passage = Passage::new(Place::Comment, 7, "one\n`two`\nthree");
        assert_eq!([0, 3, 4, 9, 10, 14].map(|offset| passage.line(offset)), [7, 7, 8, 8, 9, 9]);
    }
}
