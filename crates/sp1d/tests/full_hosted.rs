//! An unmodified program on sp1-sdk from the registry, in a process of its own, proves on a service with real workers.
//! `./x test --full` builds the program and runs this test.

use sp1_sdk::ProofFromNetwork;
use sp1d_model::ProofMode;
use sp1d_testing::{HostedProgram, free_address, unverifiable_proof};
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Child, Output, Stdio},
};

#[allow(dead_code, reason = "other tests use the rest")]
mod workers;

use workers::{Worker, sp1d};

/// Trace elements per shard. Low enough that short programs have shards for both workers.
const LOW_THRESHOLD: &str = "33554432";

/// The service's process. Killed when dropped.
struct HostedService(Child);

impl HostedService {
    fn start(folder: &Path, hosted: SocketAddr) -> Self {
        let log = File::options().create(true).append(true).open(folder.join("serve.log")).unwrap();
        let process = sp1d(folder)
            .args(["serve", "--state", "state", "--parallel-proofs", "1", "--log", "info"])
            .args(["--listen", &free_address().to_string()])
            .args(["--hosted", &hosted.to_string(), "--hosted-signers", "signers"])
            .env("ELEMENT_THRESHOLD", LOW_THRESHOLD)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(process)
    }
}

impl Drop for HostedService {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: HostedProgram, arguments: &[&str]) -> Output {
    program.command(HostedProgram::KEY, arguments).output().unwrap()
}

#[track_caller]
fn check_proven(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("proven and verified"), "{output:?}");
}

/// The program under test fetches the proofs of real provers and of fakes.
#[test]
fn fakes_make_proofs_that_sp1_sdk_can_decode() {
    for mode in ProofMode::ALL {
        let bytes = unverifiable_proof(mode);
        // sp1-sdk decodes what it downloads in the same way.
        let proof: ProofFromNetwork = bincode::deserialize(&bytes).unwrap();
        assert_eq!(format!("{:?}", proof.proof).to_lowercase(), mode.name());
        let encoded = bincode::serialize(&proof).unwrap();
        let rest = bytes.strip_prefix(encoded.as_slice()).expect("nothing is lost");
        assert!(rest.iter().all(|byte| *byte == 0), "{mode}");
    }
}

#[ignore = "takes twenty minutes and two provers: ./x test --full"]
#[test]
fn program_on_plain_sp1_sdk_proves_on_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let workers = [Worker::start(folder, 0, "127.0.0.1"), Worker::start(folder, 1, "127.0.0.1")];
    workers.iter().for_each(Worker::wait_until_ready);
    let addresses: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
    fs::write(folder.join("distributed.json"), serde_json::to_string(&addresses).unwrap()).unwrap();
    fs::write(folder.join("signers"), HostedProgram::ADDRESS).unwrap();
    let program = HostedProgram(free_address());
    // The client repeats its calls until the service listens.
    let service = HostedService::start(folder, program.0);

    check_proven(&run(program, &["prove", "core", "1000"]));
    check_proven(&run(program, &["prove", "compressed", "1000"]));

    // The service is killed while the proof runs, and another process waits for the proof.
    let id = HostedProgram::requested(&run(program, &["request", "2000000"]));
    drop(service);
    let _service = HostedService::start(folder, program.0);
    check_proven(&run(program, &["wait", &id]));

    HostedProgram::check_failed(&run(program, &["timeout", "100000000"]), "Proof request 0x");
    let refused = run(program, &["prove", "plonk", "1000"]);
    HostedProgram::check_failed(&refused, "no worker can make a proof of the mode plonk");
    let stranger = program.command(HostedProgram::OTHER_KEY, &["prove", "core", "1001"]).output().unwrap();
    HostedProgram::check_failed(&stranger, "may not ask");
}
