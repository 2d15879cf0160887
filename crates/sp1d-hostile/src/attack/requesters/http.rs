//! HTTP/1.1 as an attacker writes it.

use crate::attack::target::AttackTarget;
use anyhow::{Context, Result, bail};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::sleep,
};

/// Maximum bytes of a response that an attacker reads.
const MAX_RESPONSE_BYTES: u64 = 16 << 20;

/// Returns the head of a request. `more` has further lines, each with its end.
pub(super) fn head(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")
}

/// Returns a chunk of a body in chunks.
pub(super) fn chunk(content: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
}

/// Returns a chunk of 64 KiB. All its bytes are `byte`.
pub(super) fn chunk_of(byte: u8) -> Vec<u8> {
    chunk(&[byte; 0x10000])
}

/// Returns the status of a response whose start is read from `reader`.
async fn status(reader: &mut (impl AsyncRead + Unpin)) -> Result<u16> {
    let mut start = [0; 12];
    reader.read_exact(&mut start).await.context("the connection was ended")?;
    let status = str::from_utf8(&start[9..]).ok().and_then(|status| status.parse().ok());
    status.context("the response is not HTTP/1.1")
}

async fn write_for_ever(
    target: &AttackTarget,
    writer: &mut (impl AsyncWrite + Unpin),
    head: &str,
    part: &[u8],
    pause: Duration,
) -> Result<Infallible> {
    writer.write_all(head.as_bytes()).await.context("the connection was ended")?;
    loop {
        writer.write_all(part).await.context("the connection was ended")?;
        target.act();
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

/// Sends a request whose body is `part` again and again to the HTTP interface, until the service responds or ends the
/// connection.
pub(super) async fn pour(target: &AttackTarget, head: &str, part: &[u8], pause: Duration) -> Result<()> {
    pour_at(target, target.http_port, head, part, pause).await
}

/// Does the same at another port.
pub(super) async fn pour_at(
    target: &AttackTarget,
    port: SocketAddr,
    head: &str,
    part: &[u8],
    pause: Duration,
) -> Result<()> {
    let (mut reader, mut writer) = target.connect(port).await?.into_split();
    let status = tokio::select! {
        written = write_for_ever(target, &mut writer, head, part, pause) => return written.map(|never| match never {}),
        status = status(&mut reader) => status?,
    };
    bail!("status {status}")
}

/// A response, as an attacker needs it.
pub(super) struct HttpReply {
    pub(super) status: u16,
    /// Head and body. The body may be in chunks.
    pub(super) text: String,
}

/// Sends a request to the HTTP interface on a connection of its own and reads the response.
pub(super) async fn ask(target: &AttackTarget, method: &str, path: &str, more: &str, body: &[u8]) -> Result<HttpReply> {
    ask_at(target, target.http_port, method, path, more, body).await
}

/// Does the same at another port.
pub(super) async fn ask_at(
    target: &AttackTarget,
    port: SocketAddr,
    method: &str,
    path: &str,
    more: &str,
    body: &[u8],
) -> Result<HttpReply> {
    let mut stream = target.connect(port).await?;
    let more = format!("{more}connection: close\r\ncontent-length: {}\r\n", body.len());
    stream.write_all(head(method, path, &more).as_bytes()).await.context("the connection was ended")?;
    stream.write_all(body).await.context("the connection was ended")?;
    target.act();
    let status = status(&mut stream).await?;
    let mut rest = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut rest).await.context("the response is incomplete")?;
    Ok(HttpReply { status, text: String::from_utf8_lossy(&rest).into_owned() })
}

impl HttpReply {
    /// Returns the ids in the JSON of the response, at most `count`.
    pub(super) fn ids(&self, count: usize) -> Vec<String> {
        let parts = self.text.split("\"id\":\"").skip(1);
        parts.filter_map(|part| part.split_once('"')).map(|(id, _)| id.to_owned()).take(count).collect()
    }
}
