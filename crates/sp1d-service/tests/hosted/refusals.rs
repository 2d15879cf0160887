//! Requests that the service refuses, and the reasons that the client gets.

use crate::{
    client::{
        artifact::{ArtifactType, CreateArtifactRequest, CreateArtifactResponse},
        network, serialized, vk_hash,
    },
    harness::{Hosted, PROGRAM, check_refused},
};
use tonic::Code;

const REQUEST_PROOF: &str = "/network.ProverNetwork/RequestProof";

/// Changes the body of a request.
type Change<'a> = &'a dyn Fn(&mut network::RequestProofRequestBody);

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
    let cases: [(Change<'_>, &str); 14] = [
        (&|body| body.version = "sp1-v1".to_owned(), "sp1-fake"),
        (&|body| body.version = String::new(), "sp1-fake"),
        (&|body| body.strategy = 2, "RESERVED"),
        (&|body| body.strategy = 3, "AUCTION"),
        (&|body| body.strategy = 9, "unknown strategy 9"),
        (&|body| body.mode = 0, "no proof mode"),
        (&|body| body.mode = 9, "unknown proof mode 9"),
        (&|body| body.vk_hash = vec![1; 31], "vk_hash"),
        (&|body| body.cycle_limit = 0, "cycle_limit 0"),
        (&|body| body.min_auction_period = 5, "min_auction_period 5"),
        (&|body| body.whitelist = vec![vec![0; 20]], "whitelist"),
        (&|body| body.deadline = 5, "has passed"),
        (&|body| body.deadline = u64::MAX, "more than a year"),
        (&|body| body.stdin_uri = "elsewhere".to_owned(), "stdin_uri"),
    ];
    for (change, part) in cases {
        check_refused(client.request_proof(&changed(change)).await, Code::InvalidArgument, part);
    }

    for (format, part) in [(2, "JSON"), (9, "unknown format 9")] {
        let request = network::SignedRequest { format, ..client.signed(&good) };
        let refused: Result<network::RequestProofResponse, _> = client.call(REQUEST_PROOF, request).await;
        check_refused(refused, Code::InvalidArgument, part);
    }
    let mut request = client.signed(&good);
    // Field 100, which no version of sp1-sdk has.
    request.body.extend([0xa0, 0x06, 0x01]);
    request.signature = client.sign(&request.body, 27);
    let refused: Result<network::RequestProofResponse, _> = client.call(REQUEST_PROOF, request).await;
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
async fn bad_programs_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |_| {}).await;
    let client = hosted.client(1);
    let input = client.upload(ArtifactType::Stdin, b"input").await.unwrap();
    let missing = client.create_artifact(ArtifactType::Program).await.unwrap().artifact_uri;
    // The hash, the artifact, the code of the refusal and a part of its text.
    let cases = [
        (vec![1; 31], missing.as_str(), Code::InvalidArgument, "vk_hash"),
        (vec![0xff; 32], missing.as_str(), Code::InvalidArgument, "vk_hash"),
        (vk_hash(PROGRAM), "s3://elsewhere", Code::InvalidArgument, "program_uri `s3://elsewhere`"),
        (vk_hash(PROGRAM), input.as_str(), Code::InvalidArgument, "program_uri names a stdin, but a program is needed"),
        (vk_hash(PROGRAM), missing.as_str(), Code::NotFound, "program_uri names an artifact"),
    ];
    for (vk_hash, uri, code, part) in cases {
        let (nonce, program_uri) = (client.nonce().await.unwrap(), uri.to_owned());
        let body = network::CreateProgramRequestBody { nonce, vk_hash, vk: vec![1; 200], program_uri };
        let refused: Result<network::CreateProgramResponse, _> =
            client.call("/network.ProverNetwork/CreateProgram", client.signed(&body)).await;
        check_refused(refused, code, part);
    }
    let request = network::GetProgramRequest { vk_hash: vec![1; 33] };
    let refused: Result<network::GetProgramResponse, _> =
        client.call("/network.ProverNetwork/GetProgram", request).await;
    check_refused(refused, Code::InvalidArgument, "vk_hash");
    let request = network::GetNonceRequest { address: vec![1; 19] };
    let refused: Result<network::GetNonceResponse, _> = client.call("/network.ProverNetwork/GetNonce", request).await;
    check_refused(refused, Code::InvalidArgument, "19 bytes instead of 20");
    let request = CreateArtifactRequest { signature: client.sign(b"create_artifact", 54), artifact_type: 99 };
    let refused: Result<CreateArtifactResponse, _> =
        client.call("/artifact.ArtifactStore/CreateArtifact", request).await;
    check_refused(refused, Code::InvalidArgument, "unknown artifact type 99");
    hosted.service.shutdown().await;
}
