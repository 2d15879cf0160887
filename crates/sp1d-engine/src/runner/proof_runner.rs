//! Runs SP1's controller and executor on the orchestrator.

use super::{
    cut::{choose_for_workers, exclude_refusing_workers, exclude_small_workers, warn_of_large_cut},
    execution::{root_task, sp1_controller, start_execution},
    input_check::check_input,
    input_proofs::{check_form, check_input_proofs, check_verified_proofs},
    key_folder::{KeyFolder, KnownProgram, default_key_folder},
    program_keys::ProgramKeys,
    proof_client::ProofClient,
    proof_context::ProofContext,
    request::{check_exit_is_provable, check_recursion_keys, decode_elf, decode_stdin, needed_kinds, status_code},
};
use crate::{
    executor::{Executed, GasBound, ProgramExecutor, check_executor_folders, find_unread_input, program_failure},
    heap,
    options::CutOptions,
    proof_file::ProofFile,
    sp1_types::riscv_machine,
    verify::{Expectations, PartChecks, check_nonce, check_nonce_range, verify_proof},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use sp1_core_executor::{ExecutionReport, SP1Context, SP1CoreOpts, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{HashableKey, SP1VerifyingKey};
use sp1_primitives::io::SP1PublicValues;
use sp1_prover::{
    verify::SP1Verifier,
    worker::{ProofFromNetwork, SP1LightNode, SP1Proof},
};
use sp1_prover_types::{Artifact, ArtifactClient, ArtifactType};
use sp1d_orchestrator::{
    Cut, ProofEvent, ProofFailure, ProofHandle, ProofMode, ProofOutput, ProofRequest, ProofRunner, ServiceRunner,
};
use std::{
    io::Read,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker as BackgroundTasks};

/// Settings of a [`Sp1ProofRunner`].
#[derive(Debug, Clone)]
pub struct ProofRunnerSettings {
    /// Folder where verifying keys are stored. With `None`, no key is stored on disk. See
    /// [`default_key_folder`](crate::default_key_folder).
    pub key_folder: Option<PathBuf>,
    /// Returns freed memory to the operating system. Called after setting up a program, which takes gigabytes.
    pub release_memory: fn(),
}

impl Default for ProofRunnerSettings {
    /// Uses the user's key folder and the allocator of the C library.
    fn default() -> Self {
        Self { key_folder: default_key_folder(), release_memory: heap::release_memory }
    }
}

/// Runs proofs with SP1's controller, executes programs, and verifies proofs. Takes 60 MB of memory. Loads no proving
/// keys: `program_keys` uses SP1's prover type only for the setup of programs.
pub struct Sp1ProofRunner {
    light: SP1LightNode,
    program_keys: ProgramKeys,
    /// Verifies the parts of a proof. The verifier of `light` verifies only whole proofs.
    verifier: Arc<SP1Verifier>,
}

// The futures are boxed so that their code is compiled once in this crate, and not in every crate that awaits them.
impl Sp1ProofRunner {
    /// Creates a runner. The first one of a process takes up to a second, because it builds SP1's machine.
    pub fn new(settings: ProofRunnerSettings) -> BoxFuture<'static, Self> {
        Box::pin(async move {
            let build = move || {
                let machine = riscv_machine();
                let light = SP1LightNode::with_opts_and_machine_sync(machine.clone(), SP1CoreOpts::default());
                let verifier = SP1Verifier::new_with_machine(light.inner().recursion_vks(), machine);
                let program_keys = ProgramKeys::new(KeyFolder::new(settings.key_folder), settings.release_memory);
                Self { light, program_keys, verifier: Arc::new(verifier) }
            };
            tokio::task::spawn_blocking(build).await.expect("building SP1's verifiers does not panic")
        })
    }

    /// Returns SP1's own light node, which executes programs, sets them up and verifies proofs.
    #[must_use]
    pub fn light(&self) -> &SP1LightNode {
        &self.light
    }

    /// Returns the verifying key of `program`. The orchestrator computes it itself, once per program, because it does
    /// not trust a worker with it.
    ///
    /// # Errors
    /// Fails if `program` is not a valid program for SP1.
    pub fn verifying_key<'a>(&'a self, program: &'a [u8]) -> BoxFuture<'a, Result<SP1VerifyingKey, ProofFailure>> {
        Box::pin(self.key(program))
    }

    async fn key(&self, program: &[u8]) -> Result<SP1VerifyingKey, ProofFailure> {
        Ok(self.program_keys.get(program).await?.key)
    }

    /// Executes `program` without proving, on `stdin` in SP1's serialized form. Cancelling `stop` ends the execution.
    /// Logs a warning if the program does not read all values of its input. The program runs once more to find out.
    ///
    /// # Errors
    /// Fails if the program cannot be run, fails itself, exceeds `cycle_limit`, or is stopped.
    pub fn execute<'a>(
        &'a self,
        program: &'a [u8],
        stdin: &'a [u8],
        cycle_limit: Option<u64>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Executed, ProofFailure>> {
        Box::pin(self.run_only(program, stdin, cycle_limit, stop))
    }

    /// Executes `program` with the settings in `context`, as `execute` of SP1's clients does. As in a proof, the
    /// program may run for exactly its cycle limit. Cancelling `stop` ends the execution. An exit code other than 0 is
    /// not an error: the report contains the code.
    ///
    /// # Errors
    /// Fails if the program cannot be run, exceeds the cycle limit of `context`, or is stopped.
    pub fn execute_in<'a>(
        &'a self,
        program: &'a [u8],
        stdin: SP1Stdin,
        context: SP1Context<'static>,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(SP1PublicValues, ExecutionReport), ProofFailure>> {
        Box::pin(async move {
            check_executor_folders().map_err(|error| ProofFailure::Machine(error.to_string()))?;
            decode_elf(program).await?;
            ProgramExecutor::new(self.light.inner().clone()).run_in(program, stdin, context, stop).await
        })
    }

    async fn run_only(
        &self,
        program: &[u8],
        stdin: &[u8],
        cycle_limit: Option<u64>,
        stop: &CancellationToken,
    ) -> Result<Executed, ProofFailure> {
        check_executor_folders().map_err(|error| ProofFailure::Machine(error.to_string()))?;
        let decoded = Arc::new(decode_elf(program).await?);
        let mut run = ProgramExecutor::new(self.light.inner().clone())
            .run(program, decode_stdin(stdin)?, cycle_limit, true, stop)
            .await?;
        if run.exit_code != 0 {
            return Err(program_failure(run.exit_code, &run.stderr));
        }
        // Decoded again, because a copy of the values would take memory during the first run.
        run.executed.unread = find_unread_input(decoded, decode_stdin(stdin)?.buffer, cycle_limit, stop).await;
        if let Some(unread) = run.executed.unread {
            unread.warn(None);
        }
        Ok(run.executed)
    }

    /// Runs the proof. Background tasks that it starts are spawned on `background`.
    async fn prove(
        &self,
        proof: &ProofHandle,
        request: ProofRequest,
        background: &BackgroundTasks,
    ) -> Result<ProofOutput, ProofFailure> {
        check_executor_folders().map_err(|error| ProofFailure::Machine(error.to_string()))?;
        let options = CutOptions::decode(&request.options).map_err(|error| ProofFailure::Request(error.to_string()))?;
        let exit = status_code(request.expected_exit)?;
        check_exit_is_provable(request.expected_exit)?;
        check_recursion_keys(request.mode, self.verifier.vk_verification())?;
        check_nonce_range(request.nonce)?;
        let stdin = decode_stdin(&request.stdin)?;
        if request.mode == ProofMode::Core && !stdin.proofs.is_empty() {
            return Err(ProofFailure::Request(
                "cannot make a core proof of a run with input proofs\nhint: request a compressed proof".to_owned(),
            ));
        }
        for kind in needed_kinds(request.mode, !stdin.proofs.is_empty()) {
            proof.check_capability(kind)?;
        }
        check_form(&stdin)?;
        if request.check_input_proofs {
            check_input_proofs(self.light.inner(), &stdin, proof.stopped()).await?;
        }
        let KnownProgram { key, shape } = self.program_keys.get(&request.elf).await?;
        let options = if options.is_auto() {
            choose_for_workers(proof, options, request.mode, shape).await?
        } else {
            exclude_refusing_workers(proof, options, request.mode)
        };
        exclude_small_workers(proof, &options, request.mode, shape).await;
        warn_of_large_cut(proof, &options, request.mode, shape);
        proof.set_options(options.encode(), options.threshold()).await;
        options.check_for(shape).await?;
        // A program that writes its own instructions has another kind of trace.
        if request.check_input_proofs && !shape.may_write_instructions {
            check_verified_proofs(proof, &request, &options, &stdin).await?;
        }
        let executor = ProgramExecutor::new(self.light.inner().clone()).with_memory(options.as_sp1().memory_limit);
        let gas = count_gas(proof, &request, &executor, &stdin).await?;
        let expected = Arc::new(Expectations::new(&request, &options, &key, shape, &stdin));
        proof.set_checks(PartChecks::new(self.verifier.clone(), expected.clone(), &options));
        let context = Arc::new(ProofContext {
            proof: proof.clone(),
            program: request.elf.clone(),
            stdin: request.stdin.clone(),
            input_values: stdin.buffer.len() as u64,
            key: key.clone(),
            options: options.clone(),
            shape,
            mode: request.mode,
            cycle_limit: request.cycle_limit,
            expected_exit: request.expected_exit,
            executor,
            verifier: self.verifier.clone(),
            background: background.clone(),
            program_failed: AtomicBool::new(false),
        });
        let client = ProofClient::new(proof.clone(), context, expected, start_execution);
        let output = Artifact("proof".to_owned());
        let task = root_task(&client, &request, stdin, &output).await.map_err(internal)?;
        let controller = sp1_controller(&client, &options, &self.verifier);
        let stopped = proof.stopped().clone();
        let run = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move { controller.run(task).await }));
        let executed = tokio::select! {
            ran = run => match ran {
                Ok(Ok(executed)) => executed,
                Ok(Err(error)) => return Err(ProofFailure::Internal(format!("SP1's controller failed: {error}"))),
                Err(error) => return Err(ProofFailure::Internal(format!("SP1's controller panicked: {error}"))),
            },
            () = stopped.cancelled() => return Err(ProofFailure::Cancelled),
        };
        proof.publish(ProofEvent::Verifying);
        let made: ProofFromNetwork = client.download_with_type(&output, ArtifactType::Proof).await.map_err(internal)?;
        let proven = ProofFile::from(made);
        check_nonce(&proven.proof, request.nonce).map_err(ProofFailure::WrongProof)?;
        if proven.public_values.as_slice() != SP1PublicValues::from(&executed.public_value_stream).as_slice() {
            return Err(ProofFailure::WrongProof("its public values differ from those of the execution".to_owned()));
        }
        let public_values = proven.public_values.to_vec();
        let verified = self.verify_with(proven, key, exit).await;
        let proven = verified.map_err(ProofFailure::WrongProof)?;
        let proof = bincode::serialize(&proven).map_err(|error| ProofFailure::Internal(error.to_string()))?;
        Ok(ProofOutput { proof, cycles: executed.cycles, public_values, gas })
    }

    /// Verifies `proof` with the verifying key of its program. The program must have ended with exit code 0.
    ///
    /// # Errors
    /// Fails with [`ProofFailure::Request`] if the proof does not verify, because the caller chose the proof.
    pub fn verify_for_key(&self, proof: ProofFile, key: SP1VerifyingKey) -> BoxFuture<'_, Result<(), ProofFailure>> {
        Box::pin(async move {
            self.verify_with(proof, key, StatusCode::SUCCESS).await.map(|_| ()).map_err(ProofFailure::Request)
        })
    }

    /// Verifies a proof that was made elsewhere, and returns it if it is valid. It must be a proof of `program` for
    /// `nonce`, of a run that ended with exit code 0. A proof does not say which input the program had.
    ///
    /// # Errors
    /// Fails if the program is not valid. Fails with [`ProofFailure::WrongProof`] if the proof does not verify or has
    /// another nonce, because the maker of the proof is at fault. With SP1's feature `mprotect`, only core proofs are
    /// accepted, because SP1 verifies recursion proofs of any program.
    pub fn verify_for_program<'a>(
        &'a self,
        proof: ProofFile,
        program: &'a [u8],
        nonce: [u32; 4],
    ) -> BoxFuture<'a, Result<ProofFile, ProofFailure>> {
        Box::pin(async move {
            let mode = match proof.proof {
                SP1Proof::Core(_) => ProofMode::Core,
                SP1Proof::Compressed(_) => ProofMode::Compressed,
                SP1Proof::Plonk(_) => ProofMode::Plonk,
                SP1Proof::Groth16(_) => ProofMode::Groth16,
            };
            check_recursion_keys(mode, self.verifier.vk_verification())?;
            let key = self.key(program).await?;
            let proof = self.verify_with(proof, key, StatusCode::SUCCESS).await.map_err(ProofFailure::WrongProof)?;
            check_nonce(&proof.proof, nonce).map_err(ProofFailure::WrongProof)?;
            Ok(proof)
        })
    }

    /// Verifies the proof outside of the asynchronous threads, and returns it.
    async fn verify_with(&self, proof: ProofFile, key: SP1VerifyingKey, exit: StatusCode) -> Result<ProofFile, String> {
        let node = self.light.inner().clone();
        let outcome = tokio::task::spawn_blocking(move || {
            verify_proof(&node, proof.borrowed(), &key, exit).map_err(|error| error.to_string())?;
            Ok(proof)
        });
        outcome.await.unwrap_or_else(|_| Err("SP1's verifier panicked".to_owned()))
    }
}

#[async_trait]
impl ProofRunner for Sp1ProofRunner {
    async fn run(&self, proof: ProofHandle, request: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        let background = BackgroundTasks::new();
        let outcome = self.prove(&proof, request, &background).await;
        if let Err(failure) = &outcome {
            // SP1's controller and executor do not stop each other, so the proof is failed explicitly.
            proof.fail(failure.clone());
        }
        background.close();
        background.wait().await;
        outcome
    }

    fn smaller_cut(&self, options: &str) -> Option<Cut> {
        let smaller = CutOptions::decode(options).ok()?.smaller()?;
        Some(Cut { options: smaller.encode(), setting: smaller.threshold_setting() })
    }

    fn choose_cut_again(&self, options: &str) -> Option<String> {
        Some(CutOptions::decode(options).ok()?.choosing_again()?.encode())
    }
}

#[async_trait]
impl ServiceRunner for Sp1ProofRunner {
    async fn check_program(&self, elf: bytes::Bytes) -> Result<(), ProofFailure> {
        self.program_keys.check(&elf).await
    }

    async fn program_key(&self, elf: bytes::Bytes) -> Result<String, ProofFailure> {
        Ok(self.verifying_key(&elf).await?.bytes32())
    }

    fn check_stdin(&self, stdin: &mut dyn Read) -> Result<(), ProofFailure> {
        check_input(stdin)
    }

    fn empty_stdin(&self) -> Vec<u8> {
        bincode::serialize(&SP1Stdin::new()).expect("an empty input is serializable")
    }
}

/// Counts the gas of the program if the request limits it. Otherwise returns `None` and runs nothing.
///
/// # Errors
/// Fails if the program exceeds a limit of the request, or cannot be run.
async fn count_gas(
    proof: &ProofHandle,
    request: &ProofRequest,
    executor: &ProgramExecutor,
    stdin: &SP1Stdin,
) -> Result<Option<u64>, ProofFailure> {
    let Some(gas_limit) = request.finite_gas_limit() else { return Ok(None) };
    let bound = GasBound { gas_limit, cycle_limit: request.cycle_limit.filter(|limit| *limit > 0) };
    let gas = executor.count_gas(&request.elf, stdin.clone(), bound, proof.stopped()).await?;
    tracing::info!(proof_id = proof.label(), gas, gas_limit, "gas counted");
    Ok(Some(gas))
}

fn internal(error: impl std::fmt::Display) -> ProofFailure {
    ProofFailure::Internal(error.to_string())
}
