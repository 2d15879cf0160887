//! What an observer of the network sees of a proof. The connections lead through relays that record them.

use super::{
    secure::{Keys, join},
    *,
};
use sp1d_orchestrator::JoinSettings;
use sp1d_testing::{RecordingRelay, record};
use std::hash::{BuildHasher, Hasher, RandomState};
use tokio::net::TcpListener;

/// Shards of the proof: enough that both workers prove some.
const SHARDS: u64 = 20;

/// Names of the workers, by who dials.
const LISTENS: &str = "marked-worker-that-listens";
const JOINS: &str = "marked-worker-that-joins";

/// Returns random bytes, which do not compress.
fn random_bytes() -> Vec<u8> {
    record(RandomState::new().build_hasher().finish(), 4096)
}

/// Runs a proof with a marked program, input and name on two workers, one in each dialing direction. Checks for all
/// marks whether the relays on the way have carried them.
async fn check_capture(keys: Option<&Keys>, is_visible: bool) {
    let tls = |name: &str| keys.map(|keys| keys.worker(name));
    let mut settings = settings();
    settings.tls = keys.map(Keys::orchestrator);
    settings.patience = PATIENCE;
    let orchestrator = Orchestrator::start(settings, None, None);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to_orchestrator = RecordingRelay::start(listener.local_addr().unwrap()).await;
    orchestrator.serve_joining(listener, JoinSettings::new("127.0.0.1".parse().unwrap()));
    let stop = CancellationToken::new();
    let joins = join(JOINS, tls(JOINS), to_orchestrator.address, &stop);

    let engine = slow(Duration::from_millis(20));
    let listens = match tls(LISTENS) {
        Some(tls) => RunningWorker::secure(LISTENS, engine, tls).await,
        None => RunningWorker::ready(LISTENS, engine).await,
    };
    let to_worker = RecordingRelay::start(listens.address).await;
    orchestrator.set_list(&list(&[to_worker.address])).pop().unwrap().1.await.unwrap().unwrap();
    wait_for_workers(&orchestrator, |workers| {
        workers.len() == 2 && workers.iter().all(|worker| worker.has_loaded_prover)
    })
    .await;

    let (program, input, name) = (random_bytes(), random_bytes(), Digest::of(&random_bytes()).to_string());
    let request = ProofRequest {
        elf: program.clone().into(),
        stdin: input.clone().into(),
        label: name.clone(),
        ..request(SHARDS)
    };
    let runner = Arc::new(FakeRunner { sends_input: true, ..FakeRunner::default() });
    let (progress, _) = broadcast::channel(64);
    let proven = orchestrator.prove(request, runner, progress, CancellationToken::new()).await.unwrap();
    assert_eq!(proven.workers.len(), 2, "one of the relays carried no task: {:?}", proven.workers);

    for (relay, worker) in [(&to_worker, LISTENS), (&to_orchestrator, JOINS)] {
        // The program and the input, which do not compress.
        assert!(
            relay.traffic().carried_bytes() > program.len() + input.len(),
            "{worker}: {}",
            relay.traffic().carried_bytes()
        );
        for (mark, bytes) in [
            ("program", program.as_slice()),
            ("input", input.as_slice()),
            ("name of the proof", name.as_bytes()),
            ("name of the worker", worker.as_bytes()),
        ] {
            assert_eq!(relay.traffic().has_carried(bytes), is_visible, "{mark} on the way to or from {worker}");
        }
    }
    stop.cancel();
    joins.await.unwrap();
    orchestrator.shutdown().await;
    listens.stop().await;
}

#[tokio::test]
async fn a_capture_of_secure_connections_shows_no_program_no_input_and_no_name() {
    check_capture(Some(&Keys::new()), false).await;
}

/// Without this test, the other one could pass because the relays or the marks are wrong.
#[tokio::test]
async fn a_capture_of_plain_connections_shows_program_input_and_names() {
    check_capture(None, true).await;
}
