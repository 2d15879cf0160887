//! Tests of the guest programs' results.

use std::{path::Path, process::Command};

/// Runs `sp1d execute --json`. Returns what it prints, and its log.
#[track_caller]
fn execute(program: &str, inputs: &[&str]) -> (serde_json::Value, String) {
    let elf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/elf").join(program);
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sp1d"));
    command.args(["execute", "--json", "--elf", elf.to_str().unwrap()]).env_remove("SP1D_LOG");
    inputs.iter().for_each(|input| {
        command.args(["--input", *input]);
    });
    let output = command.current_dir(folder.path()).env("TMPDIR", folder.path()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    (serde_json::from_slice(&output.stdout).unwrap(), log)
}

/// Checks the state root, the gas and the number of transactions of a block. The tests of the library `evm-block` check
/// the same values with two native implementations.
#[track_caller]
fn check_block(transactions: u32, seed: u64, state_root: &str, gas: u64) {
    let (outcome, log) = execute("evm", &[&format!("u32:{transactions}"), &format!("u64:{seed}")]);
    assert!(outcome.get("unread_values").is_none() && !log.contains("did not read"), "{outcome} {log}");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = format!("0x{state_root}{}{}", hex(&gas.to_le_bytes()), hex(&transactions.to_le_bytes()));
    assert_eq!(outcome["public_values"], expected);
}

#[test]
fn a_block_has_the_same_result_as_natively() {
    check_block(0, 7, "a1db1905465c3a22da5b170e293c4403c4652f8f820fb818c76da28a8362d603", 0);
    check_block(100, 8, "16270ae5c98ef8bf5167e49e967ffd9b8716cbe3986754c0286bf8800f8d5dd6", 16_131_552);
}

#[test]
fn input_that_a_program_does_not_read_is_warned_about() {
    let (outcome, log) = execute("fibonacci", &["u32:5", "u32:7", "str:more"]);
    assert_eq!(outcome["unread_values"], 2, "{outcome}");
    assert_eq!(log.matches("the program did not read 2 of 3 input values").count(), 1, "{log}");
}
