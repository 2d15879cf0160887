//! Tests of the interface for programs that are built against plain sp1-sdk, with fake workers and a fake runner.

mod client;
mod file_urls;
mod frames;
mod gas;
mod harness;
mod load;
mod modes;
mod privacy;
mod refusals;
mod signatures;
mod waiting;

use client::{SdkClient, artifact::ArtifactType, compressed, network, now, vk_hash};
use frames::FrameStream;
use harness::{Hosted, PATIENCE, PROGRAM, check_refused};
use prost::Message;
use reqwest::StatusCode;
use sp1d_service::ServiceSettings;
use sp1d_testing::{FakeEngine, RunningWorker, expected_proof};
use std::{fs, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::timeout,
};
use tonic::Code;

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

/// The bytes of a body do not depend on this crate's declaration of its message.
#[test]
fn signed_body_is_a_message_on_the_wire() {
    let body = network::GetNonceRequest { address: vec![1, 2] }.encode_to_vec();
    let request = network::SignedRequest { format: 1, signature: vec![3], body };
    assert_eq!(request.encode_to_vec(), [8, 1, 18, 1, 3, 26, 4, 10, 2, 1, 2]);
}
