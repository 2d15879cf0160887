//! What is wrong with a request, and why it is refused.

use crate::database::DatabaseError;
use client::NewProof;
use orchestrator::UnknownWorker;

/// A word of a nonce is an element of SP1's field, whose order is 2^31 - 2^24 + 1.
const NONCE_WORDS: u32 = 0x7f00_0001;

/// Longest timeout: ten years.
const LONGEST_TIMEOUT: u64 = 10 * 366 * 24 * 60 * 60;

/// Longest idempotency key in bytes.
const LONGEST_KEY: usize = 200;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such proof, program, input or worker.
    #[error("{0}")]
    Unknown(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Something in it is too long.
    #[error("{what} is longer than {limit} bytes, the most that is taken")]
    TooLong {
        /// What is.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// It does not fit with what is there.
    #[error("{0}")]
    Conflict(String),
    /// There is no room for another proof that waits.
    #[error("{0} proofs wait already, as many as may; try again when some are done")]
    QueueFull(u64),
    /// Too much is handed in at the same time.
    #[error("too many programs and inputs are being handed in; try again in a moment")]
    Busy,
    /// There is no room on the disk.
    #[error("the disk of the service is full; nothing new is accepted until there is room")]
    DiskFull,
    /// The service's own fault.
    #[error("{0}")]
    Internal(String),
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full => Self::DiskFull,
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<UnknownWorker> for Refusal {
    fn from(error: UnknownWorker) -> Self {
        Self::Unknown(error.to_string())
    }
}

/// Checks what can be checked without looking at anything else.
pub(crate) fn check_request(request: &NewProof) -> Result<(), Refusal> {
    let invalid = |text: String| Err(Refusal::Invalid(text));
    if !(-100..=100).contains(&request.priority) {
        return invalid(format!("priority {} is out of range: -100 to 100", request.priority));
    }
    if let Some(word) = request.nonce.iter().find(|word| **word >= NONCE_WORDS) {
        return invalid(format!("the nonce's word {word} is out of range: words are below {NONCE_WORDS}"));
    }
    if request.cycle_limit == Some(0) || request.cycle_limit.is_some_and(|limit| i64::try_from(limit).is_err()) {
        return invalid("cycle_limit is out of range: at least 1; leave it out for no limit".to_owned());
    }
    if request.timeout_seconds.is_some_and(|seconds| !(1..=LONGEST_TIMEOUT).contains(&seconds)) {
        return invalid(format!("timeout_seconds is out of range: 1 to {LONGEST_TIMEOUT}; leave it out for no limit"));
    }
    if let Some(key) = &request.idempotency_key
        && (key.is_empty() || key.len() > LONGEST_KEY || key.chars().any(char::is_control))
    {
        return invalid(format!("idempotency_key is 1 to {LONGEST_KEY} bytes of printable text"));
    }
    Ok(())
}
