//! Who has signed a request, and how often it can be sent.

use crate::{
    client::{
        SdkClient,
        artifact::{ArtifactType, CreateArtifactRequest, CreateArtifactResponse},
        network, serialized, vk_hash,
    },
    harness::{Hosted, PROGRAM, check_refused},
};
use prost::Message;
use std::fs;
use tonic::{Code, Status};

async fn send(client: &SdkClient, request: network::SignedRequest) -> Result<network::RequestProofResponse, Status> {
    client.call("/network.ProverNetwork/RequestProof", request).await
}

#[tokio::test]
async fn damaged_signatures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let good = client.signed(&client.body(PROGRAM, 1).await.unwrap());
    let mut other_end = good.signature.clone();
    other_end[64] = 9;
    let mut too_long = good.signature.clone();
    too_long.push(27);
    let too_short = good.signature[..64].to_vec();
    for signature in [other_end, too_long, too_short, vec![0; 65], Vec::new()] {
        let length = signature.len();
        let refused = send(&client, network::SignedRequest { signature: signature.clone(), ..good.clone() }).await;
        check_refused(refused, Code::Unauthenticated, "the signature of the request is not valid");
        let request = CreateArtifactRequest { signature, artifact_type: ArtifactType::Stdin.into() };
        let refused: Result<CreateArtifactResponse, _> =
            client.call("/artifact.ArtifactStore/CreateArtifact", request).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated, "{length} bytes");
    }
    // Nothing of this has used the nonce.
    send(&client, good).await.unwrap();
    hosted.service.shutdown().await;
}

/// A valid signature of other bytes has a signer too: an address that is not on the list.
#[tokio::test]
async fn changed_request_does_not_count_as_that_of_its_signer() {
    let folder = tempfile::tempdir().unwrap();
    let listed = SdkClient::new("http://127.0.0.1:1", 1).address_text();
    fs::write(folder.path().join("signers"), listed).unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let body = client.body(PROGRAM, 1).await.unwrap();
    let good = client.signed(&body);
    let changed = network::RequestProofRequestBody { cycle_limit: 2, ..body.clone() }.encode_to_vec();
    let refused = send(&client, network::SignedRequest { body: changed, ..good.clone() }).await;
    check_refused(refused, Code::PermissionDenied, "may not ask this service for proofs, or it did not sign");
    // A valid signature of a signer that is not on the list.
    let stranger = hosted.client(2);
    check_refused(send(&stranger, stranger.signed(&body)).await, Code::PermissionDenied, &stranger.address_text());
    let request = CreateArtifactRequest { signature: client.sign(b"create_program", 54), artifact_type: 1 };
    let refused: Result<CreateArtifactResponse, _> =
        client.call("/artifact.ArtifactStore/CreateArtifact", request).await;
    check_refused(refused, Code::PermissionDenied, "may not ask");
    send(&client, good).await.unwrap();
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn copied_request_cannot_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let (client, other) = (hosted.client(1), hosted.client(2));
    let program_uri = client.upload(ArtifactType::Program, &serialized(PROGRAM)).await.unwrap();
    let nonce = client.nonce().await.unwrap();
    let body = network::CreateProgramRequestBody { nonce, vk_hash: vk_hash(PROGRAM), vk: vec![1; 200], program_uri };
    let registration = client.signed(&body);
    for repeated in [false, true] {
        let outcome: Result<network::CreateProgramResponse, _> =
            client.call("/network.ProverNetwork/CreateProgram", registration.clone()).await;
        if repeated {
            check_refused(outcome, Code::Aborted, "was used before");
        } else {
            outcome.unwrap();
        }
    }
    // The nonce of one call cannot be used in another one.
    let first = network::RequestProofRequestBody { nonce, ..client.body(PROGRAM, 1).await.unwrap() };
    check_refused(client.request_proof(&first).await, Code::Aborted, "was used before");

    let request = client.signed(&client.body(PROGRAM, 1).await.unwrap());
    send(&client, request.clone()).await.unwrap();
    // Over another connection, as a listener would send the copied bytes.
    check_refused(send(&other, request).await, Code::Aborted, "was used before");
    // Each signer has nonces of their own: no signer can use up the nonces of another.
    let theirs = network::RequestProofRequestBody { nonce, ..other.body(PROGRAM, 1).await.unwrap() };
    other.request_proof(&theirs).await.unwrap();
    hosted.service.shutdown().await;
}
