//! Orchestrators and workers with certificates, and hostile peers at their ports.

use super::*;
use sp1d_identity::{Issuance, KeyAuthority, PeerIdentity, PeerRole, TlsError, TlsIdentity, revoke};
use sp1d_model::WaitCode;
use sp1d_orchestrator::{JoinSettings, UnknownWorker};
use sp1d_protocol::{Role, dial};
use sp1d_scheduler::TaskId;
use sp1d_testing::RecordedLogs;
use sp1d_worker::JoiningWorker;
use std::cell::OnceCell;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

/// Keys of an orchestrator and its workers.
pub(super) struct Keys {
    folder: TempDir,
    authority: KeyAuthority,
}

impl Keys {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        KeyAuthority::init(folder.path(), Vec::new(), 30).unwrap();
        let authority = KeyAuthority::open(folder.path()).unwrap();
        Self { folder, authority }
    }

    pub(super) fn worker(&self, name: &str) -> Arc<TlsIdentity> {
        self.issue(name, false)
    }

    fn issue(&self, name: &str, trusted: bool) -> Arc<TlsIdentity> {
        let identity = PeerIdentity { role: PeerRole::Worker, name: name.parse().unwrap(), group: None, trusted };
        let path = self.authority.issue(Issuance { identity, hosts: Vec::new(), days: 30 }).unwrap();
        TlsIdentity::load(&path, PeerRole::Worker).unwrap()
    }

    pub(super) fn orchestrator(&self) -> Arc<TlsIdentity> {
        TlsIdentity::load(&self.folder.path().join("orchestrator.pem"), PeerRole::Orchestrator).unwrap()
    }

    /// Starts an orchestrator that workers with certificates may join at the returned address.
    async fn start(&self) -> (Orchestrator, SocketAddr) {
        let mut settings = settings();
        settings.tls = Some(self.orchestrator());
        settings.patience = PATIENCE;
        let orchestrator = Orchestrator::start(settings, None, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        orchestrator.serve_joining(listener, JoinSettings::new("127.0.0.1".parse().unwrap()));
        (orchestrator, address)
    }
}

/// Starts a worker that joins at `address`. It ends with its token.
pub(super) fn join(
    name: &str,
    tls: Option<Arc<TlsIdentity>>,
    address: SocketAddr,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let worker = JoiningWorker::new(address.into(), sp1d_testing::introduction(name)).secure(tls);
    let serving = worker.serve(sp1d_testing::ready(FakeEngine::honest()), stop.clone());
    tokio::spawn(async move { serving.await.unwrap() })
}

#[tokio::test]
async fn workers_with_certificates_prove_in_both_dialing_directions() {
    let keys = Keys::new();
    let (orchestrator, address) = keys.start().await;
    let listens = RunningWorker::secure("listens", FakeEngine::honest(), keys.worker("listens")).await;
    orchestrator.set_list(&list(&[listens.address])).pop().unwrap().1.await.unwrap().unwrap();
    let stop = CancellationToken::new();
    let joins = join("joins", Some(keys.worker("joins")), address, &stop);
    wait_for_workers(&orchestrator, |workers| {
        workers.len() == 2 && workers.iter().all(|worker| worker.has_loaded_prover)
    })
    .await;
    check_proven(orchestrator, 20).await;
    stop.cancel();
    joins.await.unwrap();
    listens.stop().await;
}

#[tokio::test]
async fn a_private_proof_waits_for_trusted_workers_and_runs_only_there() {
    let keys = Keys::new();
    let (orchestrator, address) = keys.start().await;
    let stop = CancellationToken::new();
    let other = join("other", Some(keys.worker("other")), address, &stop);
    wait_for_workers(&orchestrator, |workers| workers.len() == 1 && workers[0].has_loaded_prover).await;
    let private = ProofRequest { trusted_only: true, label: "private".to_owned(), ..request(8) };
    let trusted_worker = OnceCell::new();
    let trusted_joins = async {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The tasks wait, although a worker is free.
            let open = orchestrator.open_tasks("private", TaskId(0), 10).await.unwrap();
            if open.reasons.iter().any(|waiting| waiting.code == WaitCode::NoTrustedWorker) {
                break;
            }
            assert!(Instant::now() < deadline, "{open:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        trusted_worker.set(join("trusted", Some(keys.issue("trusted", true)), address, &stop)).unwrap();
    };
    let (proven, ()) = tokio::join!(prove(&orchestrator, private), trusted_joins);
    let proven = proven.unwrap();
    assert_eq!(proven.output.proof, expected(8));
    let shares: Vec<_> = proven.workers.iter().map(|share| (share.name.as_str(), share.tasks)).collect();
    assert_eq!(shares, [("trusted", 8)]);
    assert!(orchestrator.workers().iter().all(|worker| worker.trusted == (worker.name == "trusted")));
    stop.cancel();
    other.await.unwrap();
    trusted_worker.into_inner().unwrap().await.unwrap();
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn a_private_proof_fails_if_no_worker_is_trusted_for_too_long() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let orchestrator = connect(&[worker.address]).await;
    let failed = prove(&orchestrator, ProofRequest { trusted_only: true, ..request(1) }).await;
    assert!(
        matches!(&failed, Err(ProofFailure::Unsupported { reasons, .. }) if reasons[0].contains("not trusted")),
        "{failed:?}"
    );
    assert_empty(&orchestrator).await;
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn the_setting_applies_to_all_proofs() {
    let worker = RunningWorker::ready("one", FakeEngine::honest()).await;
    let settings = OrchestratorSettings { trusted_only: true, ..settings() };
    let orchestrator = Orchestrator::connect(&list(&[worker.address]), settings, None).await.unwrap();
    let failed = prove(&orchestrator, request(1)).await;
    assert!(matches!(&failed, Err(ProofFailure::Unsupported { .. })), "{failed:?}");
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn a_worker_without_tls_or_of_another_authority_does_not_join() {
    let keys = Keys::new();
    let (orchestrator, address) = keys.start().await;
    let mut plain = TcpStream::connect(address).await.unwrap();
    assert!(dial(&mut plain, Role::Worker).await.is_err());
    let stranger = Keys::new().worker("w");
    assert!(stranger.connect(TcpStream::connect(address).await.unwrap()).await.is_err());
    // The port still serves.
    let stop = CancellationToken::new();
    let joins = join("joins", Some(keys.worker("joins")), address, &stop);
    wait_for_workers(&orchestrator, |workers| workers.len() == 1 && workers[0].name == "joins").await;
    stop.cancel();
    joins.await.unwrap();
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn an_orchestrator_without_a_certificate_gets_no_worker() {
    let keys = Keys::new();
    let worker = RunningWorker::secure("one", FakeEngine::honest(), keys.worker("one")).await;
    let look = async |tls: Option<Arc<TlsIdentity>>| probe(&worker.address.into(), &fake_build(), tls.as_ref()).await;
    assert!(matches!(look(None).await, Err(ProbeError::Unreachable(_))));
    assert!(matches!(look(Some(Keys::new().orchestrator())).await, Err(ProbeError::Unreachable(_))));
    assert_eq!(look(Some(keys.orchestrator())).await.unwrap().name, "one");
    worker.stop().await;
}

/// A valid certificate does not help: the filter comes first, and its refusal costs no handshake.
#[tokio::test]
async fn an_address_outside_of_the_filter_gets_no_tls_handshake() {
    let keys = Keys::new();
    let (orchestrator, address) = keys.start().await;
    let worker = RunningWorker::secure("one", FakeEngine::honest(), keys.worker("one")).await;
    for (identity, address) in [(keys.worker("two"), address), (keys.orchestrator(), worker.address)] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        let refused = identity.connect(socket.connect(address).await.unwrap()).await;
        assert!(matches!(refused, Err(TlsError::Io(_))), "{refused:?}");
    }
    worker.stop().await;
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn a_flood_of_unfinished_handshakes_does_not_lock_out_a_worker() {
    let keys = Keys::new();
    let (orchestrator, address) = keys.start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let stop = CancellationToken::new();
    let joins = join("joins", Some(keys.worker("joins")), address, &stop);
    wait_for_workers(&orchestrator, |workers| workers.len() == 1).await;
    stop.cancel();
    joins.await.unwrap();
    orchestrator.shutdown().await;
}

/// A worker chooses its name itself, so it must not be drained or forgotten in place of another one.
#[tokio::test]
async fn a_name_of_two_certificates_selects_no_worker() {
    let keys = Keys::new();
    let (orchestrator, address) = keys.start().await;
    let stop = CancellationToken::new();
    let workers = ["a", "b"].map(|certificate| join("honest", Some(keys.worker(certificate)), address, &stop));
    wait_for_workers(&orchestrator, |workers| workers.iter().filter(|worker| worker.has_loaded_prover).count() == 2)
        .await;
    for refused in [orchestrator.drain("honest").await, orchestrator.forget("honest")] {
        assert!(
            matches!(&refused, Err(UnknownWorker::Ambiguous { addresses, .. }) if addresses.len() == 2),
            "{refused:?}"
        );
    }
    let first = orchestrator.workers()[0].address.clone();
    orchestrator.drain(&first).await.unwrap();
    wait_for_workers(&orchestrator, |workers| workers.iter().filter(|worker| worker.draining).count() == 1).await;
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn a_shared_certificate_causes_one_warning() {
    let logs = RecordedLogs::start();
    let keys = Keys::new();
    let (orchestrator, address) = keys.start().await;
    let stop = CancellationToken::new();
    let (own, shared) = (keys.worker("own"), keys.worker("shared"));
    let mut workers = Vec::new();
    // The first two have certificates of their own. The third worker is the second one with its certificate.
    for (name, tls, warnings) in [("one", &own, 0), ("two", &shared, 0), ("three", &shared, 1), ("four", &shared, 1)] {
        workers.push(join(name, Some(tls.clone()), address, &stop));
        wait_for_workers(&orchestrator, |connected| connected.len() == workers.len()).await;
        let lines = logs.lines_with("several workers share a certificate");
        assert_eq!(lines.len(), warnings, "{name}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains("certificate=shared worker=three")), "{lines:?}");
    }
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
    orchestrator.shutdown().await;
}

#[tokio::test]
async fn a_revoked_worker_loses_its_session() {
    let keys = Keys::new();
    let (orchestrator, address) = keys.start().await;
    let stop = CancellationToken::new();
    let workers = ["kept", "stolen"].map(|name| join(name, Some(keys.worker(name)), address, &stop));
    wait_for_workers(&orchestrator, |workers| workers.len() == 2).await;
    revoke(keys.folder.path(), &"stolen".parse().unwrap()).unwrap();
    wait_for_workers(&orchestrator, |workers| workers.len() == 1 && workers[0].name == "kept").await;
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
    orchestrator.shutdown().await;
}
