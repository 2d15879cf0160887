use super::{
    Database, DatabaseError, NewProofFields, ProofOutcome, ProofSelection, SubmissionOutcome,
    schema::{APPLICATION_ID, OLDEST_VERSION, SCHEMA, SCHEMA_VERSION},
};
use crate::{
    access::TenantQuota,
    state::clock::{ClockRecord, ProofTimes},
};
use rusqlite::Connection;
use sp1d_model::{
    EventRecord, FailureInfo, Moment, NewProof, ProgramSummary, ProofEvent, ProofFailureKind, ProofMode, ProofState,
    TaskCounts, WorkerTasks,
};
use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// The current time in these tests, in milliseconds since 1970.
const NOW: Moment = Moment(1_800_000_000_000);

const FIELDS: NewProofFields<'static> = NewProofFields { tenant: "default", program: "p", input: "i", options: "{}" };

fn database() -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("service.db"), true).unwrap();
    let program = ProgramSummary { id: "p".into(), bytes: 1, verifying_key: Some("0x1".into()), created: Moment(0) };
    database.add_program("default", &program).unwrap();
    database.add_program("default", &program).unwrap();
    assert_eq!(database.program(Some("default"), "p").unwrap(), Some(program));
    (folder, database)
}

fn add(database: &Database, id: &str, request: &NewProof) -> SubmissionOutcome {
    database.add_proof(id, request, FIELDS, NOW).unwrap()
}

/// Returns the times of a run with a trusted clock at `now`.
fn at(now: Moment) -> ProofTimes {
    ProofTimes { now, since: Moment(i64::MIN), cautious: now }
}

fn next(database: &Database) -> Option<String> {
    database.start_next(NOW).unwrap().map(|job| job.proof.id)
}

#[test]
fn proofs_start_by_priority_then_by_age() {
    let (_folder, database) = database();
    for (id, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)] {
        add(&database, id, &NewProof { priority, ..NewProof::default() });
    }
    let order: Vec<_> = std::iter::from_fn(|| next(&database)).collect();
    assert_eq!(order, ["b", "d", "a", "c", "e"]);
    assert_eq!((database.count(ProofState::Running).unwrap(), database.count(ProofState::Queued).unwrap()), (5, 0));
}

#[test]
fn interrupted_proof_is_queued_again_until_its_third_crash() {
    let (folder, database) = database();
    add(&database, "a", &NewProof::default());
    assert_eq!(database.start_next(NOW).unwrap().unwrap().proof.starts, 1);
    assert_eq!(database.next_start().unwrap(), 1);
    database.record_start(1).unwrap();
    drop(database);
    let database = Database::open(&folder.path().join("service.db"), false).unwrap();
    assert_eq!((database.next_start().unwrap(), database.requeue_running(3, NOW).unwrap()), (2, 1));
    assert_eq!(database.start_next(NOW).unwrap().unwrap().proof.starts, 2);
    // A shutdown does not count as a crash.
    database.put_back("a").unwrap();
    database.start_next(NOW).unwrap().unwrap();
    assert_eq!(database.requeue_running(3, NOW).unwrap(), 1);
    database.start_next(NOW).unwrap().unwrap();
    assert_eq!(database.requeue_running(3, NOW).unwrap(), 0);
    let proof = database.proof("a").unwrap().unwrap();
    assert!(proof.state == ProofState::Failed && proof.failure.unwrap().text.contains("crashed 3 times"));
}

#[test]
fn proofs_that_ran_at_a_crash_run_alone_and_only_the_cause_fails() {
    let (_folder, database) = database();
    let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
    for (id, priority) in [("a", 0), ("b", 0), ("c", 9), ("d", 9)] {
        add(&database, id, &NewProof { priority, ..NewProof::default() });
    }
    let start = || database.start_next(NOW).unwrap().map(|job| (job.proof.id, job.alone)).unwrap();
    // The service crashes while `c` and `d` are running.
    assert_eq!([start(), start()], [("c".to_owned(), None), ("d".to_owned(), None)]);
    assert_eq!(database.requeue_running(3, NOW).unwrap(), 2);
    // Both are suspects and run before all others. `c` is not the cause: it runs alone for its time.
    assert_eq!(start(), ("c".to_owned(), minutes(5)));
    database.end_suspicion("c").unwrap();
    // Then `d` crashes the service. It is the stronger suspect now, and the next one to run alone.
    assert_eq!(start(), ("d".to_owned(), minutes(5)));
    assert_eq!(database.requeue_running(3, NOW).unwrap(), 2);
    for (failed, suspicion) in [(false, 20), (false, 40), (true, 80)] {
        assert_eq!(start(), ("d".to_owned(), minutes(suspicion)));
        assert_eq!(database.requeue_running(3, NOW).unwrap(), usize::from(!failed));
    }
    assert_eq!(database.proof("d").unwrap().unwrap().state, ProofState::Failed);
    // The others run to their end.
    assert_eq!(start(), ("c".to_owned(), minutes(10)));
    database.end_suspicion("c").unwrap();
    assert_eq!([start(), start()], [("a".to_owned(), None), ("b".to_owned(), None)]);
    for id in ["a", "b", "c"] {
        database.end(id, &ProofOutcome::Cancelled, TaskCounts::default(), NOW).unwrap().unwrap();
    }
}

#[test]
fn step_of_the_clock_expires_no_older_proof() {
    let (_folder, database) = database();
    let failure = FailureInfo { kind: ProofFailureKind::Timeout, text: "too late".into() };
    add(&database, "older", &NewProof { timeout_seconds: Some(1000), ..NewProof::default() });
    // The clock has moved by a day, of which the older proof has waited 10 s.
    let day = NOW.plus_seconds(24 * 60 * 60);
    let request = NewProof { timeout_seconds: Some(5), ..NewProof::default() };
    database.add_proof("newer", &request, FIELDS, day).unwrap();
    let times =
        |seconds| ProofTimes { now: day.plus_seconds(seconds), since: day, cautious: NOW.plus_seconds(seconds) };
    assert!(!database.has_expired(&times(4)).unwrap());
    assert_eq!(database.fail_expired(&failure, &times(4)).unwrap(), Vec::<String>::new());
    assert!(database.has_expired(&times(10)).unwrap());
    assert_eq!(database.fail_expired(&failure, &times(10)).unwrap(), ["newer"]);
    assert_eq!(database.fail_expired(&failure, &times(1000)).unwrap(), ["older"]);
}

#[test]
fn recorded_clock_is_read_back() {
    let (folder, database) = database();
    assert_eq!(database.clock().unwrap(), None);
    for unconfirmed in [Some(Moment(7)), None] {
        let record = ClockRecord { trusted: NOW, unconfirmed };
        database.record_clock(&record).unwrap();
        let again = Database::open(&folder.path().join("service.db"), false).unwrap();
        assert_eq!(again.clock().unwrap(), Some(record));
    }
}

#[test]
fn database_that_another_program_has_locked_can_be_read() {
    let (folder, database) = database();
    add(&database, "a", &NewProof::default());
    let other = Connection::open(folder.path().join("service.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = database.add_proof("b", &NewProof::default(), FIELDS, NOW);
    assert!(matches!(refused, Err(DatabaseError::Locked)), "{refused:?}");
    assert!(matches!(database.start_next(NOW), Err(DatabaseError::Locked)));
    assert_eq!(database.proof("a").unwrap().unwrap().state, ProofState::Queued);
    assert_eq!(database.count(ProofState::Queued).unwrap(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(next(&database).as_deref(), Some("a"));
}

#[test]
fn database_files_are_private() {
    let (folder, database) = database();
    add(&database, "a", &NewProof::default());
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn database_is_shared_again_after_a_full_disk() {
    let (folder, database) = database();
    add(&database, "a", &NewProof::default());
    drop(database);
    let path = folder.path().join("service.db");
    let database = Database::open_alone(&path).unwrap();
    assert_eq!(database.proof("a").unwrap().unwrap().state, ProofState::Queued);
    let other = Connection::open(&path).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    let count = || other.query_row("SELECT count(*) FROM proofs", [], |row| row.get::<_, i64>(0));
    assert!(count().is_err(), "the file is not shared");
    database.share().unwrap();
    database.share().unwrap();
    assert_eq!(count().unwrap(), 1);
    assert_eq!(next(&database).as_deref(), Some("a"));
    assert_eq!(database.proof("a").unwrap().unwrap().state, ProofState::Running);
}

#[test]
fn database_that_cannot_be_shared_is_locked_until_it_can() {
    let (folder, database) = database();
    add(&database, "a", &NewProof::default());
    drop(database);
    let (path, moved) = (folder.path().join("service.db"), folder.path().join("moved.db"));
    let database = Database::open_alone(&path).unwrap();
    assert_eq!(database.count(ProofState::Queued).unwrap(), 1);
    // Another program has the file between the two connections. SQLite can open a folder as little as a locked file.
    std::fs::rename(&path, &moved).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(database.share().is_err());
    assert!(matches!(database.proof("a"), Err(DatabaseError::Locked)));
    assert!(matches!(database.start_next(NOW), Err(DatabaseError::Locked)));
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&moved, &path).unwrap();
    database.share().unwrap();
    assert_eq!(next(&database).as_deref(), Some("a"));
}

#[test]
fn last_event_is_stored_with_the_final_state() {
    let (_folder, database) = database();
    let failure = FailureInfo { kind: ProofFailureKind::Machine, text: "the disk is full".into() };
    add(&database, "ended", &NewProof::default());
    next(&database);
    let started = EventRecord { number: 2, at: NOW, event: ProofEvent::Started { start: 1 } };
    database.add_events(&[("ended".to_owned(), started)]).unwrap();
    database.end("ended", &ProofOutcome::Failed(failure.clone()), TaskCounts::default(), NOW).unwrap().unwrap();
    add(&database, "cancelled", &NewProof::default());
    database.cancel_queued("cancelled", NOW).unwrap().unwrap();
    add(&database, "expired", &NewProof { timeout_seconds: Some(10), ..NewProof::default() });
    assert_eq!(database.fail_expired(&failure, &at(NOW.plus_seconds(10))).unwrap(), ["expired"]);
    add(&database, "crashed", &NewProof::default());
    next(&database);
    assert_eq!(database.requeue_running(1, NOW).unwrap(), 0);
    for (id, number) in [("ended", 3), ("cancelled", 2), ("expired", 2), ("crashed", 2)] {
        let proof = database.proof(id).unwrap().unwrap();
        assert!(proof.state.is_final(), "{proof:?}");
        let event = ProofEvent::Finished { state: proof.state, failure: proof.failure };
        let last = EventRecord { number, at: proof.ended.unwrap(), event };
        assert_eq!(database.events(id, number - 1, 10).unwrap(), [last], "{id}");
    }
    // A late event cannot replace the last one.
    let late = EventRecord { number: 2, at: NOW, event: ProofEvent::Started { start: 1 } };
    database.add_events(&[("cancelled".to_owned(), late)]).unwrap();
    assert!(matches!(database.events("cancelled", 1, 10).unwrap()[0].event, ProofEvent::Finished { .. }));
}

#[test]
fn stored_options_apply_to_the_next_start() {
    let (folder, database) = database();
    add(&database, "a", &NewProof::default());
    assert_eq!(database.start_next(NOW).unwrap().unwrap().options, "{}");
    database.set_options("a", "chosen").unwrap();
    drop(database);
    let database = Database::open(&folder.path().join("service.db"), false).unwrap();
    assert_eq!(database.requeue_running(3, NOW).unwrap(), 1);
    assert_eq!(database.start_next(NOW).unwrap().unwrap().options, "chosen");
}

#[test]
fn queued_proof_fails_at_its_deadline() {
    let (_folder, database) = database();
    add(&database, "a", &NewProof { timeout_seconds: Some(10), ..NewProof::default() });
    add(&database, "b", &NewProof::default());
    let late = FailureInfo { kind: ProofFailureKind::Timeout, text: "too late".into() };
    assert!(database.fail_expired(&late, &at(NOW)).unwrap().is_empty());
    assert_eq!(database.fail_expired(&late, &at(NOW.plus_seconds(10))).unwrap(), ["a"]);
    assert_eq!(database.proof("a").unwrap().unwrap().failure, Some(late));
    assert_eq!(next(&database).as_deref(), Some("b"));
}

#[test]
fn a_proof_ends_only_once() {
    let (_folder, database) = database();
    let request =
        NewProof { mode: ProofMode::Compressed, cycle_limit: Some(9), gas_limit: Some(8), ..NewProof::default() };
    add(&database, "a", &request);
    next(&database);
    let workers = vec![WorkerTasks { name: "w".into(), address: "h:1".into(), tasks: 3 }];
    let done = ProofOutcome::Done {
        cycles: 7,
        gas: Some(6),
        shards: 2,
        result: "r".into(),
        result_bytes: 5,
        workers: workers.clone(),
    };
    let tasks = TaskCounts { known: 3, done: 3, cached: 1 };
    let proof = database.end("a", &done, tasks, NOW).unwrap().unwrap();
    assert_eq!((proof.state, proof.mode, proof.tasks), (ProofState::Done, ProofMode::Compressed, tasks));
    assert_eq!((proof.cycle_limit, proof.gas_limit, proof.gas), (Some(9), Some(8), Some(6)));
    assert_eq!((proof.cycles, proof.shards, proof.proof_bytes, &proof.workers), (Some(7), Some(2), Some(5), &workers));
    assert_eq!(database.end("a", &ProofOutcome::Cancelled, tasks, NOW).unwrap(), None);
    assert_eq!(database.cancel_queued("a", NOW).unwrap(), None);
    assert_eq!(database.proof("a").unwrap(), Some(proof));
    assert_eq!(database.result("a").unwrap().as_deref(), Some("r"));

    add(&database, "b", &NewProof::default());
    let failure = FailureInfo { kind: ProofFailureKind::Program, text: "it panicked".into() };
    let proof = database.end("b", &ProofOutcome::Failed(failure.clone()), tasks, NOW).unwrap().unwrap();
    assert_eq!((proof.state, proof.failure), (ProofState::Failed, Some(failure)));
    add(&database, "c", &NewProof::default());
    assert_eq!(database.cancel_queued("c", NOW).unwrap().unwrap().state, ProofState::Cancelled);
    assert_eq!(next(&database), None);
}

#[test]
fn repeated_request_returns_the_first_proof() {
    let (_folder, database) = database();
    let request = NewProof { idempotency_key: Some("k".into()), ..NewProof::default() };
    let SubmissionOutcome::New(first) = add(&database, "a", &request) else { panic!("the first request is not new") };
    assert_eq!(add(&database, "b", &request), SubmissionOutcome::Known(first));
    let other = NewProof { priority: 1, mode: ProofMode::Compressed, gas_limit: Some(9), ..request };
    let differences = vec!["mode", "gas_limit", "priority"];
    assert_eq!(add(&database, "b", &other), SubmissionOutcome::Other { proof: "a".to_owned(), differences });
    assert_eq!(database.proofs(None, ProofSelection { limit: 9, ..ProofSelection::default() }).unwrap().len(), 1);
}

#[test]
fn proofs_are_listed_by_page_and_state() {
    let (_folder, database) = database();
    for id in ["a", "b", "c"] {
        add(&database, id, &NewProof::default());
    }
    next(&database);
    let list = |selection| {
        let found = database.proofs(None, selection).unwrap();
        found.into_iter().map(|(number, proof)| (number, proof.id)).collect::<Vec<_>>()
    };
    let page = ProofSelection { limit: 2, ..ProofSelection::default() };
    assert_eq!(list(page), [(3, "c".to_owned()), (2, "b".to_owned())]);
    assert_eq!(list(ProofSelection { before: Some(2), ..page }), [(1, "a".to_owned())]);
    assert_eq!(list(ProofSelection { state: Some(ProofState::Running), ..page }), [(1, "a".to_owned())]);
}

#[test]
fn events_are_ordered_and_removed_with_their_proof() {
    let (_folder, database) = database();
    add(&database, "a", &NewProof::default());
    let record = |number| EventRecord {
        number,
        at: Moment(1),
        event: ProofEvent::Executed { cycles: number, unread_values: 0 },
    };
    let events: Vec<_> = (1..=5).map(|number| ("a".to_owned(), record(number))).collect();
    database.add_events(&events).unwrap();
    database.add_events(&[("unknown".to_owned(), record(1))]).unwrap();
    assert_eq!(database.events("a", 2, 2).unwrap(), [record(3), record(4)]);
    assert_eq!((database.last_event("a").unwrap(), database.last_event("unknown").unwrap()), (5, 0));
    database.end("a", &ProofOutcome::Cancelled, TaskCounts::default(), NOW).unwrap();
    assert_eq!(database.remove_ended(NOW.plus_seconds(1), Duration::ZERO).unwrap(), 1);
    assert_eq!((database.proof("a").unwrap(), database.events("a", 0, 9).unwrap()), (None, vec![]));
    assert!(database.program(Some("default"), "p").unwrap().is_none() && database.needed_blobs().unwrap().is_empty());
}

fn check_refused(prepare: impl FnOnce(&Path), expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.db");
    drop(Database::open(&path, true).unwrap());
    prepare(&path);
    let text = Database::open(&path, false).err().unwrap().to_string();
    assert!(text.contains(expected) && text.contains("service.db"), "{text}");
}

#[test]
fn newer_older_foreign_missing_or_damaged_database_is_refused() {
    let set = |path: &Path, name: &str, value: i32| {
        Connection::open(path).unwrap().pragma_update(None, name, value).unwrap();
    };
    check_refused(|path| set(path, "user_version", SCHEMA_VERSION + 1), "newer release");
    check_refused(|path| set(path, "user_version", OLDEST_VERSION - 1), "older build");
    check_refused(|path| set(path, "application_id", 7), "not a database of sp1d");
    check_refused(|path| std::fs::remove_file(path).unwrap(), "is missing");
    check_refused(|path| std::fs::write(path, "").unwrap(), "is missing or empty");
    check_refused(
        |path| std::fs::write(path, "not a database at all, but longer than its head ".repeat(99)).unwrap(),
        "damaged",
    );
    let scramble = |path: &Path| {
        let mut content = std::fs::read(path).unwrap();
        content[4096..].fill(0x5a);
        std::fs::write(path, content).unwrap();
    };
    check_refused(scramble, "damaged");
}

#[test]
fn database_of_the_release_before_tenants_is_upgraded_and_belongs_to_the_default_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.db");
    let before = Connection::open(&path).unwrap();
    before.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    before.execute_batch(SCHEMA).unwrap();
    before.pragma_update(None, "user_version", OLDEST_VERSION).unwrap();
    let rows = "INSERT INTO programs VALUES ('p', 7, '0x1', 5);
        INSERT INTO proofs (id, program, input, mode, state, priority, nonce, options, idempotency_key, request, created)
        VALUES ('a', 'p', 'i', 'core', 'queued', 0, '[0,0,0,0]', '{}', 'k', '{}', 5);";
    before.execute_batch(rows).unwrap();
    drop(before);
    assert!(matches!(Database::open_beside(&path), Err(DatabaseError::Older { .. })), "a service may be using it");
    let database = Database::open(&path, false).unwrap();
    let program = ProgramSummary { id: "p".into(), bytes: 7, verifying_key: Some("0x1".into()), created: Moment(5) };
    assert_eq!(database.program(Some("default"), "p").unwrap(), Some(program));
    assert!(database.owns_proof("default", "a").unwrap() && database.has_input("default", "i").unwrap());
    assert!(database.knows_key("default", "k").unwrap() && !database.requires_tokens().unwrap());
    assert_eq!(database.program(Some("other"), "p").unwrap(), None);
    drop(database);
    assert!(Database::open_beside(&path).is_ok() && Database::open(&path, false).is_ok(), "it is upgraded once");
}

/// Undoes the upgrade to version 7.
const BEFORE_7: &str = "DROP INDEX proofs_by_tenant_and_requester;
    CREATE INDEX proofs_by_requester ON proofs (requester, started);";

/// Gives the database at `path` the form of an earlier version.
fn set_back(path: &Path, changes: &str) {
    Connection::open(path).unwrap().execute_batch(changes).unwrap();
}

#[test]
fn quotas_of_version_5_are_upgraded() {
    let (folder, database) = database();
    let quota = TenantQuota { max_queue: Some(1), ..TenantQuota::default() };
    database.set_quota("a", &quota).unwrap();
    drop(database);
    let path = folder.path().join("service.db");
    set_back(&path, &format!("{BEFORE_7} ALTER TABLE quotas DROP COLUMN keep_ms; PRAGMA user_version = 5;"));
    assert_eq!(Database::open(&path, false).unwrap().quota("a").unwrap(), quota);
}

#[test]
fn turns_of_version_6_are_upgraded() {
    let (folder, database) = database();
    drop(database);
    let path = folder.path().join("service.db");
    let indexes = || {
        let connection = Connection::open(&path).unwrap();
        let select = "SELECT count(*) FROM sqlite_schema WHERE name = ?1";
        let count = |name: &str| connection.query_row(select, [name], |row| row.get::<_, i64>(0)).unwrap();
        (count("proofs_by_requester"), count("proofs_by_tenant_and_requester"))
    };
    set_back(&path, &format!("{BEFORE_7} PRAGMA user_version = 6;"));
    assert_eq!(indexes(), (1, 0));
    let database = Database::open(&path, false).unwrap();
    assert_eq!(indexes(), (0, 1));
    add(&database, "a", &NewProof::default());
    assert_eq!(next(&database).as_deref(), Some("a"));
}

#[test]
fn a_tenant_keeps_its_proofs_as_long_as_its_quota_says() {
    const DAY: u64 = 24 * 60 * 60;
    let (_folder, database) = database();
    for (tenant, days) in [("default", None), ("short", Some(1)), ("long", Some(30))] {
        let keep = days.map(|days| Duration::from_secs(days * DAY));
        database.set_quota(tenant, &TenantQuota { keep, ..TenantQuota::default() }).unwrap();
        database.add_proof(tenant, &NewProof::default(), NewProofFields { tenant, ..FIELDS }, NOW).unwrap();
        database.end(tenant, &ProofOutcome::Cancelled, TaskCounts::default(), NOW).unwrap();
    }
    let removed_after = |days: u64| {
        let now = NOW.plus_seconds(days * DAY + 1);
        database.remove_ended(now, Duration::from_secs(7 * DAY)).unwrap()
    };
    let is_known = |tenant: &str| database.proof(tenant).unwrap().is_some();
    assert_eq!((removed_after(0), removed_after(1), is_known("short")), (0, 1, false));
    assert_eq!((removed_after(6), removed_after(7), is_known("default")), (0, 1, false));
    assert_eq!((removed_after(29), removed_after(30), is_known("long")), (0, 1, false));
}

#[test]
fn database_that_a_service_is_creating_gets_no_tables_from_a_command_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.db");
    // The service has written the header, and not yet its tables.
    let before = Connection::open(&path).unwrap();
    before.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    assert!(matches!(Database::open_beside(&path), Err(DatabaseError::Older { found: 0, .. })));
    let tables = before.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(tables, 0);
    drop(before);
    // The service, which has taken the folder, creates them.
    drop(Database::open(&path, false).unwrap());
    assert!(Database::open_beside(&path).is_ok());
}

#[test]
fn tenants_see_only_their_own_programs_inputs_proofs_and_keys() {
    let (_folder, database) = database();
    let other = NewProofFields { tenant: "other", ..FIELDS };
    let request = NewProof { idempotency_key: Some("k".into()), ..NewProof::default() };
    let added = database.add_proof("a", &request, FIELDS, NOW).unwrap();
    assert!(matches!(added, SubmissionOutcome::New(_)));
    assert!(database.knows_key("default", "k").unwrap() && !database.knows_key("other", "k").unwrap());
    assert_eq!(database.program(Some("other"), "p").unwrap(), None);
    assert_eq!(database.programs(Some("other")).unwrap(), []);
    // The other tenant uploads the same program, whose key is not known to that tenant yet.
    let program = ProgramSummary { id: "p".into(), bytes: 1, verifying_key: None, created: Moment(1) };
    database.add_program("other", &program).unwrap();
    assert_eq!(database.program(Some("other"), "p").unwrap(), Some(program));
    assert_eq!(database.programs(None).unwrap().len(), 1, "each program is listed once");
    database.set_verifying_key("other", "p", "0x2").unwrap();
    assert_eq!(database.program_with_key("default", "0x2").unwrap(), None);
    assert_eq!(database.program_with_key("other", "0x2").unwrap().as_deref(), Some("p"));
    let added = database.add_proof("b", &request, other, NOW).unwrap();
    assert!(matches!(added, SubmissionOutcome::New(_)), "the same key of another tenant is another request: {added:?}");
    assert!(matches!(database.add_proof("c", &request, other, NOW).unwrap(), SubmissionOutcome::Known(_)));
    let page = ProofSelection { limit: 9, ..ProofSelection::default() };
    let list =
        |tenant| database.proofs(tenant, page).unwrap().into_iter().map(|(_, proof)| proof.id).collect::<Vec<_>>();
    assert_eq!((list(Some("default")), list(Some("other"))), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!(list(None), ["b", "a"]);
    assert!(database.owns_proof("other", "b").unwrap() && !database.owns_proof("other", "a").unwrap());
    assert_eq!(database.count_of("other", ProofState::Queued).unwrap(), 1);
    database.add_input("other", "x", 1, Moment(1)).unwrap();
    assert!(database.has_input("other", "x").unwrap() && !database.has_input("default", "x").unwrap());
    database.forget_inputs(Moment(2)).unwrap();
    assert!(!database.has_input("other", "x").unwrap(), "no proof uses it");
}

#[test]
fn program_of_two_tenants_is_removed_when_the_last_one_has_no_use_for_it() {
    let (_folder, database) = database();
    let program = ProgramSummary { id: "p".into(), bytes: 1, verifying_key: None, created: Moment(10) };
    database.add_program("other", &program).unwrap();
    database.remove_ended(Moment(5), Duration::ZERO).unwrap();
    assert_eq!(database.program(Some("default"), "p").unwrap(), None, "it was added at 0");
    assert!(database.program(Some("other"), "p").unwrap().is_some() && database.needed_blobs().unwrap().contains("p"));
    database.remove_ended(Moment(11), Duration::ZERO).unwrap();
    assert!(database.needed_blobs().unwrap().is_empty());
}
