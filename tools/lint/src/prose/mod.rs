//! Banned words and phrases in documents, in comments and texts of Rust code, in messages of the protocol, and in the
//! status page. The patterns are in `patterns.txt`, with an example of each. There are no exceptions: a text that
//! matches is written differently. Code in backticks is not prose.

mod document;
mod pattern;
mod rust;
mod script;
mod text;

use pattern::{Pattern, Place};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use text::Passage;
use walkdir::WalkDir;

/// Maximum length of a line that contains only a `//` comment, and of a line of text in a Markdown file.
const MAX_COLUMNS: usize = 120;

/// Folders that contain no text of the project: what builds and tests write. Guests are read only as documents, because
/// the line numbers of their code are part of the committed programs.
const SKIPPED_FOLDERS: [&str; 3] = ["target", "dist", "test-output"];

/// Documents whose lines are not limited: the pages that `sp1d reference` generates, and the list of the book's pages,
/// which has one link per line.
const UNLIMITED: [&str; 2] = ["docs/reference", "docs/SUMMARY.md"];

/// Folder of the status page.
const PAGE: &str = "crates/sp1d-service/src/page";

/// Returns one line per finding in the repository `root`.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    // Without this check, a renamed folder would no longer be read.
    if !root.join(PAGE).is_dir() {
        return Err(io::Error::other(format!("the folder of the status page, {PAGE}, does not exist")));
    }
    let patterns = pattern::all();
    let mut findings = Vec::new();
    for path in files(root)? {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let content = fs::read_to_string(&path).map_err(|error| io::Error::other(format!("{shown}: {error}")))?;
        let (passages, long_lines) = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => (rust::passages(&content), long_comments(&content)),
            Some("proto") => (script::passages(&content), long_comments(&content)),
            Some("js") => (script::passages(&content), Vec::new()),
            Some("html") => (document::html(&content), Vec::new()),
            _ if UNLIMITED.iter().any(|unlimited| shown.starts_with(*unlimited)) => {
                (document::markdown(&content), Vec::new())
            }
            _ => (document::markdown(&content), document::long_lines(&content)),
        };
        let of_file = find(&patterns, &passages).into_iter().chain(long_lines);
        findings.extend(of_file.map(|finding| format!("{shown}:{finding}")));
    }
    Ok(findings)
}

/// Returns the files to check, in order.
fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let is_project = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let hidden = name.starts_with('.') && name != ".github";
        entry.depth() == 0 || !(hidden || entry.file_type().is_dir() && SKIPPED_FOLDERS.contains(&&*name))
    };
    let mut found = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_project) {
        let path = entry?.into_path();
        let below = path.strip_prefix(root).unwrap_or(&path);
        let wanted = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => true,
            Some("rs" | "proto") => !below.starts_with("guests"),
            Some("html" | "js") => below.starts_with(PAGE),
            _ => false,
        };
        if wanted && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Returns `line: pattern: text` for every match, in the order of the lines.
fn find(patterns: &[Pattern], passages: &[Passage]) -> Vec<String> {
    let mut findings = Vec::new();
    for passage in passages {
        for pattern in patterns {
            for range in pattern.matches(passage.text(), passage.place()) {
                let text = passage.text()[range.clone()].split_whitespace().collect::<Vec<_>>().join(" ");
                findings.push((passage.line(range.start), format!("{}: {text}", pattern.name())));
            }
        }
    }
    findings.sort();
    findings.into_iter().map(|(line, finding)| format!("{line}: {finding}")).collect()
}

/// Returns `line: pattern: text` for every line that contains only a comment and is too long. rustfmt leaves comments
/// alone.
fn long_comments(content: &str) -> Vec<String> {
    let lines = content.lines().enumerate();
    let long = lines.filter(|(_, line)| line.trim_start().starts_with("//") && line.chars().count() > MAX_COLUMNS);
    long.map(|(at, line)| format!("{}: comment of more than {MAX_COLUMNS} columns: {}", at + 1, line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_have_the_line_of_the_match() {
        let patterns = pattern::parse("test = zero\\s+one");
        let source = "// A good line.\n/// This is zero\n/// one, and zero two.\nfn f() {}\n";
        assert_eq!(find(&patterns, &rust::passages(source)), ["2: test: zero one"]);
    }

    #[test]
    fn long_comment_lines_are_found_by_characters() {
        let fits = format!("    // {}", "ä".repeat(113));
        let long = format!("    // {}", "ä".repeat(114));
        let code = format!("let x = \"{}\"; // short", "x".repeat(120));
        assert_eq!(long_comments(&[&*fits, &*code].join("\n")), Vec::<String>::new());
        let found = long_comments(&[&*fits, &*long].join("\n"));
        assert!(
            matches!(&found[..], [one] if one.starts_with("2: comment of more than 120 columns: // ä")),
            "{found:?}"
        );
    }

    #[test]
    fn builds_guests_and_hidden_folders_are_skipped() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "a.rs",
            "target/b.rs",
            "guests/c.rs",
            "guests/d.md",
            ".git/e.md",
            ".github/f.md",
            "g.js",
            "crates/sp1d-service/src/page/h.js",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = files(root.path()).unwrap();
        let found: Vec<_> =
            found.iter().map(|path| path.strip_prefix(root.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(found, [".github/f.md", "a.rs", "crates/sp1d-service/src/page/h.js", "guests/d.md"]);
    }
}
