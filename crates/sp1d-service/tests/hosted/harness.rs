//! What all tests share: a running service, an engine that waits, and checks.

use crate::client::SdkClient;
use rusqlite::Connection;
use sp1d_service::{HostedSettings, HostedSigners, Service, ServiceSettings, serve_hosted};
use sp1d_testing::{FakeEngine, FakeRunner, do_honestly, fake_build};
use sp1d_worker::ProvingEngine;
use std::{fs, net::SocketAddr, path::Path, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
};
use tonic::{Code, Status};

/// Shorter than the time for which a status call is held open.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PROGRAM: &[u8] = b"program";

/// A running service with its interface for sp1-sdk.
pub(crate) struct Hosted {
    pub(crate) service: Service,
    pub(crate) signers: HostedSigners,
    pub(crate) url: String,
}

impl Hosted {
    /// Starts a service in the folder `state`. The file `signers` in it lists who may ask.
    pub(crate) async fn start(state: &Path, workers: &[SocketAddr], change: impl FnOnce(&mut ServiceSettings)) -> Self {
        let mut orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        orchestrator.heartbeat = Duration::from_millis(100);
        let mut settings = ServiceSettings::new(state.join("state"), orchestrator, "{}".into());
        settings.min_free_bytes = 0;
        change(&mut settings);
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let path = state.join("signers");
        if !path.exists() {
            fs::write(&path, "any\n").unwrap();
        }
        let signers = HostedSigners::read(path).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = HostedSettings { signers: signers.clone(), url: None };
        let hosted = Self { service, signers, url };
        hosted.connect(workers).await;
        tokio::spawn(serve_hosted(hosted.service.clone(), listener, settings));
        hosted
    }

    /// Makes `workers` the workers of the service, and waits until they are connected.
    pub(crate) async fn connect(&self, workers: &[SocketAddr]) {
        let list = sp1d_orchestrator::WorkerList(workers.iter().map(|address| (*address).into()).collect());
        for (_, reached) in self.service.orchestrator().set_list(&list) {
            reached.await.unwrap().unwrap();
        }
    }

    pub(crate) fn client(&self, number: u32) -> SdkClient {
        SdkClient::new(&self.url, number)
    }
}

/// Opens the database of the service in the folder `state`, as another program would.
pub(crate) fn database(state: &Path) -> Connection {
    Connection::open(state.join("state/service.db")).unwrap()
}

/// An engine that proves each shard only when the test permits it.
pub(crate) struct GatedEngine {
    /// Each permit lets one attempt continue.
    pub(crate) permits: Arc<Semaphore>,
    /// Notified when an attempt starts.
    pub(crate) started: Arc<Notify>,
    pub(crate) engine: Arc<dyn ProvingEngine>,
}

impl GatedEngine {
    pub(crate) fn new() -> Self {
        let (permits, started) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
        let (gate, notice) = (permits.clone(), started.clone());
        let engine = FakeEngine::doing(move |assignment, io| {
            let (gate, notice) = (gate.clone(), notice.clone());
            async move {
                notice.notify_one();
                gate.acquire().await.expect("the semaphore is never closed").forget();
                do_honestly(&assignment, &*io).await
            }
        });
        Self { permits, started, engine }
    }
}

/// Polls `call` until the service has received it: a later call on the same connection has its response. Returns the
/// response of `call` if it arrives first. [`PROGRAM`] must be registered.
pub(crate) async fn received<T>(client: &SdkClient, call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    tokio::select! {
        biased;
        response = call => Some(response),
        later = client.get_program(PROGRAM) => {
            later.unwrap();
            None
        }
    }
}

#[track_caller]
pub(crate) fn check_refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, part: &str) {
    let status = outcome.expect_err("the call is refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(part), "`{part}` is not in {status:?}");
}
