//! A service process with a fake runner, for tests that kill the process or measure its memory. When the service
//! listens, it prints the line `serving URL`.
//!
//! These environment variables change its settings:
//!
//! - `KEEP_SECONDS`, `RESULT_CACHE_BYTES`, `FREE_BYTES`, `PROGRAM_BYTES`, `INPUT_BYTES`, `RUNNING`: fields of
//!   [`ServiceSettings`].
//! - `STORE_BYTES`: memory for artifacts. As much disk space is allowed, in the state folder's parent.
//! - `TLS`: file with the identity of the orchestrator. With it, connections of workers need a certificate, and an HTTP
//!   interface for other machines uses HTTPS.
//! - `HEARTBEAT_MS`: interval between two heartbeats.
//! - `RECORD_BYTES`, `SENDS_INPUT`, `SLOW_CHECK_MS`: fields of [`FakeRunner`].
//! - `ARCHIVE`: where to archive the state.
//! - `LISTEN`: address of the HTTP interface. Without it, a free port of the loopback interface.
//! - `JOIN_FROM`: the addresses from which workers may join. The line `joining ADDRESS` then comes before the line
//!   `serving URL`.
//! - `JOIN_LISTEN`: address for them. Without it, a free port of the loopback interface.
//! - `HOSTED_SIGNERS`: the file with the requesters of the interface for sp1-sdk. The line `hosted ADDRESS` then comes
//!   before the line `serving URL`.
//! - `HOSTED_LISTEN`: address for them. Without it, a free port of the loopback interface.
//! - `SDK_KEY`: makes the service one for programs on sp1-sdk itself, see [`FakeSdkRunner`]. The verifying key of the
//!   program under test.
//! - `CIRCUITS`: version of the circuits, as sp1-sdk and the workers must have it. Without it, that of [`fake_build`].
//! - `LOG`: filter for log lines, which go to stderr. Without it, nothing is logged.
//! - `HEAP_FILE`: every 100 ms, the number of bytes that are allocated is written to this file. Only memory of the
//!   first arena counts, so set `MALLOC_ARENA_MAX` to 1.

#![expect(clippy::print_stdout, reason = "the tests read the printed lines")]

use sp1d_artifacts::StoreLimits;
use sp1d_identity::{PeerRole, TlsIdentity};
use sp1d_orchestrator::{JoinSettings, OrchestratorSettings, ServiceRunner, WorkerList};
use sp1d_protocol::Filter;
use sp1d_service::{HostedSettings, HostedSigners, Service, ServiceSettings, serve, serve_hosted};
use sp1d_testing::{FakeRunner, FakeSdkRunner, fake_build};
use std::{env, error::Error, fs, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Returns the value of an environment variable. `None` if it is not set.
fn variable<T: FromStr<Err: Error + 'static>>(name: &str) -> Result<Option<T>, Box<dyn Error>> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    Ok(Some(text.parse()?))
}

/// Listens on the address in the variable `name`, or on a free port of the loopback interface.
async fn listen(name: &str) -> Result<TcpListener, Box<dyn Error>> {
    let address = variable(name)?.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    Ok(TcpListener::bind(address).await?)
}

fn settings(state: PathBuf) -> Result<ServiceSettings, Box<dyn Error>> {
    let mut build = fake_build();
    build.circuit_version = variable("CIRCUITS")?.unwrap_or(build.circuit_version);
    let mut orchestrator = OrchestratorSettings::new(build);
    if let Some(memory_bytes) = variable("STORE_BYTES")? {
        let spill_folder = state.parent().map(ToOwned::to_owned);
        orchestrator.store = StoreLimits { memory_bytes, disk_bytes: memory_bytes, spill_folder };
    }
    if let Some(milliseconds) = variable("HEARTBEAT_MS")? {
        orchestrator.heartbeat = Duration::from_millis(milliseconds);
    }
    if let Some(path) = variable::<PathBuf>("TLS")? {
        orchestrator.tls = Some(TlsIdentity::load(&path, PeerRole::Orchestrator)?);
    }
    let tls = orchestrator.tls.clone();
    let mut settings = ServiceSettings::new(state, orchestrator, "{}".into());
    settings.tls = tls.map(Into::into);
    if let Some(seconds) = variable("KEEP_SECONDS")? {
        settings.keep = Duration::from_secs(seconds);
    }
    settings.max_result_cache_bytes = variable("RESULT_CACHE_BYTES")?.unwrap_or(settings.max_result_cache_bytes);
    settings.min_free_bytes = variable("FREE_BYTES")?.unwrap_or(settings.min_free_bytes);
    settings.max_program_bytes = variable("PROGRAM_BYTES")?.unwrap_or(settings.max_program_bytes);
    settings.max_input_bytes = variable("INPUT_BYTES")?.unwrap_or(settings.max_input_bytes);
    settings.parallel_proofs = variable("RUNNING")?.unwrap_or(settings.parallel_proofs);
    settings.archive = variable("ARCHIVE")?;
    Ok(settings)
}

fn runner() -> Result<Arc<dyn ServiceRunner>, Box<dyn Error>> {
    let default = FakeRunner::default();
    let runner = FakeRunner {
        record_bytes: variable("RECORD_BYTES")?.unwrap_or(default.record_bytes),
        sends_input: variable("SENDS_INPUT")?.unwrap_or(default.sends_input),
        slow_check: variable("SLOW_CHECK_MS")?.map_or(default.slow_check, Duration::from_millis),
        ..default
    };
    let Some(key) = variable("SDK_KEY")? else { return Ok(Arc::new(runner)) };
    // The shards depend on the input, as in SP1. Otherwise a second proof would take all results from the result cache.
    let runner = FakeRunner { sends_input: true, ..runner };
    Ok(Arc::new(FakeSdkRunner { runner, key }))
}

/// Returns how many bytes are allocated in the first arena and in mappings. SQLite's memory counts too.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn allocated_bytes() -> usize {
    /// See mallinfo2(3), which documents each field.
    #[repr(C)]
    struct MallInfo2 {
        arena: usize,
        ordblks: usize,
        smblks: usize,
        hblks: usize,
        hblkhd: usize,
        usmblks: usize,
        fsmblks: usize,
        uordblks: usize,
        fordblks: usize,
        keepcost: usize,
    }
    #[expect(unsafe_code, reason = "only the C library knows what is allocated")]
    unsafe extern "C" {
        safe fn mallinfo2() -> MallInfo2;
    }
    let info = mallinfo2();
    info.uordblks + info.hblkhd
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn allocated_bytes() -> usize {
    0
}

/// Writes [`allocated_bytes`] to `file` again and again. A reader never sees half a number: the file is replaced.
async fn report_heap(file: PathBuf) {
    let new = file.with_extension("new");
    loop {
        let written = fs::write(&new, allocated_bytes().to_string()).and_then(|()| fs::rename(&new, &file));
        if let Err(error) = written {
            tracing::error!("cannot write {}: {error}", file.display());
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Arguments: the state folder, then the addresses of workers.
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Ok(filter) = env::var("LOG") {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    }
    if let Some(file) = variable("HEAP_FILE")? {
        tokio::spawn(report_heap(file));
    }
    let mut arguments = env::args().skip(1);
    let state = arguments.next().ok_or("usage: fake_serve STATE_FOLDER [WORKER]...")?;
    let workers = arguments.map(|worker| worker.parse::<SocketAddr>().map(Into::into));
    let list = WorkerList(workers.collect::<Result<_, _>>()?);
    let service = Service::start(settings(state.into())?, runner()?, None).await?;
    service.orchestrator().set_list(&list);
    if let Some(from) = variable::<Filter>("JOIN_FROM")? {
        let listener = listen("JOIN_LISTEN").await?;
        println!("joining {}", listener.local_addr()?);
        service.orchestrator().serve_joining(listener, JoinSettings::new(from));
    }
    if let Some(path) = variable("HOSTED_SIGNERS")? {
        let listener = listen("HOSTED_LISTEN").await?;
        println!("hosted {}", listener.local_addr()?);
        let settings = HostedSettings { signers: HostedSigners::read(path)?, url: None };
        tokio::spawn(serve_hosted(service.clone(), listener, settings));
    }
    let listener = listen("LISTEN").await?;
    let address = listener.local_addr()?;
    let is_https = service.settings().tls.is_some() && !address.ip().is_loopback();
    println!("serving http{}://{address}", if is_https { "s" } else { "" });
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        served = serve(service.clone(), listener) => served?,
        _ = terminated.recv() => {}
        part = service.died() => return Err(part.into()),
    }
    service.shutdown().await;
    Ok(())
}
