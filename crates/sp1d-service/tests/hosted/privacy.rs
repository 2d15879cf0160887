//! A requester learns nothing of the requests and uploads of another one. Status calls are not signed: a client that
//! knows the id of a request sees its state. So ids must not be guessable, and a wrong guess must not show what exists.

use crate::{
    client::{SdkClient, artifact::ArtifactType, compressed, network, serialized, vk_hash},
    harness::{Hosted, PATIENCE, PROGRAM, check_refused, database},
};
use reqwest::StatusCode;
use sp1d_service::{NewApiToken, TenantQuota, TokenStore};
use sp1d_testing::{FakeEngine, RunningWorker};
use std::{fmt::Debug, fs, path::Path, time::Duration};
use tokio::time::timeout;
use tonic::{Code, Status};

/// Returns the code and the text of a refusal.
#[track_caller]
fn refusal<T: Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.expect_err("the call is refused");
    (status.code(), status.message().to_owned())
}

/// Returns the refusal for an id of which the service knows nothing.
fn unknown_request(id: &[u8]) -> (Code, String) {
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    (Code::NotFound, format!("the service has no request {digits}\nhint: ended proofs are removed after `--keep` days"))
}

async fn details(client: &SdkClient, id: &[u8]) -> Result<network::GetProofRequestDetailsResponse, Status> {
    let request = network::GetProofRequestDetailsRequest { request_id: id.to_vec() };
    client.call("/network.ProverNetwork/GetProofRequestDetails", request).await
}

#[tokio::test]
async fn uploads_of_another_requester_look_like_missing_ones() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let (owner, other) = (hosted.client(1), hosted.client(2));
    owner.register(PROGRAM).await.unwrap();
    let input = owner.upload(ArtifactType::PrivateStdin, b"secret").await.unwrap();
    let program = owner.upload(ArtifactType::Program, &serialized(PROGRAM)).await.unwrap();
    let missing = owner.create_artifact(ArtifactType::PrivateStdin).await.unwrap().artifact_uri;

    let ask = async |uri: &str| {
        let (nonce, stdin_uri) = (other.nonce().await.unwrap(), uri.to_owned());
        let body = network::RequestProofRequestBody { nonce, stdin_uri, ..other.body(PROGRAM, 1).await.unwrap() };
        refusal(other.request_proof(&body).await)
    };
    let unknown = ask(&missing).await;
    assert_eq!(unknown.0, Code::NotFound);
    assert_eq!(ask(&input).await, unknown);
    assert_eq!(ask(&program).await, unknown, "the kind of the upload does not show either");

    let register = async |uri: &str| {
        let (nonce, program_uri) = (other.nonce().await.unwrap(), uri.to_owned());
        let body =
            network::CreateProgramRequestBody { nonce, vk_hash: vk_hash(PROGRAM), vk: vec![1; 200], program_uri };
        let outcome: Result<network::CreateProgramResponse, _> =
            other.call("/network.ProverNetwork/CreateProgram", other.signed(&body)).await;
        refusal(outcome)
    };
    let unknown = register(&missing).await;
    assert_eq!(unknown.0, Code::NotFound);
    assert_eq!(register(&program).await, unknown);
    assert_eq!(register(&input).await, unknown);

    // An upload belongs to the requester who got the URL, also if another client sends it.
    let created = owner.create_artifact(ArtifactType::Stdin).await.unwrap();
    assert_eq!(other.put(&created.artifact_presigned_url, compressed(b"sent by another")).await, StatusCode::OK);
    assert_eq!(ask(&created.artifact_uri).await.0, Code::NotFound);
    let body =
        network::RequestProofRequestBody { stdin_uri: created.artifact_uri, ..owner.body(PROGRAM, 1).await.unwrap() };
    owner.request_proof(&body).await.unwrap();
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn guessed_id_of_a_request_shows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let (owner, other) = (hosted.client(1), hosted.client(2));
    owner.register(PROGRAM).await.unwrap();
    let body = owner.body(PROGRAM, 1).await.unwrap();
    let id = owner.request_proof(&body).await.unwrap();
    // Even all facts of a request do not lead to its id.
    let same = network::RequestProofRequestBody { deadline: body.deadline, ..other.body(PROGRAM, 1).await.unwrap() };
    assert_ne!(other.request_proof(&same).await.unwrap(), id);

    let near = [0, 15, 31].map(|at| {
        let mut guessed = id.clone();
        guessed[at] ^= 1;
        guessed
    });
    for guessed in near.into_iter().chain([vec![7; 32]]) {
        assert_eq!(refusal(other.status(&guessed).await), unknown_request(&guessed));
        assert_eq!(refusal(details(&other, &guessed).await), unknown_request(&guessed));
    }
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn requests_cannot_be_listed_or_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let (owner, other) = (hosted.client(1), hosted.client(2));
    owner.register(PROGRAM).await.unwrap();
    let id = owner.request_proof(&owner.body(PROGRAM, 1).await.unwrap()).await.unwrap();
    // No worker is connected yet, so the request still waits.
    for path in [
        "/network.ProverNetwork/CancelRequest",
        "/network.ProverNetwork/FailFulfillment",
        "/network.ProverNetwork/GetFilteredProofRequests",
        "/network.ProverNetwork/SubscribeProofRequests",
    ] {
        for client in [&owner, &other] {
            for request_id in [id.clone(), vec![7; 32]] {
                let request = network::GetProofRequestStatusRequest { request_id };
                let refused: Result<network::GetNonceResponse, _> = client.call(path, request).await;
                check_refused(refused, Code::Unimplemented, &path[1..]);
            }
        }
    }
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    hosted.connect(&[worker.address]).await;
    let status = timeout(PATIENCE, owner.ended(&id)).await.unwrap();
    assert_eq!(status.fulfillment_status, 3);
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn signers_of_two_tenants_share_neither_programs_nor_proofs() {
    let folder = tempfile::tempdir().unwrap();
    let address = |number| SdkClient::new("http://127.0.0.1:1", number).address_text();
    std::fs::write(folder.path().join("signers"), format!("{} team-a\n{} team-b\n", address(1), address(2))).unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let (one, other) = (hosted.client(1), hosted.client(2));
    one.register(PROGRAM).await.unwrap();
    // The call is not signed, so it shows no program of any tenant.
    assert_eq!(refusal(other.get_program(PROGRAM).await).0, Code::NotFound);
    assert_eq!(refusal(one.get_program(PROGRAM).await).0, Code::NotFound);
    let body = other.body(PROGRAM, 1).await.unwrap();
    assert_eq!(refusal(other.request_proof(&body).await).0, Code::NotFound, "the program is that of another tenant");
    other.register(PROGRAM).await.unwrap();
    let again = network::RequestProofRequestBody { nonce: other.nonce().await.unwrap(), ..body };
    other.request_proof(&again).await.unwrap();
    one.request_proof(&one.body(PROGRAM, 1).await.unwrap()).await.unwrap();
    let tenants = "SELECT group_concat(tenant) FROM (SELECT tenant FROM proofs ORDER BY number)";
    let found: String = database(folder.path()).query_row(tenants, [], |row| row.get(0)).unwrap();
    assert_eq!(found, "team-b,team-a");
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn a_signer_and_a_private_input_can_ask_for_trusted_workers() {
    let folder = tempfile::tempdir().unwrap();
    let address = |number| SdkClient::new("http://127.0.0.1:1", number).address_text();
    let lines = format!("{} team-a trusted-only\n{} team-a\n", address(1), address(2));
    std::fs::write(folder.path().join("signers"), lines).unwrap();
    // A worker without a certificate is not trusted. The requests for trusted workers wait.
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |_| {}).await;
    let (listed, other) = (hosted.client(1), hosted.client(2));
    listed.register(PROGRAM).await.unwrap();
    listed.request_proof(&listed.body(PROGRAM, 1).await.unwrap()).await.unwrap();
    let body = other.body(PROGRAM, 2).await.unwrap();
    let shown = other.request_proof(&body).await.unwrap();
    assert_eq!(timeout(PATIENCE, other.ended(&shown)).await.unwrap().fulfillment_status, 3);
    // A later request with the mark is not the same request: it is not for the workers of the earlier one.
    let marked = network::RequestProofRequestBody { nonce: other.nonce().await.unwrap(), stdin_private: true, ..body };
    let marked = other.request_proof(&marked).await.unwrap();
    assert_ne!(marked, shown);
    assert!(details(&other, &marked).await.unwrap().request.unwrap().stdin_private);
    let choices = "SELECT group_concat(trusted_only) FROM (SELECT trusted_only FROM proofs ORDER BY number)";
    let found: String = database(folder.path()).query_row(choices, [], |row| row.get(0)).unwrap();
    assert_eq!(found, "1,0,1");
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn a_service_with_tokens_shows_no_program_without_a_signature() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    client.get_program(PROGRAM).await.unwrap();
    // All signers have the same tenant, and the token has another one.
    let new = NewApiToken {
        name: "ci".parse().unwrap(),
        tenant: "team".parse().unwrap(),
        roles: "read".parse().unwrap(),
        valid: Duration::from_secs(3600),
    };
    TokenStore::open(&folder.path().join("state")).unwrap().create(&new).unwrap();
    assert_eq!(refusal(client.get_program(PROGRAM).await).0, Code::NotFound);
    // The client then registers the program again.
    client.register(PROGRAM).await.unwrap();
    client.request_proof(&client.body(PROGRAM, 1).await.unwrap()).await.unwrap();
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn refused_uploads_of_a_signer_count_for_the_quota_of_the_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let quota = TenantQuota { max_bytes: Some(10), ..TenantQuota::default() };
    TokenStore::open(&folder.path().join("state")).unwrap().set_quota(&"default".parse().unwrap(), &quota).unwrap();
    let client = hosted.client(1);
    let cases: [(&[u8], StatusCode); 2] = [
        (b"bad input with more bytes than the quota", StatusCode::UNPROCESSABLE_ENTITY),
        (b"small", StatusCode::TOO_MANY_REQUESTS),
    ];
    for (content, expected) in cases {
        let url = client.create_artifact(ArtifactType::Stdin).await.unwrap().artifact_presigned_url;
        assert_eq!(client.put(&url, compressed(content)).await, expected);
    }
    hosted.service.shutdown().await;
}

/// Checks that the audit log has these lines about the client, in this order, and returns their objects. A line is a
/// method, a path and a status.
#[track_caller]
fn check_audit_log(folder: &Path, client: &SdkClient, expected: &[(&str, &str, u16)]) -> Vec<Option<String>> {
    let log = fs::read_to_string(folder.join("state/audit.log")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert_eq!(line["token"], format!("(signer {})", client.address_text()));
        assert_eq!((&line["tenant"], &line["from"]), (&"default".into(), &"127.0.0.1".into()), "{line}");
    }
    let text = |line: &serde_json::Value, field: &str| line[field].as_str().map(ToOwned::to_owned);
    let found: Vec<_> =
        lines.iter().map(|line| (text(line, "method"), text(line, "path"), line["status"].as_u64())).collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(method, path, status)| (Some((*method).to_owned()), Some((*path).to_owned()), Some(u64::from(*status))))
        .collect();
    assert_eq!(found, expected, "{log}");
    lines.iter().map(|line| text(line, "object")).collect()
}

#[tokio::test]
async fn the_audit_log_names_the_signer_of_each_change() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let body = client.body(PROGRAM, 1).await.unwrap();
    client.request_proof(&body).await.unwrap();
    let upload = ("PUT", "/hosted/v1/files", 200);
    let call = |name| ("POST", name, 200);
    let expected =
        [upload, call("/network.ProverNetwork/CreateProgram"), upload, call("/network.ProverNetwork/RequestProof")];
    let objects = check_audit_log(folder.path(), &client, &expected);
    let proof = hosted.service.proof(objects[3].as_ref().unwrap()).await.unwrap();
    assert_eq!(objects[..3], [proof.program.clone(), proof.program, proof.input].map(Some));
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn the_audit_log_names_the_signer_of_a_refused_call() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.create_artifact(ArtifactType::Proof).await.unwrap_err();
    let url = client.create_artifact(ArtifactType::Stdin).await.unwrap().artifact_presigned_url;
    assert_eq!(client.put(&url, b"not compressed".to_vec()).await, StatusCode::UNPROCESSABLE_ENTITY);
    let unknown = client.create_program(PROGRAM, vec![7; 32]).await;
    assert!(unknown.is_err(), "{unknown:?}");
    let expected = [
        ("POST", "/artifact.ArtifactStore/CreateArtifact", 400),
        ("PUT", "/hosted/v1/files", 422),
        ("PUT", "/hosted/v1/files", 200),
        ("POST", "/network.ProverNetwork/CreateProgram", 400),
    ];
    check_audit_log(folder.path(), &client, &expected);
    hosted.service.shutdown().await;
}
