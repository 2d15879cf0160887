//! A worker process that proves nothing. Prints `started SHARD` and `ended SHARD` on stdout when it starts and ends
//! a shard. SIGTERM makes it leave, as `sp1d worker` does.

#![expect(clippy::print_stdout, reason = "the tests read it")]

use anyhow::Result;
use clap::{Parser, ValueEnum};
use sp1d_identity::{PeerRole, TlsIdentity};
use sp1d_model::TaskKind;
use sp1d_protocol::FailureKind;
use sp1d_testing::{FakeEngine, fetch_inputs, finish_honestly, finish_with, honest_result, introduction_with, ready};
use sp1d_worker::{
    AttemptError, EngineState, HealthPort, JoiningWorker, ListeningWorker, ProverCommand, ProverRules, Provers,
    ProvingEngine, WorkerSettings, WorkerStop, serve_prover,
};
use std::{os::fd::AsFd, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

#[derive(Debug, Clone, Parser)]
struct FakeWorkerArguments {
    /// Address to listen on.
    #[arg(long, required_unless_present = "join")]
    listen: Option<String>,
    /// Orchestrator to join instead.
    #[arg(long, conflicts_with = "listen")]
    join: Option<String>,
    /// Time to finish shards after SIGTERM.
    #[arg(long, default_value_t = 60_000)]
    grace_milliseconds: u64,
    #[arg(long, default_value = "fake")]
    name: String,
    /// Time for a shard.
    #[arg(long, default_value_t = 100)]
    milliseconds: u64,
    #[arg(long, value_enum, default_value_t = Manner::Honest)]
    manner: Manner,
    /// The only shard to treat in this manner. Without it, all shards.
    #[arg(long)]
    only: Option<u64>,
    /// Prove in this number of prover processes. Their stdout goes to stderr.
    #[arg(long)]
    provers: Option<usize>,
    /// Time for loading a prover process.
    #[arg(long, default_value_t = 300)]
    load_milliseconds: u64,
    /// Be a prover process.
    #[arg(long, hide = true)]
    as_prover: bool,
    /// Address for health probes.
    #[arg(long)]
    health: Option<String>,
    /// Identity of the worker. With it, connections need a certificate.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Memory to report to the orchestrator.
    #[arg(long, default_value_t = 0)]
    memory_bytes: u64,
}

/// What the worker does with a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Manner {
    Honest,
    /// Deliver garbage.
    Garbage,
    /// Deliver a valid result of other inputs.
    Another,
    /// Deliver nothing, but report success.
    Nothing,
    /// Claim events that are not the shard's events.
    Events,
    /// Report a failure.
    Fail,
    /// Never finish.
    Hang,
    /// Exit.
    Die,
    /// Deliver many more artifacts than the task asks for.
    Flood,
    /// Report that memory is insufficient.
    OutOfMemory,
    /// Panic.
    Panic,
}

/// Input that no task has.
const GARBAGE: &[u8] = b"garbage";

fn engine(arguments: FakeWorkerArguments) -> Arc<dyn ProvingEngine> {
    FakeEngine::doing(move |assignment, io| {
        let arguments = arguments.clone();
        async move {
            let inputs = fetch_inputs(&assignment, &*io).await?;
            if assignment.payload.kind() == TaskKind::RecursionReduce {
                // A real prover cannot fold a proof that does not verify.
                if inputs.contains(&honest_result(GARBAGE)) {
                    return Err(AttemptError { kind: FailureKind::Engine, text: "a part does not verify".to_owned() });
                }
                return finish_honestly(&assignment, &*io, &inputs.concat()).await;
            }
            let shard = inputs.shard.unwrap_or(u64::MAX);
            println!("started {shard}");
            tokio::time::sleep(Duration::from_millis(arguments.milliseconds)).await;
            if inputs.is_precompile {
                // A real prover fails on wrong deferred events too, and does not find out which worker delivered them.
                if inputs.contains(b"events of another") {
                    return Err(AttemptError {
                        kind: FailureKind::Engine,
                        text: "the deferred events are wrong".to_owned(),
                    });
                }
                return finish_honestly(&assignment, &*io, &inputs.concat()).await;
            }
            let manner =
                if arguments.only.is_none_or(|only| only == shard) { arguments.manner } else { Manner::Honest };
            let wrong = |text: &str| AttemptError { kind: FailureKind::Engine, text: text.to_owned() };
            match manner {
                Manner::Honest => finish_honestly(&assignment, &*io, &inputs.concat()).await?,
                Manner::Another => {
                    let mut others = inputs.concat();
                    others.push(1);
                    finish_honestly(&assignment, &*io, &others).await?;
                }
                Manner::Garbage => finish_honestly(&assignment, &*io, GARBAGE).await?,
                Manner::Nothing => {}
                Manner::Events => {
                    finish_with(&assignment, &*io, &inputs.concat(), b"events of another".to_vec()).await?
                }
                Manner::OutOfMemory => {
                    return Err(AttemptError { kind: FailureKind::OutOfMemory, text: "planted".to_owned() });
                }
                Manner::Panic => panic!("planted panic"),
                Manner::Fail => return Err(wrong("planted")),
                Manner::Hang => std::future::pending().await,
                Manner::Die => std::process::exit(9),
                Manner::Flood => {
                    for number in 0..10_000 {
                        let name = format!("made-{}-{number}", assignment.attempt);
                        let kept = io.deliver(&name, vec![number as u8; 1 << 16]).await;
                        kept.map_err(|error| wrong(&error.to_string()))?;
                    }
                }
            }
            println!("ended {shard}");
            Ok(())
        }
    })
}

/// Uses one thread, as `sp1d worker` does. Engine and session share it here, which does not make the tests easier to
/// pass.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter("info").init();
    let arguments = FakeWorkerArguments::parse();
    if arguments.as_prover {
        let stream = std::os::unix::net::UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(true)?;
        let load = move || {
            std::thread::sleep(Duration::from_millis(arguments.load_milliseconds));
            Ok(engine(arguments))
        };
        serve_prover(UnixStream::from_std(stream)?, load).await?;
        return Ok(());
    }
    let introduction = introduction_with(&arguments.name, arguments.memory_bytes);
    let stop = WorkerStop::new();
    let (listen, join) = (arguments.listen.clone(), arguments.join.clone());
    let tls = arguments.tls.as_deref().map(|path| TlsIdentity::load(path, PeerRole::Worker)).transpose()?;
    leave_on_sigterm(stop.clone(), Duration::from_millis(arguments.grace_milliseconds))?;
    if let Some(orchestrator) = join {
        let worker = JoiningWorker::new(orchestrator.parse()?, introduction).secure(tls);
        worker.serve(state(arguments, &stop)?, stop).await?;
        return Ok(());
    }
    let settings = WorkerSettings {
        listen: listen.unwrap_or_default().parse()?,
        orchestrators: "127.0.0.0/8,10.0.0.0/8".parse()?,
        introduction,
    };
    // Bind before loading the engine, so that the orchestrator finds the port.
    let worker = ListeningWorker::bind(settings).await?.secure(tls);
    let health = match &arguments.health {
        Some(address) => Some(HealthPort::bind(&address.parse()?).await?),
        None => None,
    };
    let state = state(arguments, &stop)?;
    if let Some(health) = health {
        tokio::spawn(health.serve(state.clone(), stop.leaving().clone()));
    }
    worker.serve(state, stop).await?;
    Ok(())
}

/// Lets the worker leave within `grace` when the process gets SIGTERM.
fn leave_on_sigterm(stop: WorkerStop, grace: Duration) -> Result<()> {
    let mut terminations = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminations.recv().await;
        stop.leave_within(grace).await;
    });
    Ok(())
}

/// Starts the engine of the worker.
fn state(arguments: FakeWorkerArguments, stop: &WorkerStop) -> Result<watch::Receiver<EngineState>> {
    let Some(count) = arguments.provers else { return Ok(ready(engine(arguments))) };
    let command = ProverCommand {
        program: std::env::current_exe()?,
        arguments: std::env::args_os().skip(1).chain(["--as-prover".into()]).collect(),
        variables: Vec::new(),
        gpu: None,
    };
    let rules = ProverRules {
        places: 1,
        threads: 1,
        wait_memory: Duration::ZERO,
        needed_bytes: 0,
        load_estimate: Duration::from_millis(arguments.load_milliseconds),
        start_lock: std::env::temp_dir().join(format!("fake-start-{}", std::process::id())).join("lock"),
    };
    Ok(Provers::start(vec![command; count], &rules, stop.now()).0)
}
