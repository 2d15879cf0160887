//! Why a session ended.

use crate::text::line_without_hint;
use sp1d_protocol::Mismatch;
use std::time::Duration;

/// A session that has ended.
pub(super) struct FinishedSession {
    /// False if the session ended in its handshake.
    pub(super) has_started: bool,
    pub(super) end: SessionEnd,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnd {
    #[error("the connection failed: {0}")]
    Connection(#[from] tonic::transport::Error),
    #[error("a call to the orchestrator failed: {}", line_without_hint(.0.message()))]
    Call(#[from] Box<tonic::Status>),
    #[error("the orchestrator refused this worker: {0}")]
    Refused(String),
    #[error("this worker refused the orchestrator: {}", line_without_hint(&.0.to_string()))]
    Mismatch(#[from] Mismatch),
    #[error("the orchestrator ended the session: {0}")]
    Goodbye(String),
    #[error("the orchestrator ended the session and will reconnect: {0}")]
    Restart(String),
    #[error("the orchestrator closed the connection")]
    Closed,
    /// The orchestrator sent nothing for this long, or read nothing.
    #[error("the orchestrator did not respond for {} s", .0.as_secs_f32())]
    Silence(Duration),
    #[error("the orchestrator sent an invalid message: {0}")]
    InvalidMessage(#[from] sp1d_protocol::Invalid),
    #[error("the worker is stopping")]
    Stopping,
}

impl SessionEnd {
    /// Returns true if the orchestrator may reconnect soon.
    pub(super) fn is_loss(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Call(_) | Self::Closed | Self::Silence(_) | Self::Restart(_) => true,
            Self::Refused(_) | Self::Mismatch(_) | Self::Goodbye(_) | Self::InvalidMessage(_) | Self::Stopping => false,
        }
    }
}
