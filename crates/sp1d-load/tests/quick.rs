//! Each part of the bench runs in its quick mode, and writes its figures and its plot.

use serde_json::Value;
use std::{path::Path, process::Command};

/// Runs a part. Returns its figures.
#[track_caller]
fn run(part: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    // Simulations use the measured figures of the repository.
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args([part, "--quick", "--output"]).arg(&file).current_dir(repository);
    let output = command.output().unwrap();
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    assert!(output.status.success(), "{text}");
    let plot = std::fs::read_to_string(file.with_extension("svg")).unwrap();
    assert!(plot.contains("</svg>"), "{plot}");
    let report: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0, "{report}");
    report
}

/// Runs a part and checks that it measured `count` rows, each with all `figures` above zero.
#[track_caller]
fn check(part: &str, count: usize, figures: &[&str]) -> Value {
    let report = run(part);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), count, "{report}");
    for row in rows {
        for figure in figures {
            let found = row[figure]["median"].as_f64().or(row[figure].as_f64());
            assert!(found.is_some_and(|found| found > 0.0), "{figure}: {row}");
        }
    }
    report
}

#[test]
fn dispatch_measures_tasks_and_waits() {
    check("dispatch", 2, &["tasks_per_second", "cpu_micros_per_task", "full_load_p99_ms", "half_load_p99_ms"]);
}

#[test]
fn hub_measures_shards_their_cost_and_a_slow_connection() {
    let report = check("hub", 2, &["shards_per_second", "bytes_per_second", "cpu_seconds_per_shard", "sent_bytes"]);
    let parts = &report["rows"][0]["parts"];
    for part in ["compression", "hashing", "decoding", "verification", "bookkeeping", "copying"] {
        assert!(parts[part].as_f64().unwrap() > 0.0, "{part}: {parts}");
    }
    assert!(report["head_of_line"]["beside_p99_ms"]["median"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn artifacts_are_compared_with_a_raw_copy() {
    let report = check("artifacts", 2, &["tcp", "store", "fetch", "store_and_fetch", "fetch_over_tcp"]);
    let is_installed = report["redis"].as_str().unwrap() != "not installed";
    assert_eq!(report["rows"][0]["redis_get"].is_object(), is_installed, "{report}");
}

#[test]
fn fetches_with_tls_are_compared_with_plain_ones_and_handshakes_are_timed() {
    // Two kinds of content, each over loopback and behind a link.
    let report = check("tls", 4, &["plain", "tls", "tls_over_plain", "store_and_fetch_tls_over_plain"]);
    let handshakes = report["handshakes"].as_array().unwrap();
    assert_eq!(handshakes.len(), 2, "{report}");
    for row in handshakes {
        assert!(row["p99_ms"]["median"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn flame_graphs_need_a_profiler_and_the_error_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args(["dispatch", "--quick", "--flame"]).arg(folder.path()).env("PATH", folder.path());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("cannot start perf\nhint: install it"), "{text}");
}

/// Checks that `load` refuses this value of an option of `simulate`.
#[track_caller]
fn check_refused(option: &str, value: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    let output = command.args(["simulate", "--quick"]).arg(format!("{option}={value}")).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(option) && text.contains("not a number from"), "{text}");
}

#[test]
fn simulations_refuse_numbers_without_a_finite_time() {
    for option in ["--gpu-shard-seconds", "--executor-cycles-per-second", "--cores", "--gigabits"] {
        for value in ["0", "-1", "1e300", "NaN", "many"] {
            check_refused(option, value);
        }
    }
}

#[test]
fn simulated_runs_are_compared_with_the_least_possible_time() {
    let report = check("simulate", 12, &["free_over_bound", "whole_over_bound", "whole_seconds", "attempts_per_shard"]);
    for row in report["rows"].as_array().unwrap() {
        for ratio in ["free_over_bound", "whole_over_bound"] {
            let ratio = row[ratio]["min"].as_f64().unwrap();
            assert!(ratio > 0.999, "a run is faster than possible: {row}");
        }
    }
    assert!(report["limits"][0]["executor"].as_f64().unwrap() > 1.0, "{report}");
}

#[test]
fn work_continues_after_each_loss() {
    let report = check("recovery", 3, &["seconds"]);
    let attempts: Vec<_> = report["rows"].as_array().unwrap().iter().map(|row| row["attempts"].as_u64()).collect();
    assert_eq!(attempts, [Some(2), Some(2), Some(1)], "{report}");
}
