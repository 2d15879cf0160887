//! Forms that want to be kept in memory.

use super::http::{chunk_of, head, pour};
use crate::attack::target::AttackTarget;
use anyhow::Result;
use std::time::Duration;

fn form_head() -> String {
    head("POST", "/v1/proofs", "content-type: multipart/form-data; boundary=x\r\ntransfer-encoding: chunked\r\n")
}

pub(in crate::attack) async fn form_without_boundary(target: AttackTarget) -> Result<()> {
    pour(&target, &form_head(), &chunk_of(0), Duration::ZERO).await
}

pub(in crate::attack) async fn form_without_head_end(target: AttackTarget) -> Result<()> {
    let start = "--x\r\ncontent-disposition: form-data; name=\"request\"\r\nx: ";
    let start = format!("{}{:x}\r\n{start}\r\n", form_head(), start.len());
    pour(&target, &start, &chunk_of(b'a'), Duration::ZERO).await
}
