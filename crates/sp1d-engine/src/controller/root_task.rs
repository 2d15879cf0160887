//! Makes the task with which SP1's controller starts.

use super::proof_client::ProofClient;
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::{ProofId, RawTaskRequest, RequesterId, TaskContext};
use sp1_prover_types::{Artifact, ArtifactClient, ArtifactType, network_base_types};
use sp1d_artifacts::Digest;
use sp1d_orchestrator::{ProofMode, ProofRequest};

/// Uploads the inputs of the root task. Their order is the order of SP1's `ControllerInputs`.
pub(super) async fn root_task(
    client: &ProofClient,
    request: &ProofRequest,
    stdin: SP1Stdin,
    output: &Artifact,
) -> anyhow::Result<RawTaskRequest> {
    let program = Artifact(format!("program-{}", Digest::of(&request.elf)));
    client.upload_program(&program, request.elf.to_vec()).await?;
    let input = Artifact("stdin".to_owned());
    client.upload_with_type(&input, ArtifactType::Stdin, stdin).await?;
    let nonce = Artifact("nonce".to_owned());
    client.upload(&nonce, request.nonce).await?;
    let literal = |text: String| Artifact(text);
    let mode = literal((sp1_mode(request.mode) as i32).to_string());
    let limit =
        literal(request.cycle_limit.filter(|limit| *limit > 0).map(|limit| limit.to_string()).unwrap_or_default());
    Ok(RawTaskRequest {
        inputs: vec![program, input, mode, limit, nonce, literal(String::new())],
        outputs: vec![output.clone()],
        context: TaskContext {
            proof_id: ProofId::new(client.proof().id().to_string()),
            parent_id: None,
            parent_context: None,
            requester_id: RequesterId::new("sp1-distributed"),
        },
    })
}

fn sp1_mode(mode: ProofMode) -> network_base_types::ProofMode {
    match mode {
        ProofMode::Core => network_base_types::ProofMode::Core,
        ProofMode::Compressed => network_base_types::ProofMode::Compressed,
        ProofMode::Groth16 => network_base_types::ProofMode::Groth16,
        ProofMode::Plonk => network_base_types::ProofMode::Plonk,
    }
}
