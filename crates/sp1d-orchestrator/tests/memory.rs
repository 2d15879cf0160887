//! Measures how much memory each side needs to move a large artifact. The binary has only one test, and the worker runs
//! in a process of its own, because memory is measured per process.

#![expect(clippy::print_stdout, reason = "the worker process reports over stdout, and people read the results")]

use async_trait::async_trait;
use sp1d_artifacts::Blob;
use sp1d_orchestrator::{
    Orchestrator, OrchestratorSettings, ProofChecks, ProofFailure, ProofHandle, ProofOutput, ProofRequest, ProofRunner,
    TaskOutcome, TaskSpec, WorkerList,
};
use sp1d_protocol::{ShardMarker, ShardTask, TaskPayload};
use sp1d_testing::{FakeEngine, RunningWorker, fake_build};
use std::{fs, net::SocketAddr, process::Stdio, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::broadcast,
};
use tokio_util::sync::CancellationToken;

const ARTIFACT_BYTES: usize = 200 << 20;

/// Environment variable that turns this binary into the worker's process.
const ROLE: &str = "SP1_DISTRIBUTED_TEST_WORKER";

/// Returns bytes that do not compress, which is the hardest case.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(ARTIFACT_BYTES);
    while bytes.len() < ARTIFACT_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Returns the resident memory now, and its maximum since the last call of `reset_peak`, in bytes.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Returns the outcome of `work`, and the largest growth of memory during it, as a multiple of the artifact's size.
async fn growth<T>(work: impl Future<Output = T>) -> (T, f64) {
    reset_peak();
    let (before, _) = memory();
    let outcome = work.await;
    let (_, peak) = memory();
    (outcome, peak.saturating_sub(before) as f64 / ARTIFACT_BYTES as f64)
}

/// A runner that submits one task, whose record and list of deferred events are large.
struct Mover(std::sync::Mutex<Vec<f64>>);

#[async_trait]
impl ProofRunner for Mover {
    async fn run(&self, proof: ProofHandle, _: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.set_checks(NoChecks);
        proof.put("large", noise(1)).await.unwrap();
        proof.put("small", b"small".to_vec()).await.unwrap();
        let task = ShardTask {
            program: "small".into(),
            common_input: "small".into(),
            record: "large".into(),
            result: "result".into(),
            marker: Some(ShardMarker { task: proof.submit_marker().await, event_list: "large-too".into() }),
        };
        let spec = TaskSpec { payload: TaskPayload::ProveShard(task), needed_bytes: 0, cycles: 0 };
        let moving = async {
            let task = proof.submit(spec).await;
            assert_eq!(proof.watch(task).await, Ok(TaskOutcome::Succeeded));
        };
        let ((), grown) = growth(moving).await;
        self.0.lock().unwrap().push(grown);
        assert_eq!(proof.get("large-too").await.unwrap(), noise(2));
        Ok(ProofOutput { proof: Vec::new(), cycles: 0, public_values: Vec::new(), gas: None })
    }
}

/// Checks that accept every result.
struct NoChecks;

impl ProofChecks for NoChecks {
    fn check_result(&self, _: &TaskSpec, _: &[u8], _: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<(), String> {
        Ok(())
    }

    fn check_deferred_events(&self, _: &TaskSpec, _: &dyn Fn(&str) -> Option<Blob>) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

/// Runs the worker's process: prints its address, then how much memory it needed to fetch and to deliver.
async fn be_the_worker() {
    reset_peak();
    let (before, _) = memory();
    let engine = FakeEngine::doing(move |assignment, io| async move {
        let content = io.fetch("large").await.unwrap();
        // Measured from before the task arrived, because the compressed input is fetched before the engine asks for it.
        let fetched = memory().1.saturating_sub(before) as f64 / ARTIFACT_BYTES as f64;
        assert_eq!(content, noise(1));
        drop(content);
        let content = noise(2);
        let marker = assignment.payload.marker().unwrap();
        let (outcome, delivered) = growth(io.deliver(&marker.event_list, content)).await;
        outcome.unwrap();
        println!("grown {fetched} {delivered}");
        io.report_deferred_events().await.unwrap();
        io.deliver(assignment.payload.result(), b"done".to_vec()).await.unwrap();
        Ok(())
    });
    let worker = RunningWorker::ready("mover", engine).await;
    println!("listening {}", worker.address);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moving_an_artifact_needs_less_than_one_and_a_half_times_its_size() {
    if std::env::var_os(ROLE).is_some() {
        return be_the_worker().await;
    }
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--nocapture", "--test-threads", "1"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut told = async |what: &str| loop {
        let line = lines.next_line().await.unwrap().expect("the worker process is running");
        if let Some((_, rest)) = line.split_once(what) {
            break rest.trim().to_owned();
        }
    };
    let address: SocketAddr = told("listening").await.parse().unwrap();
    let list = WorkerList(vec![address.into()]);
    let orchestrator = Orchestrator::connect(&list, OrchestratorSettings::new(fake_build()), None).await.unwrap();
    let request = ProofRequest::core(b""[..].into(), b""[..].into(), "{}".to_owned());
    let mover = Arc::new(Mover(std::sync::Mutex::default()));
    let (progress, _) = broadcast::channel(16);
    orchestrator.prove(request, mover.clone(), progress, CancellationToken::new()).await.unwrap();
    let worker: Vec<f64> = told("grown").await.split(' ').map(|number| number.parse().unwrap()).collect();
    let orchestrator = mover.0.lock().unwrap()[0];
    println!(
        "memory growth in artifact sizes: orchestrator {orchestrator:.2}, worker fetching {:.2}, delivering {:.2}",
        worker[0], worker[1]
    );
    assert!(orchestrator < 1.5, "the orchestrator grew by {orchestrator} times the artifact");
    assert!(worker.iter().all(|grown| *grown < 1.5), "the worker grew by {worker:?} times the artifact");
}
