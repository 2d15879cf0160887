//! The page of settings is what the code says.

use std::{fs, path::Path, process::Command};

#[test]
fn the_reference_of_settings_is_what_sp1d_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/settings.md");
    let printed = Command::new(env!("CARGO_BIN_EXE_sp1d")).arg("reference").output().unwrap();
    assert!(printed.status.success());
    let (printed, kept) = (String::from_utf8(printed.stdout).unwrap(), fs::read_to_string(page).unwrap());
    assert_eq!(printed, kept, "`./x fix` writes docs/reference/settings.md anew");
}
