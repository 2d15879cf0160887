//! Runs the example programs with the provers that need no worker.

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

/// Checks that both programs succeed with this text in stdout and a saved proof, or fail with this text in stderr.
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
fn programs_use_the_prover_that_sp1_prover_names() {
    check("mock", Ok("proven: after 100 steps 3594, 6073"));
    check("light", Err("executing and verifying only"));
}

#[test]
fn an_unknown_prover_fails_with_the_list_of_choices() {
    check(
        "nonsense",
        Err(
            "SP1_PROVER=\"nonsense\" does not name a prover\nhint: set SP1_PROVER to one of distributed, cpu, mock, light",
        ),
    );
    check("", Err("SP1_PROVER=\"\" does not name a prover"));
    check("Distributed", Err("does not name a prover"));
    check("cuda", Err("needs the feature `cuda`"));
    check("network", Err("needs the feature `network`"));
    check("hosted", Err("needs the feature `network`"));
}

#[test]
fn the_first_call_fails_if_the_worker_list_is_missing() {
    check("distributed", Err("cannot read the worker list distributed.json"));
}
