//! Workers that are stopped with SIGTERM, as an update of all machines does.

use super::*;
use std::process::ExitStatus;

/// Sends SIGTERM to `worker`, and waits until it has ended.
#[track_caller]
fn terminate(worker: &mut Process) -> ExitStatus {
    worker.signal(Signal::TERM);
    ended(worker)
}

#[track_caller]
fn ended(worker: &mut Process) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = worker.child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the worker does not end: {}", worker.errors.all());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_rolling_restart_of_all_workers_costs_no_shard() {
    let names = ["one", "two", "three"];
    let mut workers = names.map(|name| worker(name, 300));
    let addresses = workers.each_ref().map(|(address, _)| *address);
    let orchestrator = orchestrator(&addresses, &["--shards", "60"]);
    orchestrator.wait_for("done ", 3);
    let mut stopped = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let (address, old) = &mut workers[at];
        let status = terminate(old);
        assert!(status.success(), "{status}: {}", old.errors.all());
        let new = worker_at(*address, name, 300, &[]);
        stopped.push(std::mem::replace(old, new));
        // The next worker leaves when this one proves again, as in an update that waits for each machine.
        workers[at].1.wait_for("started ", 1);
    }
    let orchestrator = check_proven(orchestrator);
    let all: Vec<&Process> = stopped.iter().chain(workers.iter().map(|(_, worker)| worker)).collect();
    check_once(&all, 60);
    assert!(stopped.iter().all(|worker| worker.output.count("started ") == worker.output.count("ended ")));
    assert!(!orchestrator.errors.all().contains("attempt failed"), "{}", orchestrator.errors.all());
}

#[test]
fn all_workers_that_restart_at_once_cost_no_shard() {
    let names = ["one", "two"];
    let mut workers = names.map(|name| worker(name, 300));
    let addresses = workers.each_ref().map(|(address, _)| *address);
    let orchestrator = orchestrator(&addresses, &["--shards", "20"]);
    orchestrator.wait_for("done ", 3);
    workers.iter().for_each(|(_, worker)| worker.signal(Signal::TERM));
    workers.iter_mut().for_each(|(_, worker)| assert!(ended(worker).success(), "{}", worker.errors.all()));
    let back = [0, 1].map(|at| worker_at(addresses[at], names[at], 300, &[]));
    check_proven(orchestrator);
    check_once(&[&workers[0].1, &workers[1].1, &back[0], &back[1]], 20);
}

#[test]
fn a_worker_that_loses_its_connection_while_it_leaves_delivers_its_shard() {
    let (address, mut leaves) = worker("leaves", 3000);
    let proxy = Proxy::start(address);
    let orchestrator = orchestrator(&[proxy.address()], &["--shards", "1"]);
    leaves.wait_for("started ", 1);
    leaves.signal(Signal::TERM);
    // The orchestrator hears that the worker leaves within moments.
    thread::sleep(Duration::from_millis(300));
    proxy.close();
    thread::sleep(Duration::from_millis(300));
    proxy.open();
    check_proven(orchestrator);
    assert!(ended(&mut leaves).success());
    check_once(&[&leaves], 1);
}

#[test]
fn a_worker_whose_grace_is_over_ends_and_another_proves_its_shard() {
    let [address, other] = [free_address(), free_address()];
    let mut hangs = worker_at(address, "hangs", 10, &["--manner", "hang", "--grace-milliseconds", "700"]);
    let orchestrator = orchestrator(&[address, other], &["--shards", "4", "--batch", "1"]);
    let (_, shard) = hangs.wait_for("started ", 1);
    let asked = Instant::now();
    assert!(terminate(&mut hangs).success());
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(5), "{took:?}");
    let stays = worker_at(other, "stays", 10, &[]);
    check_proven(orchestrator);
    assert!(stays.output.count(&shard) > 0, "{shard} was not proven: {}", stays.output.all());
}
