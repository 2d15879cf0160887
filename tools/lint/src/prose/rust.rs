//! Passages of Rust code: comments, strings and the names of tests. The string of a `doc` attribute is a doc comment.

use super::{Passage, Place};
use regex::Regex;
use std::sync::LazyLock;

/// The attribute of a test, and the name of its function.
static TEST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"#\[(?:\w+::)*test\b[^\n]*\]\s*(?:(?:#\[|//)[^\n]*\n\s*)*(?:async\s+)?fn\s+(?P<name>\w+)")
        .expect("the expression is valid")
});

/// Returns the passages of a Rust file.
pub(crate) fn passages(source: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    // Consecutive line comments are one passage, because their sentences continue on the next line.
    let mut open: Option<Comment> = None;
    let mut scanner = Scanner { source, at: 0, line: 1 };
    while let Some(token) = scanner.next() {
        match token {
            Token::LineComment { line, text } => {
                let marker = ["///", "//!", "//"].into_iter().find(|marker| text.starts_with(marker)).unwrap_or("//");
                let text = text[marker.len()..].to_owned();
                match &mut open {
                    Some(comment) if comment.marker == marker && comment.next_line() == line => {
                        comment.lines.push((line, text));
                    }
                    _ => {
                        passages.extend(open.take().map(Comment::finish));
                        open = Some(Comment { marker, lines: vec![(line, text)] });
                    }
                }
            }
            Token::BlockComment { line, text } => {
                let is_doc = text.starts_with("/**") || text.starts_with("/*!");
                passages.push(Passage::new(if is_doc { Place::DocComment } else { Place::Comment }, line, text));
            }
            Token::Literal { line, start, text } => {
                // The letters of escapes do not belong to the words beside them.
                let text = text.replace("\\\n", " \n").replace("\\n", "  ").replace("\\\"", " \"");
                let place = if is_doc_attribute(&source[..start]) { Place::DocComment } else { Place::Literal };
                passages.push(Passage::new(place, line, &text));
            }
        }
    }
    passages.extend(open.map(Comment::finish));
    passages.extend(TEST.captures_iter(source).filter_map(|found| found.name("name")).map(|name| {
        let line = source[..name.start()].matches('\n').count() + 1;
        Passage::new(Place::TestName, line, &name.as_str().replace('_', " "))
    }));
    passages
}

/// Returns true if the string after `before` is the value of a `doc` attribute: `#[doc = "text"]`, also inside of
/// `cfg_attr`.
fn is_doc_attribute(before: &str) -> bool {
    let name = before.trim_end().strip_suffix('=').map(str::trim_end);
    let opening = name.and_then(|name| name.strip_suffix("doc")).map(str::trim_end);
    opening.is_some_and(|opening| opening.ends_with(['[', '(', ',']))
}

/// A run of line comments.
struct Comment {
    marker: &'static str,
    lines: Vec<(usize, String)>,
}

impl Comment {
    fn next_line(&self) -> usize {
        self.lines.last().map_or(0, |(line, _)| line + 1)
    }

    fn finish(self) -> Passage {
        let place = if self.marker == "//" { Place::Comment } else { Place::DocComment };
        Passage::of_lines(place, self.lines.into_iter())
    }
}

enum Token<'a> {
    LineComment {
        line: usize,
        text: &'a str,
    },
    BlockComment {
        line: usize,
        text: &'a str,
    },
    /// `start` is the offset of the string in the source.
    Literal {
        line: usize,
        start: usize,
        text: &'a str,
    },
}

/// Finds comments and strings. Everything else is skipped.
struct Scanner<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// Skips `len` bytes and returns them.
    fn take(&mut self, len: usize) -> &'a str {
        let taken = &self.rest()[..len.min(self.rest().len())];
        self.line += taken.matches('\n').count();
        self.at += taken.len();
        taken
    }

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let rest = self.rest();
            let (line, start) = (self.line, self.at);
            let mut letters = rest.chars();
            let (first, second) = (letters.next()?, letters.next());
            match (first, second) {
                ('/', Some('/')) => {
                    let text = self.take(rest.find('\n').unwrap_or(rest.len()));
                    return Some(Token::LineComment { line, text });
                }
                ('/', Some('*')) => return Some(Token::BlockComment { line, text: self.take(block_len(rest)) }),
                ('"', _) => {
                    let text = self.take(string_len(rest));
                    return Some(Token::Literal {
                        line,
                        start,
                        text: text[1..].strip_suffix('"').unwrap_or(&text[1..]),
                    });
                }
                ('r', Some('"' | '#')) => {
                    let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
                    if rest[1 + hashes..].starts_with('"') {
                        let inner = 2 + hashes;
                        let end = format!("\"{}", "#".repeat(hashes));
                        let len = rest[inner..].find(&end).map_or(rest.len() - inner, |len| len);
                        let text = &rest[inner..inner + len];
                        self.take(inner + len + end.len());
                        return Some(Token::Literal { line, start, text });
                    }
                    // A raw identifier.
                    self.take(2);
                }
                ('\'', _) => {
                    let len = char_len(rest);
                    self.take(len);
                }
                // A word may end with the letter that starts a raw string, so it is skipped as a whole. Prefixes of
                // strings are words of their own.
                (letter, _) if letter.is_alphanumeric() || letter == '_' => {
                    let len =
                        rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
                    let raw = matches!(&rest[..len], "br" | "cr") && rest[len..].starts_with(['"', '#']);
                    self.take(if raw { 1 } else { len });
                }
                _ => {
                    self.take(first.len_utf8());
                }
            }
        }
    }
}

/// Returns the length of the block comment at the start of `text`. Block comments nest.
fn block_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// Returns the length of the string at the start of `text`, with its quotes.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the length of the character at the start of `text`, or 1 for the quote of a lifetime.
fn char_len(text: &str) -> usize {
    let inner = &text[1..];
    if inner.starts_with('\\') {
        // The escaped character may be a quote itself.
        let from = 1 + inner.chars().nth(1).map_or(0, char::len_utf8);
        return inner.get(from..).and_then(|rest| rest.find('\'')).map_or(1, |len| 1 + from + len + 1);
    }
    let width = inner.chars().next().map_or(0, char::len_utf8);
    if inner[width..].starts_with('\'') { 1 + width + 1 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[(usize, Place, &str)]) {
        let passages = passages(source);
        let found: Vec<_> =
            passages.iter().map(|passage| (passage.line(0), passage.place(), passage.text().trim())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn comments_and_strings_are_passages() {
        check("let a = 1; // one\n", &[(1, Place::Comment, "one")]);
        check("/// one\n/// two\nfn f() {}\n", &[(1, Place::DocComment, "one\n two")]);
        check("//! one\n\n//! two\n", &[(1, Place::DocComment, "one"), (3, Place::DocComment, "two")]);
        check("/* a /* b */ c */ \"one\"", &[(1, Place::Comment, "/* a /* b */ c */"), (1, Place::Literal, "one")]);
        check("f(\n\"a \\\" // b\")", &[(2, Place::Literal, "a  \" // b")]);
        check(
            "f(r#\"a \" b\"#, br\"c\", b\"d\")",
            &[(1, Place::Literal, "a \" b"), (1, Place::Literal, "c"), (1, Place::Literal, "d")],
        );
    }

    #[test]
    fn doc_attributes_are_doc_comments() {
        check("#[doc = \"one\"]\nstruct A;", &[(1, Place::DocComment, "one")]);
        check("#![doc=r#\"one\"#]", &[(1, Place::DocComment, "one")]);
        check("#[cfg_attr(a, doc =\n\"one\")]", &[(2, Place::DocComment, "one")]);
        check(
            "#[doc(alias = \"one\")] fn f() { let doc = \"two\"; }",
            &[(1, Place::Literal, "one"), (1, Place::Literal, "two")],
        );
    }

    #[test]
    fn characters_and_lifetimes_start_no_string() {
        check("f('\"', '\\'', '\\\\', b'\"'); g::<'a>(\"one\")", &[(1, Place::Literal, "one")]);
        check("for r in 0..1 {} let var\"\"", &[(1, Place::Literal, "")]);
        check("let r#type = \"one\";", &[(1, Place::Literal, "one")]);
    }

    #[test]
    fn test_names_are_passages() {
        check("#[test]\nfn one_two() {}\nfn three() {}", &[(2, Place::TestName, "one two")]);
        check("#[tokio::test(start_paused = true)]\nasync fn one() {}", &[(2, Place::TestName, "one")]);
        check("#[test]\n#[ignore]\nfn one() {}", &[(3, Place::TestName, "one")]);
    }
}
