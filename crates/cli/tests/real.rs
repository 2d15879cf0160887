//! A real proof on two real worker processes, checked by SP1's own kit. The one test that loads provers.

use serde_json::Value;
use sp1_sdk::{Elf, Prover, ProverClient, ProvingKey, SP1ProofWithPublicValues};
use std::{path::Path, process::Command};

/// Enough steps for three shards at the demo's thresholds, so that each worker has one and somebody has two.
const STEPS: &str = "60000";

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_proves_on_two_workers_and_sp1_accepts_the_proof() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proof.bin");
    let output = Command::new(env!("CARGO_BIN_EXE_sp1d"))
        .args(["demo", "--json", "--steps", STEPS, "--output", path.to_str().unwrap()])
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let outcome: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(outcome["verified"], true, "{outcome}");
    assert_eq!(outcome["mode"], "core", "{outcome}");
    let workers = outcome["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2, "{outcome}");
    let tasks: Vec<u64> = workers.iter().map(|worker| worker["tasks"].as_u64().unwrap()).collect();
    assert!(tasks.iter().all(|tasks| *tasks >= 1), "{outcome}");
    assert_eq!(tasks.iter().sum::<u64>(), outcome["shards"].as_u64().unwrap(), "{outcome}");

    // Plain sp1-sdk, in a process that did not prove.
    let elf = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/elf/fibonacci")).unwrap();
    let client = ProverClient::builder().light().build().await;
    let key = client.setup(Elf::Dynamic(elf.into())).await.unwrap();
    let mut proof = SP1ProofWithPublicValues::load(&path).unwrap();
    client.verify(&proof, key.verifying_key(), None).unwrap();
    assert_eq!(proof.public_values.read::<u32>().to_string(), STEPS);
    let (mut a, mut b) = (0_u32, 1_u32);
    for _ in 0..STEPS.parse::<u32>().unwrap() {
        (a, b) = (b, (a + b) % 7919);
    }
    assert_eq!((proof.public_values.read::<u32>(), proof.public_values.read::<u32>()), (a, b));

    let leftovers: Vec<_> = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!leftovers.iter().any(|name| name.to_string_lossy().contains("sp1_")), "{leftovers:?}");
}
