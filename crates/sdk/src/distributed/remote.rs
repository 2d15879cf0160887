//! Proving through a service, `sp1d serve`, instead of on workers of its own.

use super::DistributedError;
use ::client::{Client, FailureInfo, NewProof, Proof, ProofState};
use bytes::Bytes;
use engine::Controller;
use orchestrator::{ExpectedExit, Progress, ProofFailure, ProofMode, ProofRequest};
use sp1_sdk::{SP1Proof, SP1ProofWithPublicValues};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// How long a service may be out of reach that was there before. It restarts in seconds; its machine takes minutes.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How long it may be before anything was said to it.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// How long it is tried to cancel what nobody waits for any more.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A service, from the side of a program.
#[derive(Debug, Clone)]
pub(super) struct Remote(Client);

impl Remote {
    pub(super) fn new(url: &str) -> Result<Self, DistributedError> {
        Ok(Self(Client::new(url)?))
    }

    /// Finds out whether it is there.
    pub(super) async fn connect(&self) -> Result<(), DistributedError> {
        Client::persist(FIRST_PATIENCE, || self.0.health()).await?;
        Ok(())
    }

    /// Has `request` proven, until `cancel`. What comes back is believed when `controller` has verified it.
    pub(super) async fn prove(
        &self,
        request: ProofRequest,
        controller: &Controller,
        progress: &broadcast::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let ProofRequest { elf, nonce, mode, .. } = &request;
        let (elf, nonce, mode) = (elf.clone(), *nonce, *mode);
        let asked = tokio::select! {
            asked = self.ask(request) => asked?,
            () = cancel.cancelled() => return Err(ProofFailure::Cancelled.into()),
        };
        let tell = |event: &::client::EventRecord| {
            for news in event.event.progress() {
                // Nobody has to look.
                let _ = progress.send(news);
            }
        };
        let ended = tokio::select! {
            ended = self.0.follow(&asked.id, 0, Some(PATIENCE), tell) => ended?,
            () = cancel.cancelled() => return self.give_up(&asked.id).await,
        };
        let content = self.content(ended).await?;
        let made: SP1ProofWithPublicValues =
            bincode::deserialize(&content).map_err(|error| DistributedError::Decode(error.to_string()))?;
        if mode_of(&made.proof) != mode {
            let text = format!("it is a {} proof, and a {mode} one was asked for", mode_of(&made.proof));
            return Err(ProofFailure::Unverified(text).into());
        }
        Ok(controller.accept(made, &elf, nonce).await?)
    }

    async fn ask(&self, request: ProofRequest) -> Result<Proof, DistributedError> {
        if request.expected_exit != ExpectedExit::Success {
            let text = "a service proves runs that end with exit code 0; prove others on a list of workers".to_owned();
            return Err(ProofFailure::Request(text).into());
        }
        self.connect().await?;
        let program = Client::persist(PATIENCE, || self.0.add_program(request.elf.clone())).await?;
        let input = Client::persist(PATIENCE, || self.0.add_input(request.stdin.clone())).await?;
        let new = NewProof {
            program: Some(program.id),
            input: Some(input),
            mode: request.mode.into(),
            cycle_limit: request.cycle_limit.filter(|limit| *limit > 0),
            timeout_seconds: request.timeout.map(|timeout| timeout.as_secs().max(1)),
            nonce: request.nonce,
            // So that the same is not begun twice when an answer is lost.
            idempotency_key: Some(new_key()?),
            ..NewProof::default()
        };
        Ok(Client::persist(PATIENCE, || self.0.submit(&new)).await?)
    }

    /// What the proof `ended` is, if it is one.
    async fn content(&self, ended: Proof) -> Result<Bytes, DistributedError> {
        if ended.state == ProofState::Done {
            return Ok(Client::persist(PATIENCE, || self.0.fetch(&ended.id)).await?);
        }
        let cancelled = || FailureInfo { kind: "cancelled".to_owned(), text: "somebody cancelled it".to_owned() };
        Err(DistributedError::Remote { proof: ended.id, failure: ended.failure.unwrap_or_else(cancelled) })
    }

    /// Nobody waits for the proof `id` any more.
    async fn give_up<T>(&self, id: &str) -> Result<T, DistributedError> {
        let cancelled = Client::persist(LAST_PATIENCE, || self.0.cancel(id)).await;
        if let Err(error) = cancelled {
            tracing::warn!(proof = id, %error, "cancel a proof; the service goes on with it");
        }
        Err(ProofFailure::Cancelled.into())
    }
}

fn mode_of(proof: &SP1Proof) -> ProofMode {
    match proof {
        SP1Proof::Core(_) => ProofMode::Core,
        SP1Proof::Compressed(_) => ProofMode::Compressed,
        SP1Proof::Plonk(_) => ProofMode::Plonk,
        SP1Proof::Groth16(_) => ProofMode::Groth16,
    }
}

/// A text that nobody else has.
fn new_key() -> Result<String, DistributedError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ProofFailure::Host(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
