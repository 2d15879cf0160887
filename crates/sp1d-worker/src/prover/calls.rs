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

/// Returns the error of a call whose attempt has ended.
fn ended(action: IoAction, name: String) -> IoError {
    IoError { action, name, reason: "the attempt has ended".to_owned() }
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
        (None, Some(call::What::Fetch(name))) => Err(ended(IoAction::Fetch, name)),
        (None, Some(call::What::Deliver(delivery))) => Err(ended(IoAction::Deliver, delivery.name)),
        (None, Some(call::What::ReportDeferredEvents(_))) => {
            Err(ended(IoAction::ReportDeferredEvents, "the deferred events".to_owned()))
        }
        (_, None) => Err(IoError {
            action: IoAction::Fetch,
            name: "an artifact".to_owned(),
            reason: "the call names no action".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a call of an attempt that has ended. The reply must name this action and this artifact.
    async fn check(what: call::What, action: wire::IoAction, name: &str) {
        let (out, mut replies) = mpsc::channel(1);
        carry_out(wire::Call { call: 7, attempt: 1, what: Some(what) }, None, out).await;
        let (name, reason) = (name.to_owned(), "the attempt has ended".to_owned());
        let error = wire::IoError { action: action.into(), name, reason };
        let reply = wire::Reply { call: 7, outcome: Some(reply::Outcome::Error(error)) };
        let expected = ToProver { message: Some(to_prover::Message::Reply(reply)) };
        assert_eq!(replies.recv().await, Some(expected));
    }

    #[tokio::test]
    async fn a_call_of_an_ended_attempt_fails_with_its_own_action() {
        check(call::What::Fetch("record".to_owned()), wire::IoAction::Fetch, "record").await;
        let delivery = wire::Delivery { name: "proof".to_owned(), ..wire::Delivery::default() };
        check(call::What::Deliver(delivery), wire::IoAction::Deliver, "proof").await;
        let report = call::What::ReportDeferredEvents(wire::ReportDeferredEvents {});
        check(report, wire::IoAction::ReportDeferredEvents, "the deferred events").await;
    }
}
