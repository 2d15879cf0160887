//! A service with its HTTP API, with fake workers and a fake runner.

#![allow(dead_code, reason = "no test uses all of it")]

use reqwest::{Client, StatusCode};
use serde_json::Value;
use sp1d_service::{NewProof, ProofSummary, Service, ServiceSettings, StartError, serve};
use sp1d_testing::{FakeRunner, fake_build, free_address};
use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, time::sleep};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a service with the state folder `state` in `folder`. `change` may change the settings.
pub(crate) async fn open(folder: &Path, change: impl FnOnce(&mut ServiceSettings)) -> Result<Service, StartError> {
    let mut orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
    orchestrator.heartbeat = Duration::from_millis(100);
    let mut settings = ServiceSettings::new(folder.join("state"), orchestrator, "{}".into());
    // The disk of a test machine may be nearly full.
    settings.min_free_bytes = 0;
    change(&mut settings);
    Service::start(settings, Arc::new(FakeRunner::default()), None).await
}

/// Opens a service, connects it to `workers`, and serves its HTTP API at the returned address.
pub(crate) async fn start(
    folder: &Path,
    workers: &[SocketAddr],
    change: impl FnOnce(&mut ServiceSettings),
) -> (Service, SocketAddr) {
    let service = open(folder, change).await.unwrap();
    let list = sp1d_orchestrator::WorkerList(workers.iter().map(|address| (*address).into()).collect());
    for (_, reached) in service.orchestrator().set_list(&list) {
        reached.await.unwrap().unwrap();
    }
    // A test may serve at this address again after the service has ended.
    let address = free_address();
    tokio::spawn(serve(service.clone(), TcpListener::bind(address).await.unwrap()));
    (service, address)
}

/// A running service with its HTTP API.
pub(crate) struct Running {
    pub(crate) service: Service,
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Running {
    /// See [`start`].
    pub(crate) async fn start(
        folder: &Path,
        workers: &[SocketAddr],
        change: impl FnOnce(&mut ServiceSettings),
    ) -> Self {
        let (service, address) = start(folder, workers, change).await;
        Self { service, address, url: format!("http://{address}"), client: Client::new() }
    }

    /// Returns the status of the response, and its body if that is JSON.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    /// Returns the body of a response, which must be a success.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert!(status.is_success(), "{path}: {status}");
        body
    }

    /// Posts `body`, which has the content type `kind`.
    pub(crate) async fn send(&self, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let request = self.client.post(format!("{}{path}", self.url));
        request.header("content-type", kind).body(body).send().await.unwrap()
    }

    /// Same as [`send`](Self::send). Returns the status of the response, and its body if that is JSON.
    pub(crate) async fn post(&self, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let response = self.send(path, kind, body).await;
        let status = response.status();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    /// Uploads a program or an input and returns its id.
    pub(crate) async fn upload(&self, path: &str, content: &'static str) -> String {
        let (status, uploaded) = self.post(path, "application/octet-stream", content).await;
        assert_eq!(status, StatusCode::CREATED);
        uploaded["id"].as_str().unwrap().to_owned()
    }

    /// Uploads a program that the fake runner accepts, and returns its id.
    pub(crate) async fn program(&self) -> String {
        self.upload("/v1/programs", "program").await
    }

    pub(crate) async fn request(&self, request: &NewProof) -> reqwest::Response {
        self.send("/v1/proofs", "application/json", serde_json::to_vec(request).unwrap()).await
    }

    /// Submits a proof of `shards` shards and returns its id.
    pub(crate) async fn submit(&self, shards: u64, change: impl FnOnce(&mut NewProof)) -> String {
        let mut request =
            NewProof { program: Some(self.program().await), cycle_limit: Some(shards), ..NewProof::default() };
        change(&mut request);
        let (status, proof) = self.post("/v1/proofs", "application/json", serde_json::to_vec(&request).unwrap()).await;
        assert!(status.is_success(), "{status}: {proof}");
        proof["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the proof `id` is as `wanted`.
    pub(crate) async fn wait(&self, id: &str, wanted: impl Fn(&ProofSummary) -> bool) -> ProofSummary {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let proof = self.service.proof(id).await.unwrap();
            if wanted(&proof) {
                return proof;
            }
            assert!(Instant::now() < deadline, "{proof:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the proof `id` has ended.
    pub(crate) async fn ended(&self, id: &str) -> ProofSummary {
        self.wait(id, |proof| proof.state.is_final()).await
    }
}
