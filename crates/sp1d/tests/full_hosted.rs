//! An unmodified program on sp1-sdk from the registry, in a process of its own, proves on a service with real workers.
//! `./x test --full` builds the program and runs this test.

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

#[allow(dead_code, reason = "other tests use the rest")]
mod workers;

use workers::{Worker, guest, sp1d};

/// Trace elements per shard. Low enough that short programs have shards for both workers.
const LOW_THRESHOLD: &str = "33554432";

/// A key that only this test uses, and its address.
const KEY: &str = "0x0000000000000000000000000000000000000000000000000000000000000001";
const ADDRESS: &str = "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf";

/// The service's process. Killed when dropped.
struct HostedService(Child);

impl HostedService {
    fn start(folder: &Path, port: u16) -> Self {
        let log = File::options().create(true).append(true).open(folder.join("serve.log")).unwrap();
        let process = sp1d(folder)
            .args(["serve", "--state", "state", "--parallel-proofs", "1", "--log", "info"])
            .args(["--listen", &format!("127.0.0.1:{}", free_port())])
            .args(["--hosted", &format!("127.0.0.1:{port}"), "--hosted-signers", "signers"])
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs the program on the guest `fibonacci`.
fn run(port: u16, key: &str, arguments: &[&str]) -> Output {
    let program = env::var("SP1D_HOSTED_PROGRAM").expect("./x test --full builds the program and sets this variable");
    let mut command = Command::new(program);
    command.arg(guest("fibonacci")).args(arguments);
    command.env("SP1_PROVER", "hosted").env("NETWORK_RPC_URL", format!("http://127.0.0.1:{port}"));
    command.env("NETWORK_PRIVATE_KEY", key).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn check_proven(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("proven and verified"), "{output:?}");
}

/// The program must end with an error, and not with a panic.
#[track_caller]
fn check_failed(output: &Output, part: &str) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(part), "`{part}` is not in {text}");
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
    fs::write(folder.join("signers"), ADDRESS).unwrap();
    let port = free_port();
    // The client repeats its calls until the service listens.
    let service = HostedService::start(folder, port);

    check_proven(&run(port, KEY, &["prove", "core", "1000"]));
    check_proven(&run(port, KEY, &["prove", "compressed", "1000"]));

    // The service is killed while the proof runs, and another process waits for the proof.
    let requested = run(port, KEY, &["request", "2000000"]);
    assert!(requested.status.success(), "{requested:?}");
    let id = String::from_utf8(requested.stdout).unwrap();
    let id = id.lines().last().unwrap().trim();
    drop(service);
    let _service = HostedService::start(folder, port);
    check_proven(&run(port, KEY, &["wait", id]));

    check_failed(&run(port, KEY, &["timeout", "100000000"]), "Proof request 0x");
    check_failed(&run(port, KEY, &["prove", "plonk", "1000"]), "no worker can make a proof of the mode plonk");
    let stranger = KEY.replace("01", "02");
    check_failed(&run(port, &stranger, &["prove", "core", "1001"]), "may not ask");
}
