//! The example programs with the provers that need no machine.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_example-fibonacci"), env!("CARGO_BIN_EXE_blocking")];

fn run(program: &str, folder: &Path, prover: &str) -> Output {
    let mut command = Command::new(program);
    command
        .args(["100", "saved"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("RUST_LOG", "off")
        .env("TMPDIR", folder);
    command.env("SP1_PROVER", prover).env_remove("SP1_DISTRIBUTED_WORKERS").env_remove("RUST_BACKTRACE");
    command.output().unwrap()
}

/// Both programs end well, or with these words.
fn check(prover: &str, expected: Result<&str, &str>) {
    for program in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        let output = run(program, folder.path(), prover);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match expected {
            Ok(part) => {
                assert!(output.status.success() && stdout.contains(part), "{program}: {stdout} {stderr}");
                assert!(fs::metadata(folder.path().join("saved")).unwrap().len() > 0);
            }
            Err(part) => assert!(!output.status.success() && stderr.contains(part), "{program}: {stderr}"),
        }
    }
}

#[test]
fn the_programs_prove_wherever_they_are_told() {
    check("mock", Ok("proven: after 100 steps 3594, 6073"));
    check("light", Err("executing and verifying only"));
}

#[test]
fn a_prover_that_is_not_there_is_answered_with_the_choices() {
    check("nonsense", Err("SP1_PROVER=\"nonsense\" names no prover; the choices are distributed, cpu, mock, light"));
    check("", Err("SP1_PROVER=\"\" names no prover"));
    check("Distributed", Err("names no prover"));
    check("cuda", Err("needs the feature `cuda`"));
    check("network", Err("needs the feature `network`"));
    check("hosted", Err("needs the feature `network`"));
}

#[test]
fn a_missing_list_is_the_error_of_the_first_call() {
    check("distributed", Err("cannot read the list of workers distributed.json"));
}
