//! Why a worker cannot be reached.

use sp1d_identity::TlsError;
use sp1d_model::{clean_line, hint::one_line};
use sp1d_protocol::{Mismatch, PreambleError};
use std::{fmt, io, time::Duration};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of characters of the reason why a connection failed. The certificate of a peer can make the text
    /// longer.
    const MAX_FAILURE_CHARACTERS: usize = 400; Count by Worker;
}

/// Why a worker cannot be reached: it does not respond, or no session with it can start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReachError {
    /// The orchestrator is stopping, or no longer lists the worker.
    #[error("the orchestrator is stopping or no longer lists the worker")]
    Stopping,
    /// The list names the worker of this process, and this process has none.
    #[error("this process runs no worker")]
    NoLocalWorker,
    /// The worker of this process has stopped.
    #[error("the worker of this process has stopped")]
    LocalWorkerStopped,
    /// The worker joins by itself, so the orchestrator does not connect to it.
    #[error("this worker joins by itself")]
    Joins,
    /// The name of the machine cannot be resolved.
    #[error("cannot resolve the name: {0}")]
    Resolve(io::Error),
    /// The name of the machine was not resolved in time.
    #[error("the name was not resolved within {} s", .0.as_secs())]
    ResolveTimeout(Duration),
    /// The machine responds, and no program listens at the address.
    #[error("connection refused: no program listens at this address")]
    ConnectionRefused,
    /// The system cannot open a connection.
    #[error("{0}")]
    Connect(io::Error),
    /// The machine does not respond.
    #[error("no response within {} s", .0.as_secs())]
    ConnectTimeout(Duration),
    /// The connection cannot be configured.
    #[error("cannot set TCP_NODELAY: {0}")]
    NoDelay(io::Error),
    /// The TLS handshake failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The peer is not a worker, or it does not accept this orchestrator.
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    /// The worker serves another orchestrator, which the text names, and no proof needs the worker now. The
    /// orchestrator connects again when a proof starts.
    #[error("{0}; no proof needs it now")]
    NotNeeded(String),
    /// This address leads to a worker that is connected already under another address of its name.
    #[error("this orchestrator already uses the worker at this address, under another address of its name")]
    SameWorker,
    /// The worker has another build. It needs the release of this orchestrator.
    #[error(transparent)]
    Build(#[from] Mismatch),
    /// The worker accepted the connection and sent no hello in time.
    #[error("the worker sent no hello within {} s", .0.as_secs())]
    NoHello(Duration),
    /// A probed worker ended the connection.
    #[error("the connection ended before the worker sent its hello")]
    EndedBeforeHello,
    /// The session ended in its handshake. The text says why.
    #[error("{0}")]
    SessionEnded(String),
}

impl ReachError {
    /// Returns true if a later connection may succeed without a change on the worker's machine or on this one, for
    /// example because the worker is just starting.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Resolve(_)
            | Self::ResolveTimeout(_)
            | Self::ConnectionRefused
            | Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::NotNeeded(_)
            | Self::SessionEnded(_) => true,
            Self::Preamble(error) => {
                matches!(error, PreambleError::Io(_) | PreambleError::Busy(_) | PreambleError::SilentInQueue(_))
            }
            Self::Tls(error) => error.is_port_test(),
            Self::Stopping
            | Self::NoLocalWorker
            | Self::LocalWorkerStopped
            | Self::Joins
            | Self::NoDelay(_)
            | Self::SameWorker
            | Self::Build(_)
            | Self::NoHello(_)
            | Self::EndedBeforeHello => false,
        }
    }
}

/// Returns the text of an error and its hints as one line of limited length.
pub(crate) fn failure_line(error: &impl fmt::Display) -> String {
    clean_line(&one_line(&error.to_string()), MAX_FAILURE_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_becomes_one_short_line() {
        assert_eq!(failure_line(&"old\nhint: renew it"), "old; renew it");
        assert_eq!(failure_line(&"a\u{1b}".repeat(1000)), "a ".repeat(MAX_FAILURE_CHARACTERS / 2));
    }
}
