//! Slow tests with real workers: core, compressed and wrapped proofs, lost workers, and memory. Plain sp1-sdk checks
//! the proofs. `./x test --full` runs these tests.

use rustix::process::Signal;
use serde_json::Value;
use sp1_core_machine::io::SP1Stdin;
use sp1_distributed::{
    DistributedProver, HashableKey, ProveRequest, Prover, ProverClient, ProvingKey, SP1Proof,
    SP1ProofMode::{self, Compressed, Core},
    SP1ProofWithPublicValues,
    distributed::{AttemptInfo, ProofEvent},
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

mod workers;

use workers::{Worker, check_with_sp1, elf, guest, input};

/// Trace elements per shard. Low enough that short programs have shards for both workers.
const LOW_THRESHOLD: u64 = 1 << 25;

/// Proves in `mode`, checks the proof, and prints the duration and the tasks that each worker did.
async fn prove(
    prover: &DistributedProver,
    program: &str,
    stdin: SP1Stdin,
    mode: SP1ProofMode,
) -> SP1ProofWithPublicValues {
    use futures::StreamExt;
    let key = prover.setup(elf(program)).await.unwrap();
    let (request, events) = prover.prove(&key, stdin).mode(mode).with_proof_nonce([1, 2, 3, 4]).with_events();
    let began = Instant::now();
    let (proof, events) = tokio::join!(request, events.collect::<Vec<_>>());
    let proof = proof.unwrap();
    let mut done: BTreeMap<(String, String), u32> = BTreeMap::new();
    for event in events {
        if let ProofEvent::Done(AttemptInfo { kind, worker, .. }) = event {
            *done.entry((worker, kind.to_string())).or_default() += 1;
        }
    }
    let workers: std::collections::BTreeSet<&String> = done.keys().map(|(worker, _)| worker).collect();
    assert_eq!(workers.len(), 2, "both workers must do tasks: {done:?}");
    show(&format!("{program} {mode:?}: {:.0} s, {done:?}", began.elapsed().as_secs_f32()));
    check_with_sp1(&proof, program).await;
    proof
}

#[expect(clippy::print_stderr, reason = "figures of a slow run are worth seeing")]
fn show(text: &str) {
    eprintln!("{text}");
}

/// Starts two workers, and a client whose proofs have shards for both.
async fn two_workers(folder: &Path) -> ([Worker; 2], DistributedProver) {
    let workers = [Worker::start(folder, 0, "127.0.0.1"), Worker::start(folder, 1, "127.0.0.1")];
    // The workers load one after the other. A short program would be proven before the second worker is ready.
    workers.iter().for_each(Worker::wait_until_ready);
    let mut options = sp1_core_executor::SP1CoreOpts::default();
    options.sharding_threshold.element_threshold = LOW_THRESHOLD;
    let addresses = workers.iter().map(|worker| worker.address.clone());
    let prover = ProverClient::builder().distributed().workers(addresses).core_opts(options).build().await;
    (workers, prover)
}

/// Damages an input.
type InputChange = fn(&mut SP1Stdin);

fn end(workers: [Worker; 2], prover: &DistributedProver) {
    show(&format!("peak memory of the workers: {:?} GB", workers.iter().map(Worker::peak_gb).collect::<Vec<_>>()));
    assert_eq!(prover.holdings(), Default::default());
    workers.into_iter().for_each(Worker::stop);
}

/// Proves six shards, calls `harm` when the first one is done, and checks the proof. Returns the events.
async fn prove_harmed(prover: &DistributedProver, what: &str, harm: impl FnOnce()) -> Vec<ProofEvent> {
    use futures::StreamExt;
    let key = prover.setup(elf("fibonacci")).await.unwrap();
    let (request, mut events) = prover.prove(&key, input(&[205_000])).core().with_events();
    let began = Instant::now();
    let watch = async {
        let (mut harm, mut seen) = (Some(harm), Vec::new());
        while let Some(event) = events.next().await {
            if matches!(event, ProofEvent::Done(_))
                && let Some(harm) = harm.take()
            {
                harm();
            }
            seen.push(event);
        }
        assert!(harm.is_none(), "no task was done");
        seen
    };
    let (proof, seen) = tokio::join!(request, watch);
    let proof = proof.unwrap();
    let SP1Proof::Core(shards) = &proof.proof else { panic!("a core proof was asked for") };
    let done = seen.iter().filter(|event| matches!(event, ProofEvent::Done(_))).count();
    show(&format!(
        "{what}: {} shards, {done} done, in {:.0} s; {:?}",
        shards.len(),
        began.elapsed().as_secs_f32(),
        seen.iter()
            .filter(|event| {
                !matches!(
                    event,
                    ProofEvent::Submitted { .. }
                        | ProofEvent::Assigned(_)
                        | ProofEvent::Proving(_)
                        | ProofEvent::Done(_)
                        | ProofEvent::AttemptFailed { .. }
                        | ProofEvent::Dropped(_)
                        | ProofEvent::Interrupted(_)
                        | ProofEvent::TakenBack(_)
                        | ProofEvent::Continued(_)
                )
            })
            .collect::<Vec<_>>()
    ));
    check_with_sp1(&proof, "fibonacci").await;
    seen
}

#[ignore = "takes a quarter of an hour and two provers: ./x test --full"]
#[tokio::test(flavor = "multi_thread")]
async fn real_provers_that_are_killed_and_frozen_cost_no_proof() {
    let folder = tempfile::tempdir().unwrap();
    let ([mut first, second], prover) = two_workers(folder.path()).await;
    let lost = |event: &ProofEvent| matches!(event, ProofEvent::WorkerLost { .. });
    prove_harmed(&prover, "nothing breaks", || {}).await;

    let seen = prove_harmed(&prover, "a worker is killed and comes back", || first.replace(folder.path())).await;
    assert!(seen.iter().any(lost), "{seen:?}");
    first.wait_until_ready();

    let second = Arc::new(second);
    let mut thaw = None;
    let freeze = || {
        second.signal(Signal::STOP);
        let frozen = second.clone();
        thaw = Some(std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(60));
            frozen.signal(Signal::CONT);
        }));
    };
    let seen = prove_harmed(&prover, "a worker is frozen for a minute", freeze).await;
    thaw.unwrap().join().unwrap();
    assert!(seen.iter().any(lost), "{seen:?}");
    let second = Arc::into_inner(second).expect("the thread that thawed the worker has ended");

    end([first, second], &prover);
}

#[ignore = "takes half an hour and two provers: ./x test --full"]
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_prove_a_program_that_verifies_proofs() {
    let folder = tempfile::tempdir().unwrap();
    let (workers, prover) = two_workers(folder.path()).await;
    let first = prove(&prover, "fibonacci", input(&[1000]), Compressed).await;
    let second = prove(&prover, "fibonacci", input(&[2000]), Compressed).await;
    let key = prover.setup(elf("fibonacci")).await.unwrap();
    let mut stdin = input(&[2]);
    for proof in [&first, &second] {
        stdin.write(&key.verifying_key().hash_u32());
        stdin.write(&proof.public_values.to_vec());
        let SP1Proof::Compressed(proof) = &proof.proof else { panic!("a compressed proof was asked for") };
        stdin.write_proof((**proof).clone(), key.verifying_key().vk.clone());
    }
    // The program verifies both proofs with other values than the input has, so nothing is proven.
    let program = prover.setup(elf("aggregate")).await.unwrap();
    let changes: [(InputChange, &str); 4] = [
        (|stdin| drop(stdin.proofs.pop()), "verifies 2 proofs, the input has 1 proof"),
        (|stdin| stdin.proofs.reverse(), "another order: its proof 1 is proof 2 of the input"),
        (|stdin| stdin.buffer[1][0] ^= 1, "verifies proof 1 with the verifying key"),
        // The values are a byte string: its length is in the first eight bytes.
        (|stdin| stdin.buffer[4][8] ^= 1, "verifies proof 2 with public values of the digest"),
    ];
    for (change, part) in changes {
        let mut changed = stdin.clone();
        change(&mut changed);
        let error = prover.prove(&program, changed).compressed().await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    prove(&prover, "aggregate", stdin, Compressed).await;
    end(workers, &prover);
}

/// SP1's own verifier checks the result inside `shrink_wrap`.
#[ignore = "takes half an hour and a prover: ./x test --full"]
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_proof_is_shrunk_and_wrapped() {
    let folder = tempfile::tempdir().unwrap();
    // Each of the two requests is a single task, so one worker gets all threads.
    let worker = Worker::start_with_all_cores(folder.path());
    worker.wait_until_ready();
    let prover = ProverClient::builder().distributed().workers([worker.address.clone()]).build().await;
    let key = prover.setup(elf("fibonacci")).await.unwrap();
    let proof = prover.prove(&key, input(&[1000])).compressed().await.unwrap();
    assert_eq!(sp1d_engine::named_key(&proof.proof), Some(key.verifying_key().bytes32()));
    let other = prover.setup(elf("panic")).await.unwrap();
    let error = prover.shrink_wrap(&proof.proof, other.verifying_key()).await.err().unwrap().to_string();
    assert!(error.contains("of another program"), "{error}");

    let began = Instant::now();
    let wrapped = prover.shrink_wrap(&proof.proof, key.verifying_key()).await.unwrap();
    show(&format!("shrink and wrap: {:.0} s", began.elapsed().as_secs_f32()));
    let SP1Proof::Compressed(proof) = &proof.proof else { panic!("a compressed proof was asked for") };
    assert_eq!(wrapped.proof.public_values.len(), proof.proof.public_values.len());
    show(&format!("peak memory of the worker: {:.1} GB", worker.peak_gb()));
    assert_eq!(prover.holdings(), Default::default());
    worker.stop();
}

#[ignore = "takes a quarter of an hour and two provers: ./x test --full"]
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_prove_precompiles() {
    let folder = tempfile::tempdir().unwrap();
    let (workers, prover) = two_workers(folder.path()).await;
    prove(&prover, "precompiles", input(&[10]), Core).await;
    prove(&prover, "precompiles", input(&[10]), Compressed).await;
    end(workers, &prover);
}

/// Runs the example program with `SP1_PROVER=prover`. Returns its output and the proof that it saved.
fn run_example(folder: &Path, prover: &str) -> (String, SP1ProofWithPublicValues) {
    let program = Path::new(env!("CARGO_BIN_EXE_sp1d")).with_file_name("example-fibonacci");
    let output = Command::new(&program)
        .args(["60000", prover])
        .current_dir(folder)
        .env("SP1_PROVER", prover)
        .env("ELEMENT_THRESHOLD", LOW_THRESHOLD.to_string())
        .env("RUST_LOG", "off")
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let proof = SP1ProofWithPublicValues::load(folder.join(prover)).unwrap();
    (String::from_utf8(output.stdout).unwrap(), proof)
}

#[ignore = "takes minutes and two provers: ./x test --full"]
#[tokio::test(flavor = "multi_thread")]
async fn the_example_proves_alone_and_with_an_embedded_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let (by_cpu, by_pool) = tokio::task::spawn_blocking(move || {
        let by_cpu = run_example(&path, "cpu");
        // The second prover is in the example's own process.
        let worker = Worker::start(&path, 0, "127.0.0.1");
        worker.wait_until_ready();
        let list = serde_json::json!({ "workers": [worker.address, "local"] });
        fs::write(path.join("distributed.json"), list.to_string()).unwrap();
        let by_pool = run_example(&path, "distributed");
        let shards = worker.log().matches("attempt proven").count();
        let SP1Proof::Core(all) = &by_pool.1.proof else { panic!("a core proof was asked for") };
        assert!((1..all.len()).contains(&shards), "the worker proved {shards} of {} shards", all.len());
        worker.stop();
        (by_cpu, by_pool)
    })
    .await
    .unwrap();
    assert_eq!(by_cpu.0, by_pool.0);
    assert_eq!(by_cpu.1.public_values.as_slice(), by_pool.1.public_values.as_slice());
    check_with_sp1(&by_cpu.1, "fibonacci").await;
    check_with_sp1(&by_pool.1, "fibonacci").await;
}

/// Also prints the figures for the documentation: memory of a worker by the number of shards that it may hold.
#[ignore = "takes minutes and a prover: ./x test --full"]
#[test]
fn one_shard_at_a_time_needs_no_more_memory_than_four() {
    let peak = |batch: &str| {
        let folder = tempfile::tempdir().unwrap();
        let worker = Worker::start(folder.path(), 0, "127.0.0.1");
        worker.wait_until_ready();
        worker.forget_peak();
        fs::write(folder.path().join("distributed.json"), format!("[\"{}\"]", worker.address)).unwrap();
        let output = workers::sp1d(folder.path())
            .args(["prove", "--json", "--elf", guest("fibonacci").to_str().unwrap(), "--output", "proof"])
            .args(["--input", "u32:150000", "--shard-batch-size", batch])
            .env("ELEMENT_THRESHOLD", LOW_THRESHOLD.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let outcome: Value =
            serde_json::from_str(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap();
        let peak = worker.peak_gb();
        show(&format!(
            "SHARD_BATCH_SIZE={batch}: {peak:.2} GB, {} shards in {} s",
            outcome["shards"], outcome["seconds"]
        ));
        worker.stop();
        peak
    };
    let (one, four) = (peak("1"), peak("4"));
    // The allocator's variation is larger than the size of a few compressed records.
    assert!(one <= four * 1.1, "{one} GB against {four} GB");
}
