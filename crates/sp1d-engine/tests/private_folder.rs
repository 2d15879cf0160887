//! Tests for the temporary folder that only one user can write to.

use sp1d_engine::{MachineError, private_temporary_folder};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// Checks that the folder is refused after `change` was applied to it. The error must contain the expected text.
fn check_untrusted(change: impl FnOnce(&Path), expected: &str) {
    let parent = tempfile::tempdir().unwrap();
    let folder = private_temporary_folder(parent.path()).unwrap();
    change(&folder);
    let error = private_temporary_folder(parent.path()).unwrap_err();
    assert!(matches!(error, MachineError::Untrusted { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(expected) && text.contains("\nhint: "), "{text}");
}

#[test]
fn the_folder_is_private_and_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = private_temporary_folder(parent.path()).unwrap();
    assert_eq!(folder.parent(), Some(parent.path()));
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(private_temporary_folder(parent.path()), Ok(folder));
    let missing = private_temporary_folder(&parent.path().join("missing")).unwrap_err().to_string();
    assert!(missing.contains("missing") && missing.contains("TMPDIR"), "{missing}");
}

#[test]
fn a_folder_that_others_control_is_refused() {
    let open = |folder: &Path| fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    check_untrusted(open, "other users can write to it");
    let replace = |folder: &Path| {
        fs::remove_dir(folder).unwrap();
        symlink("/tmp", folder).unwrap();
    };
    check_untrusted(replace, "it is not a folder");
}
