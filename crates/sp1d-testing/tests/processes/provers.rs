//! Prover processes that are killed or panic.

use super::*;

/// Starts a worker with one prover process that takes `load` milliseconds to load, and waits until it is loaded.
fn supervised(name: &str, milliseconds: u64, load: u64, more: &[&str]) -> (SocketAddr, Process) {
    let (address, load) = (free_address(), load.to_string());
    let mut arguments = vec!["--provers", "1", "--load-milliseconds", &load];
    arguments.extend(more);
    let worker = worker_at(address, name, milliseconds, &arguments);
    let deadline = Instant::now() + PATIENCE;
    while ready_provers(address) == 0 {
        assert!(Instant::now() < deadline, "{}", worker.errors.all());
        thread::sleep(Duration::from_millis(10));
    }
    (address, worker)
}

/// Asks the worker at `address` how many of its provers are loaded. Returns 0 if the worker does not respond.
fn ready_provers(address: SocketAddr) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let worker = address.into();
    runtime.block_on(probe(&worker, &fake_build(), None)).map_or(0, |probed| probed.ready_provers)
}

/// Returns the prover processes of `worker`.
fn provers(worker: &Process) -> Vec<Pid> {
    let children = format!("/proc/{0}/task/{0}/children", worker.child.id());
    let children = std::fs::read_to_string(children).unwrap();
    children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().unwrap())).collect()
}

#[test]
fn a_killed_prover_costs_one_attempt_and_the_session_continues() {
    let (a, dies) = supervised("dies", 3000, 500, &[]);
    let (b, idle) = worker("idle", 200);
    let orchestrator = orchestrator(&[a, b], &["--shards", "2", "--batch", "1"]);
    dies.errors.wait_for("started ", 1);
    let (_, line) = idle.wait_for("ended ", 1);
    orchestrator.wait_for("done idle", 1);
    kill_process(provers(&dies)[0], Signal::KILL).unwrap();
    let killed = Instant::now();
    let (again, _) = idle.wait_for("started ", 2);
    let orchestrator = check_proven(orchestrator);
    show("SIGKILL of a prover: its shard started again elsewhere after", again - killed);
    assert!(again - killed < Duration::from_millis(500), "{:?}", again - killed);
    assert_eq!(orchestrator.output.count("lost "), 0, "the session of the worker dropped after {line}");
    assert!(dies.errors.all().contains("killed by signal 9"), "{}", dies.errors.all());
}

#[test]
fn a_killed_prover_is_loaded_again_and_proves_the_same_shard() {
    let (a, dies) = supervised("dies", 1000, 300, &[]);
    let orchestrator = orchestrator(&[a], &["--shards", "2"]);
    dies.errors.wait_for("started ", 1);
    let killed = provers(&dies)[0];
    kill_process(killed, Signal::KILL).unwrap();
    let orchestrator = check_proven(orchestrator);
    assert_eq!(orchestrator.output.count("lost "), 0);
    let loaded = provers(&dies);
    assert!(loaded.len() == 1 && loaded[0] != killed, "{}", dies.errors.all());
}

#[test]
fn a_prover_reports_a_panic_and_keeps_running() {
    let (a, panics) = supervised("panics", 100, 100, &["--manner", "panic", "--only", "1"]);
    let first = provers(&panics);
    let mut orchestrator = orchestrator(&[a], &["--shards", "3"]);
    let (_, failed) = orchestrator.wait_for("failed ", 1);
    assert!(failed.contains("planted panic"), "{failed}");
    assert_eq!(provers(&panics), first);
    drop(orchestrator.stdin.take());
}

#[test]
fn two_provers_of_one_worker_prove_at_the_same_time() {
    let address = free_address();
    let both = worker_at(address, "both", 1000, &["--provers", "2"]);
    let start = Instant::now();
    let orchestrator = orchestrator(&[address], &["--shards", "4", "--batch", "4"]);
    check_proven(orchestrator);
    assert_eq!(provers(&both).len(), 2);
    assert!(
        start.elapsed() < Duration::from_millis(3800),
        "the provers did not work at the same time: {:?}",
        start.elapsed()
    );
}

#[test]
fn a_prover_ends_when_its_worker_is_killed() {
    let (_, worker) = supervised("ends", 100, 100, &[]);
    let deadline = Instant::now() + PATIENCE;
    let prover = provers(&worker)[0];
    worker.signal(Signal::KILL);
    let folder = format!("/proc/{}", prover.as_raw_nonzero());
    while Path::new(&folder).exists() {
        assert!(Instant::now() < deadline, "the prover outlived its worker");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a health probe and returns the first line of the response, without its end. Empty if there is no response.
fn health(address: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return String::new() };
    let mut line = String::new();
    let asked = write!(stream, "GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n");
    let _ = asked.and_then(|()| BufReader::new(stream).read_line(&mut line));
    line.trim_end().to_owned()
}

#[track_caller]
fn wait_for_health(address: SocketAddr, path: &str, status: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = health(address, path);
        if found.contains(status) {
            return;
        }
        assert!(Instant::now() < deadline, "{path}: {found}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn worker_is_ready_only_while_a_prover_is_loaded() {
    let probes = free_address();
    let (_, worker) = supervised("probed", 100, 1000, &["--health", &probes.to_string()]);
    wait_for_health(probes, "/readyz", " 200 ");
    kill_process(provers(&worker)[0], Signal::KILL).unwrap();
    wait_for_health(probes, "/readyz", " 503 ");
    assert!(health(probes, "/healthz").contains(" 200 "));
    wait_for_health(probes, "/readyz", " 200 ");
}
