//! Tests for the shares that executions have of the shared memory.

use crate::{
    machine_check::FREE_BYTES,
    shared_memory::{SharedMemoryOverdraft, SharedMemoryShares, SharedMemoryShortage, SharedMemorySize, trace_bytes},
    shared_memory_share::{ShareWait, SharedMemoryShare, ShortageStep},
};
use std::{pin::pin, sync::atomic::Ordering, time::Duration};
use tokio::time::{Instant, timeout};

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

fn size(total_bytes: u64, free_bytes: u64) -> SharedMemorySize {
    SharedMemorySize { total_bytes, free_bytes }
}

#[test]
fn a_small_machine_runs_one_small_program() {
    let mut shares = SharedMemoryShares::new();
    let shortage = shares.reserve(size(64 * MB, 31 * MB), 2 * GB).unwrap_err();
    assert_eq!((shortage.free_bytes, shortage.promised_bytes, shortage.others), (31 * MB, 0, 0));
    let text = shortage.to_string();
    assert!(text.contains("at least 32 MB") && text.contains("31 MB free\nhint: "), "{text}");
    let first = shares.reserve(size(64 * MB, 64 * MB), 2 * GB).unwrap();
    // The first execution may use more than its share as long as it is alone.
    shares.check(first, 64 * MB, 0).unwrap();
    shares.release(first);
    shares.reserve(size(64 * MB, 64 * MB), 2 * GB).unwrap();
}

#[test]
fn an_execution_is_refused_when_the_rest_belongs_to_others() {
    let mut shares = SharedMemoryShares::new();
    // Each share is a quarter of the whole size.
    for _ in 0..4 {
        shares.reserve(size(4 * GB, 4 * GB), 100 * GB).unwrap();
    }
    let shortage = shares.reserve(size(4 * GB, 4 * GB), 100 * GB).unwrap_err();
    assert_eq!((shortage.free_bytes, shortage.promised_bytes, shortage.others), (4 * GB, 4 * GB, 4));
}

#[tokio::test(start_paused = true)]
async fn an_execution_waits_until_another_one_gives_its_share_back() {
    let first = SharedMemoryShare::reserve(GB).await.unwrap();
    let second = SharedMemoryShare::reserve(GB).await.unwrap();
    let mut third = pin!(SharedMemoryShare::reserve(GB));
    assert!(timeout(Duration::from_secs(3600), third.as_mut()).await.is_err());
    drop(first);
    let third = third.await.unwrap();
    drop(second);
    // The whole trace does not fit, so this execution waits until it runs alone.
    let mut whole = pin!(SharedMemoryShare::reserve_whole(GB));
    assert!(timeout(Duration::from_secs(3600), whole.as_mut()).await.is_err());
    drop(third);
    let third = whole.await.unwrap();
    // Files of other programs take the memory, so waiting for the third execution cannot help.
    FREE_BYTES.store(31 * MB, Ordering::Relaxed);
    assert_eq!(SharedMemoryShare::reserve(GB).await.err().unwrap().others, 1);
    drop(third);
    assert_eq!(SharedMemoryShare::reserve(GB).await.err().unwrap().others, 0);
}

/// Checks what a waiting execution does at each time: seconds since its start, free memory in MB, memory in MB that one
/// other execution uses, and the expected step.
fn check_wait(looks: &[(u64, u64, u64, ShortageStep)]) {
    let (start, mut wait) = (Instant::now(), ShareWait::default());
    for (seconds, free_mb, used_mb, expected) in looks {
        let (free_bytes, used_bytes) = (free_mb * MB, used_mb * MB);
        let needed_bytes = 32 * MB;
        let shortage =
            SharedMemoryShortage { needed_bytes, free_bytes, promised_bytes: 10 * MB, used_bytes, others: 1 };
        assert_eq!(wait.step(start + Duration::from_secs(*seconds), &shortage), *expected, "after {seconds} s");
    }
}

#[test]
fn an_execution_that_waits_warns_every_minute() {
    use ShortageStep::{Wait, Warn};
    check_wait(&[(0, 31, 1, Warn), (1, 31, 1, Wait), (59, 31, 1, Wait), (60, 31, 1, Warn), (61, 31, 1, Wait)]);
}

#[test]
fn an_execution_fails_if_the_end_of_all_others_would_not_make_room() {
    use ShortageStep::{Fail, Wait, Warn};
    check_wait(&[(0, 20, 11, Warn), (4, 20, 11, Wait), (5, 20, 11, Fail)]);
    // The use of the other execution is measured late.
    check_wait(&[(0, 20, 0, Warn), (1, 20, 12, Wait), (6, 20, 0, Wait), (11, 20, 0, Fail)]);
}

#[test]
fn what_an_execution_uses_is_no_longer_promised() {
    let mut shares = SharedMemoryShares::new();
    let first = shares.reserve(size(GB, GB), 200 * MB).unwrap();
    // 256 MB are promised, of which the execution has taken 250. 40 MB are free, and 6 of them are promised.
    shares.check(first, 250 * MB, 40 * MB).unwrap();
    shares.reserve(size(GB, 40 * MB), 200 * MB).unwrap();
}

#[test]
fn only_the_execution_that_takes_the_shares_of_others_ends() {
    let mut shares = SharedMemoryShares::new();
    let share = 164 * MB;
    let honest = shares.reserve(size(GB, GB), 100 * MB).unwrap();
    let greedy = shares.reserve(size(GB, GB), 100 * MB).unwrap();
    // Both may exceed their shares while there is room.
    shares.check(honest, 10 * MB, 600 * MB).unwrap();
    shares.check(greedy, 400 * MB, 600 * MB).unwrap();
    // The honest execution could no longer take the rest of its share.
    let free = share - 10 * MB - 1;
    shares.check(honest, 10 * MB, free).unwrap();
    let overdraft = shares.check(greedy, 800 * MB, free).unwrap_err();
    assert_eq!(overdraft, SharedMemoryOverdraft { used_bytes: 800 * MB, share_bytes: share });
    let text = overdraft.to_string();
    for part in ["uses 800 MB", "share is 164 MB", "\nhint: "] {
        assert!(text.contains(part), "{text:?} does not contain {part:?}");
    }
    // Of two that exceed their shares, the larger one ends.
    let larger = shares.reserve(size(GB, GB), 100 * MB).unwrap();
    shares.check(larger, 801 * MB, GB).unwrap();
    shares.check(greedy, 800 * MB, 0).unwrap();
    shares.check(larger, 801 * MB, 0).unwrap_err();
    shares.release(larger);
    shares.check(greedy, 800 * MB, 0).unwrap_err();
}

#[test]
fn an_execution_that_exceeds_its_share_gives_way_to_a_new_one() {
    let mut shares = SharedMemoryShares::new();
    let greedy = shares.reserve(size(GB, GB), 100 * MB).unwrap();
    shares.check(greedy, GB - MB, MB).unwrap();
    let next = shares.reserve(size(GB, MB), 100 * MB).unwrap();
    assert!(!shares.are_covered(MB), "the new execution has to wait");
    shares.check(greedy, GB - MB, MB).unwrap_err();
    shares.release(greedy);
    assert!(shares.are_covered(GB));
    shares.check(next, 100 * MB, GB - 100 * MB).unwrap();
}

#[test]
fn a_whole_trace_waits_for_room_and_takes_none_from_others() {
    let mut shares = SharedMemoryShares::new();
    // Alone, the execution gets all free memory.
    let alone = shares.reserve_whole(size(4 * GB, 3 * GB), 5 * GB).unwrap();
    assert!(shares.are_covered(3 * GB) && !shares.are_covered(3 * GB - 1));
    shares.release(alone);
    // Its share is larger than a quarter, so no check ends it.
    let whole = shares.reserve_whole(size(8 * GB, 8 * GB), 5 * GB).unwrap();
    shares.check(whole, 5 * GB, 3 * GB).unwrap();
    let shortage = shares.reserve_whole(size(8 * GB, 3 * GB), 5 * GB).unwrap_err();
    assert_eq!((shortage.needed_bytes, shortage.others), (5 * GB + 64 * MB, 1));
    // An execution for a proof fits beside it, and does not end it either.
    shares.reserve(size(8 * GB, 3 * GB), GB).unwrap();
    shares.check(whole, 5 * GB, 0).unwrap();
}

#[test]
fn a_whole_trace_does_not_end_an_execution_that_exceeds_its_share() {
    let mut shares = SharedMemoryShares::new();
    let greedy = shares.reserve(size(GB, GB), 100 * MB).unwrap();
    shares.check(greedy, GB - MB, MB).unwrap();
    shares.reserve_whole(size(GB, MB), 100 * MB).unwrap_err();
    shares.check(greedy, GB - MB, MB).unwrap();
    shares.release(greedy);
    shares.reserve_whole(size(GB, GB), 100 * MB).unwrap();
}

#[test]
fn only_one_of_two_equal_executions_ends() {
    let mut shares = SharedMemoryShares::new();
    let [first, second, _honest] = [0; 3].map(|_| shares.reserve(size(GB, GB), 100 * MB).unwrap());
    for number in [first, second] {
        shares.check(number, 400 * MB, GB).unwrap();
    }
    shares.check(first, 400 * MB, 0).unwrap();
    shares.check(second, 400 * MB, 0).unwrap_err();
}

#[test]
fn the_trace_has_the_size_that_sp1_reserves() {
    // SP1's defaults for a proof: five chunks of 256 MiB, each with a ninth more.
    let bytes = trace_bytes(5, 1 << 24);
    assert!((1424 * MB..1434 * MB).contains(&bytes), "{bytes}");
    // For a count of gas: two chunks of 2 GiB.
    let bytes = trace_bytes(2, 1 << 27);
    assert!((4551 * MB..4561 * MB).contains(&bytes), "{bytes}");
    assert_eq!(trace_bytes(2, 0), 4 * MB);
    assert_eq!(trace_bytes(u64::MAX, u64::MAX), u64::MAX);
}
