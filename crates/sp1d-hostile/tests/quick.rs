//! The bench runs, and a few short attacks cost no honest peer a proof.

use std::{
    process::Command,
    sync::{Mutex, PoisonError},
};

/// Runs the bench with `arguments`. Returns whether it succeeded, and all of its output.
fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hostile")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.success(), text)
}

/// Held while attacks run: two benches at the same time would slow each other down.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs short attacks. Checks that this many were measured, and that they cost nothing.
#[track_caller]
fn check(arguments: &[&str], count: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.json");
    let (succeeded, text) = run(&[&["--quick", "--output", file.to_str().unwrap()][..], arguments].concat());
    assert!(succeeded, "{text}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let attacks = report["attacks"].as_array().unwrap();
    assert_eq!(attacks.len(), count, "{report}");
    for attack in attacks {
        for fault in ["proofs_lost", "requests_refused"] {
            assert_eq!(attack["beside"][fault].as_u64(), Some(0), "{attack}");
        }
        assert!(attack["acts"].as_u64().unwrap() > 0 && attack["service_peak_bytes"].as_u64().unwrap() > 0, "{attack}");
    }
}

#[test]
fn short_attacks_cost_no_proof_and_no_request() {
    check(&[], 3);
}

#[test]
fn short_attacks_on_the_ports_of_hosted_and_health_cost_no_proof_and_no_request() {
    check(&["--only", "hosted-bad-signatures,hosted-uploads,hosted-flood,health-flood"], 4);
}

#[test]
fn short_floods_of_ports_with_tls_cost_no_proof_and_no_request() {
    check(&["--only", "worker-tls-flood,join-tls-flood"], 2);
}

#[test]
fn unknown_attack_is_refused_with_a_hint() {
    let (succeeded, text) = run(&["--only", "kindness"]);
    assert!(!succeeded && text.contains("\"kindness\"") && text.contains("hint: "), "{text}");
    let (succeeded, text) = run(&["--list"]);
    assert!(succeeded && text.contains("slow-uploads"), "{text}");
}
