//! Passages of documents: paragraphs of Markdown, and the text of HTML.

use super::{MAX_COLUMNS, Passage, Place};
use regex::Regex;
use std::sync::LazyLock;

/// The parts of Markdown that are not text: targets of links, addresses, and HTML comments.
static MARKUP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\]\([^)\n]*\)|<https?://[^>\n]*>|https?://[^\s)]*|<!--[^\n]*-->").expect("the expression is valid")
});

/// Tags of HTML.
static TAG: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"<(?P<inside>[^>]*)>").expect("the expression is valid"));

/// Attributes of HTML whose values people read.
static READ_ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\b(?:title|alt|placeholder|aria-label|content)="(?P<text>[^"]*)""#).expect("the expression is valid")
});

/// Returns the paragraphs of a Markdown file.
pub(crate) fn markdown(source: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut paragraph: Vec<(usize, String)> = Vec::new();
    let mut fenced = false;
    for (at, line) in source.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence || fenced || line.trim().is_empty() {
            fenced ^= is_fence;
            passages.extend(finish(&mut paragraph));
            continue;
        }
        // Items, headings and rows are sentences of their own.
        if line.trim_start().starts_with(['-', '*', '#', '|', '>']) {
            passages.extend(finish(&mut paragraph));
        }
        paragraph.push((at + 1, MARKUP.replace_all(line, "] #").into_owned()));
    }
    passages.extend(finish(&mut paragraph));
    passages
}

/// Returns `line: pattern: text` for every line of a Markdown file that is too long and can be wrapped. Code, headings,
/// tables and HTML cannot be wrapped.
pub(crate) fn long_lines(source: &str) -> Vec<String> {
    let (mut findings, mut fenced) = (Vec::new(), false);
    for (at, line) in source.lines().enumerate() {
        let text = line.trim_start();
        if text.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !text.starts_with(['#', '|', '<']) && can_be_wrapped(line) {
            findings.push(format!("{}: line of more than {MAX_COLUMNS} columns: {text}", at + 1));
        }
    }
    findings
}

/// Returns true if `line` is too long and has a space between two words before the limit.
fn can_be_wrapped(line: &str) -> bool {
    // The marker of a list item is not a word.
    let text = line.trim_start().trim_start_matches(|letter: char| letter.is_ascii_digit() || "-*>. ".contains(letter));
    let length = line.chars().count();
    let start = length - text.chars().count();
    length > MAX_COLUMNS && text.chars().take(MAX_COLUMNS.saturating_sub(start)).any(|letter| letter == ' ')
}

fn finish(paragraph: &mut Vec<(usize, String)>) -> Option<Passage> {
    let lines = std::mem::take(paragraph);
    (!lines.is_empty()).then(|| Passage::of_lines(Place::Document, lines.into_iter()))
}

/// Returns the text of an HTML file, line by line.
pub(crate) fn html(source: &str) -> Vec<Passage> {
    let text = |line: &str| {
        TAG.replace_all(line, |tag: &regex::Captures<'_>| {
            let inside = &tag["inside"];
            if inside.starts_with("!--") {
                return inside.to_owned();
            }
            let texts = READ_ATTRIBUTE.captures_iter(inside).map(|found| format!(" {} ", &found["text"]));
            format!(" # {}", texts.collect::<String>())
        })
        .into_owned()
    };
    source.lines().enumerate().map(|(at, line)| Passage::new(Place::Document, at + 1, &text(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passages: &[Passage], expected: &[(usize, &str)]) {
        let found: Vec<_> = passages.iter().map(|passage| (passage.line(0), passage.text().trim())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn paragraphs_of_markdown_are_passages_without_code_and_addresses() {
        let source =
            "# One\ntwo\nthree\n\n- four [five](six.md)\n- six `seven`\n```text\neight\n```\nnine <https://a.b>\n";
        check(
            &markdown(source),
            &[(1, "# One\ntwo\nthree"), (5, "- four [five] #"), (6, "- six #######"), (10, "nine ] #")],
        );
    }

    #[test]
    fn long_lines_of_text_are_found() {
        let words = "word ".repeat(25);
        let found = |line: &str| !long_lines(line).is_empty();
        assert!(found(&words) && found(&format!("- {words}")) && found(&format!("12. {words}")));
        assert!(!found(&words[..MAX_COLUMNS]));
        for marker in ["| ", "# ", "<!-- "] {
            assert!(!found(&format!("{marker}{words}")), "{marker}");
        }
        let address = format!("https://example.org/{}", "a".repeat(MAX_COLUMNS));
        assert!(!found(&format!("- {address} and more")), "it has no space before the limit");
        let fenced = format!("```\n{words}\n```\n{words}");
        assert!(matches!(&long_lines(&fenced)[..], [one] if one.starts_with("4: line of more than 120 columns: word")));
    }

    #[test]
    fn texts_and_labels_of_html_are_passages() {
        check(&html("<p class=\"a\">One</p>\n<a title=\"two\">"), &[(1, "# One #"), (2, "#  two")]);
    }
}
