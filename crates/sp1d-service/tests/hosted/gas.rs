//! Gas limits of requests.

use crate::{
    client::{SdkClient, network},
    harness::{Hosted, PATIENCE, PROGRAM},
};
use sp1d_testing::{FakeEngine, GAS_PER_SHARD, RunningWorker};
use std::collections::BTreeSet;
use tokio::time::timeout;

const SHARDS: u64 = 3;
const GAS: u64 = SHARDS * GAS_PER_SHARD;

/// How a request ended: the numbers of both states, of the error and of the cause, and the gas.
#[derive(Debug, PartialEq, Eq)]
struct GasEnd {
    fulfillment: i32,
    execution: i32,
    error: i32,
    cause: i32,
    gas_used: Option<u64>,
}

/// Requests a proof with this gas limit, and checks how the request ends. Returns its id.
async fn check(client: &SdkClient, deadline: u64, gas_limit: u64, shown_limit: u64, expected: GasEnd) -> Vec<u8> {
    let body = client.body(PROGRAM, SHARDS).await.unwrap();
    let body = network::RequestProofRequestBody { deadline, gas_limit, ..body };
    let id = client.request_proof(&body).await.unwrap();
    let status = timeout(PATIENCE, client.ended(&id)).await.unwrap();
    let asked = network::GetProofRequestDetailsRequest { request_id: id.clone() };
    let details: network::GetProofRequestDetailsResponse =
        client.call("/network.ProverNetwork/GetProofRequestDetails", asked).await.unwrap();
    let details = details.request.unwrap();
    assert_eq!(details.gas_limit, shown_limit);
    let end = GasEnd {
        fulfillment: status.fulfillment_status,
        execution: status.execution_status,
        error: details.error,
        cause: details.execute_fail_cause,
        gas_used: details.gas_used,
    };
    assert_eq!(end, expected, "gas limit {gas_limit}");
    id
}

#[tokio::test]
async fn program_may_use_exactly_its_gas_limit() {
    let folder = tempfile::tempdir().unwrap();
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let deadline = client.body(PROGRAM, SHARDS).await.unwrap().deadline;
    let done = |gas_used| GasEnd { fulfillment: 3, execution: 2, error: 0, cause: 0, gas_used };
    let exceeded = || GasEnd { fulfillment: 4, execution: 3, error: 1, cause: 9, gas_used: None };
    let mut ids = BTreeSet::new();
    ids.insert(check(&client, deadline, GAS, GAS, done(Some(GAS))).await);
    ids.insert(check(&client, deadline, GAS - 1, GAS - 1, exceeded()).await);
    ids.insert(check(&client, deadline, 1, 1, exceeded()).await);
    assert_eq!(ids.len(), 3, "requests that differ only in their gas limit are different requests");
    // Without a limit, gas is not counted.
    let unlimited = check(&client, deadline, u64::MAX, u64::MAX, done(None)).await;
    assert_eq!(check(&client, deadline, 0, u64::MAX, done(None)).await, unlimited);
    hosted.service.shutdown().await;
}
