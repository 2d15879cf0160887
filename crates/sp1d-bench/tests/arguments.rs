//! Arguments that the bench refuses before it measures anything.

use std::process::Command;

#[track_caller]
fn check(arguments: &[&str], expected: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_number_that_cannot_be_measured_is_refused() {
    check(&["evm", "--transactions", "0"], "1..=10000");
    check(&["evm", "--rounds", "0"], "1..=100");
    check(&["evm", "--common-cut", "0"], "29360128..=402653184");
    check(&["memory", "--cuts", "29360128,402653185"], "29360128..=402653184");
    check(&["overhead", "--steps", "0"], "0 is not in");
    check(&["overhead", "--transactions", "0"], "1..=10000");
    check(&["overhead", "--cut", "0"], "29360128..=402653184");
    check(&["scaling", "--steps", "0"], "0 is not in");
    check(&["scaling", "--rounds", "0"], "1..=100");
    check(&["setup", "--rounds", "2"], "3..=100");
}

#[test]
fn a_kind_of_proof_that_the_bench_does_not_make_is_refused() {
    check(&["overhead", "--mode", "groth16"], "possible values: core, compressed");
}
