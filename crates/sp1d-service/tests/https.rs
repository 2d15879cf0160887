//! The HTTP interface over HTTPS.

use reqwest::Certificate;
use sp1d_identity::{KeyAuthority, PeerRole, TlsIdentity};
use sp1d_service::serve;
use std::{fs, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

mod running;

use running::{Running, open};

#[tokio::test]
async fn a_port_for_other_machines_speaks_only_https_and_one_on_the_loopback_interface_http() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let path = KeyAuthority::init(&keys, Vec::new(), 1).unwrap();
    let tls = TlsIdentity::load(&path, PeerRole::Orchestrator).unwrap();
    let service = open(folder.path(), |settings| {
        settings.tls = Some(tls);
        settings.http.connections_per_client = 8;
    })
    .await
    .unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(service.clone(), listener));
    // More connections than one client may have, silent in their handshake.
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let ca = Certificate::from_pem(&fs::read(keys.join("ca.crt")).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_built_in_root_certs(false).add_root_certificate(ca).build().unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let response = client.get(format!("https://{host}:{port}/healthz")).send().await.unwrap();
        assert!(response.status().is_success(), "{host}: {}", response.status());
    }
    // A client that does not know the authority, and one without TLS.
    assert!(reqwest::get(format!("https://localhost:{port}/healthz")).await.is_err());
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), plain.read_to_end(&mut answer)).await;
    assert!(read.is_ok() && !answer.starts_with(b"HTTP/"), "{answer:?}");
    let loopback = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = loopback.local_addr().unwrap();
    tokio::spawn(serve(service.clone(), loopback));
    let running = Running { service, address, url: format!("http://{address}"), client };
    running.json("/healthz").await;
    running.service.shutdown().await;
}
