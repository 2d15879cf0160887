//! Workers and orchestrators that are killed or frozen.

use super::*;

#[test]
fn a_killed_worker_is_replaced_at_once() {
    let [(a, dies), (b, first), (c, second)] = ["dies", "first", "second"].map(|name| worker(name, 400));
    let orchestrator = orchestrator(&[a, b, c], &["--shards", "12"]);
    let (_, line) = dies.wait_for("started ", 2);
    dies.signal(Signal::KILL);
    let killed = Instant::now();
    orchestrator.wait_for("lost dies", 1);
    let noticed = killed.elapsed();
    // Another worker gets the shard when it has a free slot. It starts the shard from its beginning.
    let deadline = Instant::now() + PATIENCE;
    let again = loop {
        let all = [&first, &second].map(|worker| worker.output.matching(|other| other == line));
        if let Some((at, _)) = all.into_iter().flatten().next() {
            break at - killed;
        }
        assert!(Instant::now() < deadline, "{line} did not come from another worker");
        thread::sleep(Duration::from_millis(5));
    };
    check_proven(orchestrator);
    show("SIGKILL of a worker: noticed after", noticed);
    show("SIGKILL of a worker: its shard started again after", again);
    // Without the closed connection, three missed heartbeats would show the loss after 3 s.
    assert!(noticed < Duration::from_millis(1500), "{noticed:?}");
    // A slot is free after 400 ms at most, but the first shard that starts in it may be another one.
    assert!(again < Duration::from_millis(2000), "{again:?}");
}

#[test]
fn a_free_worker_gets_the_task_of_a_killed_one_within_half_a_second() {
    let (a, dies) = worker("dies", 3000);
    let (b, idle) = worker("idle", 200);
    let orchestrator = orchestrator(&[a, b], &["--shards", "2", "--batch", "1"]);
    dies.wait_for("started ", 1);
    orchestrator.wait_for("done idle", 1);
    dies.signal(Signal::KILL);
    let killed = Instant::now();
    let (at, _) = idle.wait_for("started ", 2);
    let took = at - killed;
    check_proven(orchestrator);
    show("SIGKILL of a worker while another is free: assigned after", took);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn all_workers_but_one_are_killed_and_one_comes_back() {
    let [(a, one), (b, two), (c, three)] = ["one", "two", "three"].map(|name| worker(name, 200));
    let orchestrator = orchestrator(&[a, b, c], &["--shards", "20"]);
    orchestrator.wait_for("done ", 3);
    one.signal(Signal::KILL);
    two.signal(Signal::KILL);
    orchestrator.wait_for("done ", 6);
    drop((one, two));
    let back = worker_at(a, "one", 200, &[]);
    back.wait_for("started ", 1);
    check_proven(orchestrator);
    drop(three);
}

#[test]
fn all_workers_are_killed_and_one_comes_back() {
    let [(a, one), (b, two)] = ["one", "two"].map(|name| worker(name, 200));
    let orchestrator = orchestrator(&[a, b], &["--shards", "10"]);
    orchestrator.wait_for("done ", 2);
    drop((one, two));
    orchestrator.wait_for("lost ", 2);
    thread::sleep(Duration::from_millis(500));
    let _back = worker_at(b, "two", 200, &[]);
    check_proven(orchestrator);
}

#[test]
fn a_frozen_worker_is_replaced_within_four_seconds_and_works_again_when_it_thaws() {
    let (a, freezes) = worker("freezes", 300);
    let (b, stays) = worker("stays", 300);
    let orchestrator = orchestrator(&[a, b], &["--shards", "40"]);
    freezes.wait_for("started ", 2);
    freezes.signal(Signal::STOP);
    let frozen = Instant::now();
    let (at, _) = orchestrator.wait_for("lost freezes", 1);
    show("SIGSTOP of a worker: noticed after", at - frozen);
    assert!(at - frozen < Duration::from_secs(4), "{:?}", at - frozen);
    thread::sleep(Duration::from_secs(2));
    let before = freezes.output.count("ended ");
    freezes.signal(Signal::CONT);
    freezes.wait_for("ended ", before + 2);
    check_proven(orchestrator);
    drop(stays);
}

#[test]
fn a_frozen_orchestrator_keeps_its_workers_and_repeats_no_shard() {
    let [(a, one), (b, two)] = ["one", "two"].map(|name| worker(name, 300));
    let orchestrator = orchestrator(&[a, b], &["--shards", "16"]);
    orchestrator.wait_for("done ", 4);
    orchestrator.signal(Signal::STOP);
    // Longer than three heartbeats: the workers consider the orchestrator lost and continue their attempts.
    thread::sleep(Duration::from_secs(5));
    orchestrator.signal(Signal::CONT);
    check_proven(orchestrator);
    check_once(&[&one, &two], 16);
}

#[test]
fn a_worker_is_killed_while_it_downloads_and_another_while_it_uploads() {
    let [(a, downloads), (b, uploads), (c, stays)] = ["downloads", "uploads", "stays"].map(|name| worker(name, 100));
    let [slow, slow_too] = [a, b].map(Proxy::start);
    slow.limit(512 << 10);
    slow_too.limit(2 << 20);
    let more = ["--shards", "9", "--record-bytes", "2097152"];
    let orchestrator = orchestrator(&[slow.address(), slow_too.address(), c], &more);
    // A shard takes 0.1 s, but its result takes 1 s to arrive. On the slower link not even the first record has
    // arrived.
    uploads.wait_for("started ", 1);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(uploads.output.count("ended "), 0);
    uploads.signal(Signal::KILL);
    assert_eq!(downloads.output.count("started "), 0);
    downloads.signal(Signal::KILL);
    check_proven(orchestrator);
    drop(stays);
}
