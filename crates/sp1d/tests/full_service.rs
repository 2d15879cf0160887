//! A service with two real workers, as a team would run it. `./x test --full service` runs these tests.

use sp1_distributed::{ProveRequest, Prover, ProverClient};
use sp1d_client::{Client, EventRecord, NewProof, ProofEvent, ProofMode, ProofState, ProofSummary, WorkerActivity};
use sp1d_testing::free_address;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

#[path = "../../sp1d-service/tests/webdriver/mod.rs"]
mod webdriver;
mod workers;

use webdriver::Browser;
use workers::{Worker, check_with_sp1, elf, guest, input, sp1d};

/// Trace elements per shard. Low enough that short programs have shards for both workers.
const LOW_THRESHOLD: &str = "33554432";

/// Longest wait for any single condition. A compressed proof takes six minutes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

#[expect(clippy::print_stderr, reason = "figures of a slow run are worth seeing")]
fn show(text: &str) {
    eprintln!("{text}");
}

/// The service's process. Killed when dropped.
struct Served(Child);

impl Served {
    fn start(folder: &Path, port: u16) -> Self {
        let log = File::options().create(true).append(true).open(folder.join("serve.log")).unwrap();
        let listen = format!("127.0.0.1:{port}");
        let process = sp1d(folder)
            .args(["serve", "--state", "state", "--listen", &listen, "--parallel-proofs", "2", "--log", "info"])
            .env("ELEMENT_THRESHOLD", LOW_THRESHOLD)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(process)
    }

    fn kill_and_start_again(&mut self, folder: &Path, port: u16) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        *self = Self::start(folder, port);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts two workers, waits until their provers are loaded, and writes their worker list. Returns the workers and a
/// free port for the service.
fn two_workers(folder: &Path) -> ([Worker; 2], u16) {
    let workers = [Worker::start(folder, 0, "127.0.0.1"), Worker::start(folder, 1, "127.0.0.1")];
    workers.iter().for_each(Worker::wait_until_ready);
    let addresses: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
    fs::write(folder.join("distributed.json"), serde_json::to_string(&addresses).unwrap()).unwrap();
    (workers, free_address().port())
}

async fn submit(client: &Client, program: &str, value: u32, mode: ProofMode, priority: i32) -> String {
    let program = client.add_program(fs::read(guest(program)).unwrap().into()).await.unwrap().id;
    let input = client.add_input(bincode::serialize(&input(&[value])).unwrap().into()).await.unwrap();
    let request = NewProof { program: Some(program), input: Some(input), mode, priority, ..NewProof::default() };
    client.submit(&request).await.unwrap().id
}

async fn wait(client: &Client, id: &str, what: &str, wanted: impl Fn(&ProofSummary) -> bool) -> ProofSummary {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The service does not respond while it restarts.
        match client.proof(id).await {
            Ok(proof) if wanted(&proof) => return proof,
            other => assert!(Instant::now() < deadline, "{what}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the proof `id` has ended, and checks that it is done and valid.
async fn check_done(client: &Client, id: &str, program: &str) -> ProofSummary {
    let proof = wait(client, id, program, |proof| proof.state.is_final()).await;
    assert_eq!(proof.state, ProofState::Done, "{proof:?}");
    let content = client.fetch(id).await.unwrap();
    check_with_sp1(&bincode::deserialize(&content).unwrap(), program).await;
    let ProofSummary { mode, starts, tasks, shards, .. } = &proof;
    show(&format!("{program} {mode:?}: {shards:?} shards, {tasks:?}, started {starts} times"));
    proof
}

async fn state_of(client: &Client, name: &str) -> WorkerActivity {
    let workers = client.workers().await.unwrap().workers;
    workers.into_iter().find(|worker| worker.name == name).map(|worker| worker.state).unwrap_or_default()
}

#[ignore = "takes twenty minutes and two provers: ./x test --full service"]
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_in_the_middle_ends_every_proof_as_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let (workers, port) = two_workers(folder.path());
    let url = format!("http://127.0.0.1:{port}");
    let mut served = Served::start(folder.path(), port);
    let client = Client::new(&url).unwrap();
    let ready = Client::persist(Duration::from_secs(60), || client.health()).await.unwrap();
    assert_eq!(ready.parallel_proofs, 2);
    let browser = Browser::start(1280, 1000).await;

    // Two proofs run and two wait. The proof with the lowest priority comes last.
    let precompiles = submit(&client, "precompiles", 10, ProofMode::Core, 10).await;
    let core = submit(&client, "fibonacci", 100_000, ProofMode::Core, 5).await;
    let unwanted = submit(&client, "fibonacci", 200_000, ProofMode::Core, -10).await;
    // A program submits the fourth proof through the library.
    let prover = ProverClient::builder().distributed().url(&url).build().await;
    let key = prover.setup(elf("fibonacci")).await.unwrap();
    let compressed = tokio::spawn(async move { prover.prove(&key, input(&[1000])).compressed().await });

    let before = wait(&client, &precompiles, "a task", |proof| proof.tasks.done > 0).await;
    assert_eq!(before.state, ProofState::Running);
    assert_eq!(client.proof(&unwanted).await.unwrap().state, ProofState::Queued);
    browser.open(&url).await;
    browser.wait_for("document.querySelectorAll('#proofs tr').length === 4").await;
    browser.picture("service-running").await;

    show(&format!("killed with {:?}", before.tasks));
    let killed = Instant::now();
    served.kill_and_start_again(folder.path(), port);
    Client::persist(Duration::from_secs(60), || client.health()).await.unwrap();
    show(&format!("serving again after {:.1} s", killed.elapsed().as_secs_f32()));

    client.cancel(&unwanted).await.unwrap();
    let core = check_done(&client, &core, "fibonacci").await;
    assert_eq!(core.starts, 2, "{core:?}");
    let id = precompiles;
    let precompiles = check_done(&client, &id, "precompiles").await;
    assert!(precompiles.tasks.cached > 0 && precompiles.starts == 2, "{precompiles:?}");

    // The same request again needs no worker: all results are cached, those of precompiles included.
    let again = submit(&client, "precompiles", 10, ProofMode::Core, 20).await;
    let again = check_done(&client, &again, "precompiles").await;
    assert_eq!(again.tasks.cached, again.tasks.known, "{again:?}");

    // Drain one worker while the remaining proofs run.
    let drained = client.workers().await.unwrap().workers[0].name.clone();
    client.act_on_worker(&drained, sp1d_client::WorkerAction::Drain).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while state_of(&client, &drained).await != WorkerActivity::Drained {
        assert!(Instant::now() < deadline, "{}", state_of(&client, &drained).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let running = client.proofs(Some(ProofState::Running), 10).await.unwrap();
    show(&format!("drained while {} ran", running.len()));
    let proven = compressed.await.unwrap().unwrap();
    check_with_sp1(&proven, "fibonacci").await;
    assert_eq!(client.proof(&unwanted).await.unwrap().state, ProofState::Cancelled);
    assert_eq!(client.health().await.unwrap().proofs["done"], 4);
    browser.open(&format!("{url}/#/proofs/{id}")).await;
    browser.wait_for("document.querySelector('#detail-title').innerText.includes('done')").await;
    browser.wait_for("document.querySelectorAll('#events li').length > 5").await;
    browser.picture("service-timeline").await;
    browser.open(&url).await;
    browser.wait_for("document.querySelector('#workers').innerText.includes('drained')").await;
    browser.picture("service-done").await;
    browser.close().await;
    // All events are recorded, in order and without gaps.
    let events = client.past_events(&id, 0).await.unwrap();
    assert!(events.iter().zip(1..).all(|(event, number)| event.number == number));
    let starts = events.iter().filter(|record| matches!(record.event, ProofEvent::Started { .. })).count();
    assert_eq!(starts, 2);
    // The workers were idle when this proof started, so its first shard must be assigned at once.
    let first = |is: fn(&ProofEvent) -> bool| events.iter().find(|record| is(&record.event)).unwrap().at.0;
    let found = first(|event| matches!(event, ProofEvent::Submitted { .. }));
    let given = first(|event| matches!(event, ProofEvent::Assigned(_)));
    show(&format!("first shard assigned {} ms after it was there", given - found));
    // The limit is generous: the service records both times on a machine that also runs the provers.
    assert!(given - found < 500);
    drop(served);
    workers.into_iter().for_each(Worker::stop);
}

/// Returns the number of results in the result cache's folder. Their file names are digests of 64 characters.
fn results(cache: &Path) -> usize {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().len() == 64).count()
}

/// Returns the seconds that attempts took to prove. `wanted` selects attempts by the number of the proof's start.
fn proving_seconds(events: &[EventRecord], wanted: impl Fn(u32) -> bool) -> Vec<f64> {
    let (mut start, mut began, mut took) = (0, BTreeMap::new(), Vec::new());
    for EventRecord { at, event, .. } in events {
        match event {
            ProofEvent::Started { start: now } => start = *now,
            ProofEvent::Proving(attempt) => drop(began.insert(attempt.attempt, *at)),
            ProofEvent::Done(attempt) if wanted(start) => {
                took.extend(began.remove(&attempt.attempt).map(|began| (at.0 - began.0) as f64 / 1000.0));
            }
            _ => {}
        }
    }
    took
}

#[ignore = "takes ten minutes and two provers: ./x test --full service"]
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_with_seven_of_ten_shards_done_loses_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (workers, port) = two_workers(folder.path());
    let mut served = Served::start(folder.path(), port);
    let client = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
    Client::persist(Duration::from_secs(60), || client.health()).await.unwrap();
    let id = submit(&client, "fibonacci", 390_000, ProofMode::Core, 0).await;
    wait(&client, &id, "seven shards", |proof| proof.tasks.done >= 7).await;
    // The service writes results to the disk in the background.
    let deadline = Instant::now() + PATIENCE;
    while results(&folder.path().join("state/memo")) < 7 {
        assert!(Instant::now() < deadline, "the results of shards are not saved");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let killed = Instant::now();
    served.kill_and_start_again(folder.path(), port);
    let proof = wait(&client, &id, "the rest", |proof| proof.state.is_final()).await;
    let rest = killed.elapsed().as_secs_f64();
    check_done(&client, &id, "fibonacci").await;
    let events = client.past_events(&id, 0).await.unwrap();
    let mut before = proving_seconds(&events, |start| start == 1);
    before.sort_by(f64::total_cmp);
    let shard = before[before.len() / 2];
    let at = |is: fn(&ProofEvent) -> bool| events.iter().rfind(|record| is(&record.event)).unwrap().at.0;
    let execution = (at(|event| matches!(event, ProofEvent::Executed { .. }))
        - at(|event| matches!(event, ProofEvent::Started { .. }))) as f64
        / 1000.0;
    let after = proving_seconds(&events, |start| start == 2);
    // `needed` estimates the remaining time: two shards from their start, in parallel, then the last shard. The last
    // one contains memory and is shorter. The minimum may also be the remaining time of a resumed shard, which only
    // makes the check stricter.
    let needed = execution + shard + after.iter().copied().fold(shard, f64::min);
    let ratio = rest / needed;
    show(&format!(
        "killed with seven of ten shards done: the rest took {rest:.1} s, and needs {needed:.1} s: {ratio:.3}; the execution took {execution:.1} s, shards {before:.1?}, then {after:.1?}"
    ));
    assert!(ratio <= 1.15);
    assert_eq!((proof.shards, proof.starts), (Some(10), 2));
    assert!(proof.tasks.cached >= 7, "{proof:?}");
    drop(served);
    workers.into_iter().for_each(Worker::stop);
}
