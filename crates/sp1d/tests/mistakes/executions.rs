//! Programs that fail or exceed a limit, with and without a proof, and what an execution leaves behind.

use super::{check, check_refused, folder, guest, outcome, prove, sp1d};
use sp1d_testing::{FakeEngine, RunningWorker, ready};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Held while a test executes a program. Executions are found in the process list and the shared memory of the whole
/// machine, so only one test may execute at a time.
static EXECUTING: Mutex<()> = Mutex::new(());

/// Runs `work`, whose executions use `folder` for temporary files. Checks that they leave neither processes nor shared
/// memory behind.
pub(super) fn leaving_nothing(folder: &Path, work: impl FnOnce()) {
    let _alone = EXECUTING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = shared_memory();
    work();
    let left: Vec<_> = shared_memory().difference(&before).cloned().collect();
    assert!(left.is_empty(), "shared memory is left: {left:?}");
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        assert!(!program.starts_with(folder), "a process is left: {}", entry.path().display());
    }
}

fn shared_memory() -> BTreeSet<String> {
    let names = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("sp1_")).collect()
}

/// Runs a guest and checks that the execution leaves nothing behind.
fn check_program(arguments: &[&str], code: i32, parts: &[&str]) {
    let folder = folder();
    leaving_nothing(folder.path(), || check(folder.path(), arguments, code, parts));
}

fn execute(name: &str, more: &[&str]) -> Vec<String> {
    let elf = guest(name);
    let arguments = ["execute", "--elf", elf.to_str().unwrap()];
    arguments.iter().chain(more).map(ToString::to_string).collect()
}

#[test]
fn a_failing_program_is_reported_with_its_last_words() {
    let check = |name: &str, more: &[&str], parts: &[&str]| {
        let arguments = execute(name, more);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        check_program(&arguments, 3, parts);
    };
    check("panic", &["--input", "u32:42"], &["panicked", "exit code 1", "the guest was asked to panic: 42"]);
    check("greedy", &["--input", "u32:1"], &["ran out of input", "exit code 3"]);
    check("fibonacci", &["--input", "u32:100000", "--cycle-limit", "1000"], &["limit of 1000 cycles"]);
    check("spin", &["--input", "u32:1", "--cycle-limit", "1000000"], &["limit of 1000000 cycles"]);
    check("spin", &["--input", "u32:0", "--cycle-limit", "1000000"], &["limit of 1000000 cycles", "and did not end"]);
}

#[test]
fn a_program_is_stopped_at_its_memory_limit() {
    let folder = folder();
    let arguments = execute("memory", &["--input", "u32:1024"]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    leaving_nothing(folder.path(), || {
        let output = outcome(sp1d(folder.path(), &arguments).env("MEMORY_LIMIT", "268435456"));
        check_refused(&output, 3, &["memory", "limit", "`memory_limit`"]);
    });
}

#[test]
fn an_endless_program_is_stopped_by_its_timeout() {
    for variant in ["u32:0", "u32:1"] {
        let arguments = execute("spin", &["--input", variant, "--timeout", "1"]);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        check_program(&arguments, 5, &["did not end within its timeout of 1 s", "--timeout"]);
    }
}

/// Starts a worker in this process that accepts every task and never finishes one.
pub(super) async fn idle_worker() -> RunningWorker {
    let engine = ready(FakeEngine::doing(|_, _| std::future::pending()));
    RunningWorker::start("idle", engine, |settings| settings.introduction.build = sp1d_engine::build_identity()).await
}

/// Proves `name` on an idle worker. The failure must come from the program.
async fn check_proving(name: &str, more: &[&str], code: i32, parts: &[&str]) {
    let worker = idle_worker().await;
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), format!("[\"{}\"]", worker.address)).unwrap();
    let elf = guest(name);
    let arguments: Vec<String> = prove(&elf).iter().chain(more).map(ToString::to_string).collect();
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    // The worker needs this test's runtime, so the blocking part runs on another thread.
    tokio::task::spawn_blocking(move || {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        leaving_nothing(folder.path(), || check(folder.path(), &arguments, code, &parts));
    })
    .await
    .unwrap();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_a_failing_program_reports_its_last_words() {
    check_proving("panic", &["--input", "u32:42"], 3, &["exit code 1", "asked to panic: 42"]).await;
    check_proving("greedy", &["--input", "u32:1"], 3, &["ran out of input"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_an_endless_program_ends_at_its_limits() {
    check_proving("spin", &["--input", "u32:1", "--cycle-limit", "1000000"], 3, &["limit of 1000000 cycles"]).await;
    check_proving("spin", &["--input", "u32:0", "--cycle-limit", "1000000"], 3, &["limit of 1000000 cycles"]).await;
    check_proving("spin", &["--input", "u32:0", "--timeout", "3"], 5, &["within its timeout of 3 s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_a_program_that_needs_more_gas_than_its_limit_fails() {
    let arguments = ["--input", "u32:100000", "--gas-limit", "1000"];
    check_proving("fibonacci", &arguments, 3, &["limit of 1000 gas", "raise the gas limit", "--gas-limit"]).await;
}
