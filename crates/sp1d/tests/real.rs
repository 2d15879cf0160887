//! Real proofs on two real worker processes, checked with plain sp1-sdk. In a plain `./x test`, only these tests load
//! provers.

use serde_json::Value;
use sp1_sdk::{Elf, Prover, ProverClient, ProvingKey, SP1ProofWithPublicValues, SP1PublicValues};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Output,
    sync::{Mutex, PoisonError},
};

mod workers;

use workers::{Worker, guest, sp1d};

/// Held while a test proves: two provers fill the machine's memory.
static PROVING: Mutex<()> = Mutex::new(());

/// Enough steps for three shards at the lowest threshold, so that each worker gets at least one shard.
const STEPS: u32 = 60_000;
const LOW_THRESHOLD: &str = "33554432";

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
async fn check_with_sp1(proof: &Path, program: &Path) -> SP1PublicValues {
    let client = ProverClient::builder().light().build().await;
    let key = client.setup(Elf::Dynamic(fs::read(program).unwrap().into())).await.unwrap();
    let proof = SP1ProofWithPublicValues::load(proof).unwrap();
    client.verify(&proof, key.verifying_key(), None).unwrap();
    proof.public_values
}

fn check_fibonacci(mut values: SP1PublicValues) {
    let (mut a, mut b) = (0_u32, 1_u32);
    for _ in 0..STEPS {
        (a, b) = (b, (a + b) % 7919);
    }
    assert_eq!([values.read::<u32>(), values.read::<u32>(), values.read::<u32>()], [STEPS, a, b]);
}

fn shared_memory() -> BTreeSet<String> {
    let names = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("sp1_")).collect()
}

/// Covers core shards, precompile shards and memory shards, an IPv6 address, a host name, and a list entry that cannot
/// be reached.
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
            let mut command = sp1d(&path);
            command.args(["prove", "--json", "--elf", guest(name).to_str().unwrap(), "--output", name]);
            let output =
                command.args(["--input", &format!("u32:{input}")]).env("ELEMENT_THRESHOLD", LOW_THRESHOLD).output();
            let output = output.unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(stderr.contains("127.0.0.1:9") && stderr.contains("left out"), "{stderr}");
            outcome(&output)
        };
        assert!(prove("fibonacci", STEPS)["shards"].as_u64().unwrap() >= 3);
        // Keccak and SHA-256 have their own shards, besides the shards of the program and its memory.
        assert!(prove("precompiles", 10)["shards"].as_u64().unwrap() >= 3);
        workers.into_iter().for_each(Worker::stop);
    })
    .await
    .unwrap();
    check_fibonacci(check_with_sp1(&folder.path().join("fibonacci"), &guest("fibonacci")).await);
    check_with_sp1(&folder.path().join("precompiles"), &guest("precompiles")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_proves_on_two_workers_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    tokio::task::spawn_blocking(move || {
        let _alone = PROVING.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shared_memory();
        let output = sp1d(&path).args(["demo", "--json", "--steps", &STEPS.to_string(), "--output", "proof"]).output();
        assert_eq!(outcome(&output.unwrap())["proof"], "proof");
        assert_eq!(shared_memory().difference(&before).count(), 0);
        let own = format!("sp1d-{}", rustix::process::geteuid().as_raw());
        for entry in fs::read_dir(path.join(own)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name.starts_with("sp1-native-runner-bin-"), "a file was left behind: {name}");
        }
    })
    .await
    .unwrap();
    check_fibonacci(check_with_sp1(&folder.path().join("proof"), &guest("fibonacci")).await);
}
