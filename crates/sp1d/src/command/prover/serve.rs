//! `sp1d serve`: runs the proof service.

use super::{config, signals::cancelled_by_signals_but_hangups};
use crate::{args::ServeArguments, command::runtime::block_on, exit::CliError, logging::Telemetry, process::allocator};
use anyhow::{Context, Result};
use sp1_distributed::distributed::{
    LocalProver,
    config::{Config, EffectiveSetting},
    start_proving_threads,
};
use sp1d_engine::{ProofRunnerSettings, Sp1ProofRunner, check_executor_host};
use sp1d_service::{Service, ServiceSettings, follow_list, serve};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

/// A service's proof waits at least this long for a worker: the operators are expected to start one.
const MIN_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Estimated memory of a running proof on the orchestrator: SP1's executor, its trace and the artifacts in transit.
const PROOF_BYTES: u64 = 4_000_000_000;

const MAX_PROOFS: u64 = 16;

pub(crate) fn run(arguments: ServeArguments) -> Result<()> {
    let config = match arguments.join_listen {
        Some(_) => config::load_joined(&arguments.pool)?,
        None => config::load(&arguments.pool)?,
    };
    start_proving_threads(&config);
    check_executor_host()?;
    block_on(serve_until_stopped(config, arguments))
}

async fn serve_until_stopped(config: Config, arguments: ServeArguments) -> Result<()> {
    let stop = cancelled_by_signals_but_hangups()?;
    // Bind the ports before starting anything else: a port that is in use fails at once.
    let interface = listen(&arguments.listen, "--listen").await?;
    let joining = match &arguments.join_listen {
        Some(address) => Some(listen(address, "--join-listen").await?),
        None => None,
    };
    let settings = settings(&config, &arguments);
    // A killed service leaves executors and shared memory behind.
    let left = tokio::task::spawn_blocking(sp1d_engine::remove_leftovers)
        .await
        .context("cannot remove leftovers of earlier processes")?;
    if left != sp1d_engine::Leftovers::default() {
        tracing::info!(executors = left.executors, files = left.files, "removed leftovers of a killed process");
    }
    let local = LocalProver::of(&config).await;
    // The keys are part of the service's state, whichever user runs the service.
    let keys = Some(arguments.state.join("keys"));
    let runner = ProofRunnerSettings { keys, give_back: allocator::give_back };
    let runner = Arc::new(Sp1ProofRunner::new(runner).await);
    let service = Service::start(settings, runner, local.as_ref().map(LocalProver::connector)).await;
    let service = service.map_err(|error| CliError::usage(error.to_string()))?;
    if let Some(listener) = joining {
        tracing::info!(address = %listener.local_addr()?, from = %arguments.join_from, "accepting joining workers");
        service.orchestrator().serve_joining(listener, arguments.join_from);
    }
    tracing::info!(address = %interface.local_addr()?, "serving");
    let again = Arc::new(Notify::new());
    let following = list_file(&config).map(|path| {
        let (service, again) = (service.clone(), again.clone());
        tokio::spawn(async move { follow_list(service, path, &again).await })
    });
    let mut serving = tokio::spawn(serve(service.clone(), interface));
    let mut hangups = signal(SignalKind::hangup())?;
    let outcome = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            _ = hangups.recv() => again.notify_one(),
            ended = &mut serving => {
                break ended.context("the HTTP server ended unexpectedly")?.context("the HTTP server failed");
            }
        }
    };
    tracing::info!("stopping; running proofs continue at the next start");
    service.shutdown().await;
    if let Some(following) = following {
        following.await.context("the watcher of the worker list ended unexpectedly")?;
    }
    tracing::info!("stopped");
    outcome
}

async fn listen(address: &sp1d_protocol::Address, flag: &str) -> Result<TcpListener> {
    let cannot = |reason: std::io::Error| {
        CliError::usage(format!("cannot listen on {address}: {reason}\nhint: choose another address with `{flag}`"))
    };
    let found = address.resolve().await.map_err(cannot)?;
    Ok(TcpListener::bind(found.as_slice()).await.map_err(cannot)?)
}

/// The worker list's file, if it names any workers.
fn list_file(config: &Config) -> Option<PathBuf> {
    let is_list = |effective: &&EffectiveSetting| effective.setting.variable == "SP1_DISTRIBUTED_WORKERS";
    let path = PathBuf::from(&config.effective.iter().find(is_list)?.value);
    (!config.list.0.is_empty()).then_some(path)
}

fn settings(config: &Config, arguments: &ServeArguments) -> ServiceSettings {
    let mut orchestrator = config.orchestrator.clone();
    orchestrator.patience = orchestrator.patience.max(MIN_PATIENCE);
    orchestrator.wait_for_capabilities = true;
    let mut settings = ServiceSettings::new(arguments.state.clone(), orchestrator, config.cut.encode());
    settings.running = arguments.parallel_proofs.map_or_else(by_memory, usize::from);
    settings.queued = arguments.max_queue;
    settings.keep = Duration::from_secs(u64::from(arguments.keep) * 24 * 60 * 60);
    settings.result_cache_bytes = arguments.result_cache.saturating_mul(1_000_000);
    settings.free_bytes = arguments.min_free.saturating_mul(1_000_000);
    let listens = arguments.listen.to_string();
    let own = listens.rsplit_once(':').map(|(host, _)| host);
    settings.allowed_hosts =
        own.into_iter().chain(arguments.allowed_hosts.iter().map(String::as_str)).map(str::to_lowercase).collect();
    settings.tracer = Telemetry::tracer();
    settings
}

/// Returns the number of executions that fit into this machine's memory.
fn by_memory() -> usize {
    let total = sp1d_machine::Memory::now().map_or(0, |memory| memory.total_bytes);
    usize::try_from((total / PROOF_BYTES).clamp(1, MAX_PROOFS)).expect("at most `MAX_PROOFS`")
}
