//! Examples in the documentation of a crate whose `Cargo.toml` turns doctests off. No test compiles them.

use regex::Regex;
use std::{fs, io, path::Path, sync::LazyLock};
use walkdir::WalkDir;

/// A line of documentation that starts or ends a code block, and the words after the fence.
static FENCE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\s*//[/!] ?```(.*)$").expect("the expression is valid"));

/// Returns one line per such example.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    let mut findings = Vec::new();
    for entry in WalkDir::new(root.join("crates")).max_depth(1).sort_by_file_name() {
        let folder = entry?.into_path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        if !manifest.lines().any(|line| line == "doctest = false") {
            continue;
        }
        for entry in WalkDir::new(folder.join("src")).sort_by_file_name() {
            let path = entry?.into_path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let shown = path.strip_prefix(root).unwrap_or(&path).display();
            findings.extend(examples(&text).map(|at| format!("{shown}:{at}: the crate has `doctest = false`")));
        }
    }
    Ok(findings)
}

/// Returns the numbers of the lines where an example starts. Blocks in another language have a name.
fn examples(text: &str) -> impl Iterator<Item = usize> {
    let mut is_open = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let words = FENCE.captures(line)?.get(1)?.as_str();
        is_open = !is_open;
        let is_rust = words.split(',').map(str::trim).all(|word| {
            matches!(word, "" | "rust" | "no_run" | "should_panic" | "compile_fail") || word.starts_with("edition")
        });
        (is_open && is_rust).then_some(at + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_crate(manifest: &str, expected: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("crates/a");
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        let text =
            "//! ```text\n//! a ──► b\n//! ```\n\n/// ```\n/// f();\n/// ```\n/// ```rust,no_run\n/// ```\nfn f() {}\n";
        fs::write(folder.join("src/lib.rs"), text).unwrap();
        assert_eq!(check(root.path()).unwrap(), expected);
    }

    #[test]
    fn examples_of_a_crate_without_doctests_are_found() {
        check_crate(
            "[lib]\ndoctest = false\n",
            &[
                "crates/a/src/lib.rs:5: the crate has `doctest = false`",
                "crates/a/src/lib.rs:8: the crate has `doctest = false`",
            ],
        );
    }

    #[test]
    fn examples_of_a_crate_with_doctests_are_fine() {
        check_crate("[lib]\ntest = false\n", &[]);
    }
}
