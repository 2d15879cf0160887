//! `./x gpu-check` with a fake `sp1d` and a fake `nvidia-smi`: what it writes, also after a failure, and what it leaves
//! behind. Nothing is proven. The real `sp1d` accepts each command line of the script.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

/// Two GPUs, one of which does not report its power.
const NVIDIA_SMI: &str = r#"#!/usr/bin/env bash
case "$*" in
  -L) printf 'GPU 0: H200 (UUID: GPU-0)\n' ;;
  *--loop-ms=*)
    while true; do
      printf 'now, 0, 20000, 50, 40, 300.5\nnow, 1, 7, 0, 40, [N/A]\n'
      sleep 0.1
    done ;;
  *) printf '0, H200, 580.65, 143771 MiB, 9.0\n' ;;
esac
"#;

/// What a run of the script has left.
struct Outcome {
    code: Option<i32>,
    stderr: String,
    /// The files in the output folder.
    files: BTreeSet<String>,
    summary: String,
    /// The command lines of the fake `sp1d`.
    commands: Vec<String>,
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the script with a fault of the fake `sp1d`; see `gpu_check/sp1d.sh`. Checks that no prover is left.
fn run(fault: &str, arguments: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["bin", "fake", "root"] {
        fs::create_dir(at(name)).unwrap();
    }
    write_program(&at("bin/sp1d"), include_str!("gpu_check/sp1d.sh"));
    write_program(&at("bin/nvidia-smi"), NVIDIA_SMI);
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/gpu-check.sh").canonicalize().unwrap();
    // What `./x` provides to the script.
    let harness = r#"
        set -euo pipefail
        called_in=$PWD
        say() { printf '%s\n' "$*" >&2; }
        die() { say "error: $*"; exit 2; }
        source "$SCRIPT"
        gpu_check "$@"
    "#;
    let output = Command::new("bash")
        .args(["-c", harness, "x"])
        .arg("--binary")
        .arg(at("bin/sp1d"))
        .arg("--output")
        .arg(at("out"))
        .args(arguments)
        .current_dir(at("root"))
        .env("PATH", path)
        .env("SCRIPT", script)
        .env("FAKE", at("fake"))
        .env("FAKE_FAULT", fault)
        // A setting of the user that would change the log lines.
        .env("SP1D_LOG_FORMAT", "json")
        .env_remove("CUDA_VISIBLE_DEVICES")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let names = |folder: &Path| -> BTreeSet<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(names(&at("root/target")).is_empty(), "a folder is left");
    for prover in fs::read_to_string(at("fake/provers")).unwrap_or_default().lines() {
        let status = fs::read_to_string(format!("/proc/{prover}/status")).unwrap_or_default();
        // A process that has ended stays until its new parent notices.
        let ended = status.is_empty() || status.lines().any(|line| line.starts_with("State:") && line.contains('Z'));
        assert!(ended, "prover {prover} is left: {status}");
    }
    let text = |name: &str| fs::read_to_string(at(name)).unwrap_or_default();
    Outcome {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        files: names(&at("out")),
        summary: text("out/summary.txt"),
        commands: text("fake/commands").lines().map(str::to_owned).collect(),
    }
}

impl Outcome {
    /// Checks the exit code, the parts of the figures, and whether the proofs are there.
    #[track_caller]
    fn check(&self, code: i32, parts: &[&str], proofs: &[&str]) {
        let Self { stderr, summary, files, .. } = self;
        assert_eq!(self.code, Some(code), "{stderr}");
        for part in parts {
            assert!(summary.contains(part), "no {part:?} in {summary}");
        }
        let found: Vec<&str> = files.iter().map(String::as_str).filter(|name| name.ends_with(".bin")).collect();
        assert_eq!(found, proofs, "{stderr}");
        // The help names this number, for people who copy the files from the machine.
        assert!(files.len() <= 8, "{files:?}");
    }
}

#[test]
fn a_gpu_check_writes_proofs_and_figures() {
    let outcome = run("", &[]);
    let parts = [
        "1 provers loaded: ",
        "core proof: ",
        "2 attempts\n",
        " killed after ",
        "the killed prover was loaded again\n",
        "GPU 0: at most 20000 MiB, ",
        "GPU 1: at most 7 MiB, 0 W, ",
        "prove_shard: 3 attempts, 2.83 s of proving on average, 1.50 to 3.50 s\n",
        "both proofs verify; ",
    ];
    outcome.check(0, &parts, &["compressed.bin", "core.bin"]);
    assert!(!outcome.summary.contains("FAILED"), "{}", outcome.summary);
    let verified = outcome.commands.iter().filter(|command| command.starts_with("verify ")).count();
    assert_eq!(verified, 2, "{:?}", outcome.commands);
}

#[test]
fn sp1d_accepts_each_command_line_of_a_gpu_check() {
    let outcome = run("", &["--gpus", "0,1", "--limit", "3"]);
    // The fake has only one prover.
    outcome.check(2, &["FAILED: the time was over before: 2 provers to load"], &[]);
    let commands = [outcome.commands, run("", &[]).commands].concat();
    for name in ["worker", "prove", "verify", "doctor", "--version"] {
        assert!(commands.iter().any(|command| command.starts_with(name)), "no {name} in {commands:?}");
    }
    for command in commands {
        // Arguments before `--help` are checked, and nothing is run.
        let output = Command::new(env!("CARGO_BIN_EXE_sp1d"))
            .args(command.split(' '))
            .arg("--help")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "sp1d refuses `{command}`: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_gpu_check_keeps_what_it_has_when_a_later_step_fails() {
    let figures = ["1 provers loaded: ", "GPU 0: at most 20000 MiB, ", "prove_shard: "];
    let with = |failure| [&figures[..], &[failure]].concat();
    run("core", &[]).check(2, &with("FAILED: the core proof failed with exit code 1"), &[]);
    run("compressed", &[]).check(2, &with("FAILED: the compressed proof failed with exit code 1"), &["core.bin"]);
    let unverified = with("FAILED: the core proof was not verified: exit code 3");
    run("verify", &[]).check(2, &unverified, &["compressed.bin", "core.bin"]);
}

#[test]
fn a_gpu_check_ends_in_time_and_says_why() {
    run("worker", &[]).check(2, &["FAILED: the worker ended before: the first prover to load"], &[]);
    let late = "FAILED: the time was over during the core proof";
    run("hang", &["--limit", "4"]).check(2, &["1 provers loaded: ", "GPU 0: at most ", late], &[]);
}
