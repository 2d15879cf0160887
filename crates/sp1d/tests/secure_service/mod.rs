//! `sp1d serve` with certificates and without a prover, and honest peers of it.

use reqwest::{Certificate, Client};
use serde_json::Value;
use sp1d_identity::{Issuance, KeyAuthority, PeerIdentity, PeerRole, TlsIdentity};
use sp1d_testing::{FakeEngine, free_address, free_address_on, introduction, ready};
use sp1d_worker::{Introduction, JoiningWorker};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Killed when dropped.
pub(crate) struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn sp1d(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sp1d"));
    command.current_dir(folder).env("TMPDIR", folder).stdin(Stdio::null());
    for variable in ["SP1_DISTRIBUTED_WORKERS", "SP1_DISTRIBUTED_URL", "SP1D_LOG", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command that must succeed and returns what it prints.
#[track_caller]
pub(crate) fn says(folder: &Path, arguments: &[&str]) -> String {
    let output = sp1d(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn worker(name: &str) -> PeerIdentity {
    PeerIdentity { role: PeerRole::Worker, name: name.parse().unwrap(), group: None, trusted: false }
}

/// Waits until `condition` returns true.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A worker as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) state: String,
}

/// A service with HTTPS, a port for joining with TLS, and the folder `keys` of its authority.
pub(crate) struct SecureService {
    folder: TempDir,
    pub(crate) https: SocketAddr,
    pub(crate) join: SocketAddr,
    _process: Killed,
}

impl SecureService {
    /// Starts a service. `prepare` gets its folder first.
    pub(crate) async fn start(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        says(folder.path(), &["keys", "init", "keys"]);
        prepare(folder.path());
        // A port on the loopback interface would use plain HTTP.
        let (listen, join) = (free_address_on(Ipv4Addr::UNSPECIFIED.into()), free_address());
        let mut command = sp1d(folder.path());
        command.args(["serve", "--state", "state", "--tls", "keys/orchestrator.pem", "--min-free", "0"]);
        command.args(["--listen", &listen.to_string()]);
        command.args(["--join-listen", &join.to_string(), "--join-from", "127.0.0.1"]);
        let log = File::create(folder.path().join("serve.log")).unwrap();
        let process = Killed(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let https = SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port()));
        let service = Self { folder, https, join, _process: process };
        let deadline = Instant::now() + PATIENCE;
        while !service.is_healthy().await {
            assert!(Instant::now() < deadline, "the service does not start: {}", service.log());
            sleep(Duration::from_millis(50)).await;
        }
        service
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.path().join("keys")
    }

    pub(crate) fn authority(&self) -> KeyAuthority {
        KeyAuthority::open(&self.keys()).unwrap()
    }

    /// Issues the identity of a worker and returns its file.
    pub(crate) fn issue(&self, name: &str) -> PathBuf {
        self.authority().issue(Issuance { identity: worker(name), hosts: Vec::new(), days: 1 }).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("serve.log")).unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.https)
    }

    /// Returns an HTTPS client that trusts only the authority of the service.
    pub(crate) fn client(&self) -> Client {
        let ca = Certificate::from_pem(&fs::read(self.keys().join("ca.crt")).unwrap()).unwrap();
        let client = Client::builder().use_rustls_tls().tls_built_in_root_certs(false).add_root_certificate(ca);
        client.timeout(PATIENCE).build().unwrap()
    }

    async fn is_healthy(&self) -> bool {
        let response = self.client().get(self.url("/healthz")).send().await;
        response.is_ok_and(|response| response.status().is_success())
    }

    /// Runs a command that talks to the service.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = sp1d(self.path());
        command.env("SP1_DISTRIBUTED_URL", self.url("")).env("SP1_DISTRIBUTED_CA_FILE", "keys/ca.crt");
        command.args(arguments).output().unwrap()
    }

    /// Returns the connected workers, as the command lists them.
    pub(crate) fn workers(&self) -> Vec<Listed> {
        let output = self.run(&["workers", "--json"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}{}", self.log());
        connected(&serde_json::from_slice(&output.stdout).unwrap())
    }

    /// Starts an honest worker with the identity in a file. It leaves when the returned guard is dropped.
    pub(crate) fn join(&self, name: &str, identity: &Path) -> DropGuard {
        let tls = TlsIdentity::load(identity, PeerRole::Worker).unwrap();
        let introduction = Introduction { build: sp1d_engine::build_identity(), ..introduction(name) };
        let joining = JoiningWorker::new(self.join.into(), introduction).secure(Some(tls));
        let stop = CancellationToken::new();
        tokio::spawn(joining.serve(ready(FakeEngine::honest()), stop.clone()));
        stop.drop_guard()
    }

    /// Waits until `count` workers of this name are connected and ready. Returns them.
    pub(crate) async fn ready_workers(&self, name: &str, count: usize) -> Vec<Listed> {
        // To ask again and again, requests cost much less processor time than processes of `sp1d`.
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A connection of its own, as a process has: the service may close connections that are idle.
            let response = self.client().get(self.url("/v1/workers")).send().await.unwrap();
            let report: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            let mut found = connected(&report["workers"]);
            found.retain(|worker| worker.name == name && worker.state == "idle");
            if found.len() == count {
                return found;
            }
            assert!(Instant::now() < deadline, "{count} workers called {name} are not ready: {}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Checks that a new honest worker and an honest client are served.
    pub(crate) async fn check_honest_peers(&self, name: &str) {
        let _worker = self.join(name, &self.issue(name));
        self.ready_workers(name, 1).await;
        assert!(self.is_healthy().await, "{name}: {}", self.log());
    }
}

/// Returns the connected ones of listed workers.
fn connected(workers: &Value) -> Vec<Listed> {
    let listed = workers.as_array().unwrap().iter().map(|worker| {
        let text = |field: &str| worker[field].as_str().unwrap().to_owned();
        Listed { name: text("name"), address: text("address"), state: text("state") }
    });
    listed.filter(|worker| worker.state != "disconnected").collect()
}

/// A running `sp1d keys serve`.
pub(crate) struct KeysPort {
    pub(crate) address: SocketAddr,
    _process: Killed,
}

impl KeysPort {
    /// Starts the port of the authority in `FOLDER/keys`.
    pub(crate) async fn start(folder: &Path) -> Self {
        let address = free_address();
        let mut command = sp1d(folder);
        command.args(["keys", "serve", "--keys", "keys", "--listen", &address.to_string()]);
        let process = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        eventually("`sp1d keys serve` does not listen", || TcpStream::connect(address).is_ok()).await;
        Self { address, _process: process }
    }

    /// Returns the command that fetches the identity of `token` into the new file `file`.
    pub(crate) fn fetching(&self, folder: &Path, token: &str, file: &str) -> Command {
        let mut command = sp1d(folder);
        command.args(["keys", "fetch", &self.address.to_string(), file]).env("SP1D_JOIN_TOKEN", token);
        command
    }

    /// Checks that a machine with a new token gets its identity.
    pub(crate) fn check_honest_machine(&self, folder: &Path, name: &str) {
        let token = says(folder, &["keys", "join-token", name]);
        let file = format!("{name}-fetched.pem");
        let output = self.fetching(folder, &token, &file).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        TlsIdentity::load(&folder.join(file), PeerRole::Worker).unwrap();
    }
}
