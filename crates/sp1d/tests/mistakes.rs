//! How `sp1d` reports common user mistakes, and what it leaves behind. These tests prove nothing: the workers' engine
//! never finishes a task.

use kernel_file::KernelFile;
use rustix::process::{Pid, Signal, kill_process};
use sp1d_testing::{FakeEngine, RunningWorker, free_address, ready};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

mod kernel_file;
mod refusal;

/// Held while a test executes a program. Executions are found in the process list and the shared memory of the whole
/// machine, so only one test may execute at a time.
static EXECUTING: Mutex<()> = Mutex::new(());

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

#[test]
fn an_invalid_worker_list_is_reported_with_its_position() {
    let folder = folder();
    let elf = guest("fibonacci");
    let check_list = |content: Option<&str>, code, parts: &[&str]| {
        if let Some(content) = content {
            fs::write(folder.path().join("distributed.json"), content).unwrap();
        }
        check(folder.path(), &prove(&elf), code, parts);
    };
    check_list(None, 2, &["distributed.json", "No such file", "--workers", "`[\"local\"]`"]);
    check_list(Some("[\n \"127.0.0.1:9\",\n]"), 2, &["distributed.json:3:1"]);
    check_list(Some("[]"), 2, &["names no worker"]);
    check_list(Some("[\"127.0.0.1:9\", \"localhost\"]"), 2, &["entry 2", "HOST:PORT"]);
    let unreachable = r#"{"workers": ["127.0.0.1:9"], "patience_s": 1}"#;
    check_list(Some(unreachable), 4, &["127.0.0.1:9", "connection refused", "sp1d worker", "`[\"local\"]`"]);
}

#[test]
fn the_timeout_of_a_proof_covers_the_wait_for_the_first_worker() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), r#"{"workers": ["127.0.0.1:9"], "patience_s": 600}"#).unwrap();
    let elf = guest("fibonacci");
    let started = Instant::now();
    let arguments = [prove(&elf).as_slice(), &["--timeout", "2"]].concat();
    check(folder.path(), &arguments, 5, &["timeout of 2 s", "waited for the first worker of 127.0.0.1:9", "--timeout"]);
    assert!(started.elapsed() < Duration::from_secs(60), "the command waited for {:?}", started.elapsed());
}

#[test]
fn a_wrong_address_is_reported_at_once_and_the_wait_can_be_interrupted() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), "[\"127.0.0.1:9\"]").unwrap();
    let elf = guest("fibonacci");
    let mut command = sp1d(folder.path(), &prove(&elf));
    let started = Instant::now();
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("no worker is reachable yet")).expect("the wait is reported");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    signal(i32::try_from(process.id()).unwrap(), Signal::INT);
    let rest: Vec<String> = lines.collect();
    let output = Output { stderr: rest.join("\n").into_bytes(), ..end_of(process) };
    check_refused(&output, 130, &["cancelled"]);
    assert!(line.contains("127.0.0.1:9") && line.contains("connection refused") && line.contains("60"), "{line}");
    assert_eq!(files(folder.path()), ["distributed.json"]);
}

#[test]
fn an_invalid_program_file_is_reported_with_the_reason() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), "[\"127.0.0.1:9\"]").unwrap();
    let check_elf = |content: &[u8], parts: &[&str]| {
        let path = folder.path().join("program");
        fs::write(&path, content).unwrap();
        check(folder.path(), &prove(Path::new("program")), 2, parts);
        for command in ["vkey", "execute"] {
            check(folder.path(), &[command, "--elf", "program"], 2, parts);
        }
    };
    let no_elf = ["cannot use the program program", "not an ELF file"];
    check_elf(b"", &no_elf);
    check(folder.path(), &["submit", "--elf", "program"], 2, &no_elf);
    check_elf(b"#!/bin/sh\n", &["not an ELF file"]);
    let good = fs::read(guest("fibonacci")).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    check_elf(&with(4, &[1]), &["32-bit", "SP1 v6"]);
    check_elf(&with(18, &[62, 0]), &["another machine", "62"]);
    check_elf(&with(16, &[3, 0]), &["not an executable"]);
    for length in [20, 100, good.len() / 2, good.len() - 1] {
        let end = format!("it ends too early, after {length} bytes");
        check_elf(&good[..length], &["cannot use the program program", &end, "hint: copy the program again"]);
    }
    // The size in memory of the first loaded segment, in the second program header.
    check_elf(&with(64 + 56 + 40, &u64::MAX.to_le_bytes()), &["the maximum is 134217728"]);
    check(folder.path(), &["vkey", "--elf", "missing"], 2, &["missing", "No such file"]);
}

#[test]
fn unknown_instructions_are_an_error_and_no_panic() {
    let folder = folder();
    let mut program = fs::read(guest("fibonacci")).unwrap();
    let entry = usize::try_from(u64::from_le_bytes(program[24..32].try_into().unwrap())).unwrap();
    let text = executable_segment(&program);
    let at = text.0 + (entry - text.1);
    program[at..at + 4].copy_from_slice(&[0xff; 4]);
    fs::write(folder.path().join("program"), program).unwrap();
    check(folder.path(), &["vkey", "--elf", "program"], 2, &["cannot use the program"]);
}

/// Returns the file offset and the address of the executable segment.
fn executable_segment(program: &[u8]) -> (usize, usize) {
    let number = |at: usize| usize::try_from(u64::from_le_bytes(program[at..at + 8].try_into().unwrap())).unwrap();
    let (headers, count) = (number(32), usize::from(u16::from_le_bytes(program[56..58].try_into().unwrap())));
    let header = (0..count).map(|at| headers + at * 56).find(|at| program[*at] == 1 && program[at + 4] & 1 == 1);
    let header = header.expect("a program has an executable segment");
    (number(header + 8), number(header + 16))
}

#[test]
fn invalid_arguments_are_refused() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), "[\"127.0.0.1:9\"]").unwrap();
    fs::write(folder.path().join("stdin"), [255; 16]).unwrap();
    let elf = guest("fibonacci");
    let with = |more: &[&'static str]| [prove(&elf), more.to_vec()].concat();
    check(folder.path(), &with(&["--stdin", "stdin"]), 2, &["does not contain a serialized SP1Stdin"]);
    check(folder.path(), &with(&["--stdin", "missing"]), 2, &["missing", "No such file"]);
    for (arguments, part) in [
        (with(&["--input", "7"]), "KIND:VALUE"),
        (with(&["--input", "u32:x"]), "not a valid u32"),
        (with(&["--input", "u32:1", "--stdin", "stdin"]), "cannot be used with"),
        (with(&["--cycle-limit", "0"]), "--cycle-limit"),
        (with(&["--gas-limit", "0"]), "--gas-limit"),
        (with(&["--shard-batch-size", "0"]), "(from flag --shard-batch-size)"),
        (with(&["--mode", "fast"]), "possible values"),
        (vec!["worker", "--listen", "127.0.0.1:8081"], "--orchestrator"),
        (vec!["worker", "--listen", "8081", "--orchestrator", "any"], "HOST:PORT"),
        (vec!["worker", "--listen", "127.0.0.1:8081", "--orchestrator", "10.0.0.0/64"], "range or host name"),
        (vec!["worker", "--listen", "127.0.0.1:8081", "--orchestrator", "any", "--threads", "0"], "--threads"),
        (vec!["prover", "--threads", "1"], "run `sp1d worker` instead"),
        (vec!["tune", "--input", "u32:1"], "--elf"),
        (vec!["tune", "--elf", "missing"], "missing"),
        (vec!["tune", "--provers", "0"], "--provers"),
        (vec!["tune", "--provers", "1", "--gpus", "0"], "--gpus"),
        (vec!["tune", "--gpus", "first"], "write `all`"),
    ] {
        let output = outcome(&mut sp1d(folder.path(), &arguments));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    let mut small = sp1d(folder.path(), &prove(&elf));
    check_refused(
        &outcome(small.env("ELEMENT_THRESHOLD", "1000")),
        2,
        &["environment variable ELEMENT_THRESHOLD", "\"1000\"", "out of range", "SP1 panics"],
    );
}

#[test]
fn a_wrong_value_of_an_environment_variable_is_reported_with_its_name() {
    let folder = folder();
    let check_variable = |arguments: &[&str], variable: &str, value: &str, parts: &[&str]| {
        let output = outcome(sp1d(folder.path(), arguments).env(variable, value));
        check_refused(&output, 2, &[parts, &[variable]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("hidden") && !stderr.contains("for '--"), "{stderr}");
    };
    for variable in ["SP1_DISTRIBUTED_CA_FILE", "SP1_DISTRIBUTED_TOKEN_FILE"] {
        check_variable(&["status"], variable, "", &["a value is required for 'environment variable "]);
        check_variable(&["doctor"], variable, "", &["a value is required"]);
    }
    check_variable(&["status"], "SP1D_LOG_FORMAT", "xml", &["invalid value 'xml' for 'environment variable "]);
    check_variable(&["status"], "SP1D_LOG", "sp1d=loud", &["invalid log filter"]);
    check_variable(&["status"], "SP1_DISTRIBUTED_URL", "", &["invalid service address"]);
    let fetch = ["keys", "fetch", "127.0.0.1:9", "identity.pem"];
    check_variable(&fetch, "SP1D_JOIN_TOKEN", "hidden", &["invalid value '***' for 'environment variable "]);
    let mut on_both = sp1d(folder.path(), &["status", "--log-format", "xml"]);
    let output = outcome(on_both.env("SP1D_LOG_FORMAT", "json"));
    check_refused(&output, 2, &["invalid value 'xml' for '--log-format <LOG_FORMAT>'"]);
}

#[test]
fn a_value_that_sp1_ignores_is_warned_about_once() {
    let folder = folder();
    let unreachable = r#"{"workers": ["127.0.0.1:9"], "patience_s": 1}"#;
    fs::write(folder.path().join("distributed.json"), unreachable).unwrap();
    let output = outcome(sp1d(folder.path(), &prove(&guest("fibonacci"))).env("MEMORY_LIMIT", "16Gi"));
    // The proof fails only because no worker responds.
    check_refused(&output, 4, &["127.0.0.1:9", "connection refused"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let warnings: Vec<_> = stderr.lines().filter(|line| line.contains("MEMORY_LIMIT")).collect();
    assert_eq!(warnings.len(), 1, "{stderr}");
    assert!(warnings[0].contains("16Gi") && warnings[0].contains("25769803776"), "{stderr}");
}

#[test]
fn an_unwritable_output_fails_before_any_work() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), "[\"127.0.0.1:9\"]").unwrap();
    fs::create_dir(folder.path().join("proofs")).unwrap();
    let elf = guest("fibonacci");
    let to = |output| ["prove", "--elf", elf.to_str().unwrap(), "--output", output];
    check(folder.path(), &to("proofs"), 2, &["proofs", "folder"]);
    let parts = ["cannot write missing/proof.bin: the folder missing does not exist", "mkdir -p missing"];
    check(folder.path(), &to("missing/proof.bin"), 2, &parts);
}

#[test]
fn a_folder_in_place_of_a_file_is_reported_with_the_file_to_name() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), "[\"127.0.0.1:9\"]").unwrap();
    fs::create_dir(folder.path().join("program")).unwrap();
    let program = ["cannot read the program program: it is a folder", "release/NAME", "`guests/build.sh`"];
    check(folder.path(), &prove(Path::new("program")), 2, &program);
    for command in ["execute", "vkey", "submit", "tune"] {
        check(folder.path(), &[command, "--elf", "program"], 2, &program);
    }
    let elf = guest("fibonacci");
    let input = [prove(&elf).as_slice(), &["--stdin", "program"]].concat();
    check(folder.path(), &input, 2, &["cannot read the input program: it is a folder", "hint: name a file"]);
    let verify = ["verify", "--elf", elf.to_str().unwrap(), "program"];
    check(folder.path(), &verify, 2, &["cannot read the proof program: it is a folder"]);
}

#[test]
fn doctor_fails_if_a_listed_worker_is_unreachable() {
    let folder = folder();
    // Returns the exit code, the number of failed checks of the list and its workers, and whether another check failed.
    let doctor = || {
        let output = outcome(sp1d(folder.path(), &["doctor", "--json"]).env_remove("SP1_DISTRIBUTED_URL"));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let is_worker = |finding: &&serde_json::Value| finding["what"].as_str().unwrap().starts_with("worker");
        let wrong = findings.filter(|finding| finding["outcome"] == "failed");
        let (peers, machine): (Vec<_>, Vec<_>) = wrong.partition(is_worker);
        (output.status.code().unwrap(), peers.len(), !machine.is_empty())
    };
    for (list, wrong, code) in [("[\"127.0.0.1:9\"]", 1, 4), ("[]", 1, 2)] {
        fs::write(folder.path().join("distributed.json"), list).unwrap();
        let (found, peers, machine) = doctor();
        // This machine may fail checks too: then their exit code counts.
        assert_eq!((found, peers), (if machine { 7 } else { code }, wrong), "{list}");
    }
    fs::remove_file(folder.path().join("distributed.json")).unwrap();
    let (found, peers, machine) = doctor();
    assert_eq!((found, peers), (if machine { 7 } else { 0 }, 0), "no list");
}

#[test]
fn a_port_for_joining_workers_needs_their_addresses() {
    let arguments = ["serve", "--state", "state", "--join-listen", "127.0.0.1:8091"];
    check(folder().path(), &arguments, 2, &["--join-from"]);
}

#[test]
fn a_port_in_use_fails_before_a_prover_loads() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let began = Instant::now();
    check(folder().path(), &["worker", "--listen", &address, "--orchestrator", "any"], 2, &[&address, "in use"]);
    // The worker waits 5 s for the port. Loading a prover first would take longer.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    check(
        folder().path(),
        &["worker", "--listen", "203.0.113.1:8081", "--orchestrator", "any", "--insecure"],
        2,
        &["cannot listen on 203.0.113.1:8081"],
    );
}

#[test]
fn a_port_for_other_machines_needs_tls_or_consent() {
    let joined = ["serve", "--state", "state", "--listen", "0.0.0.0:8090", "--join-listen", "127.0.0.1:8091"];
    let joined = [&joined[..], &["--join-from", "127.0.0.1"]].concat();
    for (flag, arguments) in [
        ("--listen 0.0.0.0:8081", vec!["worker", "--listen", "0.0.0.0:8081", "--orchestrator", "any"]),
        ("--join 203.0.113.1:8091", vec!["worker", "--join", "203.0.113.1:8091"]),
        (
            "--health 0.0.0.0:8082",
            vec!["worker", "--listen", "127.0.0.1:8081", "--orchestrator", "any", "--health", "0.0.0.0:8082"],
        ),
        ("--listen 0.0.0.0:8090", joined),
    ] {
        check(folder().path(), &arguments, 2, &[flag, "--tls", "--insecure"]);
    }
}

#[test]
fn a_certificate_for_https_needs_its_key_and_is_not_for_workers() {
    let folder = folder();
    assert!(outcome(&mut sp1d(folder.path(), &["keys", "init", "keys"])).status.success());
    let check_serve = |join: &str, rest: &[&str], parts: &[&str]| {
        let ports = ["serve", "--state", "state", "--listen", "0.0.0.0:8090", "--join-listen", join];
        check(folder.path(), &[&ports[..], &["--join-from", "127.0.0.1"], rest].concat(), 2, parts);
    };
    let (loopback, certificate, key) = ("127.0.0.1:8091", "--https-certificate", "--https-key");
    let alone = outcome(&mut sp1d(folder.path(), &["serve", "--state", "state", certificate, "keys/orchestrator.pem"]));
    assert_eq!(alone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("--https-key"), "{alone:?}");
    check_serve(loopback, &[certificate, "keys/none.pem", key, "keys/orchestrator.pem"], &["none.pem"]);
    check_serve(loopback, &[certificate, "keys/ca.crt", key, "keys/orchestrator.pem"], &["does not belong", "ca.crt"]);
    // Workers are known by the certificate of `--tls` only.
    let usable = [certificate, "keys/orchestrator.pem", key, "keys/orchestrator.pem"];
    check_serve("0.0.0.0:8091", &usable, &["--join-listen 0.0.0.0:8091", "--tls", "--insecure"]);
}

#[test]
fn keys_are_made_checked_and_never_overwritten() {
    let folder = folder();
    let run = |arguments: &[&str]| outcome(&mut sp1d(folder.path(), arguments));
    assert!(run(&["keys", "init", "keys"]).status.success());
    assert!(run(&["keys", "issue", "w", "--group", "g"]).status.success());
    check(folder.path(), &["keys", "init", "keys"], 2, &["exists already"]);
    check(folder.path(), &["keys", "issue", "w"], 2, &["exists already", "w.pem"]);
    check(folder.path(), &["keys", "issue", "../w"], 2, &["lower-case letters"]);
    let worker = ["worker", "--listen", "0.0.0.0:8081", "--orchestrator", "any", "--tls"];
    check(folder.path(), &[&worker[..], &["keys/orchestrator.pem"]].concat(), 2, &["the role worker"]);
    check(folder.path(), &[&worker[..], &["keys/none.pem"]].concat(), 2, &["none.pem"]);
    let first = fs::read(folder.path().join("keys/w.pem")).unwrap();
    assert!(run(&["keys", "renew", "w"]).status.success());
    assert_ne!(fs::read(folder.path().join("keys/w.pem")).unwrap(), first);
    check(folder.path(), &["keys", "renew", "other"], 2, &["other.pem"]);
    let misspelled = |outcome: &Output| String::from_utf8_lossy(&outcome.stderr).contains("misspelled");
    let (known, unknown) = (run(&["keys", "revoke", "w"]), run(&["keys", "revoke", "v"]));
    assert!(known.status.success() && unknown.status.success());
    assert!(!misspelled(&known) && misspelled(&unknown));
    check(folder.path(), &[&worker[..], &["keys/w.pem"]].concat(), 2, &["is revoked"]);
}

#[test]
fn tokens_are_created_listed_and_revoked_before_the_service_has_started() {
    let folder = folder();
    let run = |arguments: &[&str]| outcome(&mut sp1d(folder.path(), arguments));
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    check(folder.path(), &["tokens", "list", "--state", "state"], 2, &["not the state folder", "--state"]);
    let created = run(&["tokens", "create", "ci", "--state", "state", "--tenant", "team-a", "--roles", "read"]);
    let token = text(&created);
    assert!(created.status.success() && token.starts_with("sp1d_"), "{created:?}");
    check(folder.path(), &["tokens", "create", "ci", "--state", "state"], 2, &["exists already", "tokens revoke ci"]);
    check(folder.path(), &["tokens", "create", "c", "--state", "state", "--roles", "root"], 2, &["operate"]);
    check(folder.path(), &["tokens", "create", "C I", "--state", "state"], 2, &["lower-case letters"]);
    let listed = text(&run(&["tokens", "list", "--state", "state", "--json"]));
    assert!(listed.contains("\"tenant\":\"team-a\"") && listed.contains("\"roles\":\"read\""), "{listed}");
    assert!(!listed.contains(&token[token.len() - 16..]));
    assert!(run(&["tokens", "revoke", "ci", "--state", "state"]).status.success());
    check(folder.path(), &["tokens", "revoke", "ci", "--state", "state"], 2, &["there is no token ci", "tokens list"]);
    assert!(run(&["tokens", "quota", "team-a", "--state", "state", "--max-queue", "5"]).status.success());
    let quotas = text(&run(&["tokens", "quotas", "--state", "state", "--json"]));
    assert!(quotas.contains("\"queued\":5") && quotas.contains("\"running\":null"), "{quotas}");
    let mode = fs::metadata(folder.path().join("state/service.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Checks how `sp1d` ends on a machine of which the kernel has this file.
fn check_on_machine(file: &KernelFile, folder: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let command = file.command(env!("CARGO_BIN_EXE_sp1d"));
    check_refused(&outcome(&mut in_folder(command, folder, arguments)), code, parts);
}

#[test]
#[cfg(target_feature = "avx2")]
fn a_build_for_another_processor_ends_with_an_error() {
    check_on_machine(&KernelFile::without_avx2(), folder().path(), &["doctor"], 7, &["lacks: avx2", "target-cpu"]);
}

#[test]
fn a_machine_that_cannot_load_a_prover_is_reported() {
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), r#"["local"]"#).unwrap();
    let (elf, address) = (guest("fibonacci"), free_address().to_string());
    for arguments in [prove(&elf), vec!["worker", "--listen", &address, "--orchestrator", "any"]] {
        let parts = ["not enough memory to load a prover: 2.0 GB needed", "a machine with more memory"];
        check_on_machine(&KernelFile::of_a_small_machine(), folder.path(), &arguments, 7, &parts);
    }
    assert_eq!(files(folder.path()), ["distributed.json"]);
}

#[test]
fn an_untrusted_temporary_folder_is_refused() {
    let folder = folder();
    let own = folder.path().join(format!("sp1d-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
    let elf = guest("fibonacci");
    let arguments = ["execute", "--elf", elf.to_str().unwrap(), "--input", "u32:1"];
    check(folder.path(), &arguments, 7, &["cannot trust", "other users can write", "TMPDIR"]);
    fs::remove_dir(&own).unwrap();
    let output = outcome(sp1d(folder.path(), &arguments).env("TMPDIR", folder.path().join("missing")));
    check_refused(&output, 7, &["missing", "cannot write"]);
}

/// Runs a guest and checks that the execution leaves nothing behind.
fn check_program(arguments: &[&str], code: i32, parts: &[&str]) {
    let folder = folder();
    leaving_nothing(folder.path(), || check(folder.path(), arguments, code, parts));
}

/// Runs `work`, whose executions use `folder` for temporary files. Checks that they leave neither processes nor shared
/// memory behind.
fn leaving_nothing(folder: &Path, work: impl FnOnce()) {
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
async fn idle_worker() -> RunningWorker {
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

/// Starts a proof of `name` on an idle worker, with `environment`. `watch` receives the process and its folder, and
/// must end the process. Checks that no file, process or shared memory is left.
async fn check_ended(
    name: &str,
    input: &str,
    environment: &[(&str, &str)],
    watch: impl FnOnce(Child, &Path) + Send + 'static,
) {
    let elf = guest(name);
    let arguments = [prove(&elf), vec!["--input", input]].concat();
    check_command_ended(|folder| sp1d(folder, &arguments), environment, watch).await;
}

/// Like [`check_ended`], for any `command` that starts a proof in a folder.
async fn check_command_ended(
    command: impl FnOnce(&Path) -> Command,
    environment: &[(&str, &str)],
    watch: impl FnOnce(Child, &Path) + Send + 'static,
) {
    let worker = idle_worker().await;
    let folder = folder();
    fs::write(folder.path().join("distributed.json"), format!("[\"{}\"]", worker.address)).unwrap();
    let mut command = command(folder.path());
    command.envs(environment.iter().copied()).stderr(Stdio::piped()).stdout(Stdio::piped());
    tokio::task::spawn_blocking(move || {
        leaving_nothing(folder.path(), || watch(command.spawn().unwrap(), folder.path()));
        assert_eq!(files(folder.path()), ["distributed.json"]);
    })
    .await
    .unwrap();
    worker.stop().await;
}

/// Sends SIGINT, as Ctrl-C does, and checks the exit.
fn check_interrupted(process: Child) {
    signal(i32::try_from(process.id()).unwrap(), Signal::INT);
    check_refused(&end_of(process), 130, &["cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_proof_leaves_nothing_behind() {
    let interrupt = |process, folder: &Path| {
        wait_for_execution(folder);
        check_interrupted(process);
    };
    check_ended("spin", "u32:0", &[], interrupt).await;
    let close_terminal = |mut process: Child, folder: &Path| {
        wait_for_execution(folder);
        drop((process.stdout.take(), process.stderr.take()));
        let id = i32::try_from(process.id()).unwrap();
        // A closed terminal causes two signals: one from the shell and one from the kernel.
        signal(id, Signal::HUP);
        signal(id, Signal::HUP);
        assert_eq!(end_of(process).status.code(), Some(130));
    };
    check_ended("spin", "u32:0", &[], close_terminal).await;
}

/// Returns the executions: the processes whose executable is in `folder`.
fn executions(folder: &Path) -> Vec<i32> {
    let inside = |id: &i32| fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|program| program.starts_with(folder));
    let ids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(inside).collect()
}

/// Processor time after which an execution has loaded the program and runs it, and `sp1d` knows its process.
const RUNNING: Duration = Duration::from_millis(500);

/// Returns the executions that run the program.
fn running_executions(folder: &Path) -> Vec<i32> {
    let running = |id: &i32| processor_time_of(*id).is_some_and(|time| time >= RUNNING);
    executions(folder).into_iter().filter(running).collect()
}

fn wait_for_execution(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while running_executions(folder).is_empty() {
        assert!(Instant::now() < deadline, "no program runs: {:?}", processes(folder));
        thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_is_killed_from_outside_is_restarted_twice() {
    let watch = |mut process: Child, folder: &Path| {
        // Kill every execution until `sp1d` gives up. This includes an execution that only repeats the program to find
        // its error.
        let mut killed = BTreeSet::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while process.try_wait().unwrap().is_none() && Instant::now() < deadline {
            for id in running_executions(folder) {
                if killed.insert(id) {
                    signal(id, Signal::KILL);
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        let output = end_of(process);
        assert!(killed.len() >= 3, "{killed:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.matches("the proof restarts: ").count(), 2, "{stderr}");
        check_refused(&output, 7, &["killed from outside"]);
    };
    check_ended("spin", "u32:0", &[], watch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_whose_terminal_is_closed_ends_and_leaves_nothing() {
    // The command has its own terminal, which closes when the test kills `script`.
    let command = |folder: &Path| {
        let line = format!("exec {} prove --elf {}", env!("CARGO_BIN_EXE_sp1d"), guest("spin").display());
        let mut terminal = Command::new("script");
        terminal.args(["-qfc", &format!("{line} --input u32:0 --output proof.bin"), "/dev/null"]).stdin(Stdio::piped());
        terminal.current_dir(folder).env("TMPDIR", folder);
        terminal
    };
    let watch = |mut terminal: Child, folder: &Path| {
        let wait_until = |what: &str, holds: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while !holds() {
                assert!(Instant::now() < deadline, "{what}: {:?}", processes(folder));
                thread::sleep(Duration::from_millis(50));
            }
        };
        wait_for_execution(folder);
        terminal.kill().unwrap();
        terminal.wait().unwrap();
        wait_until("sp1d does not end", &|| processes(folder).is_empty());
    };
    check_command_ended(command, &[], watch).await;
}

/// Returns the processes that use `folder` for temporary files.
fn processes(folder: &Path) -> Vec<i32> {
    let variable = format!("TMPDIR={}\0", folder.display());
    let has = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.windows(variable.len()).any(|part| part == variable.as_bytes())
    };
    let ids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(has).collect()
}

/// Returns the processor time of a process so far, or `None` if the process has ended. The fields of `/proc/PID/stat`
/// are described in proc(5); a tick is 10 ms.
fn processor_time_of(process: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Some(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

/// Returns the names of a process's threads with their processor time in ticks.
fn threads(process: u32) -> String {
    let stats = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let stats = stats.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let shown = stats.map(|stat| {
        let (name, rest) = stat.split_once(" (").unwrap().1.rsplit_once(") ").unwrap();
        format!("{name} {}", rest.split(' ').skip(11).take(2).collect::<Vec<_>>().join("+"))
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_is_held_back_costs_next_to_nothing() {
    let watch = |process: Child, folder: &Path| {
        let used = |longest: Duration| {
            let id = i32::try_from(process.id()).unwrap();
            let before = processor_time_of(id).unwrap();
            thread::sleep(longest);
            (processor_time_of(id).unwrap() - before).as_secs_f64() / longest.as_secs_f64()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while executions(folder).is_empty() || used(Duration::from_secs(1)) > 0.2 {
            assert!(Instant::now() < deadline, "the execution is not held back");
        }
        // 5 % of four seconds are 20 ticks.
        let share = used(Duration::from_secs(4));
        assert!(!executions(folder).is_empty(), "the program has ended");
        assert!(share < 0.05, "{share} of a core while nothing happens: {}", threads(process.id()));
        check_interrupted(process);
    };
    // More shards than may be in flight, and far more than five chunks of the trace. Memory accesses fill the chunks.
    let environment = [("ELEMENT_THRESHOLD", "33554432"), ("MINIMAL_TRACE_CHUNK_THRESHOLD", "1000000")];
    check_ended("precompiles", "u32:100000", &environment, watch).await;
}

#[test]
fn a_worker_for_gpus_is_refused_in_words() {
    let folder = folder();
    fn worker(gpus: &str) -> [&str; 7] {
        ["worker", "--listen", "127.0.0.1:8081", "--orchestrator", "127.0.0.1", "--gpus", gpus]
    }
    let check_gpus = |gpus: &str, code, parts: &[&str]| check(folder.path(), &worker(gpus), code, parts);
    check_gpus("first", 2, &["--gpus", "write `all`"]);
    if cfg!(feature = "gpu") {
        // Machines with a GPU do not have this one.
        let output = outcome(&mut sp1d(folder.path(), &worker("63")));
        let code = output.status.code().unwrap();
        check_refused(&output, code, &["hint: "]);
        assert!(code == 2 || code == 7, "exit code {code}");
    } else {
        let not_built = ["this build of sp1d has no GPU support", "hint: build it with `./x gpu`"];
        check_gpus("all", 2, &not_built);
        check(folder.path(), &["tune", "--gpus", "all"], 2, &not_built);
    }
}

#[test]
fn restore_says_what_is_wrong_with_an_archive_and_shows_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for place in ["s3://key:hidden@bucket", "https://hidden@example.org", ""] {
        let output = outcome(&mut sp1d(folder, &["restore", "--archive", place, "--state", "state"]));
        check_refused(&output, 2, &["the place of the archive is not valid", "hint: use `s3://BUCKET/PREFIX`"]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hidden"));
    }
    let output = outcome(&mut sp1d(folder, &["restore", "--archive", "empty", "--state", "state"]));
    check_refused(&output, 1, &["the archive empty contains no state", "hint: "]);
    assert!(!folder.join("state").exists());
    let listed = outcome(&mut sp1d(folder, &["restore", "--archive", "empty", "--list", "--json"]));
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "{\"copies\":[]}\n");
}
