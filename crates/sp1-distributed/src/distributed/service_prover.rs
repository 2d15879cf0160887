//! Proves through a service (`sp1d serve`) instead of on connected workers.

use super::{error::DistributedError, proof_conversion::to_sdk};
use bytes::Bytes;
use sp1_sdk::{HashableKey, SP1Proof, SP1ProofWithPublicValues};
use sp1d_client::{Client, ClientError, ClientSettings, EventRecord, FailureInfo, NewProof, ProofState, ProofSummary};
use sp1d_engine::{ProofFile, Sp1ProofRunner};
use sp1d_orchestrator::{ExpectedExit, ProofEvent, ProofFailure, ProofMode, ProofRequest};
use std::time::Duration;
use tokio::{sync::broadcast, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long a service that was reachable before may be unreachable. The service restarts in seconds, its machine in
/// minutes.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long the service may be unreachable at the first contact.
const FIRST_CONTACT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the client tries to cancel a proof that the caller no longer needs.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a proof of the service must be a proof of.
struct WantedProof {
    elf: Bytes,
    mode: ProofMode,
    nonce: [u32; 4],
}

/// The client side of a service.
#[derive(Debug, Clone)]
pub(super) struct ServiceProver(Client);

impl ServiceProver {
    pub(super) fn new(settings: &ClientSettings) -> Result<Self, DistributedError> {
        Ok(Self(Client::with(settings)?))
    }

    /// Checks that the service responds.
    pub(super) async fn connect(&self) -> Result<(), DistributedError> {
        Client::persist(FIRST_CONTACT_TIMEOUT, || self.0.health()).await?;
        Ok(())
    }

    /// Requests a proof of `request` from the service and waits for it until `cancel` is cancelled. Returns the proof
    /// only after `runner` has verified it. A proof without an idempotency key of the caller is cancelled together
    /// with `cancel`: no other client knows it.
    pub(super) async fn prove(
        &self,
        request: ProofRequest,
        idempotency_key: Option<String>,
        runner: &Sp1ProofRunner,
        progress: &broadcast::Sender<ProofEvent>,
        cancel: &CancellationToken,
    ) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let is_shared = idempotency_key.is_some();
        let asked = self.request(&request, idempotency_key, runner, cancel).await?;
        let id = asked.id.clone();
        let wanted = WantedProof { elf: request.elf, mode: request.mode, nonce: request.nonce };
        tokio::select! {
            proven = self.finish(asked, wanted, runner, progress) => proven,
            () = cancel.cancelled() => {
                if !is_shared {
                    self.give_up(&id).await;
                }
                Err(ProofFailure::Cancelled.into())
            }
        }
    }

    /// Requests a proof of `request` from the service. If `cancel` is cancelled meanwhile, the proof is cancelled too,
    /// unless the caller has given an idempotency key.
    pub(super) async fn request(
        &self,
        request: &ProofRequest,
        idempotency_key: Option<String>,
        runner: &Sp1ProofRunner,
        cancel: &CancellationToken,
    ) -> Result<ProofSummary, DistributedError> {
        let cancelled = || ProofFailure::Cancelled.into();
        let is_shared = idempotency_key.is_some();
        let prepared = tokio::select! {
            prepared = self.prepare(request, idempotency_key, runner) => prepared?,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        let asked = tokio::select! {
            asked = self.submit(&prepared) => asked?,
            () = cancel.cancelled() => {
                // The service may have accepted the request already. The same idempotency key finds that proof.
                if !is_shared && let Ok(Ok(asked)) = timeout(CANCEL_TIMEOUT, self.submit(&prepared)).await {
                    self.give_up(&asked.id).await;
                }
                return Err(cancelled());
            }
        };
        tracing::info!(proof_id = %asked.id, url = self.0.url(), "proof requested from the service");
        Ok(asked)
    }

    /// Waits for the proof `id` of the program `elf`, no longer than `limit`. Returns the proof only after `runner`
    /// has verified it.
    pub(super) async fn wait(
        &self,
        id: &str,
        elf: Bytes,
        runner: &Sp1ProofRunner,
        limit: Option<Duration>,
    ) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let waiting = async {
            let asked = Client::persist(FIRST_CONTACT_TIMEOUT, || self.0.proof(id)).await?;
            if asked.program != Client::program_id(&elf) {
                return Err(DistributedError::OtherProgram { proof: asked.id });
            }
            let wanted = WantedProof { elf, mode: asked.mode, nonce: asked.nonce };
            // No caller reads these events.
            let (progress, _) = broadcast::channel(1);
            self.finish(asked, wanted, runner, &progress).await
        };
        match limit {
            None => waiting.await,
            Some(waited) => timeout(waited, waiting)
                .await
                .unwrap_or_else(|_| Err(DistributedError::StillRunning { proof: id.to_owned(), waited })),
        }
    }

    /// Cancels the proof `id`, unless it has ended.
    pub(super) async fn cancel(&self, id: &str) -> Result<(), DistributedError> {
        Client::persist(FIRST_CONTACT_TIMEOUT, || self.0.cancel(id)).await?;
        Ok(())
    }

    async fn submit(&self, new: &NewProof) -> Result<ProofSummary, ClientError> {
        Client::persist(OUTAGE_TIMEOUT, || self.0.submit(new)).await
    }

    /// Waits for the requested proof. Returns it if it is the wanted one and verifies.
    async fn finish(
        &self,
        asked: ProofSummary,
        wanted: WantedProof,
        runner: &Sp1ProofRunner,
        progress: &broadcast::Sender<ProofEvent>,
    ) -> Result<SP1ProofWithPublicValues, DistributedError> {
        let on_event = |record: &EventRecord| {
            // Sending fails if the caller does not read the events.
            let _ = progress.send(record.event.clone());
        };
        let ended = self.0.follow(asked, 0, Some(OUTAGE_TIMEOUT), on_event).await?;
        let content = self.content(ended).await?;
        let wrong_proof = |text: String| DistributedError::Proof(ProofFailure::WrongProof(text));
        let made = ProofFile::decode(&content)
            .map_err(|error| wrong_proof(format!("cannot decode the proof of the service: {error}")))?;
        let (made_mode, mode) = (mode_of(&made.proof), wanted.mode);
        if made_mode != mode {
            return Err(wrong_proof(format!("the service made a {made_mode} proof instead of a {mode} proof")));
        }
        Ok(to_sdk(runner.verify_for_program(made, &wanted.elf, wanted.nonce).await?))
    }

    /// Uploads the program and the input, and returns the proof request.
    async fn prepare(
        &self,
        request: &ProofRequest,
        idempotency_key: Option<String>,
        runner: &Sp1ProofRunner,
    ) -> Result<NewProof, DistributedError> {
        if request.expected_exit != ExpectedExit::Success {
            let text = "a service proves only programs that end with exit code 0\n\
                        hint: prove this program on your own workers instead of a service";
            return Err(ProofFailure::Request(text.to_owned()).into());
        }
        self.connect().await?;
        let program = Client::persist(OUTAGE_TIMEOUT, || self.0.add_program(request.elf.clone())).await?;
        // Without this check, a service with another SP1 version would be noticed only when its proof does not verify.
        let own = runner.verifying_key(&request.elf).await?.bytes32();
        if program.verifying_key.is_some_and(|key| key != own) {
            return Err(DistributedError::OtherRelease { url: self.0.url().to_owned() });
        }
        let input = Client::persist(OUTAGE_TIMEOUT, || self.0.add_input(request.stdin.clone())).await?;
        Ok(NewProof {
            program: Some(program.id),
            input: Some(input),
            mode: request.mode,
            cycle_limit: request.cycle_limit.filter(|limit| *limit > 0),
            gas_limit: request.finite_gas_limit(),
            timeout_seconds: request.timeout.map(|timeout| timeout.as_secs().max(1)),
            nonce: request.nonce,
            trusted_only: request.trusted_only,
            // With a key, a repeated request does not start a second proof when a response was lost.
            idempotency_key: Some(idempotency_key.map_or_else(new_key, Ok)?),
            ..NewProof::default()
        })
    }

    /// Downloads the proof if it was made. Otherwise returns the failure of `ended`.
    async fn content(&self, ended: ProofSummary) -> Result<Bytes, DistributedError> {
        if ended.state == ProofState::Done {
            return Ok(Client::persist(OUTAGE_TIMEOUT, || self.0.fetch(&ended.id)).await?);
        }
        let cancelled = || FailureInfo::from(&ProofFailure::Cancelled);
        Err(DistributedError::Remote { proof: ended.id, failure: ended.failure.unwrap_or_else(cancelled) })
    }

    /// Cancels the proof `id`, because the caller no longer waits for it.
    async fn give_up(&self, id: &str) {
        let cancelled = timeout(CANCEL_TIMEOUT, Client::persist(CANCEL_TIMEOUT, || self.0.cancel(id))).await;
        if !matches!(cancelled, Ok(Ok(_))) {
            tracing::warn!(proof_id = id, "cannot cancel the proof: the service does not respond and continues it");
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

/// Returns a random idempotency key of 128 bits, in hexadecimal.
fn new_key() -> Result<String, DistributedError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ProofFailure::Machine(format!("cannot get random numbers from the system: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
