//! The modes of proofs.

use crate::{
    client::{SdkClient, network},
    harness::{Hosted, PATIENCE, PROGRAM, check_refused},
};
use reqwest::StatusCode;
use sp1d_model::TaskKind;
use sp1d_testing::{FakeEngine, RunningWorker, expected_proof, ready};
use sp1d_worker::Capabilities;
use std::collections::BTreeSet;
use tokio::time::timeout;
use tonic::Code;

/// The numbers of the modes core, compressed, PLONK and Groth16.
const MODES: [i32; 4] = [1, 2, 3, 4];

async fn body(client: &SdkClient, mode: i32) -> network::RequestProofRequestBody {
    network::RequestProofRequestBody { mode, ..client.body(PROGRAM, 3).await.unwrap() }
}

#[tokio::test]
async fn every_mode_is_proven_by_a_worker_that_supports_it() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let deadline = body(&client, 1).await.deadline;
    let mut ids = BTreeSet::new();
    for mode in MODES {
        let body = network::RequestProofRequestBody { deadline, ..body(&client, mode).await };
        let id = client.request_proof(&body).await.unwrap();
        let status = timeout(PATIENCE, client.ended(&id)).await.unwrap();
        assert_eq!(status.fulfillment_status, 3, "mode {mode}");
        let fetched = client.fetch(&status.proof_uri.unwrap()).await;
        assert_eq!(fetched, (StatusCode::OK, expected_proof(3, 8)), "mode {mode}");
        let asked = network::GetProofRequestDetailsRequest { request_id: id.clone() };
        let details: network::GetProofRequestDetailsResponse =
            client.call("/network.ProverNetwork/GetProofRequestDetails", asked).await.unwrap();
        assert_eq!(details.request.unwrap().mode, mode);
        ids.insert(id);
    }
    assert_eq!(ids.len(), MODES.len(), "requests that differ only in their mode are different requests");
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn mode_is_refused_while_no_worker_supports_it() {
    let folder = tempfile::tempdir().unwrap();
    let limited = RunningWorker::start("limited", ready(FakeEngine::honest()), |settings| {
        settings.introduction.capabilities = Capabilities::all()
            .without(TaskKind::RecursionReduce, "no key")
            .without(TaskKind::PlonkWrap, "no circuit")
            .without(TaskKind::Groth16Wrap, "no circuit");
    })
    .await;
    let hosted = Hosted::start(folder.path(), &[limited.address], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    client.request_proof(&body(&client, 1).await).await.unwrap();
    for (mode, name) in [(2, "compressed"), (3, "plonk"), (4, "groth16")] {
        let refused = client.request_proof(&body(&client, mode).await).await;
        let part = format!("no worker can make a proof of the mode {name}: none supports");
        check_refused(refused, Code::FailedPrecondition, &part);
    }
    // Together, the two workers support all tasks of the mode compressed, and no worker supports those of PLONK.
    let other = RunningWorker::start("other", ready(FakeEngine::honest()), |settings| {
        settings.introduction.capabilities =
            Capabilities::all().without(TaskKind::NormalizeShard, "no key").without(TaskKind::PlonkWrap, "no circuit");
    })
    .await;
    hosted.connect(&[limited.address, other.address]).await;
    for mode in [2, 4] {
        let id = client.request_proof(&body(&client, mode).await).await.unwrap();
        assert_eq!(timeout(PATIENCE, client.ended(&id)).await.unwrap().fulfillment_status, 3);
    }
    let refused = client.request_proof(&body(&client, 3).await).await;
    check_refused(refused, Code::FailedPrecondition, TaskKind::PlonkWrap.name());
    hosted.service.shutdown().await;
}
