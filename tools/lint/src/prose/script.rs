//! Passages of JavaScript and protocol buffers: comments and strings.

use super::{Passage, Place};
use regex::Regex;
use std::sync::LazyLock;

/// A comment, or a string. Templates may span lines; their `${…}` is code.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<line>//[^\n]*(?:\n[ \t]*//[^\n]*)*)",
        r"|(?P<block>(?s:/\*.*?\*/))",
        r#"|"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\\\n]|\\.)*)'"#,
        r"|`(?P<template>(?:[^`\\]|\\.)*)`",
    ))
    .expect("the expression is valid")
});

static CODE_IN_TEMPLATE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\{[^{}]*\}").expect("the expression is valid"));

/// Returns the passages of a file.
pub(crate) fn passages(source: &str) -> Vec<Passage> {
    let passage = |found: regex::Captures<'_>| {
        let names = [
            ("line", Place::Comment),
            ("block", Place::Comment),
            ("double", Place::Literal),
            ("single", Place::Literal),
            ("template", Place::Literal),
        ];
        let (text, place) = names.into_iter().find_map(|(name, place)| Some((found.name(name)?, place)))?;
        let line = source[..text.start()].matches('\n').count() + 1;
        let without_slashes = text.as_str().lines().map(|line| match place {
            Place::Comment => line.trim_start().trim_start_matches('/').to_owned(),
            _ => CODE_IN_TEMPLATE.replace_all(line, "#").into_owned(),
        });
        Some(Passage::of_lines(place, without_slashes.enumerate().map(|(at, text)| (line + at, text))))
    };
    TOKEN.captures_iter(source).filter_map(passage).collect()
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
        check("x(); // one\n", &[(1, Place::Comment, "one")]);
        check("\n  // one\n  // two\nx();", &[(2, Place::Comment, "one\n two")]);
        check(
            "x(\"http://a\", 'b', `c ${d(e)} f`)",
            &[(1, Place::Literal, "http://a"), (1, Place::Literal, "b"), (1, Place::Literal, "c # f")],
        );
        check("/* one */ message A {}", &[(1, Place::Comment, "* one */")]);
    }
}
