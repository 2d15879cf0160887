//! Validation of proof requests, and the reasons for refusing a request.

use crate::{
    access::QuotaExceeded,
    state::{BlobError, DatabaseError},
};
use sp1d_model::{NewProof, counted};
use sp1d_orchestrator::UnknownWorker;

/// Order of SP1's field, 2^31 - 2^24 + 1. Each word of a nonce is an element of this field and therefore smaller.
const FIELD_ORDER: u32 = 0x7f00_0001;

sp1d_model::limits! {
    /// Maximum timeout of a proof: ten years. Times of the database stay in range.
    const MAX_TIMEOUT_SECONDS: u64 = 10 * 366 * 24 * 60 * 60; Seconds by Client;
    /// Maximum length of an idempotency key.
    const MAX_KEY_BYTES: usize = 200; Bytes by Client;
    /// Maximum number of programs and inputs that are uploaded and checked at the same time. Each upload occupies a
    /// blocking thread.
    pub(super) const MAX_UPLOADS: usize = 16; Count by Client;
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The proof, program, input or worker is unknown.
    #[error("{0}")]
    Unknown(String),
    /// The program, the input or a field of the request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The program or the input is too long.
    #[error("{what} is longer than the limit of {limit} bytes")]
    TooLong {
        /// The part that is too long: `the program` or `the input`.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// The request conflicts with the state of the service: another request used its idempotency key, or the proof to
    /// fetch is not done.
    #[error("{0}")]
    Conflict(String),
    /// The queue is full. Contains the number of queued proofs.
    #[error(
        "the queue is full: {} in it\nhint: try again when some proofs have started, or raise `--max-queue` of `sp1d serve`",
        counted(*.0, "proof")
    )]
    QueueFull(u64),
    /// A quota of the tenant does not permit the request.
    #[error(
        "{0}\nhint: wait until proofs have ended or were removed, or ask the administrator of the service's machine for a larger quota"
    )]
    Quota(String),
    /// Too many uploads run at the same time.
    #[error(
        "too many uploads: all {MAX_UPLOADS} places, or all places of this client, are taken\nhint: try again in a moment"
    )]
    Busy,
    /// The disk is full, or has less free space than `ServiceSettings::min_free_bytes`.
    #[error(
        "the disk of the service is full: it accepts no new proofs and uploads\nhint: free disk space on the machine of the service, or lower `--min-free` of `sp1d serve`"
    )]
    DiskFull,
    /// Another program has locked the database.
    #[error(
        "the database of the service is locked by another program\nhint: try again in a moment; if this stays, end the backup or the program that has opened `service.db` in the state folder"
    )]
    Locked,
    /// The service itself failed.
    #[error("{0}")]
    Internal(String),
}

impl From<DatabaseError> for RequestError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full => Self::DiskFull,
            DatabaseError::Locked => Self::Locked,
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<BlobError> for RequestError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full { .. } => Self::DiskFull,
            error => Self::Internal(error.to_string()),
        }
    }
}

impl From<UnknownWorker> for RequestError {
    fn from(error: UnknownWorker) -> Self {
        match &error {
            UnknownWorker::Ambiguous { .. } => Self::Invalid(error.to_string()),
            _ => Self::Unknown(error.to_string()),
        }
    }
}

impl From<QuotaExceeded> for RequestError {
    fn from(error: QuotaExceeded) -> Self {
        match error {
            QuotaExceeded::Priority { .. } => Self::Invalid(error.to_string()),
            QuotaExceeded::Queued { .. } | QuotaExceeded::Bytes { .. } | QuotaExceeded::Refused { .. } => {
                Self::Quota(error.to_string())
            }
        }
    }
}

/// Checks the fields of a request that can be checked without the database: priority, nonce, limits and idempotency
/// key.
pub(super) fn check_request(request: &NewProof) -> Result<(), RequestError> {
    let invalid = |text: String| Err(RequestError::Invalid(text));
    if !(-100..=100).contains(&request.priority) {
        return invalid(format!("priority {} is out of range: -100 to 100", request.priority));
    }
    if let Some(word) = request.nonce.iter().find(|word| **word >= FIELD_ORDER) {
        return invalid(format!("nonce word {word} is out of range: 0 to {}", FIELD_ORDER - 1));
    }
    for (name, limit) in [("cycle_limit", request.cycle_limit), ("gas_limit", request.gas_limit)] {
        if let Some(limit) = limit
            && (limit == 0 || i64::try_from(limit).is_err())
        {
            let text = format!("{name} {limit} is out of range: 1 to {}\nhint: leave it out for no limit", i64::MAX);
            return invalid(text);
        }
    }
    if let Some(seconds) = request.timeout_seconds
        && !(1..=MAX_TIMEOUT_SECONDS).contains(&seconds)
    {
        let text = format!("timeout_seconds {seconds} is out of range: 1 to {MAX_TIMEOUT_SECONDS}");
        return invalid(format!("{text}\nhint: leave it out for no timeout"));
    }
    if let Some(key) = &request.idempotency_key
        && (key.is_empty() || key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control))
    {
        let text = format!("idempotency_key must have 1 to {MAX_KEY_BYTES} bytes and no control characters");
        return invalid(text);
    }
    Ok(())
}

/// Returns the first 80 characters of a text that a client sent.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
