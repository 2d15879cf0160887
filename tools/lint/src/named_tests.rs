//! Tests and checks that documents name. In tables, those are the names in the last column. In other text, they are the
//! names that contain at least two underscores. Each must be a function or a constant of the sources.

use regex::Regex;
use std::{collections::BTreeSet, fs, io, path::Path, sync::LazyLock};
use walkdir::WalkDir;

/// Documents that name a test for each case.
const DOCUMENTS: [&str; 3] = ["docs/operators.md", "docs/reliability.md", "docs/security.md"];

/// Folders with tests and with checks.
const SOURCES: [&str; 2] = ["crates", "tools"];

/// A function of Rust, Python or the shell, or a constant of Python.
static DEFINITION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)\bfn (\w+)|^def (\w+)|^(\w+)\(\) \{|^([A-Z]+) = ").expect("the expression is valid")
});

/// A name in backticks.
static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"`([A-Za-z]\w*)`").expect("the expression is valid"));

/// Returns one line per name that the sources do not define.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    let known = definitions(root)?;
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        for (at, line) in read(&root.join(document))?.lines().enumerate() {
            let unknown = names(line).into_iter().filter(|name| !known.contains(*name));
            findings.extend(unknown.map(|name| format!("{document}:{}: no test is named {name}", at + 1)));
        }
    }
    Ok(findings)
}

fn names(line: &str) -> Vec<&str> {
    let (place, min_underscores) = match line.trim_end().strip_suffix('|') {
        Some(row) => (row.rsplit('|').next().unwrap_or_default(), 0),
        None => (line, 2),
    };
    let found = NAME.captures_iter(place).filter_map(|found| found.get(1));
    found.map(|name| name.as_str()).filter(|name| name.matches('_').count() >= min_underscores).collect()
}

fn definitions(root: &Path) -> io::Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for folder in SOURCES {
        let is_source = |entry: &walkdir::DirEntry| entry.file_name() != "target";
        for entry in WalkDir::new(root.join(folder)).into_iter().filter_entry(is_source) {
            let path = entry?.into_path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if !matches!(extension, Some("rs" | "py" | "sh")) {
                continue;
            }
            for found in DEFINITION.captures_iter(&read(&path)?) {
                known.extend(found.iter().skip(1).flatten().map(|name| name.as_str().to_owned()));
            }
        }
    }
    Ok(known)
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a repository in which one document has this text, and the others are empty.
    fn check_text(text: &str, expected: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        for folder in ["docs", "crates/a/tests", "tools"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for document in DOCUMENTS {
            fs::write(root.path().join(document), "").unwrap();
        }
        fs::write(root.path().join("docs/operators.md"), text).unwrap();
        let test = "#[tokio::test]\nasync fn a_lost_worker_is_replaced() {}";
        fs::write(root.path().join("crates/a/tests/b.rs"), test).unwrap();
        fs::write(root.path().join("tools/c.py"), "BAD = {}\ndef check_pods():\n").unwrap();
        fs::write(root.path().join("tools/d.sh"), "try_image() {\n").unwrap();
        assert_eq!(check(root.path()).unwrap(), expected);
    }

    #[test]
    fn names_of_functions_and_constants_are_known() {
        check_text(
            "| a | `a_lost_worker_is_replaced`, `BAD` |\n| b | `check_pods` and `try_image` in `tools/d.sh` |",
            &[],
        );
    }

    #[test]
    fn unknown_names_are_found_in_the_last_column_and_in_text() {
        check_text(
            "| `one` | `a_lost_worker` |\n\nThe setting `two_words`, and the test `three_whole_words`.",
            &[
                "docs/operators.md:1: no test is named a_lost_worker",
                "docs/operators.md:3: no test is named three_whole_words",
            ],
        );
    }
}
