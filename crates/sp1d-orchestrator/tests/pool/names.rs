//! Names of the worker list that stand for several workers, for other workers every day, or that are resolved slowly.

use super::*;
use futures::future::BoxFuture;
use sp1d_orchestrator::AddressResolver;
use sp1d_protocol::Address;
use std::io;
use tokio::sync::Semaphore;

/// A name server whose replies the test chooses.
#[derive(Debug)]
struct FakeResolver {
    reply: Mutex<Vec<SocketAddr>>,
    delay: Duration,
}

impl FakeResolver {
    fn new(reply: &[SocketAddr], delay: Duration) -> Arc<Self> {
        Arc::new(Self { reply: Mutex::new(reply.to_vec()), delay })
    }

    fn set(&self, reply: &[SocketAddr]) {
        *self.reply.lock().unwrap() = reply.to_vec();
    }
}

impl AddressResolver for FakeResolver {
    fn resolve<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async {
            tokio::time::sleep(self.delay).await;
            let found = self.reply.lock().unwrap().clone();
            if found.is_empty() { Err(io::Error::other("no such name")) } else { Ok(found) }
        })
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(50)
    }
}

/// Workers with one port on different addresses of the loopback interface, as the machines of a service have.
async fn workers(names: &[&str], engine: impl Fn() -> Arc<dyn sp1d_worker::ProvingEngine>) -> Vec<RunningWorker> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut workers = Vec::new();
    for (name, last) in names.iter().zip(1..) {
        let address = SocketAddr::from(([127, 0, 0, last], port));
        let state = sp1d_testing::ready(engine());
        workers.push(RunningWorker::start(name, state, |settings| settings.listen = address.into()).await);
    }
    workers
}

/// Starts an orchestrator whose list has one name.
fn start(resolver: Arc<FakeResolver>) -> Orchestrator {
    let mut settings = settings();
    settings.resolver = resolver;
    let orchestrator = Orchestrator::start(settings, None, None);
    orchestrator.set_list(&WorkerList(vec!["workers.example:8081".parse().unwrap()]));
    orchestrator
}

/// Waits until exactly the workers with these names are connected and ready.
async fn expect(orchestrator: &Orchestrator, names: &[&str]) {
    let is_expected = |workers: &[WorkerInfo]| {
        let mut found: Vec<_> =
            workers.iter().filter(|worker| worker.has_loaded_prover).map(|worker| &worker.name).collect();
        found.sort();
        found.iter().map(|name| name.as_str()).eq(names.iter().copied())
    };
    wait_for_workers(orchestrator, is_expected).await;
}

#[tokio::test]
async fn a_name_with_several_addresses_is_several_workers_and_all_prove() {
    let workers = workers(&["one", "three", "two"], || slow(Duration::from_millis(20))).await;
    let addresses: Vec<SocketAddr> = workers.iter().map(|worker| worker.address).collect();
    let orchestrator = start(FakeResolver::new(&addresses, Duration::ZERO));
    expect(&orchestrator, &["one", "three", "two"]).await;
    let proven = check_proven(orchestrator, 18).await;
    assert_eq!(proven.workers.len(), 3, "{:?}", proven.workers);
}

#[tokio::test]
async fn the_workers_of_a_name_follow_its_addresses() {
    let workers = workers(&["one", "two"], FakeEngine::honest).await;
    let [one, two] = [workers[0].address, workers[1].address];
    let resolver = FakeResolver::new(&[one], Duration::ZERO);
    let orchestrator = start(resolver.clone());
    expect(&orchestrator, &["one"]).await;
    resolver.set(&[one, two]);
    expect(&orchestrator, &["one", "two"]).await;
    resolver.set(&[two]);
    expect(&orchestrator, &["two"]).await;
    assert!(orchestrator.disconnected_workers().is_empty(), "{:?}", orchestrator.disconnected_workers());
    // The name server fails, which says nothing about the worker.
    resolver.set(&[]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    expect(&orchestrator, &["two"]).await;
    check_proven(orchestrator, 3).await;
}

#[tokio::test]
async fn a_forgotten_worker_of_a_name_is_not_called_again() {
    let workers = workers(&["one", "two"], FakeEngine::honest).await;
    let addresses: Vec<SocketAddr> = workers.iter().map(|worker| worker.address).collect();
    let orchestrator = start(FakeResolver::new(&addresses, Duration::ZERO));
    expect(&orchestrator, &["one", "two"]).await;
    orchestrator.forget("one").unwrap();
    expect(&orchestrator, &["two"]).await;
    // An orchestrator calls a worker again after less time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    expect(&orchestrator, &["two"]).await;
    assert!(orchestrator.disconnected_workers().is_empty(), "{:?}", orchestrator.disconnected_workers());
    check_proven(orchestrator, 3).await;
}

#[tokio::test]
async fn a_worker_that_the_name_no_longer_has_finishes_its_shard() {
    let (started, finish) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let engine = || {
        let (started, finish) = (started.clone(), finish.clone());
        FakeEngine::doing(move |assignment, io| {
            let (started, finish) = (started.clone(), finish.clone());
            async move {
                started.add_permits(1);
                finish.acquire().await.unwrap().forget();
                do_honestly(&assignment, &*io).await
            }
        })
    };
    let workers = workers(&["one", "two"], engine).await;
    let [one, two] = [workers[0].address, workers[1].address];
    let resolver = FakeResolver::new(&[one, two], Duration::ZERO);
    let orchestrator = start(resolver.clone());
    expect(&orchestrator, &["one", "two"]).await;
    let removing = async {
        let _both = started.acquire_many(2).await.unwrap();
        resolver.set(&[two]);
        let is_draining = |workers: &[WorkerInfo]| workers.iter().any(|worker| worker.name == "one" && worker.draining);
        wait_for_workers(&orchestrator, is_draining).await;
        finish.add_permits(2);
        expect(&orchestrator, &["two"]).await;
    };
    let (proven, ()) = tokio::join!(prove(&orchestrator, request(2)), removing);
    let proven = proven.unwrap();
    assert_eq!(proven.output.proof, expected(2));
    assert_eq!(proven.workers.len(), 2, "{:?}", proven.workers);
    orchestrator.shutdown().await;
}

/// Both addresses lead to one machine. The second connection must not wait for the first one for ever. For another
/// orchestrator with the same name, the machine is not one that it already uses.
#[tokio::test]
async fn a_machine_with_two_addresses_is_used_once() {
    let listen: SocketAddr = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap();
    let state = sp1d_testing::ready(FakeEngine::honest());
    let worker = RunningWorker::start("both", state, |settings| settings.listen = listen.into()).await;
    let [one, two] = [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], listen.port())));
    let orchestrator = start(FakeResolver::new(&[one, two], Duration::ZERO));
    expect(&orchestrator, &["both"]).await;
    let other = start(FakeResolver::new(&[one, two], Duration::ZERO));
    let deadline = Instant::now() + PATIENCE;
    while other.disconnected_workers().len() < 2 {
        assert!(Instant::now() < deadline, "{:?}", other.disconnected_workers());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reasons: Vec<String> = other.disconnected_workers().into_iter().map(|worker| worker.reason).collect();
    assert!(reasons.iter().all(|reason| reason.ends_with("; no proof needs it now")), "{reasons:?}");
    other.shutdown().await;
    check_proven(orchestrator, 6).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_slow_name_server_only_delays_the_first_connection() {
    let workers = workers(&["one", "two"], FakeEngine::honest).await;
    let addresses: Vec<SocketAddr> = workers.iter().map(|worker| worker.address).collect();
    let orchestrator = start(FakeResolver::new(&addresses, Duration::from_secs(5)));
    let since = Instant::now();
    expect(&orchestrator, &["one", "two"]).await;
    assert!(since.elapsed() >= Duration::from_secs(5), "{:?}", since.elapsed());
    check_proven(orchestrator, 4).await;
}
