//! Drains, cancellations, several proofs at a time, and full stores.

use super::*;

#[test]
fn a_drained_worker_finishes_and_leaves_the_rest_to_others() {
    let [(a, leaves), (b, stays)] = ["leaves", "stays"].map(|name| worker(name, 200));
    let mut orchestrator = orchestrator(&[a, b], &["--shards", "30"]);
    // The third shard has just started, and the orchestrator knows it.
    orchestrator.wait_for("proving leaves", 3);
    orchestrator.send("drain leaves");
    let (drained, _) = orchestrator.wait_for("drained leaves", 1);
    orchestrator.send("drain missing");
    let (_, error) = orchestrator.wait_for("error ", 1);
    assert!(error.contains("missing") && error.contains("stays"), "{error}");
    thread::sleep(Duration::from_secs(1));
    // Shards that the worker had started before it was drained are not counted.
    let later = leaves.output.matching(|line| line.starts_with("started ")).into_iter().filter(|(at, _)| *at > drained);
    assert_eq!(later.count(), 0, "the drained worker started a shard: {}", leaves.output.all());
    let before = leaves.output.count("started ");
    orchestrator.send("resume leaves");
    leaves.wait_for("started ", before + 1);
    check_proven(orchestrator);
    check_once(&[&leaves, &stays], 30);
}

#[test]
fn no_shard_starts_after_a_cancel() {
    let [(a, one), (b, two)] = ["one", "two"].map(|name| worker(name, 300));
    let mut orchestrator = orchestrator(&[a, b], &["--shards", "40", "--batch", "4"]);
    orchestrator.wait_for("done ", 2);
    orchestrator.send("cancel");
    let (cancelled, line) = orchestrator.wait_for("failed ", 1);
    assert!(line.contains("cancelled"), "{line}");
    thread::sleep(Duration::from_secs(2));
    for worker in [&one, &two] {
        let late = worker.output.matching(|line| line.starts_with("started "));
        let late = late.into_iter().filter(|(at, _)| *at > cancelled + Duration::from_millis(300));
        assert_eq!(late.count(), 0, "{}", worker.output.all());
    }
}

#[test]
fn four_proofs_share_two_workers_and_none_starves() {
    let [(a, one), (b, two)] = ["one", "two"].map(|name| worker(name, 50));
    check_proven(orchestrator(&[a, b], &["--shards", "10", "--proofs", "4"]));
    drop((one, two));
}

/// Runs a proof with 60 records of 1 MiB each and only 16 MiB of memory for artifacts.
fn check_spill(folder: &Path, disk_bytes: &str) -> Process {
    let (a, worker) = worker("only", 10);
    let folder = folder.to_str().unwrap();
    let more = ["--shards", "60", "--record-bytes", "1048576", "--memory-bytes", "16777216"];
    let more = [&more[..], &["--disk-bytes", disk_bytes, "--spill-folder", folder]].concat();
    let orchestrator = orchestrator(&[a], &more);
    orchestrator.wait_for("left ", 1);
    drop(worker);
    orchestrator
}

#[test]
fn artifacts_beyond_the_memory_go_to_disk_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    check_proven(check_spill(folder.path(), "1073741824"));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "artifacts are left on disk");
}

#[test]
fn a_full_store_fails_the_proof_at_once_and_reports_why() {
    let folder = tempfile::tempdir().unwrap();
    let orchestrator = check_spill(folder.path(), "4194304");
    let (_, failed) = orchestrator.wait_for("failed ", 1);
    assert!(failed.contains("there is no room for artifact re"), "{failed}");
    assert!(orchestrator.output.count("done ") < 60, "the proof failed only at its end");
}
