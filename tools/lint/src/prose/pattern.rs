//! The banned patterns, and which kinds of text they apply to.

use regex::Regex;
use std::ops::Range;

/// The kind of a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A comment in code.
    Comment,
    /// A comment that documents an item or a module.
    DocComment,
    /// A string in code.
    Literal,
    /// The name of a test, with spaces for underscores.
    TestName,
    /// A paragraph of a document.
    Document,
}

/// A banned pattern.
pub(crate) struct Pattern {
    name: String,
    expression: Regex,
    places: Vec<Place>,
    #[cfg(test)]
    examples: Vec<tests::Example>,
}

impl Pattern {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns where `text` matches. If the expression has a group `bad`, only that group counts: what the other
    /// alternatives match is allowed.
    pub(crate) fn matches(&self, text: &str, place: Place) -> Vec<Range<usize>> {
        if !self.places.contains(&place) {
            return Vec::new();
        }
        let has_group = self.expression.capture_names().flatten().any(|name| name == "bad");
        let found = self.expression.captures_iter(text);
        found
            .filter_map(|found| if has_group { found.name("bad") } else { found.get(0) })
            .map(|bad| bad.range())
            .collect()
    }
}

/// Returns the patterns of this repository.
pub(crate) fn all() -> Vec<Pattern> {
    parse(include_str!("patterns.txt"))
}

/// Reads patterns from lines: `name [in PLACES] = expression`, then its examples as indented lines, which are for the
/// tests only.
pub(crate) fn parse(text: &str) -> Vec<Pattern> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if !line.starts_with(' ') {
            patterns.push(parse_head(line));
            continue;
        }
        #[cfg(test)]
        patterns.last_mut().expect("examples follow their pattern").examples.push(tests::Example::parse(line));
    }
    patterns
}

fn parse_head(line: &str) -> Pattern {
    let (head, expression) = line.split_once(" = ").expect("a pattern is `name = expression`");
    let (name, places) = head.split_once(" in ").unwrap_or((head, "comments literals tests documents"));
    let places = places.split(' ').flat_map(|place| match place {
        "comments" => vec![Place::Comment, Place::DocComment],
        "docs" => vec![Place::DocComment],
        "literals" => vec![Place::Literal],
        "tests" => vec![Place::TestName],
        "documents" => vec![Place::Document],
        other => panic!("{other} is not a kind of text"),
    });
    Pattern {
        name: name.to_owned(),
        expression: Regex::new(expression).unwrap_or_else(|error| panic!("{name}: {error}")),
        places: places.collect(),
        #[cfg(test)]
        examples: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that a pattern must find, or must not find.
    pub(super) struct Example {
        text: String,
        is_bad: bool,
    }

    impl Example {
        /// Reads `bad: text` or `good: text`.
        pub(super) fn parse(line: &str) -> Self {
            let (word, text) = line.trim().split_once(": ").expect("an example is `bad: text` or `good: text`");
            assert!(["bad", "good"].contains(&word), "{line}");
            Self { text: text.to_owned(), is_bad: word == "bad" }
        }
    }

    #[test]
    fn every_pattern_finds_its_bad_examples_only() {
        for pattern in all() {
            assert!(pattern.examples.iter().any(|example| example.is_bad), "{} has no example", pattern.name);
            for Example { text, is_bad } in &pattern.examples {
                let found = !pattern.matches(text, pattern.places[0]).is_empty();
                assert_eq!(found, *is_bad, "{}: {text}", pattern.name);
            }
        }
    }

    #[test]
    fn a_pattern_applies_to_its_places_only() {
        let starts = |pattern: &str, text: &str, place: Place| -> Vec<usize> {
            parse(pattern)[0].matches(text, place).into_iter().map(|found| found.start).collect()
        };
        assert_eq!(starts("one in docs = zero", "is zero", Place::DocComment), [3]);
        assert_eq!(starts("one in docs = zero", "is zero", Place::Comment), []);
        assert_eq!(starts("one = not zero|(?P<bad>zero)", "not zero, zero", Place::Document), [10]);
    }
}
