//! The calls of a prover process: it fetches and uploads artifacts through the worker.

use crate::engine::{AttemptIo, IoAction, IoError};
use bytes::Bytes;
use sp1d_protocol::prover_wire::{self as wire, ToProver, call, reply, to_prover};
use std::sync::Arc;
use tokio::sync::mpsc;

fn action_to_wire(action: IoAction) -> wire::IoAction {
    match action {
        IoAction::Fetch => wire::IoAction::Fetch,
        IoAction::Deliver => wire::IoAction::Deliver,
        IoAction::ReportDeferredEvents => wire::IoAction::ReportDeferredEvents,
    }
}

/// Carries out a call of the process, and sends the reply. `io` is `None` if the attempt has ended.
pub(super) async fn carry_out(call: wire::Call, io: Option<Arc<dyn AttemptIo>>, out: mpsc::Sender<ToProver>) {
    let outcome = match (io, call.what) {
        (Some(io), Some(call::What::Fetch(name))) => io.fetch(&name).await.map(Into::into),
        (Some(io), Some(call::What::Deliver(delivery))) => {
            io.deliver(&delivery.name, delivery.content.into()).await.map(|()| Bytes::new())
        }
        (Some(io), Some(call::What::ReportDeferredEvents(_))) => {
            io.report_deferred_events().await.map(|()| Bytes::new())
        }
        (None, _) | (_, None) => Err(IoError {
            action: IoAction::Fetch,
            name: "an artifact".to_owned(),
            reason: "the attempt has ended".to_owned(),
        }),
    };
    let outcome = match outcome {
        Ok(content) => reply::Outcome::Content(content),
        Err(IoError { action, name, reason }) => {
            reply::Outcome::Error(wire::IoError { action: action_to_wire(action).into(), name, reason })
        }
    };
    let reply = wire::Reply { call: call.call, outcome: Some(outcome) };
    // If this fails, the process is gone and does not need the reply.
    let _ = out.send(ToProver { message: Some(to_prover::Message::Reply(reply)) }).await;
}
