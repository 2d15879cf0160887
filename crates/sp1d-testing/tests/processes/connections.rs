//! Connections that break, swallow data, or are slow.

use super::*;

/// Runs a proof of `shards` shards on one worker behind a proxy, and calls `harm` on the proxy during the proof. Shards
/// take two seconds.
fn harmed(shards: usize, harm: impl FnOnce(&Proxy)) -> (Process, Process) {
    let (address, worker) = worker("only", 2000);
    let proxy = Proxy::start(address);
    let orchestrator = orchestrator(&[proxy.address()], &["--shards", &shards.to_string()]);
    worker.wait_for("started ", 1);
    harm(&proxy);
    (check_proven(orchestrator), worker)
}

#[test]
fn a_connection_that_is_closed_and_refused_for_five_seconds_costs_no_shard() {
    let start = Instant::now();
    let (_, worker) = harmed(5, |proxy| {
        proxy.close();
        thread::sleep(Duration::from_secs(5));
        proxy.open();
    });
    show("a connection lost for 5 s in a proof of 5 shards of 2 s: the proof took", start.elapsed());
    check_once(&[&worker], 5);
}

#[test]
fn a_connection_that_swallows_everything_is_noticed_and_costs_no_shard() {
    let swallowed = Mutex::new(None);
    // Three shards take longer than the silence that ends a session.
    let (orchestrator, worker) = harmed(3, |proxy| {
        *swallowed.lock().unwrap() = Some(Instant::now());
        proxy.swallow(true, true);
    });
    let (at, _) = orchestrator.wait_for("lost only", 1);
    let noticed = at - swallowed.lock().unwrap().unwrap();
    show("a connection lost without being closed: noticed after", noticed);
    assert!(noticed < Duration::from_secs(4), "{noticed:?}");
    check_once(&[&worker], 3);
}

#[test]
fn a_connection_that_swallows_one_direction_is_noticed_and_costs_no_shard() {
    for (to_worker, to_orchestrator) in [(true, false), (false, true)] {
        let (_, worker) = harmed(3, |proxy| proxy.swallow(to_worker, to_orchestrator));
        check_once(&[&worker], 3);
    }
}

#[test]
fn a_connection_that_is_lost_over_and_over_costs_no_shard() {
    let (_, worker) = harmed(3, |proxy| {
        for _ in 0..6 {
            proxy.close();
            proxy.open();
            thread::sleep(Duration::from_millis(700));
        }
    });
    check_once(&[&worker], 3);
}

#[test]
fn a_slow_link_loses_no_worker() {
    let (address, worker) = worker("far", 100);
    let proxy = Proxy::start(address);
    proxy.limit(2 << 20);
    let start = Instant::now();
    // Records and results of 4 MiB take 2 s each on a link of 2 MiB/s. With a heartbeat every 300 ms, three missed
    // heartbeats would be noticed in that time.
    let more = ["--shards", "4", "--record-bytes", "4194304", "--heartbeat-ms", "300"];
    let orchestrator = check_proven(orchestrator(&[proxy.address()], &more));
    assert_eq!(orchestrator.output.count("lost "), 0, "{}", orchestrator.errors.all());
    assert!(start.elapsed() > Duration::from_secs(8), "the link was not slow: {:?}", start.elapsed());
    check_once(&[&worker], 4);
}
