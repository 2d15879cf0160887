//! Clients that are slow, silent or endless do not hurt the other clients of a service.

use reqwest::{Client, StatusCode};
use sp1d_service::{HttpLimits, Service};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

mod running;

use running::{PATIENCE, start};

struct HttpService {
    service: Service,
    address: SocketAddr,
    _folder: TempDir,
}

impl HttpService {
    async fn start(change: impl FnOnce(&mut HttpLimits)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (service, address) = start(folder.path(), &[], |settings| change(&mut settings.http)).await;
        Self { service, address, _folder: folder }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Uploads a program, and returns the status of the response.
    async fn upload(&self) -> StatusCode {
        let request = Client::new().post(format!("http://{}/v1/programs", self.address)).body("program");
        request.send().await.unwrap().status()
    }
}

/// Waits until the service closes the connection.
async fn closed(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    let read = async { while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {} };
    timeout(PATIENCE, read).await.expect("the service closes the connection");
}

#[tokio::test]
async fn connection_without_a_complete_request_is_closed() {
    let running = HttpService::start(|limits| limits.head_time = Duration::from_millis(200)).await;
    for start in ["", "GET /healthz HTTP/1.1\r\nhost: loc"] {
        let mut stream = running.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
    // The same after a request.
    let mut stream = running.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    closed(&mut stream).await;
    running.service.shutdown().await;
}

#[tokio::test]
async fn idle_connections_of_a_client_replace_each_other() {
    let limit = 4;
    let running = HttpService::start(|limits| limits.connections_per_client = limit).await;
    let mut idle = Vec::new();
    for _ in 0..10 * limit {
        idle.push(running.connect().await);
    }
    for stream in &mut idle[..9 * limit] {
        closed(stream).await;
    }
    // A client with a request is served although the places are taken.
    assert_eq!(running.upload().await, StatusCode::CREATED);
    running.service.shutdown().await;
}

#[tokio::test]
async fn slow_uploads_do_not_hold_all_places() {
    let running = HttpService::start(|limits| limits.silence = Duration::from_millis(300)).await;
    let mut uploads = Vec::new();
    for _ in 0..16 {
        let mut stream = running.connect().await;
        uploads.push(tokio::spawn(async move {
            let head = "POST /v1/inputs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            // One byte after each 20 ms: never silent, and never done.
            while stream.write_all(b"a").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        }));
    }
    sleep(Duration::from_millis(100)).await;
    let uploaded = timeout(PATIENCE, running.upload()).await.expect("the slow uploads end");
    assert_eq!(uploaded, StatusCode::CREATED);
    for upload in uploads {
        timeout(PATIENCE, upload).await.expect("the slow uploads end").unwrap();
    }
    running.service.shutdown().await;
}

#[tokio::test]
async fn silent_body_of_a_request_ends_with_status_408() {
    let running = HttpService::start(|limits| limits.silence = Duration::from_millis(200)).await;
    for kind in ["application/json", "multipart/form-data; boundary=x"] {
        let mut stream = running.connect().await;
        let head =
            format!("POST /v1/proofs HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 9\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut start)).await.expect("the service responds").unwrap();
        assert_eq!(&start, b"HTTP/1.1 408", "{kind}");
    }
    running.service.shutdown().await;
}

#[tokio::test]
async fn endless_form_without_boundary_is_refused_while_it_arrives() {
    let running = HttpService::start(|_| {}).await;
    let (mut reader, mut writer) = running.connect().await.into_split();
    let reading = tokio::spawn(async move {
        let mut response = Vec::new();
        // The service closes the connection although there is more to read, so reading may end with an error.
        let _ = reader.read_to_end(&mut response).await;
        String::from_utf8_lossy(&response).into_owned()
    });
    let head = "POST /v1/proofs HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\ntransfer-encoding: chunked\r\n\r\n";
    writer.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[0; 0x10000], b"\r\n"].concat();
    let (started, mut written) = (Instant::now(), 0);
    while started.elapsed() < PATIENCE && writer.write_all(&chunk).await.is_ok() {
        written += chunk.len();
    }
    assert!(written < 64 << 20, "the service has read {written} bytes");
    let response = timeout(PATIENCE, reading).await.expect("the service closes the connection").unwrap();
    assert!(response.starts_with("HTTP/1.1 400") && response.contains("no form part within"), "{response}");
    running.service.shutdown().await;
}

#[tokio::test]
async fn download_that_is_not_read_ends() {
    let running = HttpService::start(|limits| limits.silence = Duration::from_millis(300)).await;
    let mut stream = running.connect().await;
    // Many pipelined requests, whose responses fill all buffers because the client reads none of them.
    let request = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    let writing = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    timeout(PATIENCE, writing).await.expect("the service closes the connection");
    running.service.shutdown().await;
}
