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
