//! The library as user programs call it, with workers that prove nothing.

use futures::{FutureExt, StreamExt};
use kernel_file::KernelFile;
use sp1_core_machine::io::SP1Stdin;
use sp1_distributed::{
    DistributedError, DistributedProveRequest, DistributedProver, Elf, LightProver, ProveRequest, Prover, ProverClient,
    ProvingKey, SP1Proof, SP1ProofMode, SP1ProofWithPublicValues, SP1ProvingKey, SP1PublicValues, StatusCode,
    WorkerBuilder, WorkerError,
    distributed::{Holdings, LoadError, ProofEvent, ProofFailure, ServeError, TaskKind},
    env::EnvProver,
};
use sp1_hypercube::PROOF_MAX_NUM_PVS;
use sp1d_engine::{Equipment, MissingEquipment, build_identity};
use sp1d_testing::{FakeEngine, RunningWorker, free_address, ready};
use sp1d_worker::Capabilities;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

mod kernel_file;

/// Set for a test that runs again in another process.
const AGAIN: &str = "SP1D_TEST_AGAIN";

/// Names the worker list.
const WORKERS: &str = "SP1_DISTRIBUTED_WORKERS";

fn guest(name: &str) -> Elf {
    let path = format!("{}/../../guests/elf/{name}", env!("CARGO_MANIFEST_DIR"));
    Elf::Dynamic(std::fs::read(path).unwrap().into())
}

fn input(values: &[u32]) -> SP1Stdin {
    let mut stdin = SP1Stdin::new();
    values.iter().for_each(|value| stdin.write(value));
    stdin
}

/// Starts a worker in this process that accepts every task and never finishes one.
async fn idle_worker(capabilities: Capabilities) -> RunningWorker {
    let engine = ready(FakeEngine::doing(|_, _| std::future::pending()));
    let change = |settings: &mut sp1d_worker::WorkerSettings| {
        settings.introduction.build = build_identity();
        settings.introduction.capabilities = capabilities;
    };
    RunningWorker::start("idle", engine, change).await
}

async fn client(workers: &[SocketAddr]) -> DistributedProver {
    ProverClient::builder().distributed().workers(workers).build().await
}

/// Returns the error message of a proof that is refused before any task is submitted.
async fn refusal(
    prover: &DistributedProver,
    program: &str,
    stdin: SP1Stdin,
    change: impl for<'a> FnOnce(DistributedProveRequest<'a>) -> DistributedProveRequest<'a>,
) -> String {
    let key = prover.setup(guest(program)).await.unwrap();
    let (request, events) = change(prover.prove(&key, stdin)).with_events();
    let error = request.await.unwrap_err();
    let submitted =
        events.filter(|event| futures::future::ready(matches!(event, ProofEvent::Submitted { .. }))).count();
    assert_eq!(submitted.await, 0, "the proof was refused only after a task was submitted: {error}");
    error.to_string()
}

/// Checks that a proof starts: a task of this kind is submitted.
async fn check_begins(
    prover: &DistributedProver,
    program: &str,
    stdin: SP1Stdin,
    kind: TaskKind,
    change: impl for<'a> FnOnce(DistributedProveRequest<'a>) -> DistributedProveRequest<'a>,
) {
    let key = prover.setup(guest(program)).await.unwrap();
    let (request, events) = change(prover.prove(&key, stdin)).with_events();
    let mut submitted = events.filter(|event| futures::future::ready(*event == ProofEvent::Submitted { kind })).boxed();
    tokio::select! {
        outcome = request.into_future() => panic!("{:?}", outcome.map(drop)),
        event = submitted.next() => assert!(event.is_some()),
    }
}

/// Checks that a worker gets a task of a proof. Then the proof is cancelled.
async fn check_gets_worker(prover: &DistributedProver) {
    let key = prover.setup(guest("fibonacci")).await.unwrap();
    let (request, events) = prover.prove(&key, input(&[1000])).with_events();
    let assigned = events.any(|event| futures::future::ready(matches!(event, ProofEvent::Assigned(_))));
    tokio::select! {
        outcome = request.into_future() => panic!("{:?}", outcome.map(drop)),
        found = assigned => assert!(found),
    }
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_share_a_pool_and_dropped_requests_are_cancelled() {
    let worker = idle_worker(Capabilities::all()).await;
    let prover = client(&[worker.address]).await;
    let key = prover.setup(guest("fibonacci")).await.unwrap();
    let proofs = [1000, 2000].map(|steps| {
        tokio::spawn({
            let (prover, key) = (prover.clone(), key.clone());
            async move { prover.prove(&key, input(&[steps])).await.map(drop) }
        })
    });
    wait_until("two proofs run", || prover.holdings().proofs == 2 && prover.holdings().attempts == 2).await;
    proofs.iter().for_each(tokio::task::JoinHandle::abort);
    wait_until("nothing is left", || prover.holdings() == Holdings::default()).await;
    worker.stop().await;
}

/// Also checks that the client works on a runtime with one thread.
#[test]
fn blocking_the_runtime_loses_no_worker() {
    let others = tokio::runtime::Runtime::new().unwrap();
    let worker = others.block_on(idle_worker(Capabilities::all()));
    let host = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    host.block_on(async {
        let prover = client(&[worker.address]).await;
        let key = prover.setup(guest("fibonacci")).await.unwrap();
        let (request, mut events) = prover.prove(&key, input(&[1000])).with_events();
        let mut proof = request.into_future();
        assert!((&mut proof).now_or_never().is_none());
        // Longer than either side waits for a heartbeat.
        std::thread::sleep(Duration::from_secs(5));
        assert!((&mut proof).now_or_never().is_none(), "the proof ended");
        let mut seen = Vec::new();
        while let Some(Some(event)) = events.next().now_or_never() {
            seen.push(event);
        }
        assert!(seen.contains(&ProofEvent::Submitted { kind: TaskKind::ProveShard }), "{seen:?}");
        assert!(!seen.iter().any(|event| matches!(event, ProofEvent::WorkerLost { .. })), "{seen:?}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_client_or_program_is_refused() {
    let worker = idle_worker(Capabilities::all()).await;
    let prover = client(&[worker.address]).await;
    let own = prover.setup(guest("fibonacci")).await.unwrap();
    let other = prover.setup(guest("panic")).await.unwrap();
    let mixed = SP1ProvingKey::new(other.verifying_key().clone(), own.elf().clone());
    let error = prover.prove(&mixed, input(&[1])).await.unwrap_err();
    assert!(matches!(error, DistributedError::ForeignKey), "{error}");

    let light = EnvProver::Light(LightProver::new().await);
    let key = light.setup(guest("fibonacci")).await.unwrap();
    let error = EnvProver::Distributed(prover).prove(&key, input(&[1])).await.unwrap_err().to_string();
    assert!(error.contains("made by the light client and this client is distributed"), "{error}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_that_no_worker_can_finish_is_refused_with_what_is_missing() {
    let unable = Capabilities::all().without(TaskKind::Groth16Wrap, "its files are missing in /there");
    let (first, second) = (idle_worker(unable.clone()).await, idle_worker(unable).await);
    let prover = client(&[first.address, second.address]).await;
    let text = refusal(&prover, "fibonacci", input(&[1000]), |request| request.groth16()).await;
    assert!(
        text.contains("no connected worker supports groth16_wrap tasks: idle (127.0.0.1:")
            && text.contains("/there; idle ("),
        "{text}"
    );

    // One capable worker is enough.
    let third = idle_worker(Capabilities::all()).await;
    let prover = client(&[third.address]).await;
    check_begins(&prover, "fibonacci", input(&[1000]), TaskKind::NormalizeShard, |request| request.groth16()).await;
    for worker in [first, second, third] {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonzero_exit_code_can_be_executed_but_not_proven() {
    let worker = idle_worker(Capabilities::all()).await;
    let prover = client(&[worker.address]).await;
    let text = refusal(&prover, "panic", input(&[1]), |request| request.expected_exit_code(StatusCode::PANIC)).await;
    assert!(text.contains("experimental"), "{text}");
    // `ANY` includes the exit code 0, so this request is accepted until the program ends with another code.
    let key = prover.setup(guest("panic")).await.unwrap();
    let error = prover.prove(&key, input(&[42])).expected_exit_code(StatusCode::ANY).await.unwrap_err().to_string();
    assert!(error.contains("asked to panic: 42"), "{error}");
    let text = refusal(&prover, "fibonacci", input(&[1]), |request| request.with_proof_nonce([u32::MAX; 4])).await;
    assert!(text.contains("invalid nonce"), "{text}");
    let (_, report) = prover.execute(guest("panic"), input(&[1])).await.unwrap();
    assert_eq!(report.exit_code, 1);
    let error = prover.execute(guest("spin"), input(&[1])).cycle_limit(1_000_000).await.unwrap_err().to_string();
    assert!(error.contains("limit of 1000000 cycles"), "{error}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_in_the_input_are_checked_before_proving() {
    let worker = idle_worker(Capabilities::all()).await;
    let prover = client(&[worker.address]).await;
    let key = prover.setup(guest("fibonacci")).await.unwrap();
    let made_up = SP1ProofWithPublicValues::create_mock_proof(
        key.verifying_key(),
        SP1PublicValues::new(),
        SP1ProofMode::Compressed,
        prover.version(),
    );
    let SP1Proof::Compressed(mut proof) = made_up.proof else { panic!("a compressed proof was asked for") };
    let mut stdin = input(&[0]);
    stdin.write_proof((*proof).clone(), key.verifying_key().vk.clone());
    let text = refusal(&prover, "aggregate", stdin, |request| request.compressed().deferred_proof_verification(false));
    let text = text.await;
    assert!(text.contains("input proof 1 is not a real proof"), "{text}");

    // A proof with a valid form but without content.
    proof.proof.public_values.resize(PROOF_MAX_NUM_PVS, Default::default());
    let mut stdin = input(&[0]);
    stdin.write_proof(*proof, key.verifying_key().vk.clone());
    let text = refusal(&prover, "aggregate", stdin.clone(), |request| request.compressed()).await;
    assert!(text.contains("input proof 1 does not verify"), "{text}");
    let text = refusal(&prover, "aggregate", stdin.clone(), |request| request.core()).await;
    assert!(text.contains("cannot make a core proof of a run with input proofs"), "{text}");

    // With `deferred_proof_verification(false)`, proofs in the input are not verified.
    check_begins(&prover, "aggregate", stdin, TaskKind::RecursionDeferred, |request| {
        request.compressed().deferred_proof_verification(false)
    })
    .await;
    worker.stop().await;
}

/// Returns an input with which `aggregate` verifies one proof. The proof itself is missing.
fn input_of_a_verified_proof() -> SP1Stdin {
    let mut stdin = input(&[1]);
    stdin.write(&[1_u32; 8]);
    stdin.write(&vec![1_u8, 2, 3]);
    stdin
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_verifies_other_proofs_than_the_input_has_fails_before_proving() {
    let worker = idle_worker(Capabilities::all()).await;
    let prover = client(&[worker.address]).await;
    for mode in [SP1ProofMode::Core, SP1ProofMode::Compressed] {
        let text = refusal(&prover, "aggregate", input_of_a_verified_proof(), |request| request.mode(mode)).await;
        assert!(text.contains("the program verifies 1 proof, the input has no proof"), "{text}");
        assert!(text.contains("write_proof"), "{text}");
    }
    // The request is at fault, and no worker.
    let key = prover.setup(guest("aggregate")).await.unwrap();
    let error = prover.prove(&key, input_of_a_verified_proof()).await.unwrap_err();
    assert!(matches!(error, DistributedError::Proof(ProofFailure::Request(_))), "{error:?}");

    // The program contains the call but verifies no proof, and the input has none.
    check_begins(&prover, "aggregate", input(&[0]), TaskKind::ProveShard, |request| request.core()).await;
    // The check can be turned off.
    check_begins(&prover, "aggregate", input_of_a_verified_proof(), TaskKind::ProveShard, |request| {
        request.core().deferred_proof_verification(false)
    })
    .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_of_one_program_share_a_worker() {
    let worker = idle_worker(Capabilities::all()).await;
    let (first, second) = (client(&[worker.address]).await, client(&[worker.address]).await);
    first.connect().await.unwrap();
    second.connect().await.unwrap();
    // Both get the worker for their proofs, one after the other, although the other client is connected.
    for prover in [&second, &first, &second] {
        check_gets_worker(prover).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_tests_that_run_in_parallel_take_turns() {
    if std::env::var_os(AGAIN).is_none() {
        // The environment is the same for all tests of a process.
        let (folder, program) = (tempfile::tempdir().unwrap(), std::env::current_exe().unwrap());
        let list = folder.path().join("list.json");
        return run_again("clients_of_tests_that_run_in_parallel_take_turns", Command::new(program), Some(&list));
    }
    let worker = idle_worker(Capabilities::all()).await;
    let list = std::env::var_os(WORKERS).unwrap();
    std::fs::write(list, format!("[\"{}\"]", worker.address)).unwrap();
    let test = || async {
        let client = ProverClient::from_env().await;
        check_gets_worker(client.as_distributed().unwrap()).await;
    };
    tokio::join!(test(), test(), test(), test());
    worker.stop().await;
}

#[tokio::test]
async fn the_blocking_client_works_from_an_asynchronous_thread() {
    use sp1_distributed::blocking::{ProveRequest as _, Prover as _, ProverClient};
    let prover =
        ProverClient::builder().distributed().workers(["127.0.0.1:9"]).patience(Duration::from_secs(1)).build();
    let (mut values, report) = prover.execute(guest("fibonacci"), input(&[100])).run().unwrap();
    assert_eq!((values.read::<u32>(), report.exit_code), (100, 0));
    let key = prover.setup(guest("fibonacci")).unwrap();
    let error = prover.prove(&key, input(&[100])).compressed().run().unwrap_err();
    assert!(matches!(error, DistributedError::Connect(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_program_is_reported_with_its_last_words() {
    let worker = idle_worker(Capabilities::all()).await;
    let prover = client(&[worker.address]).await;
    let key = prover.setup(guest("panic")).await.unwrap();
    let error = prover.prove(&key, input(&[42])).await.unwrap_err();
    assert!(
        matches!(&error, DistributedError::Proof(ProofFailure::Program(text)) if text.contains("asked to panic: 42")),
        "{error}"
    );
    worker.stop().await;
}

#[tokio::test]
async fn an_invalid_worker_address_is_reported() {
    let error = sp1_distributed::serve_worker("127.0.0.1", "127.0.0.1").await.unwrap_err().to_string();
    assert!(error.contains("invalid listen address") && error.contains("no port"), "{error}");
    let error = sp1_distributed::serve_worker("127.0.0.1:1", "10.0.0.0/99").await.unwrap_err().to_string();
    assert!(error.contains("invalid filter of orchestrators"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = sp1_distributed::serve_worker(taken.local_addr().unwrap(), "any").await.unwrap_err().to_string();
    assert!(error.contains("in use") && error.contains("choose another port"), "{error}");
}

/// Checks why a worker with this equipment does not support tasks of `kind`. If `expected` is `None`, the worker must
/// support them.
fn check_equipment(
    kind: TaskKind,
    files: bool,
    gnark: Result<(), MissingEquipment>,
    memory_bytes: Option<u64>,
    expected: Option<&str>,
) {
    let folder = tempfile::tempdir().unwrap();
    if files {
        std::fs::write(folder.path().join(".complete"), "").unwrap();
    }
    let path: Result<PathBuf, MissingEquipment> = Ok(folder.path().to_owned());
    let equipment =
        Equipment { groth16_files: path.clone(), plonk_files: path, gnark, development: false, memory_bytes };
    let capabilities = equipment.capabilities();
    // A requirement of one kind does not affect other kinds.
    assert!(memory_bytes.is_some() || capabilities.kinds().contains(TaskKind::ShrinkWrap));
    let missing = capabilities.missing().get(&kind);
    assert_eq!(missing.is_none(), capabilities.kinds().contains(kind));
    match expected {
        None => assert_eq!(missing, None),
        Some(part) => assert!(missing.unwrap().contains(part), "{missing:?}"),
    }
}

#[test]
fn groth16_wrapping_needs_files_gnark_and_memory() {
    let kind = TaskKind::Groth16Wrap;
    check_equipment(kind, true, Ok(()), None, None);
    check_equipment(kind, true, Ok(()), Some(64 << 30), None);
    check_equipment(kind, false, Ok(()), None, Some("SP1_GROTH16_CIRCUIT_PATH"));
    check_equipment(kind, true, Err(MissingEquipment::Gnark), None, Some("`docker info` fails"));
    check_equipment(kind, true, Ok(()), Some(12 << 30), Some("15.0 GB"));
}

#[test]
fn a_machine_that_is_too_small_for_some_tasks_does_the_others() {
    let seven = Some(7_000_000_000);
    let check = |kind, memory, expected| check_equipment(kind, false, Err(MissingEquipment::Gnark), memory, expected);
    check(TaskKind::ProveShard, seven, None);
    check(TaskKind::RecursionReduce, seven, Some("10.2 GB"));
    check(TaskKind::NormalizeShard, seven, Some("the machine has 7.0 GB"));
    check(TaskKind::ShrinkWrap, seven, Some("10.5 GB"));
    check(TaskKind::NormalizeShard, None, None);
}

/// Runs the test `name` again with `command`, which starts this program. The environment names the worker list `list`.
#[track_caller]
fn run_again(name: &str, mut command: Command, list: Option<&Path>) {
    command.args(["--exact", name, "--nocapture"]).env(AGAIN, "1").env("SP1_PROVER", "distributed");
    command.env_remove("SP1_DISTRIBUTED_URL").env_remove(WORKERS).envs(list.map(|list| (WORKERS, list)));
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Checks that a call was refused because this processor lacks AVX2.
#[track_caller]
#[cfg(target_feature = "avx2")]
fn check_lacks_avx2<T>(outcome: Result<T, impl std::fmt::Display>) {
    let text = outcome.err().expect("the call is refused").to_string();
    assert!(text.contains("this machine lacks: avx2\nhint: build it on this machine"), "{text}");
}

/// Returns the text of a panic as an error.
#[cfg(target_feature = "avx2")]
fn panic_as_error<T>(outcome: std::thread::Result<T>) -> Result<T, String> {
    outcome.map_err(|payload| *payload.downcast::<String>().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_feature = "avx2")]
async fn a_program_that_was_built_for_another_processor_gets_an_error() {
    use sp1_distributed::{blocking, distributed, serve_worker};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    if std::env::var_os(AGAIN).is_none() {
        let file = KernelFile::without_avx2();
        let command = file.command(std::env::current_exe().unwrap());
        return run_again("a_program_that_was_built_for_another_processor_gets_an_error", command, None);
    }
    check_lacks_avx2(ProverClient::builder().distributed().try_build().await);
    check_lacks_avx2(blocking::ProverClient::builder().distributed().try_build());
    check_lacks_avx2(ProverClient::try_from_env().await);
    check_lacks_avx2(blocking::ProverClient::try_from_env());
    check_lacks_avx2(WorkerBuilder::new("127.0.0.1:9", "any").unwrap().bind().await);
    check_lacks_avx2(serve_worker("127.0.0.1:9", "any").await);
    check_lacks_avx2(distributed::serve_prover(1, None, None).await);
    // These calls cannot return an error.
    let build = async { ProverClient::builder().distributed().build().await };
    check_lacks_avx2(panic_as_error(AssertUnwindSafe(build).catch_unwind().await));
    check_lacks_avx2(panic_as_error(AssertUnwindSafe(ProverClient::from_env()).catch_unwind().await));
    check_lacks_avx2(panic_as_error(catch_unwind(blocking::ProverClient::from_env)));
    check_lacks_avx2(panic_as_error(catch_unwind(|| ProverClient::builder().cpu())));
    check_lacks_avx2(panic_as_error(catch_unwind(|| blocking::ProverClient::builder().mock())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_a_machine_that_cannot_load_a_prover_gets_an_error() {
    if std::env::var_os(AGAIN).is_none() {
        let file = KernelFile::of_a_small_machine();
        let command = file.command(std::env::current_exe().unwrap());
        return run_again("a_program_on_a_machine_that_cannot_load_a_prover_gets_an_error", command, None);
    }
    let check = |text: String| {
        let expected = "not enough memory to load a prover: 2.0 GB needed";
        assert!(text.contains(expected) && text.contains("\nhint: "), "{text}");
    };
    let prover = ProverClient::builder().distributed().local_worker().build().await;
    let key = prover.setup(guest("fibonacci")).await.unwrap();
    let error = prover.prove(&key, input(&[1000])).await.unwrap_err();
    assert!(matches!(error, DistributedError::Memory(_)), "{error}");
    check(error.to_string());

    let builder = WorkerBuilder::new(&free_address().to_string(), "any").unwrap();
    let error = builder.bind().await.unwrap().serve(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, WorkerError::Serve(ServeError::Engine(LoadError::Memory(_)))), "{error}");
    check(error.to_string());
}
