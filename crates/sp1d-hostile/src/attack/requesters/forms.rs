//! Forms that want to be kept in memory.

use super::http::{head, pour};
use crate::attack::target::AttackTarget;
use anyhow::Result;
use std::time::Duration;

/// 64 KiB of zeros as a chunk of a body.
fn zeros() -> Vec<u8> {
    [b"10000\r\n".as_slice(), &[0; 0x10000], b"\r\n"].concat()
}

fn form_head() -> String {
    head("POST", "/v1/proofs", "content-type: multipart/form-data; boundary=x\r\ntransfer-encoding: chunked\r\n")
}

pub(in crate::attack) async fn form_without_boundary(target: AttackTarget) -> Result<()> {
    pour(&target, &form_head(), &zeros(), Duration::ZERO).await
}

pub(in crate::attack) async fn form_without_head_end(target: AttackTarget) -> Result<()> {
    let start = "--x\r\ncontent-disposition: form-data; name=\"request\"\r\nx: ";
    let start = format!("{}{:x}\r\n{start}\r\n", form_head(), start.len());
    let line = [b"10000\r\n".as_slice(), &[b'a'; 0x10000], b"\r\n"].concat();
    pour(&target, &start, &line, Duration::ZERO).await
}
