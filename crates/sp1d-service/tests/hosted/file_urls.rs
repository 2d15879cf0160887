//! Uploads and downloads, and the URLs that permit them.

use crate::{
    client::{
        artifact::{ArtifactType, CreateArtifactResponse},
        compressed, network, now, serialized,
    },
    harness::{Hosted, PATIENCE, PROGRAM, check_refused, database},
};
use reqwest::{Method, StatusCode};
use sp1d_testing::{FakeEngine, RunningWorker, expected_proof};
use tokio::time::timeout;
use tonic::Code;

/// Returns a frame of zstd with the content `input`, of which the decoder must keep a window of 2^`window_log` bytes.
fn frame(window_log: u8) -> Vec<u8> {
    // The magic number, no flags, the size of the window, and a last block that is not compressed.
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3, (5 << 3) | 1, 0, 0];
    [&head[..], b"input"].concat()
}

#[tokio::test]
async fn uploads_are_checked_while_they_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |settings| {
        (settings.max_program_bytes, settings.max_input_bytes) = (100, 100);
    })
    .await;
    let client = hosted.client(1);
    let zeros = vec![0; 1 << 20];
    let long = [PROGRAM, &zeros].concat();
    let mut wrong_length = serialized(PROGRAM);
    wrong_length[0] += 1;
    let mut cut_off = compressed(&serialized(PROGRAM));
    cut_off.truncate(cut_off.len() - 3);
    let (program, stdin) = (ArtifactType::Program, ArtifactType::Stdin);
    let cases: [(ArtifactType, Vec<u8>, u16); 13] = [
        (program, serialized(PROGRAM), 422),
        (program, cut_off, 422),
        (program, compressed(b"short"), 422),
        (program, compressed(&wrong_length), 422),
        (program, compressed(&serialized(b"no program")), 422),
        (program, compressed(&serialized(&long)), 413),
        (program, compressed(&serialized(PROGRAM)), 200),
        (stdin, b"input".to_vec(), 422),
        (stdin, compressed(b"bad input"), 422),
        (stdin, compressed(&zeros), 413),
        (stdin, frame(24), 422),
        (stdin, frame(23), 200),
        (ArtifactType::PrivateStdin, compressed(b"input"), 200),
    ];
    for (at, (kind, body, expected)) in cases.into_iter().enumerate() {
        let url = client.create_artifact(kind).await.unwrap().artifact_presigned_url;
        assert_eq!(client.put(&url, body).await.as_u16(), expected, "case {at}");
    }
    for kind in [ArtifactType::Proof, ArtifactType::UnspecifiedArtifactType] {
        check_refused(client.create_artifact(kind).await, Code::InvalidArgument, kind.as_str_name());
    }
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn url_permits_one_thing() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |_| {}).await;
    let client = hosted.client(1);
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

    client.register(PROGRAM).await.unwrap();
    let id = client.request_proof(&client.body(PROGRAM, 2).await.unwrap()).await.unwrap();
    let fetched_from = timeout(PATIENCE, client.ended(&id)).await.unwrap().proof_uri.unwrap();
    for _ in 0..2 {
        let fetched = client.fetch(&fetched_from).await;
        assert_eq!(fetched, (StatusCode::OK, expected_proof(2, 8)), "the response may have been lost");
    }
    let other_path = fetched_from.replace("/proofs/", "/files/");
    assert_eq!(client.put(&other_path, compressed(b"one")).await, StatusCode::NOT_FOUND);
    let cases = [
        (&url, Method::GET),
        (&url, Method::POST),
        (&url, Method::DELETE),
        (&fetched_from, Method::PUT),
        (&fetched_from, Method::DELETE),
    ];
    for (url, method) in cases {
        let response = client.http.request(method.clone(), url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {url}");
    }
    hosted.service.shutdown().await;
}

/// Returns `url` with another time at which it expires, in seconds since 1970. Only the service has the `secret` that
/// this needs.
fn resealed(url: &str, secret: &[u8; 32], expires: u64) -> String {
    let (start, digits) = url.rsplit_once('/').unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let mut bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    bytes.truncate(bytes.len() - 32);
    bytes[..8].copy_from_slice(&expires.to_be_bytes());
    let code = blake3::keyed_hash(secret, &bytes);
    bytes.extend(code.as_bytes());
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{start}/{digits}")
}

#[tokio::test]
async fn expired_urls_and_uploads_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let database = database(folder.path());
    let select = "SELECT value FROM secrets WHERE name = 'hosted'";
    let secret: [u8; 32] = database.query_row(select, [], |row| row.get(0)).unwrap();

    let url = client.create_artifact(ArtifactType::Stdin).await.unwrap().artifact_presigned_url;
    let put = async |expires: u64| client.put(&resealed(&url, &secret, expires), compressed(b"input")).await;
    assert_eq!(put(now() - 1).await, StatusCode::GONE);
    assert_eq!(put(now() + 60).await, StatusCode::OK);

    let id = client.request_proof(&client.body(PROGRAM, 2).await.unwrap()).await.unwrap();
    let url = timeout(PATIENCE, client.ended(&id)).await.unwrap().proof_uri.unwrap();
    let fetch = async |expires: u64| client.fetch(&resealed(&url, &secret, expires)).await.0;
    assert_eq!(fetch(now() - 1).await, StatusCode::GONE);
    assert_eq!(fetch(now() + 60).await, StatusCode::OK);

    let body = client.body(PROGRAM, 3).await.unwrap();
    database.execute("UPDATE hosted_artifacts SET expires = 1", []).unwrap();
    check_refused(client.request_proof(&body).await, Code::NotFound, "or that has expired\nhint: upload it again");
    let (nonce, stdin_uri) =
        (client.nonce().await.unwrap(), client.upload(ArtifactType::Stdin, b"stdin").await.unwrap());
    client.request_proof(&network::RequestProofRequestBody { nonce, stdin_uri, ..body }).await.unwrap();
    hosted.service.shutdown().await;
}
