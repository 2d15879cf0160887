//! Runs SP1's controller and executor on the orchestrator.

use crate::{
    check::{Expectations, Presence, Running, check_result, contained},
    controller_clients::ProofClient,
    execution::{Ended, Leash, supervise},
    heap,
    host::check_executor_host,
    identity::build_identity,
    input_proofs::{check_form, check_input_proofs},
    keys::{KeyFolder, KnownProgram, default_key_folder},
    memory::choose_cut,
    options::CutOptions,
    program::{ProgramSize, decode_program},
    prover::Sp1CoreProver,
    run::{Executed, Runner, execution_failure, killed_from_outside, program_failure, ran_away},
};
use artifacts::Digest;
use async_trait::async_trait;
use futures::future::BoxFuture;
use orchestrator::{
    AttemptMemory, Checked, CheckedMarker, Cut, ExpectedExit, Outcome, ProgramController, Progress, ProofController,
    ProofFailure, ProofHandle, ProofMode, ProofOutput, ProofRequest, TaskInput, TaskSpec,
};
use scheduler::{TaskId, TaskKind};
use slop_algebra::PrimeField32;
use sp1_core_executor::{ExecutionReport, Program, SP1Context, StatusCode};
use sp1_core_machine::{io::SP1Stdin, riscv::RiscvAir};
use sp1_hypercube::{
    SP1PcsProofInner, SP1VerifyingKey, ShardProof,
    air::PublicValues,
    prover::{AirProver, CpuShardProver, ProverSemaphore},
};
use sp1_primitives::{SP1Field, SP1GlobalContext};
use sp1_prover::{
    CpuSP1ProverComponents, Groth16Bn254Proof, PlonkBn254Proof, SP1ProverComponents,
    verify::SP1Verifier,
    worker::{
        CoreExecuteTaskRequest, ProofId, RawTaskRequest, RequesterId, SP1Controller, SP1ControllerConfig, TaskContext,
        TaskError,
    },
};
use sp1_prover_types::{Artifact, ArtifactClient, ArtifactType, network_base_types};
use sp1_recursion_executor::RecursionPublicValues;
use sp1_sdk::{
    HashableKey, LightProver, Prover, SP1Proof, SP1ProofWithPublicValues, SP1PublicValues, proof::ProofFromNetwork,
};
use std::{
    borrow::Borrow,
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

type CoreProof = ShardProof<SP1GlobalContext, SP1PcsProofInner>;

/// Number of programs whose verifying key stays in memory.
const MOST_KEYS: usize = 64;

/// Settings of a [`Controller`].
#[derive(Debug, Clone)]
pub struct ControllerSettings {
    /// Folder where verifying keys are stored. With `None`, no key is stored on disk. See
    /// [`default_key_folder`](crate::default_key_folder).
    pub keys: Option<PathBuf>,
    /// Returns freed memory to the operating system. Called after setting up a program, which takes gigabytes.
    pub give_back: fn(),
}

impl Default for ControllerSettings {
    /// Uses the user's key folder and the allocator of the C library.
    fn default() -> Self {
        Self { keys: default_key_folder(), give_back: heap::give_back }
    }
}

/// Runs proofs with SP1's controller, executes programs, and verifies proofs. Loads no prover. Takes 60 MB of memory.
pub struct Controller {
    light: LightProver,
    keys: Mutex<VecDeque<(Digest, Arc<OnceCell<KnownProgram>>)>>,
    folder: KeyFolder,
    /// Allows one program at a time: decoding and setting up a program take up to 2 GB.
    setups: Semaphore,
    setup_prover: Arc<Sp1CoreProver>,
    give_back: fn(),
    /// Verifies the parts of a proof. The verifier of `light` verifies only whole proofs.
    verifier: Arc<SP1Verifier>,
    running: Running,
}

// The futures are boxed so that their code is compiled once in this crate, and not in every crate that awaits them.
impl Controller {
    /// Creates a controller. Takes about a second.
    pub fn new(settings: ControllerSettings) -> BoxFuture<'static, Self> {
        Box::pin(async move {
            let light = LightProver::new().await;
            let keys = light.inner().recursion_vks();
            let verifier = tokio::task::spawn_blocking(move || Arc::new(SP1Verifier::new(keys))).await;
            let verifier = verifier.expect("building SP1's verifier does not panic");
            let core_verifier = CpuSP1ProverComponents::core_verifier(RiscvAir::machine());
            let setup_prover = Arc::new(CpuShardProver::new(core_verifier.shard_verifier().clone()));
            Self {
                light,
                keys: Mutex::default(),
                folder: KeyFolder::new(settings.keys),
                setups: Semaphore::new(1),
                setup_prover,
                give_back: settings.give_back,
                verifier,
                running: Running::default(),
            }
        })
    }

    /// Returns SP1's own light node, which executes programs, sets them up and verifies proofs.
    #[must_use]
    pub fn light(&self) -> &LightProver {
        &self.light
    }

    fn key_cell(&self, digest: Digest) -> Arc<OnceCell<KnownProgram>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = keys.iter().find(|(known, _)| *known == digest) {
            return cell.clone();
        }
        if keys.len() >= MOST_KEYS {
            keys.pop_front();
        }
        let cell = Arc::new(OnceCell::new());
        keys.push_back((digest, cell.clone()));
        cell
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
        Ok(self.know(program).await?.key)
    }

    /// Returns key and size of `program` from memory or from disk, or computes them.
    async fn know(&self, program: &[u8]) -> Result<KnownProgram, ProofFailure> {
        let digest = Digest::of(program);
        let cell = self.key_cell(digest);
        let compute = || async {
            let folder = self.folder.clone();
            let found = tokio::task::spawn_blocking(move || folder.load(digest)).await;
            if let Ok(Some(known)) = found {
                return Ok(known);
            }
            let known = self.set_up(program).await?;
            let (folder, kept) = (self.folder.clone(), known.clone());
            // A failure to store the key is ignored: the key is known.
            let _ = tokio::task::spawn_blocking(move || folder.store(digest, &kept)).await;
            Ok(known)
        };
        cell.get_or_try_init(compute).await.cloned()
    }

    async fn set_up(&self, program: &[u8]) -> Result<KnownProgram, ProofFailure> {
        let _turn = self.setups.acquire().await.expect("the semaphore is never closed");
        let program = Arc::new(decode(program).await?);
        let (size, prover) = (ProgramSize::of(&program), self.setup_prover.clone());
        let setup = async move { AirProver::setup(&*prover, program, ProverSemaphore::new(1)).await.1 };
        let key = tokio::spawn(setup).await;
        let give_back = self.give_back;
        let _ = tokio::task::spawn_blocking(give_back).await;
        let failed = |_| {
            ProofFailure::Request(
                "cannot set up the program: SP1 panicked while it computed the verifying key".to_owned(),
            )
        };
        Ok(KnownProgram { key: SP1VerifyingKey { vk: key.map_err(failed)? }, size })
    }

    /// Executes `program` without proving, on `stdin` in SP1's serialized form. Cancelling `stop` ends the execution.
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

    /// Executes `program` with the settings in `context`, as `execute` of SP1's clients does. Cancelling `stop` ends
    /// the execution. An exit code other than 0 is not an error: the report contains the code.
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
            check_executor_host().map_err(|error| ProofFailure::Host(error.to_string()))?;
            decode(program).await?;
            Runner(self.light.inner().clone()).run_in(program, stdin, context, stop).await
        })
    }

    async fn run_only(
        &self,
        program: &[u8],
        stdin: &[u8],
        cycle_limit: Option<u64>,
        stop: &CancellationToken,
    ) -> Result<Executed, ProofFailure> {
        check_executor_host().map_err(|error| ProofFailure::Host(error.to_string()))?;
        decode(program).await?;
        let run =
            Runner(self.light.inner().clone()).run(program, decode_stdin(stdin)?, cycle_limit, true, stop).await?;
        if run.exit_code != 0 {
            return Err(program_failure(run.exit_code, &run.stderr));
        }
        Ok(run.executed)
    }

    /// Runs the proof. Background tasks that it starts are spawned on `tasks`.
    async fn prove(
        &self,
        proof: &ProofHandle,
        request: ProofRequest,
        tasks: &TaskTracker,
        presence: &Presence,
    ) -> Result<ProofOutput, ProofFailure> {
        check_executor_host().map_err(|error| ProofFailure::Host(error.to_string()))?;
        let options = CutOptions::decode(&request.options).map_err(|error| ProofFailure::Request(error.to_string()))?;
        let exit = status_code(request.expected_exit)?;
        check_exit_is_provable(request.expected_exit)?;
        check_nonce_range(request.nonce)?;
        let stdin = decode_stdin(&request.stdin)?;
        if request.mode == ProofMode::Core && !stdin.proofs.is_empty() {
            return Err(ProofFailure::Request(
                "cannot make a core proof of a run with input proofs\nhint: request a compressed proof".to_owned(),
            ));
        }
        for kind in needed_kinds(request.mode, !stdin.proofs.is_empty()) {
            proof.check_ability(kind)?;
        }
        check_form(&stdin)?;
        if request.check_input_proofs {
            check_input_proofs(&self.light, &stdin).await?;
        }
        let KnownProgram { key, size } = self.know(&request.elf).await?;
        let options = if options.is_auto() { choose(proof, options, request.mode, size).await? } else { options };
        proof.set_options(options.encode());
        options.check_for(size).await?;
        let expected = Arc::new(Expectations::new(&request, &options, &key, size, &stdin));
        presence.expect(expected.clone());
        let local = LocalTasks(Arc::new(Shared {
            proof: proof.clone(),
            program: request.elf.clone(),
            stdin: request.stdin.clone(),
            key: key.clone(),
            options: options.clone(),
            size,
            mode: request.mode,
            cycle_limit: request.cycle_limit,
            expected_exit: request.expected_exit,
            runner: Runner(self.light.inner().clone()),
            verifier: self.verifier.clone(),
            tasks: tasks.clone(),
            program_failed: AtomicBool::new(false),
        }));
        let client = ProofClient::new(proof.clone(), local, expected);
        let output = Artifact("proof".to_owned());
        let task = root_task(&client, &request, stdin, &output).await.map_err(internal)?;
        let controller = sp1_controller(&client, &options, &self.verifier);
        let over = proof.over().clone();
        let run = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move { controller.run(task).await }));
        let executed = tokio::select! {
            ran = run => match ran {
                Ok(Ok(executed)) => executed,
                Ok(Err(error)) => return Err(ProofFailure::Internal(format!("SP1's controller failed: {error}"))),
                Err(error) => return Err(ProofFailure::Internal(format!("SP1's controller panicked: {error}"))),
            },
            () = over.cancelled() => return Err(ProofFailure::Cancelled),
        };
        proof.report(Progress::Verifying);
        let made: ProofFromNetwork = client.download_with_type(&output, ArtifactType::Proof).await.map_err(internal)?;
        let proven = SP1ProofWithPublicValues::from(made);
        check_nonce(&proven, request.nonce).map_err(ProofFailure::Unverified)?;
        if proven.public_values.as_slice() != SP1PublicValues::from(&executed.public_value_stream).as_slice() {
            return Err(ProofFailure::Unverified("its public values differ from those of the execution".to_owned()));
        }
        let verified = self.verify_with(proven, key, exit).await;
        let proven = verified.map_err(ProofFailure::Unverified)?;
        let proof = bincode::serialize(&proven).map_err(|error| ProofFailure::Internal(error.to_string()))?;
        Ok(ProofOutput { proof, cycles: executed.cycles })
    }

    /// Verifies `proof` against the verifying key of `program`.
    ///
    /// # Errors
    /// Fails if the program is not valid or the proof does not verify. The error says why.
    pub fn verify<'a>(
        &'a self,
        proof: SP1ProofWithPublicValues,
        program: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ProofFailure>> {
        Box::pin(async move {
            let key = self.key(program).await?;
            self.verify_with(proof, key, StatusCode::SUCCESS).await.map(|_| ()).map_err(ProofFailure::Request)
        })
    }

    /// Verifies a proof that was made elsewhere, and returns it if it is valid. It must be a proof of `program` for
    /// `nonce`, of a run that ended with exit code 0. A proof does not say which input the program had.
    ///
    /// # Errors
    /// Fails if the program is not valid, or if the proof does not verify or has another nonce.
    pub fn accept<'a>(
        &'a self,
        proof: SP1ProofWithPublicValues,
        program: &'a [u8],
        nonce: [u32; 4],
    ) -> BoxFuture<'a, Result<SP1ProofWithPublicValues, ProofFailure>> {
        Box::pin(async move {
            let key = self.key(program).await?;
            let proof = self.verify_with(proof, key, StatusCode::SUCCESS).await.map_err(ProofFailure::Unverified)?;
            // `check_nonce` indexes into the proof. That is safe after the verification.
            check_nonce(&proof, nonce).map_err(ProofFailure::Unverified)?;
            Ok(proof)
        })
    }

    /// Verifies the proof outside of the asynchronous threads, and returns it.
    async fn verify_with(
        &self,
        proof: SP1ProofWithPublicValues,
        key: SP1VerifyingKey,
        exit: StatusCode,
    ) -> Result<SP1ProofWithPublicValues, String> {
        let light = self.light.clone();
        let verdict = tokio::task::spawn_blocking(move || {
            light.verify(&proof, &key, Some(exit)).map_err(|error| error.to_string())?;
            Ok(proof)
        });
        verdict.await.unwrap_or_else(|_| Err("SP1's verifier panicked".to_owned()))
    }
}

const fn shard_kind(mode: ProofMode) -> TaskKind {
    match mode {
        ProofMode::Core => TaskKind::ProveShard,
        ProofMode::Compressed | ProofMode::Groth16 | ProofMode::Plonk => TaskKind::NormalizeShard,
    }
}

/// Returns the cut that would be chosen for a program with this number of instructions on these workers, and the
/// reason. The cut is the number of trace cells after which a shard ends. Returns `None` if the program is too large
/// for any shard.
#[must_use]
pub fn preview_cut(mode: ProofMode, instructions: u64, workers: &[Option<AttemptMemory>]) -> Option<(u64, String)> {
    choose_cut(shard_kind(mode), instructions, workers).map(|choice| (choice.threshold, choice.reason))
}

/// Chooses the cut of a run by the memory of the workers. Waits until at least one worker that supports the shard task
/// is connected.
async fn choose(
    proof: &ProofHandle,
    options: CutOptions,
    mode: ProofMode,
    size: ProgramSize,
) -> Result<CutOptions, ProofFailure> {
    /// How often to check for such a worker.
    const LOOK: Duration = Duration::from_millis(200);
    let kind = shard_kind(mode);
    let workers = loop {
        let workers = proof.attempt_memory(kind);
        if !workers.is_empty() {
            break workers;
        }
        tokio::select! {
            () = proof.over().cancelled() => return Err(ProofFailure::Cancelled),
            () = sleep(LOOK) => {}
        }
    };
    let Some(choice) = choose_cut(kind, size.instructions as u64, &workers) else {
        return Err(ProofFailure::Request(format!(
            "the program has {} instructions, which is too many for any shard",
            size.instructions
        )));
    };
    let options = options.chosen(choice.threshold);
    let name = options.threshold_name();
    tracing::info!(proof_id = proof.label(), %name, reason = %choice.reason, "cut chosen");
    proof.report(Progress::Cut { name, reason: choice.reason, options: options.encode() });
    Ok(options)
}

/// Returns the task kinds that workers must support for a proof of `mode`.
fn needed_kinds(mode: ProofMode, input_proofs: bool) -> Vec<TaskKind> {
    use TaskKind::{Groth16Wrap, NormalizeShard, PlonkWrap, ProveShard, RecursionReduce, ShrinkWrap};
    let kinds = match mode {
        ProofMode::Core => &[ProveShard][..],
        ProofMode::Compressed => &[NormalizeShard, RecursionReduce],
        ProofMode::Groth16 => &[NormalizeShard, RecursionReduce, ShrinkWrap, Groth16Wrap],
        ProofMode::Plonk => &[NormalizeShard, RecursionReduce, ShrinkWrap, PlonkWrap],
    };
    let deferred = input_proofs.then_some(TaskKind::RecursionDeferred);
    kinds.iter().copied().chain(deferred).collect()
}

/// Rejects requests that expect an exit code other than 0, unless SP1 is built with `experimental`. Without that
/// feature SP1 proves such a run but then cannot verify its own proof.
fn check_exit_is_provable(expected: ExpectedExit) -> Result<(), ProofFailure> {
    if cfg!(feature = "experimental") || expected.accepts(0) {
        return Ok(());
    }
    Err(ProofFailure::Request(
        "cannot prove a run with another exit code than 0: \
         SP1 verifies such proofs only with its feature `experimental`\n\
         hint: build with the feature `experimental`"
            .to_owned(),
    ))
}

/// Returns the expected exit code in SP1's form.
///
/// # Errors
/// Fails if SP1 does not define the code.
pub fn status_code(expected: ExpectedExit) -> Result<StatusCode, ProofFailure> {
    let code = match expected {
        ExpectedExit::Success => return Ok(StatusCode::SUCCESS),
        ExpectedExit::Any => return Ok(StatusCode::ANY),
        ExpectedExit::Code(code) => code,
    };
    let undefined = || format!("exit code {code} cannot be expected: SP1 allows only the exit codes 0, 1 and 3");
    StatusCode::new(code).ok_or_else(|| ProofFailure::Request(undefined()))
}

/// Decodes the program outside of the asynchronous threads.
async fn decode(program: &[u8]) -> Result<Program, ProofFailure> {
    let owned: Arc<[u8]> = program.into();
    let decoded = tokio::task::spawn_blocking(move || decode_program(&owned)).await;
    let decoded = decoded.expect("panics of the decoder are caught");
    decoded.map_err(|error| ProofFailure::Request(format!("invalid program: {error}")))
}

fn decode_stdin(stdin: &[u8]) -> Result<SP1Stdin, ProofFailure> {
    bincode::deserialize(stdin).map_err(|error| {
        ProofFailure::Request(format!(
            "the stdin is not a serialized SP1Stdin: {error}\nhint: write it with bincode 1, as SP1's own tools do"
        ))
    })
}

/// Runs the tasks of a proof that do not run on workers: setup and execution.
pub(crate) struct LocalTasks(Arc<Shared>);

/// What the local tasks of a proof need.
struct Shared {
    proof: ProofHandle,
    program: bytes::Bytes,
    stdin: bytes::Bytes,
    key: SP1VerifyingKey,
    options: CutOptions,
    size: ProgramSize,
    mode: ProofMode,
    cycle_limit: Option<u64>,
    expected_exit: ExpectedExit,
    runner: Runner,
    verifier: Arc<SP1Verifier>,
    tasks: TaskTracker,
    /// Whether the program ended with an unexpected exit code. Several records contain the code; only the first one is
    /// reported.
    program_failed: AtomicBool,
}

impl LocalTasks {
    pub(crate) fn mode(&self) -> ProofMode {
        self.0.mode
    }

    pub(crate) fn options(&self) -> &CutOptions {
        &self.0.options
    }

    /// Returns the end of an error message: the cut to try for a worker with `bytes` for a shard. Empty if there is no
    /// smaller cut. It is a hint only if the orchestrator does not retry with a smaller cut: the reason for a retry
    /// contains the message in its middle.
    pub(crate) fn fitting_cut(&self, bytes: u64) -> String {
        let memory = AttemptMemory { each_bytes: bytes, alone_bytes: bytes };
        let (kind, options) = (shard_kind(self.0.mode), &self.0.options);
        let choice = choose_cut(kind, self.0.size.instructions as u64, &[Some(memory)]);
        let Some(choice) = choice.filter(|choice| choice.threshold < options.threshold()) else {
            return String::new();
        };
        let name = options.clone().chosen(choice.threshold).threshold_name();
        if options.smaller().is_some() {
            format!("; {name} may fit")
        } else {
            format!("\nhint: set `{name}` or `ELEMENT_THRESHOLD=auto`")
        }
    }

    /// Carries out SP1's setup task. The verifying key is known already.
    pub(crate) fn setup(&self, client: &ProofClient, task: RawTaskRequest) -> TaskId {
        let id = self.0.proof.open_local_task();
        let (client, key) = (client.clone(), self.0.key.clone());
        self.0.tasks.spawn(async move {
            let outcome = match task.outputs.first() {
                Some(output) if client.upload(output, key).await.is_ok() => Outcome::Succeeded,
                _ => Outcome::Failed,
            };
            client.proof().board().end(id, outcome);
        });
        id
    }

    /// Executes the program and cuts its run into shards.
    pub(crate) fn execute(&self, client: &ProofClient, task: RawTaskRequest) -> TaskId {
        let id = self.0.proof.open_local_task();
        let (client, shared) = (client.clone(), self.0.clone());
        self.0.tasks.spawn(async move {
            let outcome = match execute(&client, &shared, id, task).await {
                Ok(cycles) => {
                    client.proof().report(Progress::Executed { cycles });
                    Outcome::Succeeded
                }
                Err(failure) => {
                    // SP1's controller only reports that the task failed. The cause is known here.
                    client.proof().fail(failure);
                    Outcome::Failed
                }
            };
            client.proof().board().end(id, outcome);
        });
        id
    }

    /// Returns true if a run that ends with `code` can become the requested proof.
    pub(crate) fn accepts(&self, code: u32) -> bool {
        self.0.expected_exit.accepts(code) && (code == 0 || cfg!(feature = "experimental"))
    }

    /// Fails the proof of a program that ended with the unexpected exit `code`. Otherwise the run would be proven to
    /// the end and then not verify. The program runs once more to get its stderr for the error message.
    pub(crate) fn program_failed(&self, code: u32) {
        if self.0.program_failed.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = self.0.clone();
        self.0.tasks.spawn(async move {
            let stderr = match decode_stdin(&shared.stdin) {
                Ok(stdin) => {
                    let over = shared.proof.over();
                    let run = shared.runner.run(&shared.program, stdin, shared.cycle_limit, false, over);
                    run.await.map(|run| run.stderr).unwrap_or_default()
                }
                Err(_) => String::new(),
            };
            shared.proof.fail(match shared.expected_exit {
                ExpectedExit::Code(expected) => ProofFailure::Guest(format!(
                    "the program ended with exit code {code}, the request expects {expected}"
                )),
                ExpectedExit::Success | ExpectedExit::Any => program_failure(code, &stderr),
            });
        });
    }
}

/// Executes the program of a proof with SP1's controller. Returns the number of cycles.
async fn execute(client: &ProofClient, shared: &Shared, id: TaskId, task: RawTaskRequest) -> Result<u64, ProofFailure> {
    let request = CoreExecuteTaskRequest::from_raw(task).map_err(|error| ProofFailure::Internal(error.to_string()))?;
    let controller = sp1_controller(client, &shared.options, &shared.verifier);
    let task_id = crate::names::task_to_sp1(id);
    let work = async move { controller.execute(task_id, request).await };
    let leash = Leash {
        cycle_limit: shared.cycle_limit,
        chunks: client.pieces(),
        // Compiled code that does not access memory runs hundreds of millions of cycles per second. Code that does
        // access memory soon completes a trace chunk.
        slowest_cycles_per_second: 20_000_000,
    };
    let began = Instant::now();
    match supervise(work, client.proof().over(), leash).await {
        Ended::Done(Ok(output)) => Ok(output.cycles),
        Ended::Done(Err(TaskError::Execution(error))) => Err(execution_failure(Some(&error), &error)),
        Ended::Done(Err(TaskError::Retryable(error))) => Err(killed_from_outside(&error)),
        Ended::Done(Err(TaskError::Fatal(error))) => Err(diagnose(client, shared, &error, began.elapsed()).await),
        Ended::Panicked(error) => Err(ProofFailure::Internal(format!("the execution panicked: {error}"))),
        Ended::RanAway => Err(ran_away(shared.cycle_limit)),
        Ended::Stopped => Err(ProofFailure::Cancelled),
    }
}

/// Finds the cause of a failed execution. SP1's executor consists of many tasks, and the first one that ends determines
/// the error, even if it only noticed the failure of another. Running the program again without proving gives one clear
/// error.
///
/// `ran` is the time until the error. A program that is at fault fails again within that time. If the second run takes
/// longer, the program was not at fault.
async fn diagnose(client: &ProofClient, shared: &Shared, error: &anyhow::Error, ran: Duration) -> ProofFailure {
    /// Extra time for the second run: it has to start, and the machine may be busier than before.
    const MARGIN: Duration = Duration::from_secs(5);
    let stop = client.proof().over().child_token();
    let again = async {
        let stdin = decode_stdin(&shared.stdin)?;
        shared.runner.run(&shared.program, stdin, shared.cycle_limit, true, &stop).await
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
fn sp1_controller(
    client: &ProofClient,
    options: &CutOptions,
    verifier: &SP1Verifier,
) -> SP1Controller<ProofClient, ProofClient> {
    let opts = options.as_sp1().clone();
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
    // Each proof has its own SP1 controller, because the clients belong to one proof.
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

#[async_trait]
impl ProofController for Controller {
    async fn run(&self, proof: ProofHandle, request: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        let tasks = TaskTracker::new();
        // `presence` lives until the proof is over. A result that arrives later could not be checked, which would count
        // as a fault of its worker.
        let presence = self.running.enter(&proof);
        let outcome = self.prove(&proof, request, &tasks, &presence).await;
        if let Err(failure) = &outcome {
            // SP1's controller and executor do not stop each other, so the proof is failed explicitly.
            proof.fail(failure.clone());
            proof.find_wrong_parts().await;
        }
        tasks.close();
        tasks.wait().await;
        outcome
    }

    fn memo_key(&self, proof: &ProofHandle, spec: &TaskSpec) -> Option<Digest> {
        // Only shard proofs are cached. The inputs of a reduction depend on the order in which results arrive.
        if !spec.kind.is_shard() {
            return None;
        }
        let [program, common, record] = [0, 1, 2].map(|at| match spec.inputs.get(at) {
            Some(TaskInput::Artifact { name, .. }) => Some(name),
            Some(TaskInput::Literal(_)) | None => None,
        });
        let record = self.running.expectations(proof).ok()?.content(record?, |name| proof.digest(name))?;
        let options = CutOptions::decode(proof.options()).ok()?.canonical();
        let mut made_of = format!("shard {} {options} {:?}", spec.kind, build_identity()).into_bytes();
        for input in [proof.digest(program?)?, proof.digest(common?)?, record] {
            made_of.extend(input.as_bytes());
        }
        Some(Digest::of(&made_of))
    }

    fn smaller_cut(&self, options: &str) -> Option<Cut> {
        let smaller = CutOptions::decode(options).ok()?.smaller()?;
        Some(Cut { options: smaller.encode(), name: smaller.threshold_name() })
    }

    fn check(&self, result: Checked<'_>) -> Result<(), String> {
        let expected = self.running.expectations(result.proof)?;
        contained(|| check_result(&self.verifier, &expected, &result))
    }

    fn check_marker(&self, marker: CheckedMarker<'_>) -> Result<(), String> {
        let expected = self.running.expectations(marker.proof)?;
        contained(|| expected.check_marker(&marker))
    }
}

#[async_trait]
impl ProgramController for Controller {
    async fn check_program(&self, elf: bytes::Bytes) -> Result<(), ProofFailure> {
        // Decoding takes several times the program's size in memory, so it also takes a turn.
        let _turn = self.setups.acquire().await.expect("the semaphore is never closed");
        decode(&elf).await.map(|_| ())
    }

    async fn program_key(&self, elf: bytes::Bytes) -> Result<String, ProofFailure> {
        Ok(self.verifying_key(&elf).await?.bytes32())
    }

    fn check_stdin(&self, stdin: &[u8]) -> Result<(), ProofFailure> {
        check_form(&decode_stdin(stdin)?)
    }

    fn empty_stdin(&self) -> Vec<u8> {
        bincode::serialize(&SP1Stdin::new()).expect("an empty input is serializable")
    }
}

fn internal(error: impl std::fmt::Display) -> ProofFailure {
    ProofFailure::Internal(error.to_string())
}

/// Uploads the inputs of the root task. Their order is the order of SP1's `ControllerInputs`.
async fn root_task(
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

/// Returns the nonce in the form of on-chain proofs: the words are joined to one number, 31 bits each, the first word
/// highest (sp1-recursion-circuit, `koalabears_proof_nonce_to_bn254`).
pub(crate) fn on_chain_nonce(nonce: [u32; 4]) -> String {
    nonce.iter().fold(0_u128, |folded, word| (folded << 31) + u128::from(*word)).to_string()
}

/// Checks that each word of the nonce is an element of SP1's field.
fn check_nonce_range(nonce: [u32; 4]) -> Result<(), ProofFailure> {
    match nonce.iter().find(|word| **word >= SP1Field::ORDER_U32) {
        None => Ok(()),
        Some(word) => Err(ProofFailure::Request(format!(
            "invalid nonce: its word {word} is out of range, the maximum is {}",
            SP1Field::ORDER_U32 - 1
        ))),
    }
}

/// Checks that the proof was made for `nonce`. A proof with another nonce is rejected even if it verifies.
fn check_nonce(proof: &SP1ProofWithPublicValues, nonce: [u32; 4]) -> Result<(), String> {
    let found: Vec<[SP1Field; 4]> = match &proof.proof {
        SP1Proof::Core(shards) => shards.iter().map(shard_nonce).collect(),
        SP1Proof::Compressed(whole) => {
            let values: &RecursionPublicValues<SP1Field> = whole.proof.public_values.as_slice().borrow();
            vec![values.proof_nonce]
        }
        SP1Proof::Plonk(PlonkBn254Proof { public_inputs, .. })
        | SP1Proof::Groth16(Groth16Bn254Proof { public_inputs, .. }) => {
            return if public_inputs[4] == on_chain_nonce(nonce) {
                Ok(())
            } else {
                Err("it was made for another nonce".to_owned())
            };
        }
    };
    if found.into_iter().any(|found| found.map(|word| word.as_canonical_u32()) != nonce) {
        return Err("a part of it was made for another nonce".to_owned());
    }
    Ok(())
}

fn shard_nonce(shard: &CoreProof) -> [SP1Field; 4] {
    let values: &PublicValues<[SP1Field; 4], [SP1Field; 3], [SP1Field; 4], SP1Field> =
        shard.public_values.as_slice().borrow();
    values.proof_nonce
}
