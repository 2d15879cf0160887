//! The reference pages are what the code says.

use std::{fs, path::Path, process::Command};

fn check(name: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name).with_extension("md");
    let printed = Command::new(env!("CARGO_BIN_EXE_sp1d")).args(["reference", name]).output().unwrap();
    assert!(printed.status.success());
    let (printed, kept) = (String::from_utf8(printed.stdout).unwrap(), fs::read_to_string(page).unwrap());
    assert_eq!(printed, kept, "`./x fix` writes docs/reference/{name}.md anew");
}

#[test]
fn the_reference_of_settings_is_what_sp1d_prints() {
    check("settings");
}

#[test]
fn the_reference_of_the_interface_is_what_sp1d_prints() {
    check("api");
}
