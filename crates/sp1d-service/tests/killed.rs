//! Tests that kill the service's process at different moments, measure its memory, or fill its disk.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sp1d_testing::{
    FakeEngine, RunningWorker, deliver_result, do_honestly, events_of, expected_proof, fetch_inputs,
    upload_deferred_events,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running service process. Killed when dropped.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(state: &Path, workers: &[String]) -> Self {
        Self::start_with(state, workers, &[])
    }

    fn start_with(state: &Path, workers: &[String], variables: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(program()).arg(state), workers, variables)
    }

    /// Starts the service with its own disk of `megabytes` MiB, mounted at `state` in a separate mount namespace.
    fn start_on_disk_of(megabytes: u32, state: &Path, workers: &[String], variables: &[(&str, &str)]) -> Self {
        let mount = format!("mount -t tmpfs -o mode=700,size={megabytes}m disk \"$1\" && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]).arg(program()).arg(state);
        Self::spawn(&mut command, workers, variables)
    }

    /// Starts the service with a copy of the folder `seed` on its own disk, which a file `filler` then fills.
    fn start_on_full_disk(seed: &Path, state: &Path, workers: &[String]) -> Self {
        let mount = "mount -t tmpfs -o mode=700,size=16m disk \"$1\" && cp -a \"$SEED\"/. \"$1\" \
                     && { cat /dev/zero > \"$1/filler\"; true; } && exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]).arg(program()).arg(state);
        Self::spawn(command.env("SEED", seed), workers, &[("FREE_BYTES", "0")])
    }

    fn spawn(command: &mut Command, workers: &[String], variables: &[(&str, &str)]) -> Self {
        command.args(workers).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("serving ").unwrap_or_else(|| panic!("{command:?}: {line:?}")).to_owned();
        Self { child, url }
    }
}

/// Returns the path of the example `fake_serve`. Cargo builds it together with this test, in the folder next to it.
fn program() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/fake_serve")
}

impl Process {
    /// Returns the resident memory of the process in kB. See `VmRSS` in proc(5).
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Submits a proof of `shards` shards, which `nonce` makes different from other proofs, and waits until it is done.
    async fn prove(&self, program: &Value, shards: u64, nonce: u32) {
        let request = json!({ "program": program["id"], "cycle_limit": shards, "nonce": [nonce, 0, 0, 0] });
        let proof = post(&self.url, "/v1/proofs", "application/json", request.to_string()).await.unwrap();
        self.done(proof["id"].as_str().unwrap()).await;
    }

    async fn done(&self, id: &str) {
        self.wait_for(id, |proof| proof["state"] == "done").await;
    }

    async fn wait_for(&self, id: &str, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let proof = get(&self.url, &format!("/v1/proofs/{id}")).await;
            assert!(proof["state"] != "failed" && proof["state"] != "cancelled", "{proof}");
            if wanted(&proof) {
                return;
            }
            assert!(Instant::now() < deadline, "{proof}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn post(url: &str, path: &str, kind: &str, body: String) -> Option<Value> {
    let request = reqwest::Client::new().post(format!("{url}{path}")).header("content-type", kind).body(body);
    let response = request.send().await.ok()?;
    assert!(response.status().is_success(), "{path}: {}", response.status());
    serde_json::from_slice(&response.bytes().await.ok()?).ok()
}

async fn get(url: &str, path: &str) -> Value {
    serde_json::from_slice(&reqwest::get(format!("{url}{path}")).await.unwrap().bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_proof_comes_out_right_however_often_the_service_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let engine = FakeEngine::doing(move |assignment, io| async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        do_honestly(&assignment, &*io).await
    });
    let worker = RunningWorker::ready("one", engine).await;
    let workers = [worker.address.to_string()];
    let mut accepted = Vec::new();
    // Each round kills the process at a different moment, during requests, proving and writing.
    for round in 0..8_u64 {
        let mut process = Process::start(&state, &workers);
        let program = post(&process.url, "/v1/programs", "application/octet-stream", "program".into()).await.unwrap();
        let asking = async {
            for proof in 0_u64.. {
                let shards = 20 + (round * 7 + proof) % 5;
                let key = format!("{round}-{proof}");
                let request = json!({ "program": program["id"], "cycle_limit": shards, "idempotency_key": key });
                let answer = post(&process.url, "/v1/proofs", "application/json", request.to_string()).await;
                let Some(answer) = answer else { return };
                accepted.push((answer["id"].as_str().unwrap().to_owned(), shards));
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(200 + 173 * round), asking).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }
    assert!(accepted.len() >= 16, "{accepted:?}");
    let process = Process::start(&state, &workers);
    for (id, shards) in &accepted {
        process.done(id).await;
        let content =
            reqwest::get(format!("{}/v1/proofs/{id}/proof", process.url)).await.unwrap().bytes().await.unwrap();
        assert_eq!(&content[..], expected_proof(*shards, 8), "{id}");
    }
}

/// Workers that finish their shards only after `open` is set, and that count how often each shard was started.
struct Gated {
    workers: Vec<RunningWorker>,
    open: watch::Sender<bool>,
    started_shards: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Gated {
    async fn start(workers: usize) -> Self {
        let (open, started_shards) = (watch::Sender::new(false), Arc::<Mutex<BTreeMap<u64, u32>>>::default());
        let mut running = Vec::new();
        for number in 0..workers {
            let (gate, started_shards) = (open.subscribe(), started_shards.clone());
            let engine = FakeEngine::doing(move |assignment, io| {
                let (mut gate, started_shards) = (gate.clone(), started_shards.clone());
                async move {
                    let inputs = fetch_inputs(&assignment, &*io).await?;
                    let shard = inputs.shard.unwrap();
                    let inputs = inputs.concat();
                    upload_deferred_events(&assignment, &*io, events_of(&inputs)).await?;
                    *started_shards.lock().unwrap().entry(shard).or_default() += 1;
                    gate.wait_for(|open| *open).await.unwrap();
                    deliver_result(&assignment, &*io, &inputs).await
                }
            });
            running.push(RunningWorker::ready(&format!("worker {number}"), engine).await);
        }
        Self { workers: running, open, started_shards }
    }

    fn addresses(&self) -> Vec<String> {
        self.workers.iter().map(|worker| worker.address.to_string()).collect()
    }

    /// Waits until `wanted` shards were started. A shard that was started twice counts twice.
    async fn wait_for(&self, wanted: u32) {
        let deadline = Instant::now() + PATIENCE;
        while self.started_shards.lock().unwrap().values().sum::<u32>() < wanted {
            assert!(Instant::now() < deadline, "{:?}", self.started_shards.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// When the workers finish the shards that they were proving when the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ComeOut {
    /// Before the service runs again.
    Meanwhile,
    /// After the service was restarted this many times.
    After(usize),
}

/// Ends the service by `signal` while each of `workers` workers proves a shard, and checks that no shard is started
/// again.
async fn check_goes_on(workers: usize, signal: Signal, come_out: ComeOut) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let gated = Gated::start(workers).await;
    let shards = workers as u32;
    let mut process = Process::start(&state, &gated.addresses());
    let program = post(&process.url, "/v1/programs", "application/octet-stream", "program".into()).await.unwrap();
    let request = json!({ "program": program["id"], "cycle_limit": shards });
    let proof = post(&process.url, "/v1/proofs", "application/json", request.to_string()).await.unwrap();
    let id = proof["id"].as_str().unwrap();
    gated.wait_for(shards).await;
    let restarts = match come_out {
        ComeOut::Meanwhile => 1,
        ComeOut::After(restarts) => restarts,
    };
    for restart in 1..=restarts {
        kill_process(Pid::from_child(&process.child), signal).unwrap();
        process.child.wait().unwrap();
        if come_out == ComeOut::Meanwhile {
            gated.open.send_replace(true);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        // The order of the workers does not matter: each worker continues its own shard.
        let mut addresses = gated.addresses();
        addresses.rotate_left(restart % workers);
        process = Process::start(&state, &addresses);
        if come_out != ComeOut::Meanwhile {
            process.wait_for(id, |proof| proof["state"] == "running" && proof["tasks"]["known"] == shards).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    gated.open.send_replace(true);
    process.done(id).await;
    let content = reqwest::get(format!("{}/v1/proofs/{id}/proof", process.url)).await.unwrap().bytes().await.unwrap();
    assert_eq!(&content[..], expected_proof(shards.into(), 8));
    let started_shards = gated.started_shards.lock().unwrap().clone();
    assert!(started_shards.values().all(|times| *times == 1), "{signal:?} {come_out:?}: {started_shards:?}");
    let proof = get(&process.url, &format!("/v1/proofs/{id}")).await;
    assert_eq!((&proof["starts"], &proof["tasks"]["cached"]), (&json!(restarts + 1), &json!(0)), "{proof}");
    let events = reqwest::get(format!("{}/v1/proofs/{id}/events", process.url)).await.unwrap().text().await.unwrap();
    assert!(events.contains("proving") && !events.contains("attempt_failed"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_in_progress_at_the_end_of_the_service_are_not_restarted() {
    for signal in [Signal::KILL, Signal::TERM] {
        // Only one worker. A second worker could connect first, and would start the shard of the other one.
        check_goes_on(1, signal, ComeOut::Meanwhile).await;
        check_goes_on(3, signal, ComeOut::After(1)).await;
        check_goes_on(2, signal, ComeOut::After(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_does_not_resume_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let gated = Gated::start(1).await;
    for (number, name) in (1..).zip(["one", "two"]) {
        let mut process = Process::start(&folder.path().join(name), &gated.addresses());
        let program = post(&process.url, "/v1/programs", "application/octet-stream", "program".into()).await.unwrap();
        let request = json!({ "program": program["id"], "cycle_limit": 1 });
        post(&process.url, "/v1/proofs", "application/json", request.to_string()).await.unwrap();
        gated.wait_for(number).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }
    assert_eq!(gated.started_shards.lock().unwrap().get(&0), Some(&2));
}

/// Returns all files below `folder` with their sizes. Skips files that are removed in the meantime.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let described = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    described.flat_map(|(path, found)| if found.is_dir() { files(&path) } else { vec![(path, found.len())] }).collect()
}

fn bytes(folder: &Path) -> u64 {
    files(folder).iter().map(|(_, size)| size).sum()
}

/// Returns how many bytes the service has allocated: the smallest number that its `HEAP_FILE` contains within two
/// seconds. A larger number would include the work that follows a proof.
async fn heap(file: &Path) -> u64 {
    let mut smallest = u64::MAX;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        smallest = smallest.min(fs::read_to_string(file).unwrap().parse().unwrap());
    }
    smallest
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_proofs_leave_no_memory_or_disk_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let workers = [worker.address.to_string()];
    // Smaller than the results of one proof.
    let small_cache = ("RESULT_CACHE_BYTES", "1000");
    let heap_file = folder.path().join("heap");
    let measured = [
        small_cache,
        ("HEAP_FILE", heap_file.to_str().unwrap()),
        // One arena for all threads: `heap` counts only the first one. See M_ARENA_MAX in mallopt(3).
        ("MALLOC_ARENA_MAX", "1"),
        // No caches of free memory per thread: `heap` would count them as used. See mallopt(3) and ld.so(8).
        ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"),
    ];
    let process = Process::start_with(&state, &workers, &measured);
    let program = post(&process.url, "/v1/programs", "application/octet-stream", "program".into()).await.unwrap();
    for nonce in 0..10 {
        process.prove(&program, 20, nonce).await;
    }
    let at_start = bytes(&state);
    // The caches of the process and of SQLite grow until they are full, which takes less than 300 proofs.
    let first = process.memory();
    for nonce in 10..310 {
        process.prove(&program, 20, nonce).await;
    }
    let before = heap(&heap_file).await;
    for nonce in 310..510 {
        process.prove(&program, 20, nonce).await;
    }
    let after = heap(&heap_file).await;
    let memory = process.memory();
    assert!(after < before + 200 * 256, "{before} bytes allocated after 310 proofs, {after} after 200 more");
    assert!(memory * 100 < first * 125, "{first} kB after 10 proofs, {memory} kB after 500 more");

    let full = bytes(&state);
    assert!(full > at_start, "{full}");
    drop(process);
    // Garbage collection removes unused blobs that are older than an hour. `KEEP_SECONDS` of 0 makes it also remove all
    // ended proofs.
    let old = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    for (file, _) in files(&state.join("blobs")) {
        fs::File::options().write(true).open(file).unwrap().set_modified(old).unwrap();
    }
    let process = Process::start_with(&state, &workers, &[small_cache, ("KEEP_SECONDS", "0")]);
    let deadline = Instant::now() + PATIENCE;
    while bytes(&state) > at_start {
        assert!(
            Instant::now() < deadline,
            "{at_start} bytes after 10 proofs, {full} at the end, now {:?}",
            files(&state)
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(process);
}

/// Copies all files of the folder `from` to the folder `to`.
fn copy(from: &Path, to: &Path) {
    for (file, _) in files(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
}

#[ignore = "needs the right to mount a disk: ./x test --full"]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_new_and_costs_no_proof_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let engine = FakeEngine::doing(move |assignment, io| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        do_honestly(&assignment, &*io).await
    });
    let worker = RunningWorker::ready("one", engine).await;
    let workers = [worker.address.to_string()];
    let process = Process::start_on_disk_of(16, &state, &workers, &[("FREE_BYTES", "2000000")]);
    // The disk is mounted only in the mount namespace of the process.
    let disk = PathBuf::from(format!("/proc/{}/root{}", process.child.id(), state.display()));
    let program = post(&process.url, "/v1/programs", "application/octet-stream", "program".into()).await.unwrap();
    let request =
        |nonce: u32| json!({ "program": program["id"], "cycle_limit": 20, "nonce": [nonce, 0, 0, 0] }).to_string();
    let proof = post(&process.url, "/v1/proofs", "application/json", request(1)).await.unwrap();
    let id = proof["id"].as_str().unwrap();
    process.wait_for(id, |proof| proof["tasks"]["known"] == 20).await;
    let filler = disk.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);

    let client = reqwest::Client::new();
    let again = client.post(format!("{}/v1/proofs", process.url)).header("content-type", "application/json");
    let refused = again.body(request(2)).send().await.unwrap();
    assert_eq!(refused.status(), 507);
    let text = refused.text().await.unwrap();
    assert!(text.contains("disk_full"), "{text}");
    // All shards are proven although the disk is full, but the finished proof cannot be stored.
    process.wait_for(id, |proof| proof["tasks"]["done"] == 20).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = get(&process.url, &format!("/v1/proofs/{id}")).await;
    assert_eq!(waiting["state"], "running", "{waiting}");

    // The space is free only after the file is also closed.
    drop(file);
    fs::remove_file(&filler).unwrap();
    process.done(id).await;
    let content = reqwest::get(format!("{}/v1/proofs/{id}/proof", process.url)).await.unwrap().bytes().await.unwrap();
    assert_eq!(&content[..], expected_proof(20, 8));
    process.prove(&program, 20, 2).await;
    // The full disk has damaged no data: another process continues with a copy of the state folder.
    let (copied, known) = (folder.path().join("copy"), get(&process.url, "/v1/proofs").await);
    // The process must not write during the copy. It is stopped and not killed, because the disk disappears when it
    // ends.
    kill_process(Pid::from_child(&process.child), Signal::STOP).unwrap();
    copy(&disk, &copied);
    drop(process);
    let process = Process::start(&copied, &workers);
    assert_eq!(get(&process.url, "/v1/proofs").await, known);
}

#[ignore = "needs the right to mount a disk: ./x test --full"]
#[tokio::test(flavor = "multi_thread")]
async fn service_with_a_full_disk_starts_and_continues_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (seed, state) = (folder.path().join("seed"), folder.path().join("state"));
    fs::create_dir(&state).unwrap();
    let process = Process::start(&seed, &[]);
    let program = post(&process.url, "/v1/programs", "application/octet-stream", "program".into()).await.unwrap();
    let request = json!({ "program": program["id"], "cycle_limit": 2 }).to_string();
    let proof = post(&process.url, "/v1/proofs", "application/json", request.clone()).await.unwrap();
    let id = proof["id"].as_str().unwrap();
    drop(process);

    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let process = Process::start_on_full_disk(&seed, &state, &[worker.address.to_string()]);
    let health = get(&process.url, "/healthz").await;
    assert!(health["warnings"][0].as_str().unwrap().contains("can only be read"), "{health}");
    assert_eq!(get(&process.url, "/v1/proofs").await["proofs"][0]["id"], *id);
    let client = reqwest::Client::new();
    let again = client.post(format!("{}/v1/proofs", process.url)).header("content-type", "application/json");
    assert_eq!(again.body(request).send().await.unwrap().status(), 507);

    fs::remove_file(format!("/proc/{}/root{}/filler", process.child.id(), state.display())).unwrap();
    process.done(id).await;
    assert_eq!(get(&process.url, "/healthz").await["warnings"], Value::Null);
}
