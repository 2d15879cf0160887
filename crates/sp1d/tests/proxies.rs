//! Which requests of `sp1d` go through a proxy of the environment, and where credentials appear. The proxy and the
//! service of these tests only send prepared responses.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
};

mod refusal;

use refusal::check_refused;

/// A service that is never reached without a proxy, see RFC 6761.
const REMOTE: &str = "prover.invalid";

const HEALTH: &str =
    r#"{"release": "0.0.0", "proofs": {}, "parallel_proofs": 1, "max_queue": 1, "workers": 0, "ready_workers": 0}"#;

/// A server that responds to each request with `status` and [`HEALTH`], and records the heads of the requests.
struct PreparedServer {
    address: SocketAddr,
    heads: mpsc::Receiver<String>,
}

impl PreparedServer {
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = mpsc::channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: String = lines.take_while(|line| !line.is_empty()).map(|line| line + "\n").collect();
                // The test has ended if it no longer reads the heads.
                if sender.send(head).is_err() {
                    return;
                }
                let length = HEALTH.len();
                let response =
                    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{HEALTH}");
                let _ = stream.write_all(response.as_bytes());
            }
        });
        Self { address, heads }
    }

    /// Returns the heads of the requests so far.
    fn heads(&self) -> Vec<String> {
        self.heads.try_iter().collect()
    }
}

/// Runs `sp1d` with only these variables of the environment.
fn sp1d(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sp1d"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

fn status(url: &str, variables: &[(&str, &str)]) -> Output {
    sp1d(&["status", "--url", url], variables)
}

#[track_caller]
fn check_success(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Checks that `heads` is the head of one request that starts with `start`, and returns it in lower case.
#[track_caller]
fn check_one(heads: &[String], start: &str) -> String {
    let [head] = heads else { panic!("expected one request: {heads:?}") };
    assert!(head.starts_with(start), "{head}");
    head.to_ascii_lowercase()
}

#[test]
fn service_on_another_machine_is_reached_through_the_proxy_of_the_environment() {
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let proxy = PreparedServer::start("200 OK");
        let url = format!("http://me:secret@{}", proxy.address);
        check_success(&status(&format!("http://{REMOTE}:8090/sp1d"), &[(variable, &url)]));
        let head = check_one(&proxy.heads(), &format!("GET http://{REMOTE}:8090/sp1d/healthz HTTP/1.1\n"));
        assert!(head.contains("proxy-authorization: basic "), "{head}");
    }
}

#[test]
fn encrypted_service_is_reached_through_a_tunnel_of_the_proxy() {
    let proxy = PreparedServer::start("502 Bad Gateway");
    let url = format!("http://{}", proxy.address);
    let output = status(&format!("https://{REMOTE}"), &[("HTTPS_PROXY", &url)]);
    check_refused(&output, 4, &["cannot reach the service"]);
    check_one(&proxy.heads(), &format!("CONNECT {REMOTE}:443 HTTP/1.1\n"));
}

#[test]
fn names_in_no_proxy_are_reached_without_a_proxy() {
    let proxy = PreparedServer::start("200 OK");
    let url = format!("http://{}", proxy.address);
    let output = status(&format!("http://{REMOTE}:8090"), &[("HTTP_PROXY", &url), ("NO_PROXY", "other,.invalid")]);
    check_refused(&output, 4, &["cannot reach the service"]);
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

#[test]
fn service_on_this_machine_is_never_reached_through_a_proxy() {
    let (proxy, service) = (PreparedServer::start("502 Bad Gateway"), PreparedServer::start("200 OK"));
    let url = format!("http://{}", proxy.address);
    let variables = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].map(|variable| (variable, url.as_str()));
    for host in ["127.0.0.1", "localhost"] {
        check_success(&status(&format!("http://{host}:{}", service.address.port()), &variables));
        check_one(&service.heads(), "GET /healthz HTTP/1.1\n");
    }
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

#[test]
fn credentials_that_others_can_read_are_warned_about_and_not_shown() {
    let proxy = PreparedServer::start("200 OK");
    let through = format!("http://{}", proxy.address);
    let output = status(&format!("http://me:secret@{REMOTE}:8090"), &[("HTTP_PROXY", &through)]);
    check_success(&output);
    let stderr = String::from_utf8_lossy(&output.stderr);
    for part in ["others on the network can read the user name and the password", "use an https URL"] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    assert!(!stderr.contains("secret"), "{stderr}");
    let head = check_one(&proxy.heads(), &format!("GET http://{REMOTE}:8090/healthz HTTP/1.1\n"));
    assert!(head.contains("\nauthorization: basic "), "{head}");
}

#[test]
fn credentials_are_sent_but_never_shown() {
    let service = PreparedServer::start("200 OK");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "sesame\n").unwrap();
    let token = token.to_str().unwrap();
    let with_user = format!("http://me:secret@{}", service.address);
    let with_token = format!("http://{}", service.address);
    let shown = |output: &Output| {
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("secret") && !text.contains("sesame"), "{text}");
    };
    for (url, variables, header) in [
        (&with_user, vec![], "authorization: basic "),
        (&with_token, vec![("SP1_DISTRIBUTED_TOKEN_FILE", token)], "authorization: bearer sesame\n"),
    ] {
        let output = status(url, &variables);
        check_success(&output);
        shown(&output);
        let head = check_one(&service.heads(), "GET /healthz HTTP/1.1\n");
        assert!(head.contains(header), "{head}");
    }
    // Nothing listens on this port.
    let unreachable = "http://me:secret@127.0.0.1:9";
    let output = status(unreachable, &[]);
    check_refused(&output, 4, &["http://***@127.0.0.1:9"]);
    shown(&output);
    let variables = [("SP1_DISTRIBUTED_URL", unreachable)];
    for arguments in [&["status", "--help"][..], &["doctor", "--help"], &["proofs"], &["doctor"]] {
        shown(&sp1d(arguments, &variables));
    }
    let list = folder.path().join("distributed.json");
    fs::write(&list, r#"["127.0.0.1:9"]"#).unwrap();
    let output = sp1d(&["config", "--workers", list.to_str().unwrap()], &variables);
    assert!(String::from_utf8_lossy(&output.stdout).contains("http://***@127.0.0.1:9"));
    shown(&output);
    let output = status("ftp://me:secret@127.0.0.1", &[]);
    check_refused(&output, 2, &["ftp://***@127.0.0.1"]);
    shown(&output);
}
