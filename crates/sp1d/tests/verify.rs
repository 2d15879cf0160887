//! `sp1d verify` and `sp1d vkey` with a key file or a hash. No proof here verifies: making one needs a prover.

use sp1_sdk::{SP1_CIRCUIT_VERSION, SP1Proof, SP1ProofWithPublicValues, SP1PublicValues};
use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Output},
};

mod refusal;

use refusal::check_refused;

const HASH: &str = "0x00aa11bb22cc33dd44ee55ff66007711882299333344445555666677778888ab";

fn sp1d(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sp1d"));
    command.args(arguments).current_dir(folder).env("TMPDIR", folder).env("HOME", folder);
    command.env_remove("XDG_CACHE_HOME").env_remove("SP1D_LOG");
    command
}

fn outcome(folder: &Path, arguments: &[&str]) -> Output {
    sp1d(folder, arguments).output().unwrap()
}

/// Returns what a successful command printed.
fn says(folder: &Path, arguments: &[&str]) -> String {
    let output = outcome(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Writes a core proof without shards, of this version of SP1.
fn write_proof(path: &Path, version: &str) {
    let proof = SP1ProofWithPublicValues::new(SP1Proof::Core(Vec::new()), SP1PublicValues::new(), version.to_owned());
    fs::write(path, bincode::serialize(&proof).unwrap()).unwrap();
}

#[test]
fn a_key_file_takes_the_place_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let elf = format!("{}/../../guests/elf/fibonacci", env!("CARGO_MANIFEST_DIR"));
    let hash = says(folder, &["vkey", "--elf", &elf, "--output", "key.bin"]);
    assert_eq!((hash.len(), &hash[..2]), (66, "0x"));
    assert_eq!(says(folder, &["vkey", "--vkey", "key.bin"]), hash);
    write_proof(&folder.join("proof.bin"), SP1_CIRCUIT_VERSION);
    let output = outcome(folder, &["verify", "--vkey", "key.bin", "proof.bin"]);
    check_refused(&output, 6, &["the proof does not verify", "Empty core proof", "proof of another program", &hash]);
    let output = outcome(folder, &["verify", "--json", "--vkey", "key.bin", "proof.bin"]);
    check_refused(&output, 6, &["the proof does not verify", "Empty core proof"]);
    let invalid: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(invalid["valid"], false);
    assert!(invalid["reason"].as_str().unwrap().contains("Empty core proof"), "{invalid}");
    for (file, refused) in [("proof.bin", "proof.bin is not an SP1 proof"), ("key.bin", "key.bin does not contain")] {
        let whole = fs::read(folder.join(file)).unwrap();
        fs::write(folder.join(file), [whole.as_slice(), b"rest"].concat()).unwrap();
        let output = outcome(folder, &["verify", "--vkey", "key.bin", "proof.bin"]);
        check_refused(&output, 2, &[refused, "4 bytes too many at its end"]);
        fs::write(folder.join(file), &whole[..whole.len() / 2]).unwrap();
        let output = outcome(folder, &["verify", "--vkey", "key.bin", "proof.bin"]);
        let end = format!("ends too early, after {} bytes", whole.len() / 2);
        check_refused(&output, 2, &[file, &end, "hint: copy or fetch the file again"]);
        fs::write(folder.join(file), whole).unwrap();
    }
    let from_stdin = sp1d(folder, &["verify", "--vkey", "key.bin", "-"])
        .stdin(File::open(folder.join("proof.bin")).unwrap())
        .output()
        .unwrap();
    check_refused(&from_stdin, 6, &["the proof does not verify"]);
    check_refused(&outcome(folder, &["vkey", "--vkey", HASH]), 2, &["a hash does not contain the verifying key"]);
    fs::write(folder.join("key.bin"), "no key").unwrap();
    let output = outcome(folder, &["verify", "--vkey", "key.bin", "proof.bin"]);
    check_refused(&output, 2, &["key.bin does not contain a verifying key", "sp1d vkey"]);
}

#[test]
fn a_core_proof_is_not_verified_with_a_hash() {
    let folder = tempfile::tempdir().unwrap();
    write_proof(&folder.path().join("proof.bin"), SP1_CIRCUIT_VERSION);
    let output = outcome(folder.path(), &["verify", "--vkey", HASH, "proof.bin"]);
    check_refused(&output, 2, &["a core proof", "its hash is not enough", "--elf"]);
}

#[test]
fn a_proof_of_another_sp1_version_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    write_proof(&folder.path().join("proof.bin"), "v5.0.0");
    for key in [HASH, "missing.bin"] {
        let output = outcome(folder.path(), &["verify", "--vkey", key, "proof.bin"]);
        check_refused(&output, 6, &["proof.bin is a proof of another SP1 version", "v5.0.0", SP1_CIRCUIT_VERSION]);
    }
}

#[test]
fn wrong_arguments_of_verify_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("proof.bin"), "no proof").unwrap();
    let check = |arguments: &[&str], part: &str| {
        let output = outcome(folder.path(), arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    };
    check(&["verify", "proof.bin"], "--vkey");
    check(&["verify", "--vkey", "0x12", "proof.bin"], "64 hexadecimal digits");
    check(&["verify", "--vkey", HASH, "--elf", "program", "proof.bin"], "cannot be used with");
    check(&["verify", "--vkey", HASH, "missing.bin"], "cannot read the proof missing.bin");
    check(&["verify", "--vkey", HASH, "proof.bin"], "proof.bin is not an SP1 proof");
}
