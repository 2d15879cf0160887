//! Makes SP1's controllers of a proof, and runs SP1's task of executing the program.

use super::{proof_client::ProofClient, proof_context::ProofContext, request::decode_stdin};
use crate::{
    executor::{
        ExecutionBound, ExecutionEnd, execution_failure, is_unexplained, killed_from_outside, memory_with_margin,
        program_failure, ran_away, supervise, trace_bytes,
    },
    names::task_to_sp1,
    options::CutOptions,
};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::{
    verify::SP1Verifier,
    worker::{
        CoreExecuteTaskRequest, ProofId, RawTaskRequest, RequesterId, SP1Controller, SP1ControllerConfig, TaskContext,
        TaskError,
    },
};
use sp1_prover_types::{Artifact, ArtifactClient, ArtifactType, network_base_types};
use sp1d_artifacts::Digest;
use sp1d_model::TaskId;
use sp1d_orchestrator::{ProofEvent, ProofFailure, ProofMode, ProofRequest, TaskOutcome};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Makes the task with which SP1's controller starts, and uploads its inputs. Their order is the order of SP1's
/// `ControllerInputs`.
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
            proof_id: ProofId::new(client.proof().try_id().to_string()),
            parent_id: None,
            parent_context: None,
            requester_id: RequesterId::new("sp1-distributed"),
        },
    })
}

/// Starts SP1's task of executing the program. Returns the id of the task.
pub(super) fn start_execution(client: &ProofClient, task: RawTaskRequest) -> TaskId {
    let context = client.context();
    let id = context.proof.open_local_task();
    let (client, owned) = (client.clone(), context.clone());
    context.background.spawn(async move {
        let outcome = match execute(&client, &owned, id, task).await {
            Ok(cycles) => {
                let unread_values = client.unread_input().map_or(0, |input| input.unread);
                client.proof().publish(ProofEvent::Executed { cycles, unread_values });
                TaskOutcome::Succeeded
            }
            Err(failure) => {
                // SP1's controller only reports that the task failed. The cause is known here.
                client.proof().fail(failure);
                TaskOutcome::Failed
            }
        };
        client.proof().task_outcomes().end(id, outcome);
    });
    id
}

/// Executes the program of a proof with SP1's controller. Returns the number of cycles.
async fn execute(
    client: &ProofClient,
    context: &ProofContext,
    id: TaskId,
    task: RawTaskRequest,
) -> Result<u64, ProofFailure> {
    let request = CoreExecuteTaskRequest::from_raw(task).map_err(|error| ProofFailure::Internal(error.to_string()))?;
    let controller = sp1_controller(client, &context.options, &context.verifier);
    let task_id = task_to_sp1(id);
    let work = async move { controller.execute(task_id, request).await };
    let options = context.options.as_sp1();
    let bound = ExecutionBound {
        cycle_limit: context.cycle_limit,
        progress: client.core_shards(),
        // Compiled code that does not access memory runs hundreds of millions of cycles per second. Code that does
        // access memory soon completes a core shard.
        min_cycles_per_second: 20_000_000,
        memory_bytes: options.memory_limit,
        trace_bytes: trace_bytes(options.trace_chunk_slots as u64, options.minimal_trace_chunk_threshold),
        needs_whole_trace: false,
        input_bytes: context.stdin.len() as u64,
    };
    let started = Instant::now();
    match supervise(work, client.proof().stopped(), bound).await {
        ExecutionEnd::Done(Ok(output)) => Ok(output.cycles),
        ExecutionEnd::Done(Err(TaskError::Execution(error))) if is_unexplained(&error) => {
            Err(diagnose(client, context, &error.into(), started.elapsed()).await)
        }
        ExecutionEnd::Done(Err(TaskError::Execution(error))) => Err(execution_failure(Some(&error), &error)),
        ExecutionEnd::Done(Err(TaskError::Retryable(error))) => Err(killed_from_outside(&error)),
        ExecutionEnd::Done(Err(TaskError::Fatal(error))) => {
            Err(diagnose(client, context, &error, started.elapsed()).await)
        }
        ExecutionEnd::Panicked(error) => Err(ProofFailure::Internal(format!("the execution panicked: {error}"))),
        ExecutionEnd::RanAway => Err(ran_away(context.cycle_limit)),
        ExecutionEnd::Stopped => Err(ProofFailure::Cancelled),
        ExecutionEnd::Failed(failure) => Err(failure),
    }
}

/// Finds the cause of a failed execution. SP1's executor consists of many tasks, and the first one that ends determines
/// the error, even if it only noticed the failure of another. Running the program again without proving gives one clear
/// error.
///
/// `ran` is the time until the error. A program that is at fault fails again within that time. If the second run takes
/// longer, the program was not at fault.
async fn diagnose(client: &ProofClient, context: &ProofContext, error: &anyhow::Error, ran: Duration) -> ProofFailure {
    /// Extra time for the second run: it has to start, and the machine may be busier than before.
    const MARGIN: Duration = Duration::from_secs(5);
    let stop = client.proof().stopped().child_token();
    let again = async {
        let stdin = decode_stdin(&context.stdin)?;
        context.executor.run(&context.program, stdin, context.cycle_limit, true, &stop).await
    };
    let again = tokio::select! {
        again = again => again,
        () = sleep(2 * ran + MARGIN) => return killed_from_outside(error),
    };
    match again {
        Ok(run) if run.exit_code != 0 => program_failure(run.exit_code, &run.stderr),
        Ok(_) => killed_from_outside(error),
        Err(failure) => failure,
    }
}

/// Creates SP1's controller for one proof.
pub(super) fn sp1_controller(
    client: &ProofClient,
    options: &CutOptions,
    verifier: &SP1Verifier,
) -> SP1Controller<ProofClient, ProofClient> {
    let mut opts = options.as_sp1().clone();
    // The supervisor checks the limit itself. SP1 would report an exceeded limit as if the execution could be retried.
    opts.memory_limit = memory_with_margin(opts.memory_limit);
    let config = SP1ControllerConfig {
        num_splicing_workers: 2,
        // If the buffer is smaller than the number of trace chunk slots, the executor's thread busy-waits for space.
        splicing_buffer_size: opts.trace_chunk_slots,
        // The workers' engines have keys for reduce programs of up to 4 proofs.
        max_reduce_arity: 4,
        number_of_send_splice_workers_per_splice: 2,
        send_splice_input_buffer_size_per_splice: 2,
        use_fixed_pk: false,
        global_memory_buffer_size: 4,
        opts,
    };
    // Proofs cannot share a controller, because its clients belong to one proof. Each proof creates two: one runs the
    // root task, the other one executes the program.
    SP1Controller::new(config, client.clone(), client.clone(), verifier.clone())
}

fn sp1_mode(mode: ProofMode) -> network_base_types::ProofMode {
    match mode {
        ProofMode::Core => network_base_types::ProofMode::Core,
        ProofMode::Compressed => network_base_types::ProofMode::Compressed,
        ProofMode::Groth16 => network_base_types::ProofMode::Groth16,
        ProofMode::Plonk => network_base_types::ProofMode::Plonk,
    }
}
