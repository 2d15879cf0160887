//! Many clients at the same time.

use crate::{
    client::{SdkClient, network},
    harness::{GatedEngine, Hosted, PATIENCE, PROGRAM, database, received},
};
use futures::future::{join, join_all};
use sp1d_model::Moment;
use sp1d_testing::{FakeEngine, RunningWorker};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{sync::Barrier, time::timeout};

/// Time in which 99 of 100 held calls return after the end of their proof, on an idle machine.
const EXPECTED_DELAY: Duration = Duration::from_millis(500);

/// Time in which 99 of 100 status calls of 200 clients return, on an idle machine. The clients send them at once.
const EXPECTED_LATENCY: Duration = Duration::from_millis(100);

/// The last status call of a client, which returned the end of its proof.
struct LastStatusCall {
    sent: Moment,
    returned: Moment,
}

/// Waits for a request with status calls, as sp1-sdk does. All clients have an open call, or its response, when `open`
/// lets them continue.
async fn wait(client: &SdkClient, id: &[u8], open: &Barrier) -> LastStatusCall {
    let mut sent = Moment::now();
    let mut call = Box::pin(client.status(id));
    let early = received(client, call.as_mut()).await;
    open.wait().await;
    let mut status = match early {
        Some(status) => status,
        None => call.await,
    };
    while status.as_ref().unwrap().fulfillment_status < 3 {
        sent = Moment::now();
        status = client.status(id).await;
    }
    assert_eq!(status.unwrap().fulfillment_status, 3);
    LastStatusCall { sent, returned: Moment::now() }
}

/// Returns when each request ended, by its id.
fn ends(state: &Path) -> BTreeMap<String, Moment> {
    let database = database(state);
    let mut select = database
        .prepare("SELECT hosted_requests.id, ended FROM hosted_requests JOIN proofs ON proofs.id = proof")
        .unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, Moment(row.get(1)?)))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Returns the value that 99 of 100 values do not exceed.
fn p99(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[(values.len() * 99).div_ceil(100) - 1]
}

/// Prints `measured`, which 99 of 100 values of `what` do not exceed. Allows ten times the `expected` time, because
/// other programs may use the processor.
#[expect(clippy::print_stderr, reason = "the figures are worth seeing")]
fn check_measured(what: &str, measured: Duration, expected: Duration) {
    eprintln!("{what}: 99 of 100 take at most {measured:?}; expected on an idle machine: {expected:?}");
    assert!(measured < 10 * expected, "{what}: {measured:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_at_once_wait_no_longer_than_needed() {
    const CLIENTS: u32 = 200;
    const RUNNING: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let gate = GatedEngine::new();
    let worker = RunningWorker::ready("one", gate.engine.clone()).await;
    let hosted = Hosted::start(folder.path(), &[worker.address], |settings| {
        settings.http.connections_per_client = settings.http.connections;
        settings.parallel_proofs = RUNNING;
        settings.max_result_cache_bytes = 0;
    })
    .await;
    hosted.client(0).register(PROGRAM).await.unwrap();
    let clients: Vec<_> = (1..=CLIENTS).map(|number| hosted.client(number)).collect();
    let requests = clients.iter().map(|client| async move {
        let body = client.body(PROGRAM, 1).await.unwrap();
        client.request_proof(&body).await.unwrap()
    });
    let ids = timeout(PATIENCE * 6, join_all(requests)).await.unwrap();

    // No proof can end before all clients wait.
    let open = Barrier::new(clients.len() + 1);
    let waiting = join_all(clients.iter().zip(&ids).map(|(client, id)| wait(client, id, &open)));
    let permit = async {
        open.wait().await;
        gate.permits.add_permits(10 * clients.len());
    };
    let (calls, ()) = timeout(PATIENCE * 6, join(waiting, permit)).await.unwrap();
    let ends = ends(folder.path());
    let delays = ids.iter().zip(&calls).filter_map(|(id, call)| {
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let ended = ends[&id];
        let delay = u64::try_from(call.returned.0 - ended.0).unwrap_or(0);
        // The other calls were sent after the end, and had nothing to wait for.
        (call.sent <= ended).then(|| Duration::from_millis(delay))
    });
    let delays: Vec<_> = delays.collect();
    assert!(delays.len() >= RUNNING, "only {} calls were open when their proof ended", delays.len());
    // A call that does not notice the end is held for up to 50 s.
    check_measured("held calls after the end of their proofs", p99(delays), EXPECTED_DELAY);

    let statuses = clients.iter().zip(&ids).map(|(client, id)| async move {
        let started = Instant::now();
        client.status(id).await.unwrap();
        started.elapsed()
    });
    let latency = p99(join_all(statuses).await);
    check_measured("status calls", latency, EXPECTED_LATENCY);
    hosted.service.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requester_with_few_requests_does_not_wait_for_one_with_many() {
    const MANY: u64 = 190;
    const FEW: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let hosted = Hosted::start(folder.path(), &[], |settings| {
        settings.parallel_proofs = 1;
        settings.max_result_cache_bytes = 0;
    })
    .await;
    let (many, few) = (hosted.client(1), hosted.client(2));
    many.register(PROGRAM).await.unwrap();
    // No worker is connected, so no proof ends before all requests are in the queue.
    let mut ids = Vec::new();
    for (client, count) in [(&many, MANY), (&few, FEW)] {
        let first = client.body(PROGRAM, 1).await.unwrap();
        for number in 0..count {
            let nonce = client.nonce().await.unwrap();
            // Another deadline makes another request.
            let deadline = first.deadline + number;
            let body = network::RequestProofRequestBody { nonce, deadline, ..first.clone() };
            ids.push(client.request_proof(&body).await.unwrap());
        }
    }
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    hosted.connect(&[worker.address]).await;
    let all_ended = async {
        for id in &ids {
            assert_eq!(many.ended(id).await.fulfillment_status, 3);
        }
    };
    timeout(PATIENCE * 6, all_ended).await.unwrap();

    let database = database(folder.path());
    let mut select = database.prepare("SELECT requester FROM proofs ORDER BY started, ended, number").unwrap();
    let order: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let few = few.address_text();
    let places: Vec<usize> = (0..order.len()).filter(|at| order[*at] == few).collect();
    assert_eq!((order.len(), places.len()), (200, 10));
    // The requesters take turns. Two starts within a millisecond may change places.
    let (first, last) = (places[0], places[9]);
    assert!(first <= 3 && (15..25).contains(&last), "{places:?}");
    hosted.service.shutdown().await;
}
