//! Workers that join by themselves, and peers that only use up the port.

use super::*;
use sp1d_orchestrator::JoinSettings;
use sp1d_protocol::{PreambleError, Role, dial};
use sp1d_worker::{JoiningWorker, WorkerStop};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

/// An orchestrator on whose port workers may join.
struct JoinTest {
    orchestrator: Orchestrator,
    address: SocketAddr,
}

/// A worker that joins.
struct Joining {
    stop: CancellationToken,
    serving: JoinHandle<Result<(), sp1d_worker::ServeError>>,
}

impl JoinTest {
    async fn start(from: &str, max_workers: usize) -> Self {
        let orchestrator = Orchestrator::start(settings(), None, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = JoinSettings { max_workers, ..JoinSettings::new(from.parse().unwrap()) };
        orchestrator.serve_joining(listener, settings);
        Self { orchestrator, address }
    }

    fn join(&self, name: &str) -> Joining {
        let worker = JoiningWorker::new(self.address.into(), sp1d_testing::introduction(name));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(worker.serve(sp1d_testing::ready(FakeEngine::honest()), stop.clone()));
        Joining { stop, serving }
    }

    /// Connects from the local address `from`.
    async fn connect(&self, from: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Waits until exactly the workers with these names are connected and ready.
    async fn expect(&self, names: &[&str]) {
        let is_expected = |workers: &[WorkerInfo]| {
            let mut found: Vec<_> =
                workers.iter().filter(|worker| worker.has_loaded_prover).map(|worker| &worker.name).collect();
            found.sort();
            found.iter().map(|name| name.as_str()).eq(names.iter().copied())
        };
        wait_for_workers(&self.orchestrator, is_expected).await;
    }
}

impl Joining {
    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn silent_strangers_do_not_lock_out_a_worker_that_joins() {
    let test = JoinTest::start("127.0.0.1", 2).await;
    let mut strangers = Vec::new();
    for last in 0..40 {
        strangers.push(test.connect([127, 0, 1, last]).await);
    }
    let worker = test.join("one");
    test.expect(&["one"]).await;
    drop(strangers);
    worker.stop().await;
    test.orchestrator.shutdown().await;
}

#[tokio::test]
async fn silent_connections_of_an_allowed_address_do_not_lock_out_its_workers() {
    let test = JoinTest::start("127.0.0.0/8", 2).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(test.connect([127, 0, 0, 1]).await);
    }
    let worker = test.join("one");
    test.expect(&["one"]).await;
    worker.stop().await;
    test.orchestrator.shutdown().await;
}

#[tokio::test]
async fn workers_of_one_address_have_at_most_half_of_the_places() {
    let test = JoinTest::start("127.0.0.0/8", 4).await;
    let workers = ["one", "two"].map(|name| test.join(name));
    test.expect(&["one", "two"]).await;
    let refused = dial(&mut test.connect([127, 0, 0, 1]).await, Role::Worker).await;
    assert!(matches!(&refused, Err(PreambleError::Refused(text)) if text.contains("2 of one address")), "{refused:?}");
    // Another address still has a place.
    assert!(dial(&mut test.connect([127, 0, 0, 2]).await, Role::Worker).await.is_ok());
    let [one, two] = workers;
    one.stop().await;
    test.expect(&["two"]).await;
    let third = test.join("three");
    test.expect(&["three", "two"]).await;
    two.stop().await;
    third.stop().await;
    test.orchestrator.shutdown().await;
}

#[tokio::test]
async fn a_name_with_control_characters_is_shown_without_them() {
    let test = JoinTest::start("127.0.0.1", 2).await;
    let worker = test.join("\u{1b}[31mred\u{202e}\n");
    test.expect(&["[31mred"]).await;
    worker.stop().await;
    test.orchestrator.shutdown().await;
}

/// A proof runs on one worker while another one joins and leaves again and again.
#[tokio::test]
async fn a_worker_that_comes_and_leaves_does_not_fill_the_history_of_a_proof() {
    let test = JoinTest::start("127.0.0.1", 8).await;
    let (started, engine) = stuck();
    let steady = RunningWorker::ready("steady", engine).await;
    test.orchestrator.set_list(&list(&[steady.address]));
    test.expect(&["steady"]).await;
    let (progress, mut events) = broadcast::channel(1024);
    let cancel = CancellationToken::new();
    let proving = test.orchestrator.prove(request(1), Arc::new(FakeRunner::default()), progress, cancel.clone());
    let (outcome, ()) = tokio::join!(proving, async {
        started.notified().await;
        for _ in 0..30 {
            let worker = test.join("flapping");
            test.expect(&["flapping", "steady"]).await;
            worker.stop().await;
            test.expect(&["steady"]).await;
        }
        cancel.cancel();
    });
    assert!(matches!(outcome, Err(ProofFailure::Cancelled)));
    let mut written = 0;
    while let Ok(event) = events.try_recv() {
        let of_flapping = match event {
            ProofEvent::WorkerReady { worker } | ProofEvent::WorkerLost { worker, .. } => worker == "flapping",
            _ => false,
        };
        written += u32::from(of_flapping);
    }
    // It came 30 times and left 30 times.
    assert_eq!(written, 40);
    test.orchestrator.shutdown().await;
    steady.stop().await;
}

#[tokio::test]
async fn a_joined_worker_that_leaves_finishes_its_task_and_gives_back_the_others() {
    let test = JoinTest::start("127.0.0.1", 8).await;
    let (started, finish, count) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let engine = FakeEngine::doing({
        let (started, finish, count) = (started.clone(), finish.clone(), count.clone());
        move |assignment, io| {
            let (started, finish) = (started.clone(), finish.clone());
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                started.notify_one();
                finish.notified().await;
                do_honestly(&assignment, &*io).await
            }
        }
    });
    let worker = JoiningWorker::new(test.address.into(), sp1d_testing::introduction("leaves"));
    let stop = WorkerStop::new();
    let serving = tokio::spawn(worker.serve(sp1d_testing::ready(engine), stop.clone()));
    test.expect(&["leaves"]).await;
    let leaving = async {
        started.notified().await;
        tokio::spawn(async move { stop.leave_within(PATIENCE).await });
        wait_for_workers(&test.orchestrator, |workers| workers.iter().all(|worker| worker.draining)).await;
        let stays = test.join("stays");
        let is_done = |worker: &WorkerInfo| worker.name == "stays" && worker.done >= 2;
        wait_for_workers(&test.orchestrator, |workers| workers.iter().any(is_done)).await;
        finish.notify_one();
        serving.await.unwrap().unwrap();
        stays
    };
    let (proven, stays) = tokio::join!(prove(&test.orchestrator, request(3)), leaving);
    assert_eq!(proven.unwrap().output.proof, expected(3));
    assert_eq!(count.load(Ordering::Relaxed), 1, "the leaving worker started another task");
    // It is not expected back.
    assert!(test.orchestrator.disconnected_workers().is_empty());
    stays.stop().await;
    test.orchestrator.shutdown().await;
}
