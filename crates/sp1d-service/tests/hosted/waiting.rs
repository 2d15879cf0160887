//! Status calls that are held open until the state of a proof changes.

use crate::harness::{GatedEngine, Hosted, PATIENCE, PROGRAM, received};
use sp1d_testing::RunningWorker;
use std::pin::pin;
use tokio::time::timeout;

/// A call that returned only after the longest time of a held call would take longer than [`PATIENCE`].
#[tokio::test]
async fn held_status_call_returns_when_the_proof_ends() {
    let folder = tempfile::tempdir().unwrap();
    let gate = GatedEngine::new();
    let worker = RunningWorker::ready("one", gate.engine.clone()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |_| {}).await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let id = client.request_proof(&client.body(PROGRAM, 1).await.unwrap()).await.unwrap();
    // The proof runs, so its state changes only once more.
    timeout(PATIENCE, gate.started.notified()).await.unwrap();
    let mut call = pin!(client.status(&id));
    assert!(received(&client, call.as_mut()).await.is_none());
    gate.permits.add_permits(1);
    let status = timeout(PATIENCE, call).await.unwrap().unwrap();
    assert_eq!((status.fulfillment_status, status.execution_status), (3, 2));
    hosted.service.shutdown().await;
}

#[tokio::test]
async fn held_status_call_returns_when_the_proof_starts() {
    let folder = tempfile::tempdir().unwrap();
    let gate = GatedEngine::new();
    let worker = RunningWorker::ready("one", gate.engine.clone()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |settings| {
        settings.parallel_proofs = 1;
        // Otherwise the second proof would need no attempt.
        settings.max_result_cache_bytes = 0;
    })
    .await;
    let client = hosted.client(1);
    client.register(PROGRAM).await.unwrap();
    let first = client.request_proof(&client.body(PROGRAM, 1).await.unwrap()).await.unwrap();
    timeout(PATIENCE, gate.started.notified()).await.unwrap();
    let second = client.request_proof(&client.body(PROGRAM, 2).await.unwrap()).await.unwrap();
    let mut call = pin!(client.status(&second));
    assert!(received(&client, call.as_mut()).await.is_none());
    gate.permits.add_permits(1);
    let status = timeout(PATIENCE, call).await.unwrap().unwrap();
    assert_eq!(status.fulfillment_status, 2);
    assert_eq!(client.ended(&first).await.fulfillment_status, 3);
    hosted.service.shutdown().await;
}
