//! Real proofs on two real worker processes, checked with plain sp1-sdk. In a plain `./x test`, only these tests load
//! provers.

use serde_json::Value;
use sp1_sdk::{Prover, ProverClient, SP1ProofWithPublicValues, SP1PublicValues, SP1VerifyingKey};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs,
    path::Path,
    process::Output,
    sync::{LazyLock, Mutex, PoisonError},
};

mod workers;

use workers::{Worker, check_verdicts, guest, key_of_sp1, sp1d};

/// Held while a test proves: two provers fill the machine's memory.
static PROVING: Mutex<()> = Mutex::new(());

/// Enough steps for two shards of the program and one of its memory at the lowest threshold.
const STEPS: u32 = 42_000;
/// One small shard of the program and one of its memory.
const FEW_STEPS: u32 = 1_000;
const LOW_THRESHOLD: &str = "29360128";

/// Verifying keys that plain sp1-sdk has made, by program. Each takes seconds, so the tests share them.
static KEYS: LazyLock<tokio::sync::Mutex<BTreeMap<&str, SP1VerifyingKey>>> = LazyLock::new(tokio::sync::Mutex::default);

/// Returns the outcome that `--json` prints. Checks that the proof is verified and that both workers proved shards of
/// it.
fn outcome(output: &Output) -> Value {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let outcome: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&outcome["verified"], &outcome["mode"]), (&true.into(), &"core".into()), "{outcome}");
    let workers = outcome["workers"].as_array().unwrap();
    let tasks: Vec<u64> = workers.iter().map(|worker| worker["tasks"].as_u64().unwrap()).collect();
    assert!(tasks.len() == 2 && tasks.iter().all(|tasks| *tasks >= 1), "{outcome}");
    assert_eq!(tasks.iter().sum::<u64>(), outcome["shards"].as_u64().unwrap(), "{outcome}");
    outcome
}

/// Verifies a saved proof with plain sp1-sdk, in a process that did not prove it.
async fn check_with_sp1(proof: &Path, program: &'static str) -> SP1PublicValues {
    let client = ProverClient::builder().light().build().await;
    let mut keys = KEYS.lock().await;
    let key = match keys.entry(program) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(unknown) => unknown.insert(key_of_sp1(program).await),
    };
    let proof = SP1ProofWithPublicValues::load(proof).unwrap();
    client.verify(&proof, key, None).unwrap();
    check_verdicts(&client, &proof, key);
    proof.public_values
}

/// Returns the cycles of a run, which must also end with exactly this cycle limit.
fn cycles(folder: &Path, name: &str, input: u32) -> u64 {
    let execute = |more: &[&str]| {
        let mut command = sp1d(folder);
        command.args(["execute", "--json", "--elf", guest(name).to_str().unwrap()]);
        let output = command.args(["--input", &format!("u32:{input}")]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["cycles"].as_u64().unwrap()
    };
    let cycles = execute(&[]);
    assert_eq!(execute(&["--cycle-limit", &cycles.to_string()]), cycles);
    cycles
}

fn check_fibonacci(mut values: SP1PublicValues, steps: u32) {
    let (mut a, mut b) = (0_u32, 1_u32);
    for _ in 0..steps {
        (a, b) = (b, (a + b) % 7919);
    }
    assert_eq!([values.read::<u32>(), values.read::<u32>(), values.read::<u32>()], [steps, a, b]);
}

fn shared_memory() -> BTreeSet<String> {
    let names = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("sp1_")).collect()
}

/// Covers core shards, precompile shards and memory shards, two programs one after the other on the same provers, cycle
/// limits that the programs reach, an IPv6 address, a host name, and a list entry that cannot be reached. The test of
/// the demo covers several core shards.
#[tokio::test(flavor = "multi_thread")]
async fn sp1_accepts_proofs_of_two_workers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    tokio::task::spawn_blocking(move || {
        let _alone = PROVING.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = [Worker::start(&path, 0, "[::1]"), Worker::start(&path, 1, "localhost")];
        let list = [workers[0].address.as_str(), workers[1].address.as_str(), "127.0.0.1:9"];
        fs::write(path.join("distributed.json"), serde_json::to_string(&list).unwrap()).unwrap();
        let prove = |name: &str, input: u32| {
            let cycles = cycles(&path, name, input);
            let mut command = sp1d(&path);
            command.args(["prove", "--json", "--elf", guest(name).to_str().unwrap(), "--output", name]);
            // The programs read one value.
            command.args(["--input", &format!("u32:{input}"), "--input", "str:unread"]);
            command.args(["--cycle-limit", &cycles.to_string()]);
            command.env("ELEMENT_THRESHOLD", LOW_THRESHOLD);
            // One task for each worker at a time, so that both get some of the few shards.
            let output = command.env("SHARD_BATCH_SIZE", "1").output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(stderr.contains("127.0.0.1:9") && stderr.contains("continuing without it"), "{stderr}");
            assert_eq!(stderr.matches("the program did not read 1 of 2 input values").count(), 1, "{stderr}");
            outcome(&output)
        };
        // Keccak and SHA-256 have their own shards, besides the shards of the program and its memory.
        assert!(prove("precompiles", 10)["shards"].as_u64().unwrap() >= 3);
        // Both provers are loaded and hold the key of the other program.
        assert!(prove("fibonacci", FEW_STEPS)["shards"].as_u64().unwrap() >= 2);
        workers.into_iter().for_each(Worker::stop);
    })
    .await
    .unwrap();
    check_fibonacci(check_with_sp1(&folder.path().join("fibonacci"), "fibonacci").await, FEW_STEPS);
    check_with_sp1(&folder.path().join("precompiles"), "precompiles").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_proves_on_two_workers_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    tokio::task::spawn_blocking(move || {
        let _alone = PROVING.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shared_memory();
        let output = sp1d(&path).args(["demo", "--json", "--steps", &STEPS.to_string(), "--output", "proof"]).output();
        let outcome = outcome(&output.unwrap());
        assert_eq!(outcome["proof"], "proof");
        assert!(outcome["shards"].as_u64().unwrap() >= 3, "{outcome}");
        for time in ["load_seconds", "prove_seconds", "verify_seconds"] {
            assert!(outcome[time].as_f64().unwrap() > 0.0, "{time}: {outcome}");
        }
        let verify = |program: &str| {
            let elf = guest(program);
            sp1d(&path).args(["verify", "--json", "--elf", elf.to_str().unwrap(), "proof"]).output().unwrap()
        };
        let check_valid = |output: &Output| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let verified: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
            let (valid, values) = (&verified["valid"], &verified["public_values"]);
            assert_eq!((valid, values), (&true.into(), &outcome["public_values"]), "{verified}");
        };
        check_valid(&verify("fibonacci"));
        // The key's file takes the place of the program, and standard input that of the proof's file.
        let elf = guest("fibonacci");
        let made = sp1d(&path).args(["vkey", "--elf", elf.to_str().unwrap(), "--output", "key"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut by_key = sp1d(&path);
        by_key.args(["verify", "--json", "--vkey", "key", "-"]).stdin(fs::File::open(path.join("proof")).unwrap());
        check_valid(&by_key.output().unwrap());
        let other = verify("precompiles");
        let stderr = String::from_utf8_lossy(&other.stderr);
        assert!(other.status.code() == Some(6) && stderr.contains("proof of another program"), "{stderr}");
        assert_eq!(shared_memory().difference(&before).count(), 0);
        let own = format!("sp1d-{}", rustix::process::geteuid().as_raw());
        for entry in fs::read_dir(path.join(own)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name.starts_with("sp1-native-runner-bin-"), "a file was left behind: {name}");
        }
    })
    .await
    .unwrap();
    check_fibonacci(check_with_sp1(&folder.path().join("proof"), "fibonacci").await, STEPS);
}
