//! `lint prose|cycles|names|tests [ROOT]` checks the repository in `ROOT`, by default the current folder. It prints one
//! finding per line and exits with 1 if there are any. It changes no file, and it knows nothing about SP1 or cargo.

mod cycles;
mod named_tests;
mod names;
mod prose;
mod source;
mod unrun_examples;

use std::{env, path::PathBuf, process::ExitCode};

const USAGE: &str = "usage: lint prose|cycles|names|tests [ROOT]

prose    banned words and phrases in comments, texts, documents and test names; lines over 120 columns in comments
         and documents
cycles   files or folders of one crate that import each other in a cycle
names    types of the workspace that share a name
tests    tests that docs/operators.md, docs/reliability.md and docs/security.md name and that do not exist; examples in
         the documentation of crates with `doctest = false`";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let root = PathBuf::from(arguments.get(1).map_or(".", String::as_str));
    let findings = match arguments.first().map(String::as_str) {
        Some("prose") if arguments.len() <= 2 => prose::check(&root),
        Some("cycles") if arguments.len() <= 2 => cycles::check(&root),
        Some("names") if arguments.len() <= 2 => names::check(&root),
        Some("tests") if arguments.len() <= 2 => named_tests::check(&root).and_then(|mut findings| {
            findings.extend(unrun_examples::check(&root)?);
            Ok(findings)
        }),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match findings {
        Ok(findings) if findings.is_empty() => ExitCode::SUCCESS,
        Ok(findings) => {
            findings.iter().for_each(|finding| println!("{finding}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
