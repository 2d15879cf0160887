//! The units in `packaging/systemd` as they are, on one machine: proofs, a drain, and a second signal.
//! `./x test --full units` runs this test.

use rustix::process::Signal;
use std::{path::Path, time::Duration};

mod unit_files;

use unit_files::{Killed, Machine, Unit};

/// Longest wait for any single condition: a prover takes two minutes to load on a slow machine, and a shard one.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

fn guest() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/elf/fibonacci").display().to_string()
}

/// Runs a command that must succeed and returns its output.
#[track_caller]
fn says(machine: &Machine, arguments: &[&str]) -> String {
    let output = machine.run(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}{}", machine.logs());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Requests a proof, and returns its id once the worker proves a shard of it.
#[track_caller]
fn submit(machine: &Machine, input: &str) -> String {
    let id = says(machine, &["submit", "--elf", &guest(), "--input", input]);
    machine.wait_for("no shard starts", || says(machine, &["logs", &id]).contains(" started on ").then_some(()));
    id
}

/// Waits for a proof and verifies it.
#[track_caller]
fn check_done(machine: &Machine, id: &str) {
    let file = format!("{id}.bin");
    says(machine, &["wait", id]);
    says(machine, &["fetch", id, &file]);
    says(machine, &["verify", "--elf", &guest(), &file]);
}

/// Starts a worker and waits until its prover is loaded.
#[track_caller]
fn start_worker(machine: &Machine, unit: &Unit) -> Killed {
    let worker = machine.start(unit);
    let is_ready = || machine.worker_states().iter().any(|state| state == "idle" || state == "busy");
    machine.wait_for("the prover is not loaded", || is_ready().then_some(()));
    worker
}

#[ignore = "takes two minutes and loads a prover three times: ./x test --full units"]
#[test]
fn the_units_as_they_are_prove_and_a_stopped_worker_finishes_its_shard() {
    let machine = Machine::new(PATIENCE);
    let [serve, worker] = ["sp1d-serve", "sp1d-worker"].map(Unit::read);
    let serving = machine.start(&serve);
    machine.wait_for("no service", || machine.run(&["status"]).status.success().then_some(()));
    let mut working = start_worker(&machine, &worker);
    let first = submit(&machine, "u32:1000");
    check_done(&machine, &first);

    // A drain: the worker finishes its shard, and no shard is proven twice.
    let second = submit(&machine, "u32:2000");
    let count = |id: &str, what: &str| says(&machine, &["logs", id]).matches(what).count();
    assert_eq!(count(&second, " done on "), 0, "the shard was done before the worker was stopped");
    working.signal(Signal::TERM);
    let status = machine.end_of(&mut working);
    assert!(status.success() && count(&second, " done on ") > 0, "{status}: {}", machine.logs());
    let mut working = start_worker(&machine, &worker);
    check_done(&machine, &second);
    assert_eq!(count(&second, " started on "), count(&second, " done on "), "{}", machine.logs());

    // A second signal: the worker stops at once, and proves the shard again after its next start.
    let third = submit(&machine, "u32:3000");
    working.signal(Signal::TERM);
    let hint = "stopping; send the signal again to stop at once";
    machine.wait_for("no hint", || machine.log_of(&worker).contains(hint).then_some(()));
    working.signal(Signal::TERM);
    let status = machine.end_of(&mut working);
    assert_eq!((status.code(), count(&third, " done on ")), (Some(130), 0), "{}", machine.logs());
    let working = start_worker(&machine, &worker);
    check_done(&machine, &third);

    machine.stop(working, &worker);
    machine.stop(serving, &serve);
}
