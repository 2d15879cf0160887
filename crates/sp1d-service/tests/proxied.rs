//! Tests of the service behind nginx and Caddy: with the configurations in `packaging`, over HTTPS with an authority of
//! the test, and behind an nginx with default settings. Fake workers and a fake runner prove.

use futures::StreamExt;
use sp1d_client::{Client, ClientError, ClientSettings, NewProof, ProofEvent, ProofState};
use sp1d_service::{Service, ServiceSettings, serve};
use sp1d_testing::{FakeEngine, FakeRunner, RunningWorker, do_honestly, expected_proof, fake_build};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

/// Longest wait for anything. Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

const SHARDS: u64 = 3;

/// Larger than what proxies accept or keep in memory by default.
const LARGE_INPUT: usize = 32 << 20;

/// A service with one worker. The worker starts to prove when the gate has a permit.
struct GatedService {
    service: Service,
    address: SocketAddr,
    gate: Arc<Semaphore>,
    _worker: RunningWorker,
    _folder: TempDir,
}

impl GatedService {
    async fn start() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let of_worker = gate.clone();
        let engine = FakeEngine::doing(move |assignment, io| {
            let gate = of_worker.clone();
            async move {
                let _permit = gate.acquire().await.expect("the gate is never closed");
                do_honestly(&assignment, &*io).await
            }
        });
        let worker = RunningWorker::ready("one", engine).await;
        let folder = tempfile::tempdir().unwrap();
        let orchestrator = sp1d_orchestrator::OrchestratorSettings::new(fake_build());
        let settings = ServiceSettings::new(folder.path().join("state"), orchestrator, "{}".into());
        let service = Service::start(settings, Arc::new(FakeRunner::default()), None).await.unwrap();
        let list = sp1d_orchestrator::WorkerList(vec![worker.address.into()]);
        for (_, reached) in service.orchestrator().set_list(&list) {
            reached.await.unwrap().unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(service.clone(), listener));
        Self { service, address, gate, _worker: worker, _folder: folder }
    }

    /// Uploads an input of `input_bytes`, requests a proof, follows it, and downloads it, all with `client`.
    async fn check_proof(&self, client: &Client, input_bytes: usize) {
        let program = client.add_program("program".into()).await.unwrap();
        let input = client.add_input(vec![7; input_bytes].into()).await.unwrap();
        let request = NewProof {
            program: Some(program.id),
            input: Some(input),
            cycle_limit: Some(SHARDS),
            ..NewProof::default()
        };
        let id = client.submit(&request).await.unwrap().id;
        let mut events = pin!(client.events(&id, 0).await.unwrap());
        let assigned =
            async { while !matches!(events.next().await.unwrap().unwrap().event, ProofEvent::Assigned(_)) {} };
        // The worker waits, so the stream has more events to come, and the proxy must pass on the first ones at once.
        timeout(PATIENCE, assigned).await.expect("the proxy passes on events at once");
        self.gate.add_permits(1);
        let rest = async {
            let mut last = None;
            while let Some(record) = events.next().await {
                last = Some(record.unwrap().event);
            }
            last
        };
        let last = timeout(PATIENCE, rest).await.expect("the stream ends with the proof");
        assert!(matches!(last, Some(ProofEvent::Finished { state: ProofState::Done, .. })), "{last:?}");
        let record_bytes = FakeRunner::default().record_bytes;
        assert_eq!(client.fetch(&id).await.unwrap(), expected_proof(SHARDS, record_bytes));
    }
}

/// A folder with a certificate for `localhost`, its key, and the certificate of the authority that signed it.
struct TestAuthority(TempDir);

impl TestAuthority {
    fn create() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let own = ["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority of a test", "-addext"];
        let run = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).current_dir(&folder).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&[&["req"][..], &key, &own, &["keyUsage=critical,keyCertSign"]].concat());
        run(&[&["req"][..], &key, &["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"]].concat());
        fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost\n").unwrap();
        let signed =
            ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-out", "server.pem"];
        run(&[&["x509", "-req", "-in", "server.csr", "-days", "2"][..], &signed].concat());
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A proxy process. Killed when dropped.
struct FrontServer {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl FrontServer {
    fn free_address() -> SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
    }

    /// Starts nginx with this content of its `http` block, and waits until it listens on `address`.
    fn nginx(http: &str, address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let temporary = |name: &str| format!("{name}_temp_path {};\n", folder.path().join(name).display());
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(temporary).concat();
        let pid = folder.path().join("pid");
        // A single process ends when it is killed, and needs no user of its own.
        let process = format!("daemon off;\nmaster_process off;\npid {};\nevents {{}}\n", pid.display());
        let file = folder.path().join("nginx.conf");
        fs::write(&file, format!("{process}http {{\naccess_log off;\n{folders}{http}\n}}\n")).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c"]).arg(file);
        Self::start(command, address, folder)
    }

    /// Starts Caddy with these sites, and waits until it listens on `address`.
    fn caddy(sites: &str, address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Caddyfile");
        let options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n";
        fs::write(&file, format!("{options}{sites}")).unwrap();
        let mut command = Command::new("caddy");
        command.env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        Self::start(command, address, folder)
    }

    fn start(mut command: Command, address: SocketAddr, folder: TempDir) -> Self {
        let log = folder.path().join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let spawned = command.spawn();
        let child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}; `./x test` installs the program"));
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "{command:?}: {}", fs::read_to_string(&log).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, address, _folder: folder }
    }
}

impl Drop for FrontServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a configuration of `packaging` with each text replaced by another one. Fails if it does not contain a text.
fn packaged(name: &str, changes: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{name} does not contain {from:?}");
        text.replace(from, to)
    })
}

/// Checks that the page loads its files from `url`, and that none of its addresses starts at the root of the server.
async fn check_page(url: &str, authority: &TestAuthority) {
    let root = reqwest::Certificate::from_pem(&fs::read(authority.file("ca.pem")).unwrap()).unwrap();
    let http = reqwest::Client::builder().no_proxy().add_root_certificate(root).build().unwrap();
    let get = async |file: &str| {
        let response = http.get(format!("{url}/{file}")).send().await.unwrap();
        assert!(response.status().is_success(), "{file}: {}", response.status());
        String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap()
    };
    let page = get("").await;
    for file in ["page.css", "page.js"] {
        assert!(page.contains(&format!("=\"{file}\"")), "{page}");
        get(file).await;
    }
    let script = get("page.js").await;
    for quote in ['"', '\'', '`'] {
        assert!(!page.contains(&format!("={quote}/")), "{page}");
        assert!(!script.contains(&format!("{quote}/v1")), "page.js has a path from the root of the server");
    }
}

/// Checks that the proxy speaks HTTP/2 to clients that can.
fn check_http2(url: &str, authority: &TestAuthority) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--noproxy", "*", "--output", "/dev/null", "--write-out", "%{http_code} %{http_version}"]);
    let output = curl.arg("--cacert").arg(authority.file("ca.pem")).arg(format!("{url}/healthz")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200 2");
}

/// Checks a proxy that offers the service at `https://localhost` and `prefix`.
async fn check_encrypted(service: GatedService, proxy: FrontServer, prefix: &str, authority: &TestAuthority) {
    let url = format!("https://localhost:{}{prefix}", proxy.address.port());
    let mut settings = ClientSettings::new(url.parse().unwrap());
    let error = Client::with(&settings).unwrap().health().await.unwrap_err();
    assert!(matches!(error, ClientError::Encryption { .. }), "the authority is unknown: {error}");
    settings.ca_file = Some(authority.file("ca.pem"));
    let client = Client::with(&settings).unwrap();
    service.check_proof(&client, LARGE_INPUT).await;
    check_page(&url, authority).await;
    check_http2(&url, authority);
    drop(proxy);
    service.service.shutdown().await;
}

/// Checks the hints for an unknown authority, and for a host name that the certificate lacks.
async fn check_hints(proxy: SocketAddr, authority: &TestAuthority) {
    let failure = async |url: String, ca_file| {
        let settings = ClientSettings { url: url.parse().unwrap(), ca_file, token_file: None };
        Client::with(&settings).unwrap().health().await.unwrap_err()
    };
    let named = format!("https://localhost:{}", proxy.port());
    check_error(&failure(named, None).await, "certificate", "SP1_DISTRIBUTED_CA_FILE");
    let unnamed = failure(format!("https://{proxy}"), Some(authority.file("ca.pem"))).await;
    check_error(&unnamed, "certificate", "use a host name of the certificate");
}

async fn check_nginx(file: &str, prefix: &str) {
    let (authority, service, address) =
        (TestAuthority::create(), GatedService::start().await, FrontServer::free_address());
    let site = packaged(
        file,
        &[
            ("listen 443 ssl", format!("listen {address} ssl")),
            ("/etc/nginx/tls/proofs.example.com.", authority.file("server.").display().to_string()),
            ("127.0.0.1:8090", service.address.to_string()),
        ],
    );
    let proxy = FrontServer::nginx(&site, address);
    check_hints(address, &authority).await;
    check_encrypted(service, proxy, prefix, &authority).await;
}

async fn check_caddy(file: &str, prefix: &str) {
    let (authority, service, address) =
        (TestAuthority::create(), GatedService::start().await, FrontServer::free_address());
    let [certificate, key] = ["server.pem", "server.key"].map(|file| authority.file(file).display().to_string());
    let head = format!("https://localhost:{} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}", address.port());
    let changes = [("proofs.example.com {", head), ("127.0.0.1:8090", service.address.to_string())];
    let sites = packaged(file, &changes);
    check_encrypted(service, FrontServer::caddy(&sites, address), prefix, &authority).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_passes_through_nginx() {
    check_nginx("nginx/sp1d.conf", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_passes_through_nginx_under_a_prefix() {
    check_nginx("nginx/sp1d-prefix.conf", "/sp1d").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_passes_through_caddy() {
    check_caddy("caddy/Caddyfile", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proof_passes_through_caddy_under_a_prefix() {
    check_caddy("caddy/Caddyfile.prefix", "/sp1d").await;
}

/// Checks the first line and the hint of an error.
#[track_caller]
fn check_error(error: &ClientError, text: &str, hint: &str) {
    let shown = error.to_string();
    let (first, rest) = shown.split_once("\nhint: ").unwrap_or((shown.as_str(), ""));
    assert!(first.contains(text) && rest.contains(hint), "{shown}");
}

/// nginx with default settings speaks HTTP/1.0 to the service, collects responses, replaces the header `Host`, and
/// accepts 1 MB.
#[tokio::test(flavor = "multi_thread")]
async fn service_works_behind_an_nginx_with_default_settings() {
    let (service, address) = (GatedService::start().await, FrontServer::free_address());
    let proxy_pass = format!("proxy_pass http://{};", service.address);
    let site = format!("server {{ listen {address}; location / {{ {proxy_pass} }} }}");
    let _proxy = FrontServer::nginx(&site, address);
    let url = format!("http://{address}");
    let client = Client::new(&url).unwrap();
    service.check_proof(&client, 1000).await;
    let error = client.add_input(vec![7; LARGE_INPUT].into()).await.unwrap_err();
    check_error(&error, "413", "client_max_body_size");
    // What a browser sends when a user of the page cancels a proof.
    let proofs = client.proofs(None, 1).await.unwrap();
    let cancel = async |site: &str| {
        let request = reqwest::Client::new().delete(format!("{url}/v1/proofs/{}", proofs[0].id));
        let request = request.header("origin", &url).header("sec-fetch-site", site);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(cancel("same-origin").await, 200);
    assert_eq!(cancel("cross-site").await, 403);
    service.service.shutdown().await;
    // The listener of the service is closed now.
    let error = client.health().await.unwrap_err();
    check_error(&error, "502", "check that `sp1d serve` runs");
    assert!(error.is_passing());
}

#[tokio::test(flavor = "multi_thread")]
async fn token_and_redirects_of_a_proxy_are_handled() {
    let (service, address) = (GatedService::start().await, FrontServer::free_address());
    let site = format!(
        "server {{ listen {address};
            location /moved/ {{ return 301 https://me:secret@elsewhere.example/; }}
            location / {{
                if ($http_authorization != \"Bearer sesame\") {{ return 401; }}
                proxy_pass http://{};
            }}
        }}",
        service.address
    );
    let _proxy = FrontServer::nginx(&site, address);
    let error = Client::new(&format!("http://{address}/moved")).unwrap().health().await.unwrap_err();
    check_error(&error, "redirects to \"https://***@elsewhere.example/\"", "");
    assert!(!error.is_passing());
    let mut settings = ClientSettings::new(format!("http://{address}").parse().unwrap());
    let error = Client::with(&settings).unwrap().health().await.unwrap_err();
    check_error(&error, "401", "--token-file");
    let token = tempfile::NamedTempFile::new().unwrap();
    settings.token_file = Some(token.path().to_owned());
    fs::write(token.path(), "mustard\n").unwrap();
    let error = Client::with(&settings).unwrap().health().await.unwrap_err();
    check_error(&error, "401 Unauthorized: it does not accept the token", "--token-file");
    let error = Client::new(&format!("http://me:secret@{address}")).unwrap().health().await.unwrap_err();
    check_error(&error, "it does not accept the user name or the password", "SP1_DISTRIBUTED_URL");
    fs::write(token.path(), "sesame\n").unwrap();
    assert_eq!(Client::with(&settings).unwrap().health().await.unwrap().workers, 1);
    service.service.shutdown().await;
}
