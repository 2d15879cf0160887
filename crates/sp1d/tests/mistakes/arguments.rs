//! Arguments and environment variables that are not valid.

use super::{check, check_refused, folder, guest, outcome, prove, sp1d};
use std::fs;

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
