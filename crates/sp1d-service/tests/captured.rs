//! What an observer of the network sees of the HTTP interface. The connections lead through a relay that records them.

mod running;

use reqwest::{Certificate, Client, StatusCode};
use running::open;
use sp1d_artifacts::Digest;
use sp1d_identity::{KeyAuthority, PeerRole, TlsIdentity};
use sp1d_service::serve;
use sp1d_testing::{RecordingRelay, record};
use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, SocketAddr},
};
use tokio::net::TcpListener;

/// Returns random bytes.
fn random_bytes() -> Vec<u8> {
    record(RandomState::new().build_hasher().finish(), 4096)
}

/// Uploads a marked program and a marked input with a marked token to the port at `address`, through a relay. Checks
/// for all marks whether the relay has carried them.
async fn check_capture(client: &Client, scheme: &str, address: SocketAddr, is_visible: bool) {
    let relay = RecordingRelay::start(address).await;
    let url = format!("{scheme}://localhost:{}", relay.address.port());
    let program = [b"program".as_slice(), &random_bytes()].concat();
    let (input, token) = (random_bytes(), Digest::of(&random_bytes()).to_string());
    let mut ids = Vec::new();
    for (path, body) in [("/v1/programs", &program), ("/v1/inputs", &input)] {
        let request = client.post(format!("{url}{path}")).bearer_auth(&token).body(body.clone());
        let response = request.header("content-type", "application/octet-stream").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED, "{scheme} {path}");
        let uploaded: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        ids.push(uploaded["id"].as_str().unwrap().to_owned());
    }
    assert!(
        relay.traffic().carried_bytes() > program.len() + input.len(),
        "{scheme}: {}",
        relay.traffic().carried_bytes()
    );
    for (mark, bytes) in [
        ("program", program.as_slice()),
        ("input", input.as_slice()),
        ("token", token.as_bytes()),
        ("id of the program", ids[0].as_bytes()),
        ("id of the input", ids[1].as_bytes()),
        ("path", b"/v1/programs".as_slice()),
    ] {
        assert_eq!(relay.traffic().has_carried(bytes), is_visible, "{scheme}: {mark}");
    }
}

#[tokio::test]
async fn a_capture_of_https_shows_no_program_no_input_and_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let path = KeyAuthority::init(&keys, Vec::new(), 1).unwrap();
    let tls = TlsIdentity::load(&path, PeerRole::Orchestrator).unwrap();
    let service = open(folder.path(), |settings| settings.tls = Some(tls.into())).await.unwrap();
    let ca = Certificate::from_pem(&fs::read(keys.join("ca.crt")).unwrap()).unwrap();
    let client = Client::builder().tls_built_in_root_certs(false).add_root_certificate(ca).build().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let secure = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()));
    tokio::spawn(serve(service.clone(), listener));
    check_capture(&client, "https", secure, false).await;
    // A port on the loopback interface uses plain HTTP. Without this check, the other one could pass because the relay
    // or the marks are wrong.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let plain = listener.local_addr().unwrap();
    tokio::spawn(serve(service.clone(), listener));
    check_capture(&client, "http", plain, true).await;
    service.shutdown().await;
}
