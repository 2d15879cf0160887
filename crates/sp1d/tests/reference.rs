//! The reference pages in `docs/reference` match the code.

use std::{fs, path::Path, process::Command};

fn check(name: &str, file: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
    let printed = Command::new(env!("CARGO_BIN_EXE_sp1d")).args(["reference", name]).output().unwrap();
    assert!(printed.status.success());
    let (printed, kept) = (String::from_utf8(printed.stdout).unwrap(), fs::read_to_string(page).unwrap());
    assert_eq!(printed, kept, "docs/reference/{file} is out of date: run `./x fix`");
}

#[test]
fn the_settings_reference_is_up_to_date() {
    check("settings", "settings.md");
}

#[test]
fn the_limits_reference_is_up_to_date() {
    check("limits", "limits.md");
}

#[test]
fn the_api_reference_is_up_to_date() {
    check("api", "api.md");
}

#[test]
fn the_openapi_document_is_up_to_date() {
    check("openapi", "openapi.json");
}

/// The notes of a review are about one version of a dependency.
#[test]
fn the_review_notes_are_about_the_locked_versions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let (notes, locked) = (read("docs/dependencies.md"), read("Cargo.lock"));
    let cells = notes.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let mut reviewed = 0;
    for dependency in cells.flat_map(|cell| cell.split(", ")) {
        let (name, version) = dependency.trim().trim_start_matches('`').split_once("` ").unwrap();
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(
            locked.contains(&entry),
            "{name} {version} is not in Cargo.lock: look at its row in docs/dependencies.md"
        );
        reviewed += 1;
    }
    assert!(reviewed > 30, "the tables have only {reviewed} dependencies");
}
