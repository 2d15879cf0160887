//! Recorded counts, and how measured counts differ from them.

use serde::{Deserialize, Serialize};

/// The counts of all paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CountsRecord {
    /// The compiler, as it describes itself. Counts of different compilers cannot be compared.
    pub(crate) rustc: String,
    pub(crate) paths: Vec<PathCount>,
}

/// The count of one path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PathCount {
    pub(crate) path: String,
    /// Instructions of one repetition.
    pub(crate) instructions: u64,
    /// How much a measured count may differ, as a fraction.
    pub(crate) tolerance: f64,
}

impl CountsRecord {
    /// Returns one line for each of the `measured` paths that differs by more than its recorded tolerance. Fewer
    /// instructions are a difference too: without a new record, the next regression up to the old count is not noticed.
    pub(crate) fn differences(&self, measured: &[PathCount]) -> Vec<String> {
        let recorded = |path: &str| self.paths.iter().find(|recorded| recorded.path == path);
        let mut lines: Vec<String> = measured
            .iter()
            .filter_map(|now| {
                let name = &now.path;
                let Some(before) = recorded(name) else { return Some(format!("{name}: no count is recorded")) };
                let (old, new) = (before.instructions as f64, now.instructions as f64);
                ((new - old).abs() > before.tolerance * old).then(|| {
                    format!(
                        "{name}: {} instructions before, {} now: {:+.1} %, and {:.1} % are tolerated",
                        before.instructions,
                        now.instructions,
                        (new / old - 1.0) * 100.0,
                        before.tolerance * 100.0
                    )
                })
            })
            .collect();
        let is_measured = |path: &str| measured.iter().any(|now| now.path == path);
        let gone = self.paths.iter().filter(|before| !is_measured(&before.path));
        lines.extend(gone.map(|before| format!("{}: a count is recorded, and the path does not exist", before.path)));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, instructions: u64) -> PathCount {
        PathCount { path: path.to_owned(), instructions, tolerance: 0.02 }
    }

    /// Checks the differences of measured counts from a record of 1,000 instructions.
    #[track_caller]
    fn check(measured: &[PathCount], expected: &[&str]) {
        let record = CountsRecord { rustc: "rustc 1".to_owned(), paths: vec![count("encode", 1000)] };
        assert_eq!(record.differences(measured), expected);
    }

    #[test]
    fn a_count_within_the_tolerance_does_not_differ() {
        check(&[count("encode", 1000)], &[]);
        check(&[count("encode", 1020)], &[]);
        check(&[count("encode", 980)], &[]);
    }

    #[test]
    fn more_and_fewer_instructions_are_differences() {
        check(
            &[count("encode", 1021)],
            &["encode: 1000 instructions before, 1021 now: +2.1 %, and 2.0 % are tolerated"],
        );
        check(
            &[count("encode", 500)],
            &["encode: 1000 instructions before, 500 now: -50.0 %, and 2.0 % are tolerated"],
        );
    }

    #[test]
    fn each_path_needs_a_record_and_each_record_a_path() {
        check(&[count("encode", 1000), count("decode", 5)], &["decode: no count is recorded"]);
        check(&[], &["encode: a count is recorded, and the path does not exist"]);
    }
}
