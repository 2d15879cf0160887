//! Why the distributed prover has no answer.

use crate::distributed::config::ConfigError;
use ::client::{ClientError, FailureInfo};
use orchestrator::{ConnectError, ProofFailure};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// The list of workers or a setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No worker can be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The proof failed.
    #[error(transparent)]
    Proof(#[from] ProofFailure),
    /// The service that proofs are asked of does not answer, or refuses.
    #[error(transparent)]
    Service(#[from] ClientError),
    /// The service has no proof.
    #[error("proof {proof} of the service: {}", .failure.text)]
    Remote {
        /// Its id there.
        proof: String,
        /// Why not.
        failure: FailureInfo,
    },
    /// The service would prove something else.
    #[error(
        "the service at {url} computes another verifying key for this program: it is of another release of sp1d or of SP1; install the same on both sides"
    )]
    OtherRelease {
        /// Where it is.
        url: String,
    },
    /// The call needs workers of its own.
    #[error("a service does not {0}; prove on a list of workers for that")]
    NotThere(&'static str),
    /// The verifying key in a proving key is not that of its program.
    #[error("the proving key's verifying key is not that of its program; make the key with this client's `setup`")]
    ForeignKey,
    /// The proving key is another client's.
    #[error(
        "the proving key was made by the {made_by} client and this client is {client}; make the key with this client's `setup`"
    )]
    OtherClient {
        /// Whose key it is.
        made_by: &'static str,
        /// What this client is.
        client: &'static str,
    },
    /// The client was built for a machine of the program's own.
    #[error("workers prove SP1's standard machine only; build the client without a machine of its own")]
    Machine,
    /// A verified proof did not decode: a mistake of ours.
    #[error("internal error: the proof does not decode: {0}")]
    Decode(String),
}
