//! Worker lists that cannot be used, and workers that do not respond.

use super::{check, check_refused, end_of, files, folder, guest, outcome, prove, signal, sp1d};
use rustix::process::Signal;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

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
