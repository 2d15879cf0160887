//! `./x demo` around `sp1d demo`: what it checks before the build, what it builds, and what it prints. A fake cargo
//! builds a fake `sp1d`, so nothing is compiled or proven.

use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// What `./x` provides to `tools/demo.sh`, with a fake cargo.
const HARNESS: &str = r#"
set -euo pipefail
called_in=$PWD
profile=(--profile checked)
say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 2; }
setup() { say "setup"; }
target_folder() { echo "$PWD/target"; }
message() { printf '{"reason":"%s","package_id":"%s","target":{"kind":["%s"]}}\n' "$@"; }
cargo() {
  say "cargo $*"
  case $1 in
    tree) printf 'a v1.0.0\nb v1.0.0 (proc-macro) (*)\nb v2.0.0\nsp1d v0.1.0 (/x/crates/sp1d)\n' ;;
    fetch) ;;
    build)
      message compiler-artifact 'registry+https://x#a@1.0.0' custom-build
      message build-script-executed 'registry+https://x#a@1.0.0' none
      message compiler-artifact 'registry+https://x#b@1.0.0' proc-macro
      message compiler-artifact 'path+file:///x/crates/sp1d#0.1.0' bin
      return "$BUILD_STATUS" ;;
  esac
}
source "$SCRIPT"
free_memory() { echo "$FREE"; }
"#;

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A folder with a fake `sp1d` where cargo would put it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("target/checked/sp1d");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(&program, "#!/bin/sh\necho \"sp1d $*\" >&2\necho '{\"load_seconds\":1.5,\"verified\":true}'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Runs the demo after the shell commands `before`, which may replace parts of the script.
fn demo(folder: &Path, free: u64, before: &str, arguments: &str) -> Outcome {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/demo.sh");
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{HARNESS}\n{before}\ndemo {arguments}")]).current_dir(folder).stdin(Stdio::null());
    command.env("SCRIPT", script).env("FREE", free.to_string()).env("BUILD_STATUS", "0");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Checks the exit code of a demo, that stderr has each of `parts`, and that it has none of `absent`.
#[track_caller]
fn check(outcome: &Outcome, code: i32, parts: &[&str], absent: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "no {part:?} in {}", outcome.stderr);
    }
    for part in absent {
        assert!(!outcome.stderr.contains(part), "{part:?} in {}", outcome.stderr);
    }
}

const ENOUGH: u64 = 32_000_000_000;

#[test]
fn the_demo_builds_only_sp1d_and_shows_the_percentage_of_the_build() {
    let outcome = demo(folder().path(), ENOUGH, "", "--steps 7");
    let parts = [
        "download: ",
        "cargo fetch --locked",
        "cargo build --profile checked --locked --workspace --bin sp1d ",
        "build: 4 packages",
        // A build script does not finish its package.
        "build: 0 %, 4 packages left",
        "build: done in ",
        "sp1d demo --steps 7",
    ];
    check(&outcome, 0, &parts, &["one worker"]);
}

#[test]
fn a_package_is_compiled_when_cargo_reports_its_library_or_program() {
    let package = |reason: &str, id: &str, kind: &str| {
        let before = format!("artifact_package \"$(message {reason} {id} {kind})\"; echo \"$package\"; exit");
        demo(folder().path(), ENOUGH, &before, "").stdout.trim().to_owned()
    };
    assert_eq!(package("compiler-artifact", "registry+https://x#a@1.0.0", "lib"), "a@1.0.0");
    assert_eq!(package("compiler-artifact", "path+file:///x/crates/sp1d#0.1.0", "bin"), "sp1d@0.1.0");
    assert_eq!(package("compiler-artifact", "registry+https://x#a@1.0.0", "custom-build"), "");
    assert_eq!(package("build-script-executed", "registry+https://x#a@1.0.0", "lib"), "");
}

#[test]
fn json_output_is_one_document_with_the_times_of_all_phases() {
    let folder = folder();
    let document = |arguments: &str| -> Value {
        let outcome = demo(folder.path(), ENOUGH, "", arguments);
        check(&outcome, 0, &["sp1d demo --json"], &[]);
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    let built = document("--json");
    for time in ["download_seconds", "build_seconds", "build_processor_seconds", "load_seconds"] {
        assert!(built[time].is_number(), "{time}: {built}");
    }
    assert_eq!(built["verified"], true);
    let released = document("--json --binary target/checked/sp1d");
    assert_eq!((&released["build_seconds"], &released["load_seconds"]), (&Value::Null, &1.5.into()));
}

#[test]
fn a_released_binary_is_used_without_a_build() {
    let folder = folder();
    let outcome = demo(folder.path(), ENOUGH, "", "--binary target/checked/sp1d --output proof");
    let output = format!("sp1d demo --output {}/proof", folder.path().display());
    check(&outcome, 0, &[&output], &["cargo", "setup"]);
    let outcome = demo(folder.path(), ENOUGH, "", "--binary missing");
    check(&outcome, 2, &["invalid --binary", "missing"], &["cargo"]);
}

#[test]
fn the_memory_is_checked_before_the_build() {
    let outcome = demo(folder().path(), 5_000_000_000, "", "");
    check(&outcome, 7, &["needs 5.6 GB with one worker and 10.6 GB with two, 5.0 GB are free"], &["setup", "cargo"]);
    let outcome = demo(folder().path(), 8_000_000_000, "", "");
    check(&outcome, 0, &["the demo will run one worker: two need 10.6 GB", "8.0 GB are free", "cargo build"], &[]);
}

#[test]
fn invalid_options_are_refused_before_the_build() {
    for (arguments, part) in [
        ("--fast", "unknown option --fast"),
        ("--steps", "--steps needs a value"),
        ("--steps many", "invalid --steps many"),
        ("--output missing/proof", "invalid --output missing/proof"),
    ] {
        check(&demo(folder().path(), ENOUGH, "", arguments), 2, &[part], &["setup", "cargo"]);
    }
}

#[test]
fn a_failed_build_ends_the_demo() {
    let outcome = demo(folder().path(), ENOUGH, "BUILD_STATUS=101", "");
    check(&outcome, 2, &["the build failed"], &["sp1d demo"]);
}

#[test]
fn the_limit_of_a_control_group_counts_as_the_machines_memory() {
    let folder = folder();
    fs::write(folder.path().join("memory.max"), "8000000000\n").unwrap();
    fs::write(folder.path().join("memory.current"), "3000000000\n").unwrap();
    fs::write(folder.path().join("memory.stat"), "file 5\ninactive_file 1000000000\n").unwrap();
    let left = |limit: &str| {
        let before = format!("group_memory . {limit} memory.current inactive_file; exit");
        demo(folder.path(), ENOUGH, &before, "").stdout.trim().parse::<u64>().unwrap()
    };
    assert_eq!(left("memory.max"), 6_000_000_000);
    assert_eq!(left("memory.missing"), 1 << 62);
}
