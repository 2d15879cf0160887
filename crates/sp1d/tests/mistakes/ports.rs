//! Ports that are in use, or open for other machines.

use super::{check, folder};
use std::time::{Duration, Instant};

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
