//! Which seeds the command runs.

use std::process::Command;

/// Runs the command. Returns its exit status and its whole output.
#[track_caller]
fn check(arguments: &[&str], code: i32, expected: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_run_without_seeds_is_refused() {
    check(&["--seeds", "0"], 2, "0 is not in");
}

#[test]
fn the_last_seed_is_run() {
    let last = u64::MAX.to_string();
    check(&["--seed", &last], 0, "1 seeds");
    check(&["--first", &last, "--seeds", "3"], 0, "1 seeds");
}
