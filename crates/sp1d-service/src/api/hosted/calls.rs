//! The calls.

use super::{
    address::{RequesterAddress, from_hex, to_hex},
    audit::{SignerOutcome, SignerRequest},
    interface::HostedInterface,
    program_hash::ProgramHash,
    progress::progress_of,
    refusal::HostedRefusal,
    request::{artifact_id, artifact_signer, artifact_uri, check_body, missing_kind, open_signed, program_hash},
    signers::SignerTerms,
    url_permit::{HostedFileKind, MAX_URL_PERMIT_AGE, RequestFacts, UrlPermit},
    wire::{
        artifact::{ArtifactType, CreateArtifactRequest, CreateArtifactResponse},
        network::{
            CreateProgramRequestBody, CreateProgramResponse, CreateProgramResponseBody, FulfillmentStatus,
            FulfillmentStrategy, GetNonceRequest, GetNonceResponse, GetProgramRequest, GetProgramResponse,
            GetProofRequestDetailsRequest, GetProofRequestDetailsResponse, GetProofRequestStatusRequest,
            GetProofRequestStatusResponse, Program, ProofMode as WireMode, ProofRequest, RequestProofRequestBody,
            RequestProofResponse, RequestProofResponseBody, SignedRequest,
        },
    },
};
use crate::{
    access::{TenantName, TenantScope},
    queue::{ClientNetwork, RequestError, Service},
    state::{HostedArtifact, HostedRequest},
};
use sp1d_model::{Moment, NewProof, ProofMode, ProofSummary};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

sp1d_model::limits! {
    /// Longest time for which a status call is held open. sp1-sdk gives up a call after 60 s.
    const MAX_HOLD: Duration = Duration::from_secs(50); Time by Client;
    /// Longest time for which the registration of a program waits for its verifying key. sp1-sdk then repeats the call.
    const MAX_KEY_WAIT: Duration = Duration::from_secs(50); Time by Client;
}

/// How long after the deadline a held status call still waits for the end of the proof.
const AFTER_DEADLINE: Duration = Duration::from_secs(2);

/// What a call needs besides its message.
pub(super) struct CallContext {
    pub(super) interface: HostedInterface,
    /// Start of the URLs of files.
    pub(super) base: String,
    /// The client.
    pub(super) from: Option<ClientNetwork>,
}

impl CallContext {
    fn service(&self) -> &Service {
        self.interface.service()
    }

    /// Returns the response of `call` by `signer`, and adds to the audit log what the call has made, or its refusal.
    async fn record<T>(
        &self,
        call: &str,
        signer: RequesterAddress,
        tenant: &TenantName,
        outcome: Result<CallOutcome<T>, HostedRefusal>,
    ) -> Result<T, HostedRefusal> {
        let recorded = match &outcome {
            Ok(outcome) => outcome.made.clone().map(SignerOutcome::Made),
            Err(refusal) => Some(SignerOutcome::Refused(refusal.http_status())),
        };
        if let Some(recorded) = recorded {
            let path = format!("/{call}");
            let request = SignerRequest { signer, tenant, from: self.from, method: "POST", path };
            self.interface.record(request, recorded).await;
        }
        outcome.map(|outcome| outcome.response)
    }

    /// Returns a URL that grants `permit` for a limited time.
    fn file_url(&self, path: &str, permit: &UrlPermit) -> String {
        let expires = self.interface.seconds().saturating_add(MAX_URL_PERMIT_AGE.as_secs());
        format!("{}/hosted/v1/{path}/{}", self.base, self.interface.key().seal(permit, expires))
    }

    /// Returns the upload that a field of a request names.
    async fn artifact(
        &self,
        id: [u8; 16],
        field: &str,
        kinds: &[HostedFileKind],
        signer: RequesterAddress,
    ) -> Result<HostedArtifact, HostedRefusal> {
        let found = self.service().artifact(to_hex(&id)).await?;
        // The upload of another requester is as unknown as one that never was.
        let found = found.filter(|found| found.requester == signer.to_string()).ok_or_else(|| {
            HostedRefusal::not_found(format!(
                "{field} names an artifact that {signer} has not uploaded, or that has expired\nhint: upload it again"
            ))
        })?;
        if kinds.iter().any(|kind| kind.name() == found.kind) {
            return Ok(found);
        }
        let (kind, needed) = (&found.kind, kinds[0].name());
        Err(HostedRefusal::invalid(format!("{field} names a {kind}, but a {needed} is needed here")))
    }

    /// Returns the request `id`, and its proof.
    async fn request(&self, id: &[u8]) -> Result<(HostedRequest, ProofSummary), HostedRefusal> {
        if id.len() != 32 {
            return Err(HostedRefusal::invalid(format!("request_id has {} bytes instead of 32", id.len())));
        }
        let id = to_hex(id);
        let unknown = || {
            HostedRefusal::not_found(format!(
                "the service has no request {id}\nhint: ended proofs are removed after `--keep` days"
            ))
        };
        let (request, proof) = self.service().hosted_request(id.clone()).await?.ok_or_else(unknown)?;
        match self.service().proof(&proof).await {
            Ok(proof) => Ok((request, proof)),
            Err(RequestError::Unknown(_)) => Err(unknown()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a call has done.
struct CallOutcome<T> {
    response: T,
    /// Id of the program or proof that the call has made. `None` if it has changed nothing.
    made: Option<String>,
}

/// Returns 32 bytes that belong to `of`. The client shows them as the hash of a transaction.
fn transaction_hash(of: &[u8]) -> Vec<u8> {
    blake3::hash(of).as_bytes().to_vec()
}

fn seconds(moment: Moment) -> u64 {
    u64::try_from(moment.0 / 1000).unwrap_or(0)
}

pub(super) async fn get_nonce(
    context: CallContext,
    request: GetNonceRequest,
) -> Result<GetNonceResponse, HostedRefusal> {
    if request.address.len() != 20 {
        return Err(HostedRefusal::invalid(format!("address has {} bytes instead of 20", request.address.len())));
    }
    Ok(GetNonceResponse { nonce: context.interface.new_nonce() })
}

pub(super) async fn create_artifact(
    context: CallContext,
    request: CreateArtifactRequest,
) -> Result<CreateArtifactResponse, HostedRefusal> {
    let requester = artifact_signer(&request.signature)?;
    let SignerTerms { tenant, .. } = context.interface.check_signer(requester)?;
    let outcome = grant_upload(&context, requester, &request);
    context.record("artifact.ArtifactStore/CreateArtifact", requester, &tenant, outcome).await
}

/// Grants an upload to `requester`.
fn grant_upload(
    context: &CallContext,
    requester: RequesterAddress,
    request: &CreateArtifactRequest,
) -> Result<CallOutcome<CreateArtifactResponse>, HostedRefusal> {
    let kind = match ArtifactType::try_from(request.artifact_type) {
        Ok(ArtifactType::Program) => HostedFileKind::Program,
        Ok(ArtifactType::Stdin) => HostedFileKind::Stdin,
        Ok(ArtifactType::PrivateStdin) => HostedFileKind::PrivateStdin,
        Ok(kind) => {
            let text = format!("artifacts of the type {} cannot be uploaded here", kind.as_str_name());
            return Err(HostedRefusal::invalid(text));
        }
        Err(_) => {
            return Err(HostedRefusal::invalid(format!("unknown artifact type {}", request.artifact_type)));
        }
    };
    let file = Service::random_id()?;
    let response = CreateArtifactResponse {
        artifact_uri: artifact_uri(file),
        artifact_presigned_url: context.file_url("files", &UrlPermit::Send { file, kind, requester }),
    };
    // Nothing is stored before the upload itself.
    Ok(CallOutcome { response, made: None })
}

/// Returns the id of the program with this hash, if `tenant` has it.
async fn known_program(
    context: &CallContext,
    tenant: Option<TenantName>,
    hash: ProgramHash,
) -> Result<String, HostedRefusal> {
    let key = hash.key();
    let found = match tenant {
        Some(tenant) => context.service().program_with_key(tenant, key.clone()).await?,
        None => None,
    };
    found.ok_or_else(|| {
        let text = format!("the service has no program with the verifying key {key}\nhint: register it first");
        HostedRefusal::not_found(text)
    })
}

pub(super) async fn get_program(
    context: CallContext,
    request: GetProgramRequest,
) -> Result<GetProgramResponse, HostedRefusal> {
    let hash = program_hash(&request.vk_hash)?;
    // The call is not signed. With several tenants, of signers or of tokens, it would show the programs of others. The
    // client then registers the program of each proof.
    let tenant = if context.service().requires_tokens().await? { None } else { context.interface.only_tenant() };
    let id = known_program(&context, tenant, hash).await?;
    let program = context.service().program(TenantScope::All, &id).await?;
    let program = Program {
        vk_hash: request.vk_hash,
        vk: Vec::new(),
        program_uri: format!("sp1d-program:{id}"),
        name: None,
        owner: vec![0; 20],
        created_at: seconds(program.created),
    };
    Ok(GetProgramResponse { program: Some(program) })
}

pub(super) async fn create_program(
    context: CallContext,
    request: SignedRequest,
) -> Result<CreateProgramResponse, HostedRefusal> {
    let (signer, body) = open_signed::<CreateProgramRequestBody>(&request)?;
    let SignerTerms { tenant, .. } = context.interface.check_signer(signer)?;
    let outcome = register_program(&context, signer, &tenant, &body).await;
    context.record("network.ProverNetwork/CreateProgram", signer, &tenant, outcome).await
}

/// Registers an uploaded program of `signer`, if the request names its verifying key.
async fn register_program(
    context: &CallContext,
    signer: RequesterAddress,
    tenant: &TenantName,
    body: &CreateProgramRequestBody,
) -> Result<CallOutcome<CreateProgramResponse>, HostedRefusal> {
    let hash = program_hash(&body.vk_hash)?;
    let id = artifact_id(&body.program_uri, "program_uri")?;
    context.interface.use_nonce(signer, body.nonce).await?;
    let program = context.artifact(id, "program_uri", &[HostedFileKind::Program], signer).await?.blob;
    let Some(key) = context.service().verifying_key(tenant, &program, MAX_KEY_WAIT).await? else {
        let text = "the verifying key of the program is still being computed\nhint: try again in a minute";
        return Err(HostedRefusal::unavailable(text));
    };
    if key != hash.key() {
        return Err(HostedRefusal::invalid(format!(
            "the program has the verifying key {key}, not {}\nhint: register the key that `setup` returned for this program",
            hash.key()
        )));
    }
    let response =
        CreateProgramResponse { tx_hash: transaction_hash(hash.bytes()), body: Some(CreateProgramResponseBody {}) };
    Ok(CallOutcome { response, made: Some(program) })
}

pub(super) async fn request_proof(
    context: CallContext,
    request: SignedRequest,
) -> Result<RequestProofResponse, HostedRefusal> {
    let (signer, body) = open_signed::<RequestProofRequestBody>(&request)?;
    let terms = context.interface.check_signer(signer)?;
    let outcome = submit_request(&context, signer, &terms, &body).await;
    context.record("network.ProverNetwork/RequestProof", signer, &terms.tenant, outcome).await
}

/// Submits the proof that `signer` requests. An identical earlier request is returned again.
async fn submit_request(
    context: &CallContext,
    signer: RequesterAddress,
    SignerTerms { tenant, trusted_only }: &SignerTerms,
    body: &RequestProofRequestBody,
) -> Result<CallOutcome<RequestProofResponse>, HostedRefusal> {
    let (interface, service) = (&context.interface, context.service());
    let asked = check_body(body, interface.version(), interface.seconds())?;
    // A worker sees the inputs of its tasks, so a private input is for trusted workers.
    let trusted_only = *trusted_only || asked.private;
    interface.use_nonce(signer, asked.nonce).await?;
    let program = known_program(context, Some(tenant.clone()), asked.program).await?;
    let suitable = service.workers().into_iter().filter(|worker| worker.trusted || !trusted_only);
    let kinds: Vec<_> = suitable.map(|worker| worker.kinds).collect();
    if let Some(kind) = missing_kind(asked.mode, &kinds) {
        let trusted = if trusted_only { "trusted " } else { "" };
        return Err(HostedRefusal::unsupported(format!(
            "no {trusted}worker can make a proof of the mode {}: none supports {}\nhint: see why with `sp1d workers`",
            asked.mode,
            kind.name()
        )));
    }
    let kinds = [HostedFileKind::Stdin, HostedFileKind::PrivateStdin];
    let input = context.artifact(asked.input, "stdin_uri", &kinds, signer).await?.blob;
    let facts = RequestFacts {
        requester: signer,
        program: asked.program.bytes(),
        input: &input,
        mode: asked.mode,
        deadline: asked.deadline,
        cycle_limit: asked.cycle_limit,
        gas_limit: asked.gas_limit,
        private: asked.private,
    };
    let id = interface.key().request_id(&facts);
    let hosted = HostedRequest {
        id: to_hex(&id),
        requester: signer.to_string(),
        program_hash: to_hex(asked.program.bytes()),
        deadline: asked.deadline,
        private: asked.private,
    };
    let new = NewProof {
        program: Some(program),
        input: Some(input),
        mode: asked.mode,
        cycle_limit: asked.cycle_limit,
        gas_limit: asked.gas_limit,
        timeout_seconds: Some(asked.timeout_seconds),
        trusted_only,
        ..NewProof::default()
    };
    let (proof, is_new) = service.submit_hosted(tenant.clone(), new, hosted).await?;
    let response = RequestProofResponse {
        tx_hash: transaction_hash(&id),
        body: Some(RequestProofResponseBody { request_id: id.to_vec() }),
    };
    Ok(CallOutcome { response, made: is_new.then_some(proof.id) })
}

/// Returns how long a status call may be held open at `now`, for a request with this `deadline`. Both are in seconds
/// since 1970.
fn hold_time(deadline: u64, now: u64) -> Duration {
    Duration::from_secs(deadline.saturating_sub(now)).saturating_add(AFTER_DEADLINE).min(MAX_HOLD)
}

/// Waits until the state of the proof changes, and returns it. Returns a final state at once, and any state after
/// `MAX_HOLD`, when the deadline has passed, or if too many calls of the requester are held open.
async fn next_state(context: &CallContext, request_id: &[u8]) -> Result<(HostedRequest, ProofSummary), HostedRefusal> {
    let (request, first) = context.request(request_id).await?;
    if first.state.is_final() {
        return Ok((request, first));
    }
    let Some(_held) = context.interface.held().hold(&request.requester) else {
        return Ok((request, first));
    };
    let until = Instant::now() + hold_time(request.deadline, context.interface.seconds());
    let mut follower = context.service().follow(&first.id);
    loop {
        follower.mark_unchanged();
        let (request, proof) = context.request(request_id).await?;
        if proof.state != first.state || Instant::now() >= until {
            return Ok((request, proof));
        }
        tokio::select! {
            () = follower.changed() => {}
            () = sleep_until(until) => {}
            () = context.service().stopping().cancelled() => {
                return Err(HostedRefusal::unavailable("the service is stopping; it continues the proof when it starts again"));
            }
        }
    }
}

pub(super) async fn status(
    context: CallContext,
    request: GetProofRequestStatusRequest,
) -> Result<GetProofRequestStatusResponse, HostedRefusal> {
    let (hosted, proof) = next_state(&context, &request.request_id).await?;
    let progress = progress_of(&proof);
    let is_fulfilled = progress.fulfillment == FulfillmentStatus::Fulfilled;
    let proof_uri = match from_hex(&hosted.id) {
        Some(request) if is_fulfilled => Some(context.file_url("proofs", &UrlPermit::Fetch { request })),
        _ => None,
    };
    Ok(GetProofRequestStatusResponse {
        fulfillment_status: progress.fulfillment.into(),
        execution_status: progress.execution.into(),
        request_tx_hash: transaction_hash(&request.request_id),
        deadline: hosted.deadline,
        fulfill_tx_hash: is_fulfilled.then(|| transaction_hash(proof.id.as_bytes())),
        proof_uri,
        public_values_hash: None,
        proof_public_uri: None,
    })
}

const fn wire_mode(mode: ProofMode) -> WireMode {
    match mode {
        ProofMode::Core => WireMode::Core,
        ProofMode::Compressed => WireMode::Compressed,
        ProofMode::Plonk => WireMode::Plonk,
        ProofMode::Groth16 => WireMode::Groth16,
    }
}

pub(super) async fn details(
    context: CallContext,
    request: GetProofRequestDetailsRequest,
) -> Result<GetProofRequestDetailsResponse, HostedRefusal> {
    let (hosted, proof) = context.request(&request.request_id).await?;
    let progress = progress_of(&proof);
    let requester: Option<RequesterAddress> = hosted.requester.parse().ok();
    let is_fulfilled = progress.fulfillment == FulfillmentStatus::Fulfilled;
    let request = ProofRequest {
        tx_hash: transaction_hash(&request.request_id),
        request_id: request.request_id,
        vk_hash: from_hex::<32>(&hosted.program_hash).unwrap_or_default().to_vec(),
        version: context.interface.version().to_owned(),
        mode: wire_mode(proof.mode).into(),
        strategy: FulfillmentStrategy::Hosted.into(),
        deadline: hosted.deadline,
        cycle_limit: proof.cycle_limit.unwrap_or(u64::MAX),
        fulfillment_status: progress.fulfillment.into(),
        execution_status: progress.execution.into(),
        requester: requester.map_or_else(Vec::new, |requester| requester.0.to_vec()),
        created_at: seconds(proof.created),
        updated_at: seconds(proof.ended.or(proof.started).unwrap_or(proof.created)),
        fulfilled_at: proof.ended.filter(|_| is_fulfilled).map(seconds),
        cycles: proof.cycles,
        gas_limit: proof.gas_limit.unwrap_or(u64::MAX),
        gas_used: proof.gas,
        execute_fail_cause: progress.cause.into(),
        error: progress.error.into(),
        stdin_private: hosted.private,
    };
    Ok(GetProofRequestDetailsResponse { request: Some(request) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_call_is_held_until_shortly_after_the_deadline_or_for_50_s() {
        // Seconds until the deadline, and seconds for which the call is held.
        for (left, expected) in [(0, 2), (1, 3), (47, 49), (48, 50), (3600, 50)] {
            assert_eq!(hold_time(1000 + left, 1000), Duration::from_secs(expected), "{left} s before the deadline");
        }
        assert_eq!(hold_time(0, 1000), Duration::from_secs(2));
        assert_eq!(hold_time(u64::MAX, 0), Duration::from_secs(50));
    }
}
