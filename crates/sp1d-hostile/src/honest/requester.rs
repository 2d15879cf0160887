//! A requester with four proofs at a time.

use crate::pool::RECORD_BYTES;
use bytes::Bytes;
use futures::future::join_all;
use sp1d_client::{Client, ClientError, NewProof, ProofState};
use sp1d_testing::expected_proof;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Number of proofs at the same time.
const PROOFS: usize = 4;

/// The program of all proofs. A fake runner proves no other one.
const PROGRAM: &[u8] = b"program";

/// Longest wait for a proof. A proof that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an attack has cost an honest requester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HonestFault {
    /// The proof failed, is wrong or did not come.
    Lost(String),
    /// The service refused a request or did not respond.
    Refused(String),
}

impl From<ClientError> for HonestFault {
    fn from(error: ClientError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Requests proofs of the same size again and again, four at a time.
pub(crate) struct HonestRequester {
    url: String,
    shards: u64,
    expected: Vec<u8>,
    /// Makes inputs different from all others, so that the service has to store each of them.
    inputs: AtomicU64,
}

impl HonestRequester {
    /// Creates a requester whose proofs have this number of shards.
    pub(crate) fn new(url: String, shards: u64) -> Self {
        Self { url, shards, expected: expected_proof(shards, RECORD_BYTES), inputs: AtomicU64::new(0) }
    }

    /// Requests four proofs and waits for them. Returns for each how many seconds it took, or what went wrong.
    pub(crate) async fn prove(&self) -> Vec<Result<f64, HonestFault>> {
        join_all((0..PROOFS).map(|_| self.prove_in_time())).await
    }

    async fn prove_in_time(&self) -> Result<f64, HonestFault> {
        let late = HonestFault::Lost(format!("the proof took longer than {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, self.prove_one()).await.unwrap_or(Err(late))
    }

    /// Does what a program does: uploads, requests, follows and downloads. The time is that of the proof, from the
    /// request to its end. Each proof has connections of its own, so that new connections are part of the test.
    async fn prove_one(&self) -> Result<f64, HonestFault> {
        let client = Client::new(&self.url)?;
        let program = client.add_program(Bytes::from_static(PROGRAM)).await?.id;
        let number = self.inputs.fetch_add(1, Ordering::Relaxed);
        let input = client.add_input(format!("input {number}").into()).await?;
        let request = NewProof {
            program: Some(program),
            input: Some(input),
            cycle_limit: Some(self.shards),
            ..NewProof::default()
        };
        let start = Instant::now();
        let proof = client.submit(&request).await?;
        let proof = client.follow(proof, 0, Some(PATIENCE), |_| {}).await?;
        let seconds = start.elapsed().as_secs_f64();
        if proof.state != ProofState::Done {
            let reason = proof.failure.map(|failure| failure.text).unwrap_or_default();
            return Err(HonestFault::Lost(format!("the proof {}: {reason}", proof.state.name())));
        }
        if client.fetch(&proof.id).await? != self.expected {
            return Err(HonestFault::Lost("the proof is wrong".to_owned()));
        }
        Ok(seconds)
    }
}
