//! `sp1d serve`: runs the proof service.

use super::{
    config,
    exposure::{check_exposure, warn_of_plain_workers},
    service_manager::{report_ready, report_stopping},
    shared_memory::SmallSharedMemory,
    signals::cancelled_by_signals_but_hangups,
};
use crate::{
    args::ServeArguments,
    command::runtime::block_on,
    exit::{CliError, OTHER},
    logging::Telemetry,
    process::allocator,
};
use anyhow::{Context, Result};
use sp1d_engine::{ProofRunnerSettings, Sp1ProofRunner, check_executor_host, warn_without_line_limit};
use sp1d_identity::{HttpsCertificate, HttpsIdentity};
use sp1d_machine::raise_open_files;
use sp1d_orchestrator::JoinSettings;
use sp1d_protocol::open_listener;
use sp1d_roles::{
    LocalWorkerHandle,
    config::{Config, EffectiveSetting, ValueSource},
    start_proving_threads,
};
use sp1d_service::{
    ArchivePlace, HostedSettings, HostedSigners, Service, ServiceSettings, follow_list, serve, serve_hosted,
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::timeout,
};

/// A service's proof waits at least this long for a worker: the operators are expected to start one.
const MIN_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Estimated memory of a running proof on the orchestrator: SP1's executor, its trace and the artifacts in transit.
const PROOF_BYTES: u64 = 4_000_000_000;

const MAX_PROOFS: u64 = 16;

/// Memory that a program may use even if more programs run at the same time than the machine has memory for.
const MIN_PROGRAM_BYTES: u64 = 1 << 30;

/// Maximum duration of the shutdown after a failure of the service itself.
const MAX_FAILED_SHUTDOWN: Duration = Duration::from_secs(10);

/// Bounds of the number of workers that may join. A process that may open so few files that fewer workers fit cannot
/// serve anything else either.
const MIN_JOINED: u64 = 16;
const MAX_JOINED: u64 = 4096;

pub(crate) fn run(arguments: ServeArguments) -> Result<()> {
    // Programs, inputs and proofs may be secret: only the service's own user can read what it writes.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    if arguments.join_listen.is_some() && arguments.join_from.is_none() {
        return Err(CliError::usage(
            "`--join-listen` needs `--join-from`, the addresses of the workers that may join\n\
             hint: list addresses or ranges, for example `--join-from 10.0.0.0/8`",
        )
        .into());
    }
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
    let https = https_certificate(&arguments)?;
    match &config.orchestrator.tls {
        Some(tls) => {
            tracing::info!(identity = %tls.identity(), "connections use TLS, except HTTP on the loopback interface");
        }
        None => {
            let http = [(Some(&arguments.listen), "--listen"), (arguments.hosted.as_ref(), "--hosted")];
            let plain = http.into_iter().filter(|_| https.is_none());
            let ports = plain.chain([(arguments.join_listen.as_ref(), "--join-listen")]);
            for (address, flag) in ports.filter_map(|(address, flag)| Some((address?, flag))) {
                check_exposure(address, flag, arguments.insecure).await?;
            }
            warn_of_plain_workers(&config.list).await;
        }
    }
    // Bind the ports before starting anything else, so that a port of another program is reported before that.
    let interface = listen(&arguments.listen, "--listen").await?;
    let open_files = raise_open_files();
    let joining = match (&arguments.join_listen, &arguments.join_from) {
        (Some(address), Some(from)) => {
            let max_workers = max_joined_workers(open_files);
            let settings = JoinSettings { max_workers, ..JoinSettings::new(from.clone()) };
            Some((listen(address, "--join-listen").await?, settings))
        }
        // `run` has checked that both are given, or none.
        (None, _) | (_, None) => None,
    };
    let hosted = match (&arguments.hosted, hosted_settings(&arguments)?) {
        (Some(address), Some(settings)) => Some((listen(address, "--hosted").await?, settings)),
        // The arguments are accepted only together.
        (None, _) | (_, None) => None,
    };
    let mut settings = settings(&config, &arguments);
    if let Some(certificate) = https {
        settings.tls = Some(certificate.into());
    }
    if let Some(small) = SmallSharedMemory::of_machine(settings.parallel_proofs) {
        small.warn();
    }
    warn_without_line_limit();
    if let Some(place) = &arguments.archive {
        let place = place.parse::<ArchivePlace>();
        settings.archive = Some(place.map_err(|error| CliError::usage(error.to_string()))?);
    }
    // A killed service leaves executors and shared memory behind.
    let left = tokio::task::spawn_blocking(sp1d_engine::remove_leftovers)
        .await
        .context("cannot remove leftovers of earlier processes")?;
    if left != sp1d_engine::Leftovers::default() {
        tracing::info!(executors = left.executors, files = left.files, "removed leftovers of a killed process");
    }
    let local = LocalWorkerHandle::of(&config).await;
    // The keys are part of the service's state, whichever user runs the service.
    let keys = Some(arguments.state.join("keys"));
    let runner = ProofRunnerSettings { key_folder: keys, release_memory: allocator::release_memory };
    let runner = Arc::new(Sp1ProofRunner::new(runner).await);
    let service = Service::start(settings, runner, local.as_ref().map(LocalWorkerHandle::connector)).await;
    let service = service.map_err(|error| CliError::usage(error.to_string()))?;
    if let Some((listener, settings)) = joining {
        let JoinSettings { from, max_workers } = &settings;
        tracing::info!(address = %listener.local_addr()?, %from, max_workers, "accepting joining workers");
        service.orchestrator().serve_joining(listener, settings);
    }
    tracing::info!(address = %interface.local_addr()?, "serving");
    if !interface.local_addr()?.ip().is_loopback() && !service.requires_tokens().await.unwrap_or(true) {
        tracing::warn!(
            "no tokens: every client that can reach the HTTP interface can submit, read and cancel proofs; create a token with `sp1d tokens create`, or pass --require-tokens"
        );
    }
    let reload_workers = Arc::new(Notify::new());
    let following = list_file(&config).map(|path| {
        let (service, reload) = (service.clone(), reload_workers.clone());
        // A service that workers join needs no list. Its operator can still add one later.
        let is_optional = arguments.join_listen.is_some();
        tokio::spawn(async move { follow_list(service, path, is_optional, &reload).await })
    });
    let mut serving = tokio::spawn(serve(service.clone(), interface));
    let reload_signers = Arc::new(Notify::new());
    let following_signers = hosted.as_ref().map(|(_, settings)| {
        let (signers, service, reload) = (settings.signers.clone(), service.clone(), reload_signers.clone());
        tokio::spawn(async move { signers.follow(service, &reload).await })
    });
    let mut serving_hosted = match hosted {
        Some((listener, settings)) => {
            tracing::info!(address = %listener.local_addr()?, "serving programs with SP1_PROVER=hosted");
            Some(tokio::spawn(serve_hosted(service.clone(), listener, settings)))
        }
        None => None,
    };
    let mut hangups = signal(SignalKind::hangup())?;
    // The ports have been open since the start, but until here nothing has accepted their connections.
    report_ready();
    let outcome = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            _ = hangups.recv() => {
                reload_workers.notify_one();
                reload_signers.notify_one();
            }
            part = service.died() => {
                tracing::error!(part, "a part of the service ended unexpectedly; the process ends, and the next start continues all proofs");
                let text = format!("{part} ended unexpectedly\nhint: start the service again; please report the panic in its log");
                break Err(CliError::new(OTHER, text).into());
            }
            ended = &mut serving => {
                break ended.context("the HTTP server ended unexpectedly")?.context("the HTTP server failed");
            }
            ended = async {
                match &mut serving_hosted {
                    Some(serving) => serving.await,
                    None => std::future::pending().await,
                }
            } => {
                let ended = ended.context("the server of `--hosted` ended unexpectedly")?;
                break ended.context("the server of `--hosted` failed");
            }
        }
    };
    report_stopping();
    tracing::info!("stopping; running proofs continue at the next start");
    if outcome.is_err() {
        // A dead part may leave others waiting for it. What does not end in time ends with the process.
        if timeout(MAX_FAILED_SHUTDOWN, service.shutdown()).await.is_err() {
            tracing::warn!("the service did not shut down in time");
        }
        return outcome;
    }
    service.shutdown().await;
    if let Some(following) = following {
        following.await.context("the watcher of the worker list ended unexpectedly")?;
    }
    if let Some(following) = following_signers {
        following.await.context("the watcher of the signers ended unexpectedly")?;
    }
    tracing::info!("stopped");
    outcome
}

/// Returns how many workers may join, if the process may open `open_files` files. They take a quarter of them. The HTTP
/// interface takes up to a half, and the rest is for the database, the artifacts and the workers of the list.
fn max_joined_workers(open_files: u64) -> usize {
    usize::try_from((open_files / 4).clamp(MIN_JOINED, MAX_JOINED)).expect("at most `MAX_JOINED`")
}

/// Returns the certificate of HTTPS, if it is another one than that of `--tls`.
fn https_certificate(arguments: &ServeArguments) -> Result<Option<Arc<HttpsCertificate>>> {
    // The arguments are accepted only together.
    let (Some(chain), Some(key)) = (&arguments.https_certificate, &arguments.https_key) else { return Ok(None) };
    let certificate = HttpsCertificate::load(chain, key).map_err(|error| CliError::usage(error.to_string()))?;
    tracing::info!(certificate = %chain.display(), "HTTPS has a certificate of its own, except on the loopback interface");
    Ok(Some(certificate))
}

/// Returns the settings of `--hosted`, if its arguments are given.
fn hosted_settings(arguments: &ServeArguments) -> Result<Option<HostedSettings>> {
    let Some(file) = &arguments.hosted_signers else { return Ok(None) };
    let url = arguments.hosted_url.clone();
    if let Some(url) = &url
        && !["http://", "https://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
    {
        let text = format!(
            "`--hosted-url {url}` is not a URL\nhint: write it with its scheme, for example https://prover.example.org"
        );
        return Err(CliError::usage(text).into());
    }
    let signers = HostedSigners::read(file.clone()).map_err(|error| CliError::usage(error.to_string()))?;
    Ok(Some(HostedSettings { signers, url }))
}

async fn listen(address: &sp1d_protocol::Address, flag: &str) -> Result<TcpListener> {
    let cannot = |reason: std::io::Error| {
        CliError::usage(format!("cannot listen on {address}: {reason}\nhint: choose another address with `{flag}`"))
    };
    Ok(open_listener(address).await.map_err(cannot)?)
}

/// Returns the worker list's file.
fn list_file(config: &Config) -> Option<PathBuf> {
    let is_list = |effective: &&EffectiveSetting| effective.setting.variable == "SP1_DISTRIBUTED_WORKERS";
    config.effective.iter().find(is_list).map(|effective| PathBuf::from(&effective.value))
}

fn settings(config: &Config, arguments: &ServeArguments) -> ServiceSettings {
    let mut orchestrator = config.orchestrator.clone();
    orchestrator.patience = orchestrator.patience.max(MIN_PATIENCE);
    orchestrator.wait_for_capabilities = true;
    let running = arguments.parallel_proofs.map_or_else(by_memory, usize::from);
    let is_memory_limit = |effective: &&EffectiveSetting| {
        effective.setting.variable == "MEMORY_LIMIT" && effective.source == ValueSource::Default
    };
    let cut = match config.effective.iter().find(is_memory_limit) {
        Some(_) => config.cut.clone().with_memory_at_most(program_memory(running)),
        None => config.cut.clone(),
    };
    let mut settings = ServiceSettings::new(arguments.state.clone(), orchestrator, cut.encode());
    settings.parallel_proofs = running;
    settings.max_cycles = Some(arguments.max_cycles).filter(|cycles| *cycles > 0);
    let max_time = Duration::from_secs(u64::from(arguments.max_hours) * 60 * 60);
    settings.max_time = Some(max_time).filter(|time| !time.is_zero());
    settings.max_queue = arguments.max_queue;
    settings.keep = Duration::from_secs(u64::from(arguments.keep) * 24 * 60 * 60);
    settings.max_result_cache_bytes = arguments.result_cache.saturating_mul(1_000_000);
    settings.share_results = arguments.share_results;
    settings.require_tokens = arguments.require_tokens;
    settings.min_free_bytes = arguments.min_free.saturating_mul(1_000_000);
    settings.http.connections = connections(arguments.max_connections);
    settings.http.connections_per_client = connections(arguments.max_connections_per_client);
    let listens = arguments.listen.to_string();
    let own = listens.rsplit_once(':').map(|(host, _)| host);
    settings.allowed_hosts =
        own.into_iter().chain(arguments.allowed_hosts.iter().map(String::as_str)).map(str::to_lowercase).collect();
    settings.tls = config.orchestrator.tls.clone().map(HttpsIdentity::from);
    settings.tracer = Telemetry::tracer();
    settings
}

fn connections(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Returns the number of executions that fit into this machine's memory.
fn by_memory() -> usize {
    let total = sp1d_machine::Memory::now().map_or(0, |memory| memory.total_bytes);
    usize::try_from((total / PROOF_BYTES).clamp(1, MAX_PROOFS)).expect("at most `MAX_PROOFS`")
}

/// Returns the memory that each of `running` programs may use if the user sets no limit: together three quarters of
/// this machine's memory.
fn program_memory(running: usize) -> u64 {
    program_share(sp1d_machine::Memory::now().map_or(u64::MAX, |memory| memory.total_bytes), running)
}

/// The same for a machine with `total` bytes of memory.
fn program_share(total: u64, running: usize) -> u64 {
    (total / 4 * 3 / running.max(1) as u64).max(MIN_PROGRAM_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(open_files: u64, expected: usize) {
        assert_eq!(max_joined_workers(open_files), expected, "{open_files} files");
    }

    #[test]
    fn programs_share_three_quarters_of_the_memory() {
        const GIB: u64 = 1 << 30;
        assert_eq!(program_share(64 * GIB, 4), 12 * GIB);
        assert_eq!(program_share(64 * GIB, 0), 48 * GIB);
        assert_eq!(program_share(GIB, 16), MIN_PROGRAM_BYTES);
    }

    #[test]
    fn joined_workers_take_a_quarter_of_the_files() {
        check(1024, 256);
        check(10, 16);
        check(u64::MAX, 4096);
    }
}
