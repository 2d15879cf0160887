//! What a packet capture between two machines shows of a proof. One machine is a network namespace with the service.
//! The other one, with the client and two workers, is this process, which runs itself again as root of its own
//! namespaces.

mod machines;

use machines::{Machine, client, enter_namespaces, run_in_namespaces};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use sp1d_artifacts::Digest;
use sp1d_testing::{FakeEngine, FakeKeys, PacketCapture, do_honestly, introduction, ready, record};
use sp1d_worker::{JoiningWorker, ListeningWorker, WorkerSettings};
use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// Shards of the proof: enough that both workers prove some.
const SHARDS: u64 = 20;

/// Names of the workers, by who dials.
const LISTENS: &str = "marked-worker-that-listens";
const JOINS: &str = "marked-worker-that-joins";

#[test]
fn packets_between_machines_show_no_program_no_input_no_token_and_no_name() {
    run_in_namespaces("secure_inside_the_namespaces");
}

/// Without this test, the other one could pass because the capture or the marks are wrong.
#[test]
fn packets_between_machines_without_tls_show_program_input_token_and_names() {
    run_in_namespaces("plain_inside_the_namespaces");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the first test runs it, in namespaces"]
async fn secure_inside_the_namespaces() {
    check_packets(true).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the second test runs it, in namespaces"]
async fn plain_inside_the_namespaces() {
    check_packets(false).await;
}

/// Returns random bytes, which do not compress.
fn random_bytes() -> Vec<u8> {
    record(RandomState::new().build_hasher().finish(), 4096)
}

/// A client of the service that shows a token.
struct MarkedClient {
    client: Client,
    url: String,
    token: String,
}

impl MarkedClient {
    async fn post(&self, path: &str, kind: &str, body: Vec<u8>) -> Value {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let response = request.header("content-type", kind).body(body).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {response:?}");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }

    /// Gets `path` again and again until `condition` is true.
    async fn wait_for(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.get(path).await;
            if condition(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{path}: {value}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Captures all packets while a client uploads a marked program and a marked input with a marked token, and two workers
/// with marked names prove them, one in each dialing direction. Checks for all marks whether a packet contains them.
async fn check_packets(is_secure: bool) {
    enter_namespaces();
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::start(1);
    let capture = PacketCapture::start().unwrap();

    let keys = FakeKeys::new();
    let tls = is_secure.then(|| keys.worker());
    let stop = CancellationToken::new();
    let settings = WorkerSettings {
        listen: format!("{}:8190", machine.our_address).parse().unwrap(),
        orchestrators: machine.address.parse().unwrap(),
        introduction: introduction(LISTENS),
    };
    let listens = ListeningWorker::bind(settings).await.unwrap().secure(tls.clone());
    let address = listens.local_addr().unwrap().to_string();
    let engine = || {
        // Slow enough that one worker cannot prove all shards.
        ready(FakeEngine::doing(|assignment, io| async move {
            sleep(Duration::from_millis(20)).await;
            do_honestly(&assignment, &*io).await
        }))
    };
    let serving = tokio::spawn(listens.serve(engine(), stop.clone()));

    let mut variables = vec![("SENDS_INPUT", "true")];
    if is_secure {
        variables.push(("TLS", keys.orchestrator_file().to_str().unwrap()));
    }
    let (service, url) = machine.serve(&folder.path().join("state"), &[address], &variables);
    let joins = JoiningWorker::new(machine.join_address().parse().unwrap(), introduction(JOINS)).secure(tls);
    let joining = tokio::spawn(joins.serve(engine(), stop.clone()));

    let client = if is_secure {
        let ca = fs::read(keys.orchestrator_file().with_file_name("ca.crt")).unwrap();
        let client = Client::builder().no_proxy().tls_built_in_root_certs(false);
        let client = client.add_root_certificate(Certificate::from_pem(&ca).unwrap());
        // The certificate has this name.
        let port: SocketAddr = url.strip_prefix("https://").unwrap().parse().unwrap();
        client.resolve("localhost", port).build().unwrap()
    } else {
        client()
    };
    let url = if is_secure { "https://localhost:8090".to_owned() } else { url };
    let client = MarkedClient { client, url, token: Digest::of(&random_bytes()).to_string() };
    client
        .wait_for("/v1/workers", |list| {
            let workers = list["workers"].as_array().unwrap();
            workers.len() == 2 && workers.iter().all(|worker| worker["state"] == "idle")
        })
        .await;
    // The fake runner only takes such programs.
    let program = [b"program".as_slice(), &random_bytes()].concat();
    let input = random_bytes();
    let bytes = "application/octet-stream";
    let programs = client.post("/v1/programs", bytes, program.clone()).await;
    let inputs = client.post("/v1/inputs", bytes, input.clone()).await;
    let [program_id, input_id] = [programs, inputs].map(|uploaded| uploaded["id"].as_str().unwrap().to_owned());
    let request = json!({ "program": program_id, "input": input_id, "cycle_limit": SHARDS });
    let proof = client.post("/v1/proofs", "application/json", request.to_string().into_bytes()).await;
    let path = format!("/v1/proofs/{}", proof["id"].as_str().unwrap());
    let done = client.wait_for(&path, |proof| proof["state"] == "done").await;
    let proven = done["workers"].as_array().map(Vec::len);
    assert_eq!(proven, Some(2), "one of the workers proved nothing: {done}");

    stop.cancel();
    serving.await.unwrap().unwrap();
    joining.await.unwrap().unwrap();
    let token = client.token.clone();
    drop((client, service));
    let packets = capture.end();
    // The client uploads program and input, and each worker fetches them. They do not compress.
    let least = 3 * (program.len() + input.len());
    assert!(packets.carried_bytes() > least, "{} of at least {least} bytes", packets.carried_bytes());
    for (mark, bytes) in [
        ("program", program.as_slice()),
        ("input", input.as_slice()),
        ("id of the program", program_id.as_bytes()),
        ("id of the input", input_id.as_bytes()),
        ("token", token.as_bytes()),
        ("path", path.as_bytes()),
        ("name of the worker that listens", LISTENS.as_bytes()),
        ("name of the worker that joins", JOINS.as_bytes()),
    ] {
        assert_eq!(packets.has_carried(bytes), !is_secure, "{mark}");
    }
}
