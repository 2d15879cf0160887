//! How `sp1d` reports common user mistakes, and what it leaves behind. These tests prove nothing: the workers' engine
//! never finishes a task.

mod arguments;
mod executions;
mod interruptions;
#[path = "../kernel_file/mod.rs"]
mod kernel_file;
mod keys;
mod machine;
mod ports;
mod program_files;
#[path = "../refusal/mod.rs"]
mod refusal;
mod worker_list;

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};
use tempfile::TempDir;

fn guest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/elf").join(name)
}

fn sp1d(folder: &Path, arguments: &[&str]) -> Command {
    in_folder(Command::new(env!("CARGO_BIN_EXE_sp1d")), folder, arguments)
}

fn in_folder(mut command: Command, folder: &Path, arguments: &[&str]) -> Command {
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env("TMPDIR", folder);
    for variable in ["SP1_DISTRIBUTED_WORKERS", "SP1D_LOG", "SP1D_LOG_FORMAT", "RUST_LOG", "ELEMENT_THRESHOLD"] {
        command.env_remove(variable);
    }
    command
}

/// Like [`refusal::check_refused`], and checks that stdout is empty.
fn check_refused(output: &Output, code: i32, parts: &[&str]) {
    refusal::check_refused(output, code, parts);
    assert!(output.stdout.is_empty());
}

/// Returns the output of `command`. The process is killed after 120 seconds, longer than any command here takes.
fn outcome(command: &mut Command) -> Output {
    end_of(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn end_of(process: Child) -> Output {
    const LONGEST: Duration = Duration::from_secs(120);
    let id = i32::try_from(process.id()).unwrap();
    let (ended, end) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        if end.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
            signal(id, Signal::KILL);
        }
    });
    let output = process.wait_with_output().unwrap();
    drop(ended);
    guard.join().unwrap();
    output
}

fn signal(process: i32, signal: Signal) {
    kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
}

fn check(folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let before = files(folder);
    check_refused(&outcome(&mut sp1d(folder, arguments)), code, parts);
    assert_eq!(files(folder), before, "a file was left behind");
}

/// Returns visible and hidden files, without the folder of the executor's helper program.
fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with("sp1d-")).collect();
    names.sort();
    names
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn prove(elf: &Path) -> Vec<&str> {
    vec!["prove", "--elf", elf.to_str().unwrap(), "--output", "proof.bin"]
}
