//! Texts with control and escape characters. The service must not repeat them.

use super::http::ask;
use crate::attack::target::AttackTarget;
use anyhow::Result;

/// Clears a terminal that shows it.
const ESCAPE: &str = "\u{1b}[2J";

pub(in crate::attack) async fn control_characters(target: AttackTarget) -> Result<()> {
    let json = "content-type: application/json\r\n";
    let escaped = "\\u001b[2J\\u0007";
    let request = format!(
        "{{\"program\": \"{escaped}\", \"idempotency_key\": \"{escaped}\", \"mode\": \"{escaped}\", \"{escaped}\": 1}}"
    );
    let replies = [
        ask(&target, "GET", "/v1/proofs/%1b%5b2J%07", "", b"").await?,
        ask(&target, "GET", "/%1b%5b2J", "", b"").await?,
        ask(&target, "GET", "/v1/proofs?state=%1b%5b2J", "", b"").await?,
        ask(&target, "DELETE", "/v1/workers/%1b%5b2J%07", "", b"").await?,
        ask(&target, "POST", "/v1/proofs", json, request.as_bytes()).await?,
        ask(&target, "POST", "/v1/proofs", json, ESCAPE.as_bytes()).await?,
        ask(&target, "POST", "/v1/proofs", "content-type: multipart/form-data; boundary=\x07\r\n", b"").await?,
    ];
    for reply in replies {
        if reply.text.contains('\u{1b}') {
            target.violate("a response repeats escape characters".to_owned());
        }
        if reply.status < 400 {
            target.violate(format!("a request with escape characters got status {}", reply.status));
        }
        target.counts.refuse(&format!("status {}", reply.status));
    }
    Ok(())
}
