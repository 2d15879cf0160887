//! Errors of the distributed prover.

use sp1d_client::{ClientError, FailureInfo};
use sp1d_machine::ProcessorError;
use sp1d_orchestrator::{ConnectError, ProofFailure};
use sp1d_roles::config::ConfigError;
use sp1d_worker::MemoryError;
use std::time::Duration;

/// Why a call to the distributed prover failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistributedError {
    /// The worker list or a setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// This processor lacks features that the program was compiled for.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// The only worker is this process, and the machine has too little memory to load its prover.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No worker can be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The proof failed.
    #[error(transparent)]
    Proof(#[from] ProofFailure),
    /// The service does not respond, or it refuses the request.
    #[error(transparent)]
    Service(#[from] ClientError),
    /// The service could not create the proof.
    #[error("proof {proof} failed at the service: {}", .failure.text)]
    Remote {
        /// Id of the proof at the service.
        proof: String,
        /// Why the proof failed at the service.
        failure: FailureInfo,
    },
    /// The service computes another verifying key for the program, so it would prove something else.
    #[error(
        "the service at {url} computes a different verifying key for this program, so it runs another release of sp1d or SP1\nhint: install the same release on both sides"
    )]
    OtherRelease {
        /// Address of the service.
        url: String,
    },
    /// The proof at the service is a proof of another program than that of the proving key.
    #[error(
        "proof {proof} of the service is of another program than the proving key\nhint: create the proving key from the program of the request, or check the id of the proof"
    )]
    OtherProgram {
        /// Id of the proof at the service.
        proof: String,
    },
    /// The proof did not end within the time that the caller waits.
    #[error("proof {proof} did not end within {} s; it continues\nhint: wait for it again", .waited.as_secs())]
    StillRunning {
        /// Id of the proof at the service.
        proof: String,
        /// How long the caller waited.
        waited: Duration,
    },
    /// The call needs a service. The value names what only a service can do.
    #[error(
        "only a service can {0}: proofs on the program's own workers end with the program\nhint: set `SP1_DISTRIBUTED_URL`, or call `url` of the builder"
    )]
    NeedsService(&'static str),
    /// The call needs its own workers. The value names what a service cannot do.
    #[error("a service cannot {0}\nhint: use your own workers instead of a service")]
    NotThere(&'static str),
    /// The verifying key in the proving key does not belong to the program in the proving key.
    #[error(
        "the verifying key in the proving key does not belong to the program in it\nhint: create the proving key with this client's `setup`"
    )]
    ForeignKey,
    /// Another client made the proving key.
    #[error(
        "the proving key was made by the {made_by} client and this client is {client}\nhint: create the proving key with this client's `setup`"
    )]
    OtherClient {
        /// Name of the client that made the key.
        made_by: &'static str,
        /// Name of this client.
        client: &'static str,
    },
    /// The client was built with a custom machine.
    #[error("workers prove only SP1's standard machine\nhint: build the client without a custom machine")]
    Machine,
    /// A verified proof cannot be decoded. This is a bug in this crate.
    #[error("internal error: cannot decode the verified proof: {0}")]
    Decode(String),
}
