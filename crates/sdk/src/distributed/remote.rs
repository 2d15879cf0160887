//! Proving through a service, `sp1d serve`, instead of on workers of its own.

use super::DistributedError;
use ::client::{Client, ClientError, FailureInfo, NewProof, Proof, ProofState};
use bytes::Bytes;
use engine::Controller;
use orchestrator::{ExpectedExit, Progress, ProofFailure, ProofMode, ProofRequest};
use sp1_sdk::{HashableKey, SP1Proof, SP1ProofWithPublicValues};
use std::time::Duration;
use tokio::{sync::broadcast, time::timeout};
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
        let cancelled = || ProofFailure::Cancelled.into();
        let prepared = tokio::select! {
            prepared = self.prepare(&request, controller) => prepared?,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        let asked = tokio::select! {
            asked = self.submit(&prepared) => asked?,
            () = cancel.cancelled() => {
                // It may be accepted already: by the same key it is found.
                if let Ok(Ok(asked)) = timeout(LAST_PATIENCE, self.submit(&prepared)).await {
                    self.give_up(&asked.id).await;
                }
                return Err(cancelled());
            }
        };
        let id = asked.id.clone();
        tokio::select! {
            proven = self.finish(asked, request, controller, progress) => proven,
            () = cancel.cancelled() => {
                self.give_up(&id).await;
                Err(cancelled())
            }
        }
    }

    async fn submit(&self, new: &NewProof) -> Result<Proof, ClientError> {
        Client::persist(PATIENCE, || self.0.submit(new)).await
    }

    /// Waits for the proof that was asked for, and believes it when it is what was asked for.
    async fn finish(
        &self,
        asked: Proof,
        request: ProofRequest,
        controller: &Controller,
        progress: &broadcast::Sender<Progress>,
    ) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let tell = |event: &::client::EventRecord| {
            for news in event.event.progress() {
                // Nobody has to look.
                let _ = progress.send(news);
            }
        };
        let ended = self.0.follow(asked, 0, Some(PATIENCE), tell).await?;
        let content = self.content(ended).await?;
        let unverified = |text: String| DistributedError::Proof(ProofFailure::Unverified(text));
        let made: SP1ProofWithPublicValues = bincode::deserialize(&content)
            .map_err(|error| unverified(format!("what the service has made is no proof: {error}")))?;
        let (made_mode, mode) = (mode_of(&made.proof), request.mode);
        if made_mode != mode {
            return Err(unverified(format!("it is a {made_mode} proof, and a {mode} one was asked for")));
        }
        Ok(controller.accept(made, &request.elf, request.nonce).await?)
    }

    /// Hands in what the proof needs.
    async fn prepare(&self, request: &ProofRequest, controller: &Controller) -> Result<NewProof, DistributedError> {
        if request.expected_exit != ExpectedExit::Success {
            let text = "a service proves runs that end with exit code 0; prove others on a list of workers".to_owned();
            return Err(ProofFailure::Request(text).into());
        }
        self.connect().await?;
        let program = Client::persist(PATIENCE, || self.0.add_program(request.elf.clone())).await?;
        // A service with another SP1 would be found out by its proof only.
        let own = controller.verifying_key(&request.elf).await?.bytes32();
        if program.verifying_key.is_some_and(|key| key != own) {
            return Err(DistributedError::OtherRelease { url: self.0.url().to_owned() });
        }
        let input = Client::persist(PATIENCE, || self.0.add_input(request.stdin.clone())).await?;
        Ok(NewProof {
            program: Some(program.id),
            input: Some(input),
            mode: request.mode.into(),
            cycle_limit: request.cycle_limit.filter(|limit| *limit > 0),
            timeout_seconds: request.timeout.map(|timeout| timeout.as_secs().max(1)),
            nonce: request.nonce,
            // So that the same is not begun twice when an answer is lost.
            idempotency_key: Some(new_key()?),
            ..NewProof::default()
        })
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
    async fn give_up(&self, id: &str) {
        let cancelled = timeout(LAST_PATIENCE, Client::persist(LAST_PATIENCE, || self.0.cancel(id))).await;
        if !matches!(cancelled, Ok(Ok(_))) {
            tracing::warn!(
                proof_id = id,
                "a proof was not cancelled: the service does not answer, and goes on with it"
            );
        }
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
