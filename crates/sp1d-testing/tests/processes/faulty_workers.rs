//! Workers that fail, crash, hang, or return wrong results.

use super::*;

/// Runs a proof on a worker that treats shards in `manner`, and an honest worker that takes `milliseconds` for each.
/// Checks that the proof succeeds and that the first worker is quarantined.
fn check_manner(manner: &str, milliseconds: u64) {
    let (a, honest) = worker("honest", milliseconds);
    let address = free_address();
    let bad = worker_at(address, "bad", 20, &["--manner", manner]);
    let orchestrator = check_proven(orchestrator(&[a, address], &["--shards", "20"]));
    let warned = orchestrator.errors.matching(|line| line.contains("worker quarantined")).len();
    assert!(warned > 0, "{manner}: {}", orchestrator.errors.all());
    drop((honest, bad));
}

#[test]
fn a_worker_that_returns_garbage_is_quarantined() {
    check_manner("garbage", 150);
}

#[test]
fn a_worker_that_returns_the_result_of_other_inputs_is_quarantined() {
    check_manner("another", 150);
}

#[test]
fn a_worker_that_returns_nothing_is_quarantined() {
    check_manner("nothing", 150);
}

#[test]
fn a_worker_that_fails_every_attempt_is_quarantined() {
    check_manner("fail", 150);
}

#[test]
fn a_worker_that_floods_is_quarantined() {
    check_manner("flood", 600);
}

/// One worker is restarted in a loop and dies of every shard. The other worker is honest and slow.
#[test]
fn a_worker_that_crashes_in_a_loop_fails_no_proof() {
    let (a, _honest) = worker("honest", 2000);
    let b = free_address();
    let orchestrator = {
        let _first = worker_at(b, "looper", 50, &["--manner", "die"]);
        orchestrator(&[a, b], &["--shards", "4"])
    };
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looper = thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut looper = worker_at(b, "looper", 50, &["--manner", "die"]);
                while looper.child.try_wait().unwrap().is_none() && !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    });
    let orchestrator = check_proven(orchestrator);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    looper.join().unwrap();
    // While the other worker is there, no shard goes to the crashing worker twice.
    assert!(orchestrator.output.count("lost looper") >= 2, "{}", orchestrator.output.all());
}

#[test]
fn a_shard_that_is_too_large_for_one_worker_goes_to_a_larger_one() {
    let (a, b) = (free_address(), free_address());
    // The larger worker is connected when the first attempt fails.
    let _small = worker_at(a, "small", 1500, &["--manner", "out-of-memory", "--memory-bytes", "1000000000"]);
    let _large = worker_at(b, "large", 300, &["--memory-bytes", "2000000000"]);
    check_proven(orchestrator(&[a, b], &["--shards", "6"]));
}

#[test]
fn a_worker_that_exits_on_every_shard_fails_no_proof() {
    let (a, honest) = worker("honest", 100);
    let address = free_address();
    let bad = worker_at(address, "bad", 20, &["--manner", "die"]);
    check_proven(orchestrator(&[a, address], &["--shards", "10"]));
    drop((honest, bad));
}

#[test]
fn a_shard_that_hangs_on_one_worker_is_done_by_another() {
    let (a, honest) = worker("honest", 200);
    let address = free_address();
    let hangs = worker_at(address, "hangs", 20, &["--manner", "hang"]);
    let orchestrator = check_proven(orchestrator(&[a, address], &["--shards", "12"]));
    assert_eq!(orchestrator.output.count("lost "), 0);
    drop((honest, hangs));
}

#[test]
fn a_poisoned_shard_ends_its_own_proof_alone_with_its_history() {
    let addresses = [free_address(), free_address(), free_address()];
    let poison = ["--manner", "fail", "--only", "7"];
    let workers = [("one", 0), ("two", 1), ("three", 2)]
        .map(|(name, at): (&str, usize)| worker_at(addresses[at], name, 50, &poison));
    // Shards are numbered from 0. The second proof has only 6 shards, so it does not contain shard 7.
    let short = orchestrator(&addresses, &["--shards", "12"]);
    let (_, failed) = short.wait_for("failed ", 1);
    assert_eq!(failed.matches("planted").count(), 3, "{failed}");
    for worker in ["one", "two", "three"] {
        assert!(failed.contains(&format!(" on worker {worker} after ")), "{worker} did not try: {failed}");
    }
    short.wait_for("left 0 attempts 0 artifacts", 1);
    drop(short);
    check_proven(orchestrator(&addresses, &["--shards", "6"]));
    drop(workers);
}

#[test]
fn a_first_attempt_that_fails_does_not_fail_the_proof() {
    let addresses = [free_address(), free_address()];
    let fails = worker_at(addresses[0], "fails", 50, &["--manner", "fail", "--only", "2"]);
    let honest = worker_at(addresses[1], "honest", 50, &[]);
    let orchestrator = check_proven(orchestrator(&addresses, &["--shards", "8"]));
    assert_eq!(orchestrator.output.count("failed"), 0);
    drop((fails, honest));
}
