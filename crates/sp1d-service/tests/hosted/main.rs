//! Tests of the interface for programs that are built against plain sp1-sdk, with fake workers and a fake runner.

mod client;
mod frames;

use client::{
    SdkClient,
    artifact::{ArtifactType, CreateArtifactResponse},
    compressed, network, now, serialized, vk_hash,
};
use frames::FrameStream;
use futures::future::join_all;
use prost::Message;
use reqwest::StatusCode;
use sp1d_service::{HostedSettings, HostedSigners, Service, ServiceSettings, serve_hosted};
use sp1d_testing::{FakeEngine, FakeRunner, RunningWorker, expected_proof, fake_build};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::timeout,
};
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(20);
const PROGRAM: &[u8] = b"program";

/// A running service with its interface for sp1-sdk.
struct Hosted {
    service: Service,
    signers: HostedSigners,
    url: String,
}

impl Hosted {
    /// Starts a service in the folder `state`. The file `signers` in it lists who may ask.
    async fn start(state: &Path, workers: &[SocketAddr], change: impl FnOnce(&mut ServiceSettings)) -> Self {
        let mut orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        orchestrator.heartbeat = Duration::from_millis(100);
        let mut settings = ServiceSettings::new(state.join("state"), orchestrator, "{}".into());
        settings.free_bytes = 0;
        change(&mut settings);
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let list = sp1d_orchestrator::WorkerList(workers.iter().map(|address| (*address).into()).collect());
        for (_, reached) in service.orchestrator().set_list(&list) {
            reached.await.unwrap().unwrap();
        }
        let path = state.join("signers");
        if !path.exists() {
            fs::write(&path, "any\n").unwrap();
        }
        let signers = HostedSigners::read(path).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = HostedSettings { signers: signers.clone(), url: None };
        tokio::spawn(serve_hosted(service.clone(), listener, settings));
        Self { service, signers, url }
    }

    fn client(&self, number: u32) -> SdkClient {
        SdkClient::new(&self.url, number)
    }
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, part: &str) {
    let status = outcome.expect_err("the call is refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(part), "`{part}` is not in {status:?}");
}

/// Changes the body of a request.
type Change<'a> = &'a dyn Fn(&mut network::RequestProofRequestBody);

#[tokio::test]
async fn program_of_sp1_sdk_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |_| {}).await;
    let client = hosted.client(1);
    check_refused(client.get_program(PROGRAM).await, Code::NotFound, "no program");
    client.register(PROGRAM).await.unwrap();
    let program = client.get_program(PROGRAM).await.unwrap().program.unwrap();
    assert_eq!(program.vk_hash, vk_hash(PROGRAM));

    let body = client.body(PROGRAM, 3).await.unwrap();
    let id = client.request_proof(&body).await.unwrap();
    let status = timeout(PATIENCE, client.ended(&id)).await.unwrap();
    assert_eq!((status.fulfillment_status, status.execution_status, status.deadline), (3, 2, body.deadline));
    assert_eq!((status.request_tx_hash.len(), status.fulfill_tx_hash.unwrap().len()), (32, 32));
    let (code, proof) = client.fetch(&status.proof_uri.unwrap()).await;
    assert_eq!((code, proof), (StatusCode::OK, expected_proof(3, 8)));

    // The same request, sent again because its response was lost.
    let again = network::RequestProofRequestBody {
        nonce: client.nonce().await.unwrap(),
        stdin_uri: client.upload(ArtifactType::PrivateStdin, b"stdin").await.unwrap(),
        ..body.clone()
    };
    assert_eq!(client.request_proof(&again).await.unwrap(), id);
    // Another requester gets a request of their own.
    let other = hosted.client(2);
    let theirs = network::RequestProofRequestBody { deadline: body.deadline, ..other.body(PROGRAM, 3).await.unwrap() };
    assert_ne!(other.request_proof(&theirs).await.unwrap(), id);

    let asked = network::GetProofRequestDetailsRequest { request_id: id.clone() };
    let details: network::GetProofRequestDetailsResponse =
        client.call("/network.ProverNetwork/GetProofRequestDetails", asked).await.unwrap();
    let details = details.request.unwrap();
    assert_eq!((details.request_id, details.requester, details.mode), (id, client.address(), 1));
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn damaged_program_is_uploaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let digest = blake3::hash(PROGRAM).to_hex();
    fs::write(folder.path().join("state/blobs").join(&digest[..2]).join(&*digest), "damaged").unwrap();
    check_refused(client.get_program(PROGRAM).await, Code::NotFound, "no program");
    client.register(PROGRAM).await.unwrap();
    client.request_proof(&client.body(PROGRAM, 1).await.unwrap()).await.unwrap();
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let good = client.body(PROGRAM, 1).await.unwrap();

    let changed = |change: Change<'_>| {
        let mut body = good.clone();
        change(&mut body);
        body
    };
    // Refused before the nonce is used, so that all have the same one.
    let cases: [(Change<'_>, &str); 6] = [
        (&|body| body.version = "sp1-v1".to_owned(), "sp1-fake"),
        (&|body| body.strategy = 3, "AUCTION"),
        (&|body| body.gas_limit = 7, "gas_limit 7"),
        (&|body| body.whitelist = vec![vec![0; 20]], "whitelist"),
        (&|body| body.deadline = 5, "has passed"),
        (&|body| body.stdin_uri = "elsewhere".to_owned(), "stdin_uri"),
    ];
    for (change, part) in cases {
        check_refused(client.request_proof(&changed(change)).await, Code::InvalidArgument, part);
    }

    let mut request = client.signed(&good);
    request.signature[64] = 9;
    let refused: Result<network::RequestProofResponse, _> =
        client.call("/network.ProverNetwork/RequestProof", request).await;
    check_refused(refused, Code::Unauthenticated, "signature");
    let mut request = client.signed(&good);
    // Field 100, which no version of sp1-sdk has.
    request.body.extend([0xa0, 0x06, 0x01]);
    request.signature = client.sign(&request.body, 27);
    let refused: Result<network::RequestProofResponse, _> =
        client.call("/network.ProverNetwork/RequestProof", request).await;
    check_refused(refused, Code::InvalidArgument, "fields that this service does not know");

    let unknown = changed(&|body| body.vk_hash = vec![1; 32]);
    check_refused(client.request_proof(&unknown).await, Code::NotFound, "no program with the verifying key 0x00");
    check_refused(client.request_proof(&unknown).await, Code::Aborted, "was used before");
    let nonce = client.nonce().await.unwrap();
    let never_issued = changed(&|body| body.nonce = nonce + 1_000_000_000);
    check_refused(client.request_proof(&never_issued).await, Code::Aborted, "has not issued");
    let without_upload = client.create_artifact(ArtifactType::Stdin).await.unwrap().artifact_uri;
    let missing = changed(&|body| (body.nonce, body.stdin_uri) = (nonce, without_upload.clone()));
    check_refused(client.request_proof(&missing).await, Code::NotFound, "stdin_uri names an artifact");
    let nonce = client.nonce().await.unwrap();
    let program_uri = client.upload(ArtifactType::Program, &serialized(PROGRAM)).await.unwrap();
    let program_as_input = changed(&|body| (body.nonce, body.stdin_uri) = (nonce, program_uri.clone()));
    check_refused(client.request_proof(&program_as_input).await, Code::InvalidArgument, "names a program");
    // The input of another requester.
    let other = hosted.client(2);
    let stolen = changed(&|body| body.stdin_uri = good.stdin_uri.clone());
    let stolen = network::RequestProofRequestBody { nonce: other.nonce().await.unwrap(), ..stolen };
    check_refused(other.request_proof(&stolen).await, Code::NotFound, "has not uploaded");

    let wrong = client.create_program(b"program two", vk_hash(PROGRAM)).await;
    check_refused(wrong, Code::InvalidArgument, "has the verifying key 0x00");
    check_refused(client.status(&[7; 32]).await, Code::NotFound, "no request 0707");
    check_refused(client.status(&[7; 31]).await, Code::InvalidArgument, "31 bytes");
    let balance: Result<network::GetNonceResponse, _> =
        client.call("/network.ProverNetwork/GetBalance", network::GetNonceRequest::default()).await;
    check_refused(balance, Code::Unimplemented, "network.ProverNetwork/GetBalance");
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn only_listed_signers_may_ask_and_the_list_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signers");
    let listed = SdkClient::new("http://127.0.0.1:1", 1).address_text();
    fs::write(&path, &listed).unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let (client, other) = (hosted.client(1), hosted.client(2));
    client.create_artifact(ArtifactType::Stdin).await.unwrap();
    check_refused(other.create_artifact(ArtifactType::Stdin).await, Code::PermissionDenied, &other.address_text());
    fs::write(&path, format!("{listed}\n{}\n", other.address_text())).unwrap();
    let again = Arc::new(Notify::new());
    let (signers, service, notify) = (hosted.signers.clone(), hosted.service.clone(), again.clone());
    let following = tokio::spawn(async move { signers.follow(service, &notify).await });
    again.notify_one();
    let allowed = async {
        while other.create_artifact(ArtifactType::Stdin).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, allowed).await.unwrap();
    hosted.service.shutdown().await;
    following.await.unwrap();
}

#[tokio::test]
async fn uploads_are_checked_and_their_addresses_permit_one_thing() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |settings| settings.program_bytes = 100).await;
    let client = hosted.client(1);
    let zeros = vec![0; 1 << 20];
    let long = [PROGRAM, &zeros].concat();
    let mut wrong_length = serialized(PROGRAM);
    wrong_length[0] += 1;
    let mut cut_off = compressed(&serialized(PROGRAM));
    cut_off.truncate(cut_off.len() - 3);
    let program = ArtifactType::Program;
    let cases: [(ArtifactType, Vec<u8>, u16); 8] = [
        (program, serialized(PROGRAM), 422),
        (program, cut_off, 422),
        (program, compressed(b"short"), 422),
        (program, compressed(&wrong_length), 422),
        (program, compressed(&serialized(b"no program")), 422),
        (program, compressed(&serialized(&long)), 413),
        (ArtifactType::Stdin, compressed(b"bad input"), 422),
        (ArtifactType::Stdin, compressed(b"input"), 200),
    ];
    for (at, (kind, body, expected)) in cases.into_iter().enumerate() {
        let url = client.create_artifact(kind).await.unwrap().artifact_presigned_url;
        assert_eq!(client.put(&url, body).await.as_u16(), expected, "case {at}");
    }
    for kind in [ArtifactType::Proof, ArtifactType::UnspecifiedArtifactType] {
        check_refused(client.create_artifact(kind).await, Code::InvalidArgument, kind.as_str_name());
    }

    let CreateArtifactResponse { artifact_presigned_url: url, .. } =
        client.create_artifact(ArtifactType::Stdin).await.unwrap();
    assert_eq!(client.put(&url, compressed(b"one")).await, StatusCode::OK);
    assert_eq!(client.put(&url, compressed(b"one")).await, StatusCode::OK, "the response may have been lost");
    assert_eq!(client.put(&url, compressed(b"two")).await, StatusCode::CONFLICT);
    let changed = format!("{}{}", &url[..url.len() - 1], if url.ends_with('0') { '1' } else { '0' });
    assert_eq!(client.put(&changed, compressed(b"one")).await, StatusCode::NOT_FOUND);
    let (code, _) = client.fetch(&url.replace("/files/", "/proofs/")).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    let (code, _) = client.fetch(&format!("{}/v1/proofs", hosted.url)).await;
    assert_eq!(code, StatusCode::NOT_FOUND, "the HTTP API is not on this port");
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn deadline_that_passes_ends_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let body = network::RequestProofRequestBody { deadline: now() + 2, ..client.body(PROGRAM, 1).await.unwrap() };
    let id = client.request_proof(&body).await.unwrap();
    let status = timeout(PATIENCE, client.ended(&id)).await.unwrap();
    assert_eq!((status.fulfillment_status, status.proof_uri), (6, None));
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn restart_in_the_middle_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let first = client.body(PROGRAM, 2).await.unwrap();
    let id = client.request_proof(&first).await.unwrap();
    // Uploaded before the restart, and used after it.
    let second = client.body(PROGRAM, 3).await.unwrap();
    let unused = client.create_artifact(ArtifactType::Stdin).await.unwrap();
    // The proof runs and waits for a worker, so this call is held open until the service stops.
    let waiting = client.clone();
    let held = {
        let id = id.clone();
        tokio::spawn(async move {
            loop {
                match waiting.status(&id).await {
                    Ok(status) => assert!(status.fulfillment_status <= 2),
                    Err(status) => return status,
                }
            }
        })
    };
    timeout(PATIENCE, hosted.service.shutdown()).await.unwrap();
    let ended = timeout(PATIENCE, held).await.unwrap().unwrap();
    // sp1-sdk repeats the call only after these codes.
    assert!(matches!(ended.code(), Code::Unavailable | Code::Aborted | Code::Internal), "{ended:?}");
    drop((hosted, client));

    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |_| {}).await;
    let client = hosted.client(1);
    check_refused(client.request_proof(&first).await, Code::Aborted, "was used before");
    let path = unused.artifact_presigned_url.splitn(4, '/').nth(3).unwrap();
    assert_eq!(client.put(&format!("{}/{path}", hosted.url), compressed(b"late")).await, StatusCode::OK);
    let second_id = client.request_proof(&second).await.unwrap();
    for (id, shards) in [(id, 2), (second_id, 3)] {
        let status = timeout(PATIENCE, client.ended(&id)).await.unwrap();
        assert_eq!(client.fetch(&status.proof_uri.unwrap()).await.1, expected_proof(shards, 8));
    }
    hosted.service.shutdown().await;
}

/// sp1-sdk sends all calls of a program over one connection.
#[tokio::test]
async fn program_that_waits_for_many_proofs_can_make_other_calls() {
    const PROOFS: u64 = 80;
    const HELD: u64 = 32;
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let body = client.body(PROGRAM, 1).await.unwrap();
    let mut waiting = JoinSet::new();
    for cycle_limit in 1..=PROOFS {
        let nonce = timeout(PATIENCE, client.nonce()).await.unwrap().unwrap();
        let id = client.request_proof(&network::RequestProofRequestBody { nonce, cycle_limit, ..body.clone() }).await;
        let (id, client) = (id.unwrap(), client.clone());
        waiting.spawn(async move { client.status(&id).await });
    }
    // The other calls are held open for 50 s.
    for _ in 0..PROOFS - HELD {
        let status = timeout(PATIENCE, waiting.join_next()).await.unwrap().unwrap().unwrap().unwrap();
        assert!(status.fulfillment_status <= 2);
    }
    drop(waiting);
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn connection_that_does_not_show_its_version_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let change = |settings: &mut ServiceSettings| settings.http.head_time = Duration::from_millis(200);
    let hosted = Hosted::start(folder.path(), &[], change).await;
    for start in ["", "PRI * HTTP/2.0\r\n"] {
        let mut stream = TcpStream::connect(hosted.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let closed = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "{start:?}");
    }
    hosted.service.shutdown().await;
}

/// A client that gets a notice can send its next call on another connection. A call on a broken connection fails.
#[tokio::test]
async fn replaced_connection_tells_its_client_before_it_closes() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |settings| settings.http.connections_per_client = 1).await;
    let mut first = FrameStream::connect(&hosted.url).await;
    let second = FrameStream::connect(&hosted.url).await;
    let kinds = timeout(PATIENCE, first.kinds_until_closed()).await.unwrap();
    assert!(kinds.contains(&frames::GOAWAY), "{kinds:?}");
    drop(second);
    hosted.service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_at_once_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |settings| {
        settings.http.connections_per_client = settings.http.connections;
    })
    .await;
    hosted.client(0).register(PROGRAM).await.unwrap();
    let clients: Vec<_> = (1..=200).map(|number| hosted.client(number)).collect();
    let requests = clients.iter().map(|client| async move {
        let body = client.body(PROGRAM, 1).await.unwrap();
        let id = client.request_proof(&body).await.unwrap();
        assert_eq!(client.ended(&id).await.fulfillment_status, 3);
        id
    });
    let ids = timeout(PATIENCE * 6, join_all(requests)).await.unwrap();
    let statuses = clients.iter().zip(&ids).map(|(client, id)| async move {
        let started = Instant::now();
        client.status(id).await.unwrap();
        started.elapsed()
    });
    let mut latencies = join_all(statuses).await;
    latencies.sort_unstable();
    assert!(latencies[198] < Duration::from_millis(100), "{latencies:?}");
    hosted.service.shutdown().await;
}

/// The bytes of a body do not depend on this crate's declaration of its message.
#[test]
fn signed_body_is_a_message_on_the_wire() {
    let body = network::GetNonceRequest { address: vec![1, 2] }.encode_to_vec();
    let request = network::SignedRequest { format: 1, signature: vec![3], body };
    assert_eq!(request.encode_to_vec(), [8, 1, 18, 1, 3, 26, 4, 10, 2, 1, 2]);
}
