//! Tests of the store: single cases, concurrent threads, and a comparison with a model.

use super::*;
use crate::{Blob, Digest};
use proptest::{
    prelude::*,
    test_runner::{Config as Cases, TestCaseError, TestCaseResult},
};
use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const TRY: Scope = Scope::Try(1);
const ATTEMPT: Scope = Scope::Attempt(1);

/// Returns incompressible bytes, whose stored size is `len`.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn blob(seed: u64, len: usize) -> Blob {
    let blob = Blob::encode(&noise(seed, len));
    assert_eq!(blob.stored_bytes(), len as u64);
    blob
}

fn store(memory_bytes: u64, disk_bytes: u64) -> (Store, TempDir) {
    let base = tempfile::tempdir().unwrap();
    (Store::new(StoreLimits { memory_bytes, disk_bytes, spill_folder: Some(base.path().to_owned()) }), base)
}

/// Checks what the store uses. All its artifacts must be incompressible.
fn check_usage(store: &Store, memory_bytes: u64, disk_bytes: u64, artifacts: usize) {
    let content_bytes = memory_bytes + disk_bytes;
    assert_eq!(store.usage(), StoreUsage { memory_bytes, disk_bytes, content_bytes, artifacts });
    assert_eq!(store.stats(), ArtifactStats { artifacts, bytes: memory_bytes + disk_bytes });
}

fn check_content(store: &Store, scope: Scope, name: &str, on_disk: bool, content: &[u8]) {
    let stored = store.get(scope, name).unwrap();
    assert_eq!(matches!(stored, Stored::Disk(_)), on_disk, "{name}");
    let expected = ArtifactDescription { digest: Digest::of(content), len: content.len() as u64 };
    assert_eq!(store.describe(scope, name), Some(expected));
    assert_eq!(store.describe_scope(scope, name).named, Some(expected));
    assert_eq!(stored.load().unwrap().decode().unwrap(), content, "{name}");
}

/// Waits until `expected` files exist. A thread of the store deletes files, so the number changes late.
fn check_files(base: &TempDir, expected: usize) {
    let count = || {
        let folders = fs::read_dir(base.path()).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while count() != expected {
        assert!(Instant::now() < deadline, "{} files instead of {expected}", count());
        thread::sleep(Duration::from_millis(1));
    }
}

fn check_gone(base: &TempDir) {
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0, "the store removes its folder");
}

/// Checks that the store has no room for `name`, and that its error contains all of `words`.
fn check_full(store: &Store, name: &str, len: usize, words: &[&str]) {
    let before = store.usage();
    let error = store.put(TRY, name, blob(99, len)).unwrap_err();
    assert!(matches!(&error, StoreError::Full { bytes, .. } if *bytes == len as u64), "{error:?}");
    let text = error.to_string();
    assert!([name].iter().chain(words).all(|word| text.contains(*word)), "{text}");
    assert!(store.get(TRY, name).is_none());
    assert_eq!(store.usage().artifacts, before.artifacts);
}

#[test]
fn removing_a_scope_removes_all_its_artifacts() {
    let store = Store::unbounded();
    store.put(TRY, "a", Blob::encode(b"one")).unwrap();
    store.put(TRY, "b", Blob::encode(b"two")).unwrap();
    store.put(ATTEMPT, "a", Blob::encode(b"three")).unwrap();
    assert_eq!(store.stats().artifacts, 3);
    assert_eq!(store.scope_stats(TRY), ArtifactStats { artifacts: 2, bytes: 6 });
    store.put(TRY, "zeros", Blob::encode(&[0; 10_000])).unwrap();
    assert_eq!(store.scope_content_bytes(TRY), 10_006, "the size before compression");
    assert!(store.scope_stats(TRY).bytes < 1000);
    assert_eq!(store.usage().content_bytes, 10_011, "of both scopes");
    store.remove(TRY, "zeros");
    assert_eq!((store.scope_content_bytes(TRY), store.scope_content_bytes(ATTEMPT)), (6, 5));
    store.remove_scope(TRY);
    assert_eq!(store.scope_content_bytes(TRY), 0);
    assert!(store.get(TRY, "a").is_none());
    assert!(store.get(ATTEMPT, "a").is_some());
    assert!(store.remove(ATTEMPT, "a"));
    assert!(!store.remove(ATTEMPT, "a"));
    assert_eq!(store.stats(), ArtifactStats::default());
}

/// Checks the facts about the scope `TRY` and its artifact `name`, whose length is `len` if the scope has it.
#[track_caller]
fn check_scope(store: &Store, name: &str, len: Option<u64>, others: usize, content_bytes: u64) {
    let ScopeDescription { named, others: found, content_bytes: found_bytes } = store.describe_scope(TRY, name);
    assert_eq!((named.map(|named| named.len), found, found_bytes), (len, others, content_bytes));
}

#[test]
fn the_description_of_a_scope_counts_the_other_names() {
    let store = Store::unbounded();
    check_scope(&store, "a", None, 0, 0);
    store.put(TRY, "a", Blob::encode(b"one")).unwrap();
    store.put(TRY, "zeros", Blob::encode(&[0; 10_000])).unwrap();
    store.put(ATTEMPT, "b", Blob::encode(b"of another scope")).unwrap();
    check_scope(&store, "a", Some(3), 1, 10_003);
    check_scope(&store, "zeros", Some(10_000), 1, 10_003);
    check_scope(&store, "b", None, 2, 10_003);
    store.remove_scope(TRY);
    check_scope(&store, "a", None, 0, 0);
}

#[test]
fn the_facts_about_a_scope_are_of_the_same_moment() {
    let store = Store::unbounded();
    let content = Blob::encode(b"one");
    thread::scope(|threads| {
        let changes = threads.spawn(|| {
            for _ in 0..20_000 {
                store.put(TRY, "a", content.clone()).unwrap();
                store.remove_scope(TRY);
            }
        });
        while !changes.is_finished() {
            match store.describe_scope(TRY, "a") {
                ScopeDescription { named: Some(_), others: 0, content_bytes: 3 } => {}
                facts => assert_eq!(facts, ScopeDescription::default()),
            }
        }
    });
}

#[test]
fn an_artifact_cannot_be_replaced() {
    // In the second round, the existing artifact is on disk.
    for memory_bytes in [100, 0] {
        let (store, _base) = store(memory_bytes, 100);
        store.put(TRY, "a", Blob::encode(b"one")).unwrap();
        assert_eq!(store.put(TRY, "a", Blob::encode(b"one")), Ok(()));
        assert_eq!(store.put(TRY, "a", Blob::encode(b"two")), Err(StoreError::Exists("a".into())));
        check_content(&store, TRY, "a", memory_bytes == 0, b"one");
        assert_eq!(store.stats().artifacts, 1);
    }
}

#[test]
fn promotion_moves_but_never_overwrites() {
    for memory_bytes in [100, 0] {
        let (store, base) = store(memory_bytes, 100);
        let files = usize::from(memory_bytes == 0);
        store.put(ATTEMPT, "a", Blob::encode(b"one")).unwrap();
        assert!(store.promote(ATTEMPT, TRY, "a"));
        assert!(!store.promote(ATTEMPT, TRY, "a"), "the attempt no longer has it");
        assert_eq!(store.scope_stats(ATTEMPT), ArtifactStats::default());
        assert_eq!(store.scope_stats(TRY), ArtifactStats { artifacts: 1, bytes: 3 });
        store.put(ATTEMPT, "a", Blob::encode(b"two")).unwrap();
        assert!(!store.promote(ATTEMPT, TRY, "a"));
        store.put(ATTEMPT, "a", Blob::encode(b"one")).unwrap();
        assert!(store.promote(ATTEMPT, TRY, "a"), "the try has the same content");
        check_content(&store, TRY, "a", memory_bytes == 0, b"one");
        assert_eq!(store.stats(), ArtifactStats { artifacts: 1, bytes: 3 });
        check_files(&base, files);
    }
}

#[test]
fn artifacts_beyond_the_memory_budget_are_spilled_and_readable() {
    let (store, base) = store(1000, 10_000);
    for (seed, name) in ["a", "b", "c"].into_iter().enumerate() {
        store.put(TRY, name, blob(seed as u64, 600)).unwrap();
    }
    check_usage(&store, 600, 1200, 3);
    assert_eq!(store.scope_stats(TRY), ArtifactStats { artifacts: 3, bytes: 1800 });
    check_content(&store, TRY, "a", false, &noise(0, 600));
    check_content(&store, TRY, "b", true, &noise(1, 600));
    check_content(&store, TRY, "c", true, &noise(2, 600));
    check_files(&base, 2);
    store.put(TRY, "larger than the budget", blob(3, 5000)).unwrap();
    check_usage(&store, 600, 6200, 4);
    drop(store);
    check_gone(&base);
}

#[test]
fn storing_in_memory_returns_a_blob_that_has_no_room() {
    let (store, base) = store(1000, 10_000);
    assert!(store.put_in_memory(TRY, "a", blob(1, 600)).unwrap().is_none());
    let returned = store.put_in_memory(TRY, "b", blob(2, 401)).unwrap().unwrap();
    assert_eq!(returned.decode().unwrap(), noise(2, 401));
    assert!(store.get(TRY, "b").is_none());
    check_usage(&store, 600, 0, 1);
    assert!(store.put_in_memory(TRY, "b", blob(2, 400)).unwrap().is_none());
    assert!(store.put_in_memory(TRY, "a", blob(1, 600)).unwrap().is_none(), "the same content needs no room");
    assert_eq!(store.put_in_memory(TRY, "a", blob(3, 600)).map(drop), Err(StoreError::Exists("a".into())));
    check_usage(&store, 1000, 0, 2);
    check_content(&store, TRY, "a", false, &noise(1, 600));
    check_files(&base, 0);
}

#[test]
fn small_artifacts_are_spilled_last() {
    let (record, result) = (3 << 20, 1 << 20);
    let (store, _base) = store(3 << 20, 10 << 20);
    store.put(TRY, "record", blob(1, record)).unwrap();
    store.put(TRY, "result", blob(2, result)).unwrap();
    check_content(&store, TRY, "record", true, &noise(1, record));
    check_content(&store, TRY, "result", false, &noise(2, result));
}

#[test]
fn artifacts_held_by_a_reader_are_spilled_last() {
    let (store, _base) = store(1000, 10_000);
    store.put(TRY, "a", blob(1, 600)).unwrap();
    let held = blob(2, 600);
    store.put(TRY, "b", held.clone()).unwrap();
    check_content(&store, TRY, "a", true, &noise(1, 600));
    check_content(&store, TRY, "b", false, &noise(2, 600));
    // The store keeps to its budget even if readers hold all blobs in memory.
    let held_too = blob(3, 600);
    store.put(TRY, "c", held_too.clone()).unwrap();
    check_usage(&store, 600, 1200, 3);
}

#[test]
fn removal_deletes_files_that_no_reader_holds() {
    let (store, base) = store(0, 10_000);
    for (seed, name) in ["a", "b", "c"].into_iter().enumerate() {
        store.put(TRY, name, blob(seed as u64, 100)).unwrap();
    }
    check_files(&base, 3);
    assert!(store.remove(TRY, "a"));
    check_files(&base, 2);
    let reader = store.get(TRY, "b").unwrap();
    store.remove_scope(TRY);
    check_usage(&store, 0, 0, 0);
    check_files(&base, 1);
    assert_eq!(reader.clone().load().unwrap().decode().unwrap(), noise(1, 100));
    drop(reader);
    check_files(&base, 0);
    drop(store);
    check_gone(&base);
}

#[test]
fn loading_a_damaged_file_fails() {
    let (store, base) = store(0, 10_000);
    store.put(TRY, "a", blob(1, 100)).unwrap();
    let folder = fs::read_dir(base.path()).unwrap().next().unwrap().unwrap().path();
    let path = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    fs::write(&path, b"damage").unwrap();
    let error = store.get(TRY, "a").unwrap().load().unwrap_err();
    assert!(matches!(&error, StoreError::Unreadable { path: unreadable, .. } if *unreadable == path), "{error:?}");
}

#[test]
fn the_store_is_full_when_both_budgets_are_used_up() {
    let (store, base) = store(1000, 500);
    store.put(TRY, "a", blob(1, 800)).unwrap();
    store.put(TRY, "b", blob(2, 400)).unwrap();
    check_usage(&store, 800, 400, 2);
    check_full(
        &store,
        "large",
        300,
        &["are used up\nhint: raise the setting `store_memory_mb`", base.path().to_str().unwrap()],
    );
    check_usage(&store, 800, 400, 2);
    store.put(TRY, "small", blob(3, 200)).unwrap();
    check_usage(&store, 1000, 400, 3);
    // A full store does not replace an artifact by a new one.
    check_full(&store, "large", 300, &[]);
    store.remove(TRY, "a");
    store.put(TRY, "large", blob(4, 300)).unwrap();
    check_content(&store, TRY, "b", true, &noise(2, 400));
    check_content(&store, TRY, "large", false, &noise(4, 300));
}

#[test]
fn without_a_folder_the_store_is_full_when_memory_is() {
    let store = Store::new(StoreLimits { memory_bytes: 1000, disk_bytes: 1000, spill_folder: None });
    assert_eq!(store.check_spill_folder(), Ok(()));
    store.put(TRY, "a", blob(1, 800)).unwrap();
    check_full(&store, "b", 300, &["there is no spill folder\nhint: name a folder in the setting `spill_folder`"]);
    check_usage(&store, 800, 0, 1);
}

#[test]
fn memory_may_exceed_its_budget_while_the_disk_fails() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("not there");
    let limits = StoreLimits { memory_bytes: 1000, disk_bytes: 10_000, spill_folder: Some(folder.clone()) };
    let store = Store::new(limits);
    assert!(matches!(store.check_spill_folder(), Err(StoreError::Folder { path, .. }) if path == folder));
    store.put(TRY, "a", blob(1, 800)).unwrap();
    assert_eq!((store.refusal(), store.is_under_pressure()), (None, false));
    store.put(TRY, "b", blob(2, 600)).unwrap();
    check_usage(&store, 1400, 0, 2);
    assert!(store.refusal().is_some() && store.is_under_pressure());
    check_full(&store, "c", 200, &["cannot write to the spill folder", folder.to_str().unwrap()]);
    check_usage(&store, 1400, 0, 2);
    fs::create_dir(&folder).unwrap();
    store.put(TRY, "c", blob(3, 100)).unwrap();
    check_usage(&store, 800, 700, 3);
    assert_eq!((store.refusal(), store.is_under_pressure()), (None, false));
    check_content(&store, TRY, "b", true, &noise(2, 600));
    assert_eq!(store.check_spill_folder(), Ok(()));
}

#[test]
fn pressure_starts_at_three_quarters_and_ends_at_half() {
    let (store, _base) = store(1000, 1000);
    let check = |pressed: bool| assert_eq!(store.is_under_pressure(), pressed, "{:?}", store.usage());
    store.put(TRY, "a", blob(1, 800)).unwrap();
    store.put(TRY, "b", blob(2, 600)).unwrap();
    check(false);
    store.put(TRY, "c", blob(3, 200)).unwrap();
    check(true);
    store.remove(TRY, "c");
    check(true);
    store.put(TRY, "c", blob(3, 200)).unwrap();
    store.remove(TRY, "b");
    check(false);
    store.put(TRY, "b", blob(2, 400)).unwrap();
    check(false);
}

#[tokio::test]
async fn wait_for_room_ends_when_there_is_room() {
    let store = Arc::new(Store::new(StoreLimits { memory_bytes: 1000, disk_bytes: 0, spill_folder: None }));
    store.wait_for_room().await;
    store.put(TRY, "a", blob(1, 800)).unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for_room().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    store.remove(TRY, "a");
    waiting.await.unwrap();
}

#[test]
fn concurrent_threads_see_their_own_artifacts() {
    let (store, base) = store(3000, 100_000);
    thread::scope(|threads| {
        for own in 0..4_u64 {
            let store = &store;
            threads.spawn(move || {
                let (attempt, of_try) = (Scope::Attempt(own), Scope::Try(own));
                for round in 0..100 {
                    let seed = own * 1000 + round;
                    let name = round.to_string();
                    let content = noise(seed, 500 + usize::try_from(seed % 700).unwrap());
                    store.put(attempt, &*name, Blob::encode(&content)).unwrap();
                    assert!(store.promote(attempt, of_try, &name));
                    let read = store.get(of_try, &name).unwrap().load().unwrap();
                    assert_eq!(read.decode().unwrap(), content);
                    if round >= 5 {
                        assert!(store.remove(of_try, &(round - 5).to_string()));
                    }
                }
                assert_eq!(store.scope_stats(of_try).artifacts, 5);
                store.remove_scope(of_try);
            });
        }
    });
    check_usage(&store, 0, 0, 0);
    assert!(!store.is_under_pressure());
    check_files(&base, 0);
}

/// One step of a random sequence. There are few scopes, names and contents, so that steps affect the same artifacts.
#[derive(Debug, Clone)]
enum Step {
    Put(u64, u8, u64),
    Remove(u64, u8),
    RemoveScope(u64),
    Promote(u64, u64, u8),
}

const MEMORY_BYTES: u64 = 1000;
const DISK_BYTES: u64 = 1500;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (scope, name, content) = (0..3_u64, 0..4_u8, 0..8_u64);
    let step = prop_oneof![
        8 => (scope.clone(), name.clone(), content).prop_map(|(scope, name, content)| Step::Put(scope, name, content)),
        2 => (scope.clone(), name.clone()).prop_map(|(scope, name)| Step::Remove(scope, name)),
        1 => scope.clone().prop_map(Step::RemoveScope),
        3 => (scope.clone(), scope, name).prop_map(|(from, to, name)| Step::Promote(from, to, name)),
    ];
    prop::collection::vec(step, 0..40)
}

fn content_len(content: u64) -> u64 {
    (content + 1) * 100
}

fn content_of(content: u64) -> Vec<u8> {
    noise(content, usize::try_from(content_len(content)).unwrap())
}

fn scope_of(number: u64) -> Scope {
    if number.is_multiple_of(2) { Scope::Try(number) } else { Scope::Attempt(number) }
}

type Model = BTreeMap<(u64, u8), u64>;

fn act(store: &Store, model: &mut Model, step: &Step) -> TestCaseResult {
    match *step {
        Step::Put(scope, name, content) => {
            let before = store.usage();
            let outcome = store.put(scope_of(scope), name.to_string(), Blob::encode(&content_of(content)));
            match (outcome, model.get(&(scope, name)).copied()) {
                (Ok(()), None) => {
                    model.insert((scope, name), content);
                }
                (Ok(()), Some(present)) => prop_assert_eq!(present, content),
                (Err(StoreError::Exists(_)), Some(present)) => prop_assert_ne!(present, content),
                (Err(StoreError::Full { .. }), None) => {
                    prop_assert!(before.memory_bytes + content_len(content) > MEMORY_BYTES);
                    prop_assert!(before.disk_bytes + content_len(content) > DISK_BYTES);
                }
                (outcome, present) => {
                    return Err(TestCaseError::fail(format!("{outcome:?}, but the model has {present:?}")));
                }
            }
        }
        Step::Remove(scope, name) => {
            prop_assert_eq!(store.remove(scope_of(scope), &name.to_string()), model.remove(&(scope, name)).is_some());
        }
        Step::RemoveScope(scope) => {
            store.remove_scope(scope_of(scope));
            model.retain(|(of, _), _| *of != scope);
        }
        Step::Promote(from, to, name) => {
            let expected = model.remove(&(from, name)).is_some_and(|moved| {
                let there = *model.entry((to, name)).or_insert(moved);
                there == moved
            });
            prop_assert_eq!(store.promote(scope_of(from), scope_of(to), &name.to_string()), expected);
        }
    }
    Ok(())
}

fn compare(store: &Store, model: &Model) -> TestCaseResult {
    let usage = store.usage();
    prop_assert!(usage.memory_bytes <= MEMORY_BYTES && usage.disk_bytes <= DISK_BYTES, "{:?}", usage);
    let expected = ArtifactStats { artifacts: model.len(), bytes: model.values().copied().map(content_len).sum() };
    prop_assert_eq!(store.stats(), expected);
    prop_assert_eq!(usage.content_bytes, expected.bytes, "the blobs are incompressible");
    for scope in 0..3 {
        let expected: Vec<_> = model.range((scope, 0)..=(scope, u8::MAX)).collect();
        let bytes = expected.iter().map(|(_, content)| content_len(**content)).sum();
        prop_assert_eq!(store.scope_stats(scope_of(scope)), ArtifactStats { artifacts: expected.len(), bytes });
    }
    for ((scope, name), content) in model {
        let stored = store.get(scope_of(*scope), &name.to_string()).expect("the store has every artifact of the model");
        prop_assert_eq!(stored.load().unwrap().decode().unwrap(), content_of(*content));
    }
    let used = usage.memory_bytes + usage.disk_bytes;
    let room = MEMORY_BYTES + DISK_BYTES;
    prop_assert!(used <= room / 4 * 3 || store.is_under_pressure());
    prop_assert!(used > room / 2 || !store.is_under_pressure());
    Ok(())
}

proptest! {
    #![proptest_config(Cases { cases: 100, ..Cases::default() })]

    #[test]
    fn the_store_behaves_like_a_map(steps in steps()) {
        let (store, base) = store(MEMORY_BYTES, DISK_BYTES);
        let mut model = Model::new();
        for step in &steps {
            act(&store, &mut model, step)?;
            compare(&store, &model)?;
        }
        drop(store);
        check_gone(&base);
    }
}
