//! The archive of a service in a folder, and its restore.

use reqwest::StatusCode;
use sp1d_service::{
    ArchiveError, ArchivePlace, DatabaseError, ProofState, RestoreRequest, Restored, Service, StartError,
    archived_copies, restore,
};
use sp1d_testing::{FakeEngine, RunningWorker, do_honestly, expected_proof};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::sleep};

mod running;

use running::{PATIENCE, Running, open};

/// Copies are made at most every 20 s.
const ARCHIVE_PATIENCE: Duration = PATIENCE.saturating_mul(3);

/// Length of a record of the default fake runner.
const RECORD_BYTES: usize = 8;

/// A worker that proves as many shards as the returned semaphore has permits.
async fn limited_worker(permits: usize) -> (RunningWorker, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(permits));
    let of_worker = gate.clone();
    let engine = FakeEngine::doing(move |assignment, io| {
        let gate = of_worker.clone();
        async move {
            gate.acquire().await.expect("the gate is never closed").forget();
            do_honestly(&assignment, &*io).await
        }
    });
    (RunningWorker::ready("one", engine).await, gate)
}

/// Waits until the archive contains everything that the service has stored so far.
async fn wait_for_archive(service: &Service) {
    let asked = Instant::now();
    while service.archive_age().unwrap() >= asked.elapsed() {
        assert!(asked.elapsed() < ARCHIVE_PATIENCE, "the archive is {:?} old", service.archive_age());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Restores the latest copy into `state`.
async fn restore_to(archive: &Path, state: &Path, incomplete: bool) -> Result<Restored, ArchiveError> {
    let place = ArchivePlace::Folder(archive.to_owned());
    let request = RestoreRequest { place, state: state.to_owned(), copy: None, incomplete };
    restore(&request, |_| None).await
}

async fn proof_of(running: &Running, id: &str) -> Vec<u8> {
    let response = running.client.get(format!("{}/v1/proofs/{id}/proof", running.url)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.bytes().await.unwrap().to_vec()
}

/// Returns all files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_lost_state_folder_is_restored_with_finished_proofs_and_accepted_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, restored) = (folder.path().join("archive"), folder.path().join("restored"));
    let use_archive = |settings: &mut sp1d_service::ServiceSettings| {
        settings.archive = Some(ArchivePlace::Folder(folder.path().join("archive")));
        settings.parallel_proofs = 1;
    };
    let (worker, _gate) = limited_worker(1).await;
    let lost = Running::start(folder.path(), &[worker.address], use_archive).await;
    let finished = lost.submit(1, |_| {}).await;
    let accepted = lost.submit(2, |request| request.priority = -1).await;
    assert_eq!(lost.ended(&finished).await.state, ProofState::Done);
    let proof = proof_of(&lost, &finished).await;
    assert_eq!(proof, expected_proof(1, RECORD_BYTES));
    wait_for_archive(&lost.service).await;
    assert!(lost.json("/healthz").await["archive_age_seconds"].is_u64());

    // The lost service still runs, as on a machine that only lost its network.
    let outcome = restore_to(&archive, &restored, false).await.unwrap();
    assert_eq!(outcome.missing, 0);
    let place = ArchivePlace::Folder(archive.clone());
    assert_eq!(archived_copies(&place, |_| None).await.unwrap().last().unwrap().0, outcome.copy);
    let (worker, _gate) = limited_worker(Semaphore::MAX_PERMITS).await;
    let running = Running::start(folder.path(), &[worker.address], |settings| {
        use_archive(settings);
        settings.state.clone_from(&restored);
    })
    .await;
    assert_eq!(proof_of(&running, &finished).await, proof);
    assert_eq!(running.ended(&accepted).await.state, ProofState::Done);
    assert_eq!(proof_of(&running, &accepted).await, expected_proof(2, RECORD_BYTES));
    wait_for_archive(&running.service).await;

    // The new service has claimed the archive, and the other one notices with its next copy.
    lost.submit(1, |request| request.idempotency_key = Some("late".to_owned())).await;
    let asked = Instant::now();
    loop {
        let warnings = lost.json("/healthz").await["warnings"].to_string();
        if warnings.contains("does not archive to") {
            break;
        }
        assert!(asked.elapsed() < ARCHIVE_PATIENCE, "{warnings}");
        sleep(Duration::from_millis(50)).await;
    }
    lost.service.shutdown().await;
    running.service.shutdown().await;
}

#[tokio::test]
async fn shutdown_archives_the_last_changes_and_other_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let place = ArchivePlace::Folder(archive.clone());
    let first = Running::start(folder.path(), &[], |settings| settings.archive = Some(place.clone())).await;
    let id = first.submit(1, |_| {}).await;
    first.service.shutdown().await;
    let old = folder.path().join("old");
    restore_to(&archive, &old, false).await.unwrap();

    let other = open(folder.path(), |settings| {
        settings.state = folder.path().join("other");
        settings.archive = Some(place.clone());
    });
    let refused = other.await.err().unwrap();
    assert!(matches!(refused, StartError::Archive(ArchiveError::Foreign { .. })), "{refused}");

    // The same folder may continue the archive, and an older copy of it may not.
    let second = open(folder.path(), |settings| settings.archive = Some(place.clone())).await.unwrap();
    wait_for_archive(&second).await;
    second.shutdown().await;
    let outdated = open(folder.path(), |settings| {
        settings.state.clone_from(&old);
        settings.archive = Some(place.clone());
    });
    let refused = outdated.await.err().unwrap();
    assert!(matches!(refused, StartError::Archive(ArchiveError::Newer { .. })), "{refused}");

    let restored = folder.path().join("restored");
    restore_to(&archive, &restored, false).await.unwrap();
    let service = open(folder.path(), |settings| settings.state.clone_from(&restored)).await.unwrap();
    assert!(!service.proof(&id).await.unwrap().state.is_final());
    service.shutdown().await;
    let again = restore_to(&archive, &restored, false).await;
    assert!(matches!(again, Err(ArchiveError::NotEmpty { .. })), "{again:?}");
}

#[tokio::test]
async fn a_start_without_an_archive_removes_what_a_killed_archiver_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("state/archiving-x");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("service.db"), "copy").unwrap();
    let service = open(folder.path(), |_| {}).await.unwrap();
    assert!(!left.exists());
    service.shutdown().await;
}

#[tokio::test]
async fn a_damaged_archive_restores_nothing_that_a_service_starts_with() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, state) = (folder.path().join("archive"), folder.path().join("restored"));
    let nothing = restore_to(&archive, &state, false).await;
    assert!(matches!(nothing, Err(ArchiveError::Empty { .. })), "{nothing:?}");
    let place = ArchivePlace::Folder(archive.clone());
    let running = Running::start(folder.path(), &[], |settings| settings.archive = Some(place)).await;
    running.submit(1, |_| {}).await;
    running.service.shutdown().await;
    let program = blake3::hash(b"program").to_hex().to_string();
    let file = files(&archive).into_iter().find(|path| path.ends_with(&program)).unwrap();

    fs::write(&file, "pr0gram").unwrap();
    let damaged = restore_to(&archive, &state, false).await.unwrap_err();
    assert!(matches!(&damaged, ArchiveError::Damaged { name, .. } if name.contains(&program)), "{damaged}");
    let refused = open(folder.path(), |settings| settings.state.clone_from(&state)).await.err().unwrap();
    assert!(matches!(refused, StartError::Database(DatabaseError::Missing { .. })), "{refused}");

    fs::remove_file(&file).unwrap();
    // A restore that did not succeed can be repeated.
    let incomplete = restore_to(&archive, &state, false).await;
    assert!(matches!(incomplete, Err(ArchiveError::Incomplete { count: 1, .. })), "{incomplete:?}");
    assert!(!state.join("service.db").exists());
    assert_eq!(restore_to(&archive, &state, true).await.unwrap().missing, 1);

    for copy in files(&archive.join("databases")) {
        fs::write(copy, "nothing").unwrap();
    }
    let damaged = restore_to(&archive, &folder.path().join("another"), false).await;
    assert!(matches!(damaged, Err(ArchiveError::Damaged { .. })), "{damaged:?}");
}

#[tokio::test]
async fn a_service_works_without_its_archive_and_archives_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    // A file where the folder should be.
    fs::write(&archive, "").unwrap();
    let place = ArchivePlace::Folder(archive.clone());
    let (worker, _gate) = limited_worker(Semaphore::MAX_PERMITS).await;
    let running = Running::start(folder.path(), &[worker.address], |settings| settings.archive = Some(place)).await;
    let id = running.submit(3, |_| {}).await;
    assert_eq!(running.ended(&id).await.state, ProofState::Done);
    fs::remove_file(&archive).unwrap();
    wait_for_archive(&running.service).await;
    let restored = restore_to(&archive, &folder.path().join("restored"), false).await.unwrap();
    assert_eq!(restored.missing, 0);
    running.service.shutdown().await;
}
