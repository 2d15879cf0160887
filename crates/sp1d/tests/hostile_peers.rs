//! Hostile peers at the ports of the real program: `sp1d serve` with certificates, and `sp1d keys serve`. No prover is
//! loaded, because a service listens without one. After each attack, honest peers are still served.

mod refusal;
mod secure_service;

use refusal::check_refused;
use reqwest::{Client, Identity, Method, StatusCode, tls::Version};
use secure_service::{KeysPort, PATIENCE, SecureService, eventually, says, worker};
use serde_json::Value;
use sp1d_identity::{KeyAuthority, PeerRole, TlsIdentity};
use std::{
    fs, iter,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const HOUR: i64 = 60 * 60;

/// How long a peer may take for its TLS handshake: 3 s, and the time in which a busy test machine notices it.
const CUT_OFF: Duration = Duration::from_secs(8);

/// Returns a client that trusts every server, and shows the certificate in a file.
fn hostile(identity: Option<&Path>, newest: Version) -> Client {
    let client = Client::builder().use_rustls_tls().tls_built_in_root_certs(false).danger_accept_invalid_certs(true);
    let client = client.max_tls_version(newest).timeout(PATIENCE);
    let client = match identity {
        Some(path) => client.identity(Identity::from_pem(&fs::read(path).unwrap()).unwrap()),
        None => client,
    };
    client.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_port_for_joining_refuses_wrong_certificates() {
    let service = SecureService::start(|_| {}).await;
    let authority = service.authority();
    let between = |name: &str, from, to| authority.issue_between(&worker(name), from, to).unwrap();
    let others = tempfile::tempdir().unwrap();
    KeyAuthority::init(others.path(), Vec::new(), 1).unwrap();
    let stranger = KeyAuthority::open(others.path()).unwrap().issue_between(&worker("stranger"), HOUR, HOUR).unwrap();
    for (case, identity, reason) in [
        ("nameless", None, "the peer has no certificate"),
        ("stranger", Some(stranger), "issued by an unknown authority"),
        ("old", Some(between("old", 2 * HOUR, -HOUR)), "the certificate expired"),
        ("new", Some(between("new", -HOUR, 2 * HOUR)), "the certificate is valid only in"),
        ("orchestrator", Some(service.keys().join("orchestrator.pem")), "only one of the role worker is accepted here"),
    ] {
        assert!(!service.log().contains(reason), "{case}: {}", service.log());
        let client = hostile(identity.as_deref(), Version::TLS_1_3);
        assert!(client.get(format!("https://{}/", service.join)).send().await.is_err(), "{case}");
        eventually(&format!("{case} is not refused"), || service.log().contains(reason)).await;
        service.check_honest_peers(&format!("honest-after-{case}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_name_takes_no_session_and_a_revoked_certificate_keeps_none() {
    let service = SecureService::start(|_| {}).await;
    let _honest = service.join("prover-7", &service.issue("honest"));
    let honest = service.ready_workers("prover-7", 1).await;
    // A worker with a certificate of its own and the name of another worker is a further worker.
    let _thief = service.join("prover-7", &service.issue("thief"));
    let both = service.ready_workers("prover-7", 2).await;
    assert!(both.contains(&honest[0]), "the session of the honest worker ended: {both:?}");
    let drained = service.run(&["drain", "prover-7"]);
    let error = String::from_utf8_lossy(&drained.stderr);
    assert!(!drained.status.success() && error.contains("prover-7"), "the name selected one of two: {error}");
    assert!(service.workers().iter().all(|worker| worker.state == "idle"), "{:?}", service.workers());

    says(service.path(), &["keys", "revoke", "thief"]);
    // The thief tries to join again, and is refused in its handshake.
    eventually("the thief keeps its session", || service.workers() == honest).await;
    let refused = || service.log().lines().any(|line| line.contains("rejected") && line.contains("thief is revoked"));
    eventually("the thief is not refused", refused).await;
    assert_eq!(service.workers(), honest);
    service.check_honest_peers("honest-after-thief").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_join_token_gives_one_identity() {
    let service = SecureService::start(|_| {}).await;
    let (folder, port) = (service.path(), KeysPort::start(service.path()).await);
    let token = says(folder, &["keys", "join-token", "prover-8"]);
    // The token is used by several machines at the same time.
    let fetching = (0..4).map(|number| {
        let mut command = port.fetching(folder, &token, &format!("copy-{number}.pem"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let fetching: Vec<_> = fetching.collect();
    let outputs: Vec<_> = fetching.into_iter().map(|process| process.wait_with_output().unwrap()).collect();
    let identities: Vec<PathBuf> =
        (0..4).map(|number| folder.join(format!("copy-{number}.pem"))).filter(|path| path.exists()).collect();
    assert_eq!(identities.len(), 1, "{outputs:?}");
    let refused: Vec<_> = outputs.iter().filter(|output| !output.status.success()).collect();
    assert_eq!(refused.len(), 3, "{outputs:?}");
    refused.into_iter().for_each(|output| check_refused(output, 2, &["the token is not valid"]));

    // A later replay, a guessed secret, and a port that is not of the token's authority.
    let (authority, secret) = token.split_once('.').unwrap();
    let zeros = "0".repeat(64);
    for (wrong, reason) in [
        (token.clone(), "the token is not valid"),
        (format!("{authority}.{zeros}"), "the token is not valid"),
        (format!("{zeros}.{secret}"), "issued by an unknown authority"),
    ] {
        check_refused(&port.fetching(folder, &wrong, "wrong.pem").output().unwrap(), 2, &[reason]);
        assert!(!folder.join("wrong.pem").exists(), "{reason}");
    }

    port.check_honest_machine(folder, "prover-9");
    let _worker = service.join("prover-8", &identities[0]);
    service.ready_workers("prover-8", 1).await;
}

/// Sends `bytes` to a port, and returns what it replies before it closes the connection.
async fn reply_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut reply = Vec::new();
    // A port that closes a connection with unread bytes resets it.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("the port closes the connection");
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_cannot_downgrade_a_connection() {
    /// The type of a TLS record with an alert.
    const ALERT: u8 = 21;
    let service = SecureService::start(|_| {}).await;
    let port = KeysPort::start(service.path()).await;
    let identity = service.issue("downgraded");
    for address in [service.https, service.join, port.address] {
        let url = format!("https://{address}/healthz");
        let old = hostile(Some(&identity), Version::TLS_1_2).get(&url).send().await.unwrap_err();
        assert!(format!("{old:?}").contains("ProtocolVersion"), "{address}: {old:?}");
        // HTTP, and the first bytes of the protocol of workers.
        for plain in [b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".as_slice(), b"SP1D\0\x06\0\x01"] {
            let reply = reply_to(address, plain).await;
            assert!(reply.first().is_none_or(|first| *first == ALERT), "{address}: {reply:?}");
        }
    }
    let current = hostile(None, Version::TLS_1_3).get(service.url("/healthz")).send().await.unwrap();
    assert!(current.status().is_success(), "the same client with TLS 1.3: {}", current.status());
    service.check_honest_peers("honest-after-downgrade").await;
    port.check_honest_machine(service.path(), "honest-machine");
}

/// Starts a handshake of which one byte arrives each second. Returns after how long the port closes the connection.
async fn cut_off_after(address: SocketAddr) -> Duration {
    /// The start of a ClientHello with 512 bytes.
    const START: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let started = Instant::now();
    let sending = async {
        for byte in START.into_iter().chain(iter::repeat(0)) {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let mut reply = Vec::new();
    tokio::select! {
        () = sending => {}
        _ = reader.read_to_end(&mut reply) => {}
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_and_floods_of_silent_connections_lock_out_no_honest_peer() {
    let service = SecureService::start(|_| {}).await;
    let port = KeysPort::start(service.path()).await;
    let ports = [service.https, service.join, port.address];
    let slow = ports.map(|address| tokio::spawn(cut_off_after(address)));
    service.check_honest_peers("honest-beside-slow").await;
    port.check_honest_machine(service.path(), "machine-beside-slow");
    for (slow, address) in slow.into_iter().zip(ports) {
        let took = slow.await.unwrap();
        // A connection that ends before 2 s was not closed because it was slow.
        assert!((Duration::from_secs(2)..CUT_OFF).contains(&took), "{address}: {took:?}");
    }
    let mut silent = Vec::new();
    for address in ports {
        for _ in 0..100 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
    }
    service.check_honest_peers("honest-in-flood").await;
    port.check_honest_machine(service.path(), "machine-in-flood");
}

/// Sends a request over HTTPS as it is: a client library would change its path. Returns the status and the response.
async fn raw(service: &SecureService, tls: &Arc<TlsIdentity>, target: &str, token: Option<&str>) -> (u16, String) {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    // Some proxies and frameworks route by these headers.
    let tricks = "x-original-url: /healthz\r\nx-rewrite-url: /healthz\r\nx-http-method-override: GET\r\n";
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{tricks}{authorization}\r\n");
    // The service is an orchestrator, so a worker's identity knows its certificate.
    let mut stream = tls.connect(TcpStream::connect(service.https).await.unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut response = Vec::new();
    // Reading may end with an error after the whole response: only its content counts.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut response)).await.expect("the service responds");
    let response = String::from_utf8_lossy(&response).into_owned();
    let status = response.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{target}: {response}")), response)
}

/// Targets that might lead to the program `ID` of another tenant, or to files of the machine.
const TRICKS: [&str; 18] = [
    "/v1/programs/ID",
    "/v1/programs/ID?tenant=a",
    "/v1/programs/ID;tenant=a",
    "/v1/programs/ID/",
    "/v1/programs/ID%00",
    "/v1/programs//ID",
    "//v1/programs/ID",
    "/v1/./programs/ID",
    "/v1/pro%67rams/ID",
    "/V1/PROGRAMS/ID",
    "/v1/proofs/../programs/ID",
    "/healthz/../v1/programs/ID",
    "/healthz%2f..%2fv1%2fprograms%2fID",
    "/v1/programs/..%2fprograms%2fID",
    "/v1/programs/..%2f..%2fservice.db",
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "https://localhost/v1/programs/ID",
];

/// Starts a service with the tenants `a` and `b`, and uploads a program of `a`. Returns the service, the token of each
/// tenant, and the id of the program.
async fn service_of_two_tenants() -> (SecureService, [String; 2], String) {
    let mut tokens: [String; 2] = Default::default();
    let service = SecureService::start(|folder| {
        tokens = ["a", "b"]
            .map(|tenant| says(folder, &["tokens", "create", tenant, "--state", "state", "--tenant", tenant]));
        // Without the keys of the user, the service would compute that of the program, which takes seconds.
        let keys = sp1d_engine::default_key_folder().expect("the user has a home folder");
        fs::create_dir_all(&keys).unwrap();
        symlink(keys, folder.join("state/keys")).unwrap();
    })
    .await;
    let elf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/elf/fibonacci");
    let upload = service.client().post(service.url("/v1/programs")).bearer_auth(&tokens[0]);
    let upload = upload.header("content-type", "application/octet-stream").body(fs::read(elf).unwrap());
    let uploaded: Value = serde_json::from_slice(&upload.send().await.unwrap().bytes().await.unwrap()).unwrap();
    let id = uploaded["id"].as_str().unwrap_or_else(|| panic!("{uploaded}")).to_owned();
    (service, tokens, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn tricks_with_paths_show_nothing_of_another_tenant() {
    let (service, tokens, id) = service_of_two_tenants().await;
    let tls = TlsIdentity::load(&service.issue("raw"), PeerRole::Worker).unwrap();
    for target in TRICKS.map(|target| target.replace("ID", &id)) {
        let (status, response) = raw(&service, &tls, &target, None).await;
        assert_eq!(status, 401, "{target} without a token: {response}");
        let (status, response) = raw(&service, &tls, &target, Some(&tokens[1])).await;
        assert!(matches!(status, 400 | 403 | 404), "{target} of another tenant: {response}");
        assert!(!response.contains("SQLite format") && !response.contains("root:"), "{target}: {response}");
        assert!(!response.contains("verifying_key"), "{target}: {response}");
    }
    let (status, response) = raw(&service, &tls, &format!("/v1/programs/{id}"), Some(&tokens[0])).await;
    assert!(status == 200 && response.contains("verifying_key"), "the program's own tenant: {response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_tenant_finds_nothing_on_every_route_of_the_real_service() {
    let (service, [own, other], program) = service_of_two_tenants().await;
    // The proof stays in the queue.
    says(service.path(), &["tokens", "quota", "a", "--state", "state", "--parallel-proofs", "0"]);
    let client = service.client();
    let call = async |method: Method, path: &str, token: &str, body: String| {
        let request = client.request(method, service.url(path)).bearer_auth(token).body(body);
        let response = request.header("content-type", "application/json").send().await.unwrap();
        (response.status(), String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap())
    };
    let request = format!("{{\"program\": \"{program}\"}}");
    let (status, submitted) = call(Method::POST, "/v1/proofs", &own, request.clone()).await;
    assert!(status.is_success(), "{submitted}");
    let submitted: Value = serde_json::from_str(&submitted).unwrap();
    let proof = submitted["id"].as_str().unwrap();
    let (_, described) = call(Method::GET, "/openapi.json", &other, String::new()).await;
    let described: Value = serde_json::from_str(&described).unwrap();
    let mut routes = 0;
    for (path, calls) in described["paths"].as_object().unwrap().iter().filter(|(path, _)| path.contains("{id}")) {
        let id = if path.starts_with("/v1/programs") { program.as_str() } else { proof };
        let unknown = "0".repeat(id.len());
        for method in calls.as_object().unwrap().keys() {
            routes += 1;
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let found = call(method.clone(), &path.replace("{id}", id), &other, String::new()).await;
            let (status, response) = call(method.clone(), &path.replace("{id}", &unknown), &other, String::new()).await;
            assert_eq!(found, (status, response.replace(&unknown, id)), "{method} {path} with an id that no one has");
        }
    }
    assert!(routes >= 8, "the description has only {routes} routes with an id");
    for path in ["/v1/programs", "/v1/proofs", "/v1/workers", "/v1/session", "/metrics"] {
        let (status, response) = call(Method::GET, path, &other, String::new()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {response}");
        assert!(!response.contains(&program) && !response.contains(proof), "{path}: {response}");
    }
    let (status, response) = call(Method::POST, "/v1/proofs", &other, request).await;
    assert!(status.is_client_error(), "a proof of the program of another tenant: {status} {response}");
    // The calls of the other tenant have neither cancelled nor deleted it.
    let (status, response) = call(Method::GET, &format!("/v1/proofs/{proof}"), &own, String::new()).await;
    assert!(status == StatusCode::OK && response.contains("queued"), "{status} {response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_real_service_needs_a_valid_token() {
    /// Calls that show nothing of tenants.
    const OPEN: [&str; 3] = ["/healthz", "/readyz", "/v1/logout"];
    let mut token = String::new();
    let service = SecureService::start(|folder| {
        token = says(folder, &["tokens", "create", "a", "--state", "state", "--roles", "read,submit"]);
    })
    .await;
    let revoked = says(service.path(), &["tokens", "create", "admin", "--state", "state", "--roles", "admin"]);
    says(service.path(), &["tokens", "revoke", "admin", "--state", "state"]);
    let guessed = format!("sp1d_{}_{}", "0".repeat(16), "0".repeat(64));
    let client = service.client();
    let described = client.get(service.url("/openapi.json")).send().await.unwrap().bytes().await.unwrap();
    let described: Value = serde_json::from_slice(&described).unwrap();
    let mut routes = 0;
    for (path, calls) in described["paths"].as_object().unwrap() {
        if OPEN.contains(&path.as_str()) {
            continue;
        }
        let url = service.url(&path.replace("{id}", "1").replace("{worker}", "w"));
        for method in calls.as_object().unwrap().keys() {
            routes += 1;
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for token in [None, Some(&revoked), Some(&guessed)] {
                let request = client.request(method.clone(), &url);
                let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
                let status = request.send().await.unwrap().status();
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with the token {token:?}");
            }
        }
    }
    assert!(routes >= 20, "the description has only {routes} routes");
    let honest = client.get(service.url("/v1/proofs")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(honest.status(), StatusCode::OK);
}
