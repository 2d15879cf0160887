//! Measures what TLS costs: the throughput of artifacts with and without it, and the time of handshakes.
//!
//! - Artifacts: two workers fetch the same artifact in turns, one with TLS and one without. The time is that of
//!   `artifacts`: from the submission of a task to its start. Over loopback, which has no limit, both sides encrypt on
//!   the same cores instead of moving bytes. Behind a link of 1 Gbit/s, they encrypt while the link is busy.
//! - Handshakes: peers with certificates connect to the port of a worker and to the port for joining workers, at a
//!   fixed rate. The time ends with the reply of the port. Before it, each side has verified the certificate of the
//!   other one.
//!
//! `./x bench hostile` has the floods of these ports.

use super::artifacts::{RESULT_BYTES, store_and_fetch};
use crate::{
    measure::{random_record, shrinking_record},
    pool::{FleetProcess, LoadPool},
    report::{LatencySummary, spread_of},
};
use anyhow::{Context, Result};
use serde::Serialize;
use sp1d_artifacts::StoreLimits;
use sp1d_figures::{FigureSpread, MachineFacts, plot_bars, write_figures};
use sp1d_identity::TlsIdentity;
use sp1d_orchestrator::{JoinSettings, Orchestrator, OrchestratorSettings};
use sp1d_protocol::{Filter, PreambleError, Role, dial};
use sp1d_testing::{FakeKeys, fake_build};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::interval,
};

#[derive(Debug, clap::Args)]
pub(crate) struct TlsArguments {
    /// Size of the artifact in megabytes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=500))]
    megabytes: u64,
    /// Number of rounds with artifacts.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Handshakes in a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_second: u32,
    /// Seconds of handshakes in each of three rounds, for each port.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measure 2 MB once, and a few handshakes. The figures mean nothing.
    #[arg(long, conflicts_with_all = ["megabytes", "rounds", "seconds"])]
    quick: bool,
    /// File for the figures. The plot goes to the same folder, with the extension svg.
    #[arg(long, default_value = "docs/bench/tls.json")]
    output: PathBuf,
}

/// Part of the throughput without TLS that a fetch with TLS shall reach.
const GOAL: f64 = 0.95;

/// Longest handshake at the 99th percentile, at 100 handshakes in a second.
const HANDSHAKE_GOAL_MS: f64 = 20.0;

/// Bytes in a second of the links to the workers: none but loopback, and a network of 1 Gbit/s.
const LINKS: [Option<u64>; 2] = [None, Some(125_000_000)];

const HANDSHAKE_ROUNDS: u32 = 3;

/// Memory for artifacts of the orchestrator that is only asked for handshakes.
const NO_STORE: StoreLimits = StoreLimits { memory_bytes: 1 << 20, disk_bytes: 0, spill_folder: None };

/// The content of the output file.
#[derive(Debug, Serialize)]
struct TlsReport {
    machine: MachineFacts,
    rounds: u32,
    bytes: u64,
    goal_tls_over_plain: f64,
    rows: Vec<TlsRow>,
    handshake_rounds: u32,
    handshake_seconds: f64,
    handshakes_per_second: u32,
    goal_handshake_p99_ms: f64,
    handshakes: Vec<HandshakeRow>,
}

/// Throughputs of fetches in uncompressed bytes per second.
#[derive(Debug, Serialize)]
struct TlsRow {
    content: &'static str,
    /// Bytes in a second of the links to the workers. Loopback without it.
    link_bytes_per_second: Option<u64>,
    plain: FigureSpread,
    tls: FigureSpread,
    /// Throughput with TLS divided by throughput without it. Ratios of each round.
    tls_over_plain: FigureSpread,
    /// The same with the time for storing the artifact in the orchestrator, which has no part of TLS.
    store_and_fetch_tls_over_plain: FigureSpread,
}

/// Times of one round in seconds.
struct TlsRound {
    plain: StoreAndFetch,
    tls: StoreAndFetch,
}

#[derive(Clone, Copy)]
struct StoreAndFetch {
    store: f64,
    fetch: f64,
}

#[derive(Debug, Serialize)]
struct HandshakeRow {
    port: SecurePort,
    p50_ms: FigureSpread,
    p99_ms: FigureSpread,
}

/// A port at which peers show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum SecurePort {
    /// The port of a worker, in another process.
    Worker,
    /// The port of the orchestrator for joining workers, in this process.
    Join,
}

impl SecurePort {
    const ALL: [Self; 2] = [Self::Worker, Self::Join];

    const fn name(self) -> &'static str {
        match self {
            Self::Worker => "port of a worker",
            Self::Join => "port for joining workers",
        }
    }
}

/// How often and how long handshakes are made.
#[derive(Clone, Copy)]
struct HandshakePace {
    per_second: u32,
    time: Duration,
}

pub(crate) async fn run(arguments: &TlsArguments) -> Result<()> {
    let (megabytes, rounds, handshake_rounds, time) = if arguments.quick {
        (2, 1, 1, Duration::from_millis(200))
    } else {
        (arguments.megabytes, arguments.rounds, HANDSHAKE_ROUNDS, Duration::from_secs(arguments.seconds))
    };
    let pace = HandshakePace { per_second: arguments.per_second, time };
    let bytes = megabytes as usize * 1_000_000;
    let mut rows = Vec::new();
    for (name, content) in [("random", random_record(bytes)), ("shrinking", shrinking_record(bytes))] {
        for link in LINKS {
            eprintln!("{rounds} rounds: {megabytes} MB of {name} content, {}", link_name(link));
            let measured = fetch_rounds(&content, rounds, link).await?;
            rows.push(TlsRow { link_bytes_per_second: link, ..row(name, bytes as f64, &measured)? });
        }
    }
    let mut handshakes = Vec::new();
    for port in SecurePort::ALL {
        eprintln!("{handshake_rounds} rounds: handshakes at the {}", port.name());
        handshakes.push(measure_port(port, pace, handshake_rounds).await?);
    }
    print_tables(&rows, &handshakes);
    let bars: Vec<(String, f64)> = rows.iter().flat_map(bars).collect();
    plot_bars(&arguments.output.with_extension("svg"), "Fetched artifacts", "MB per second", &bars)?;
    let report = TlsReport {
        machine: MachineFacts::this(None, env!("CARGO_PKG_VERSION").to_owned()),
        rounds,
        bytes: bytes as u64,
        goal_tls_over_plain: GOAL,
        rows,
        handshake_rounds,
        handshake_seconds: time.as_secs_f64(),
        handshakes_per_second: arguments.per_second,
        goal_handshake_p99_ms: HANDSHAKE_GOAL_MS,
        handshakes,
    };
    write_figures(&arguments.output, &report)
}

fn bars(row: &TlsRow) -> [(String, f64); 2] {
    [("plain", &row.plain), ("TLS", &row.tls)].map(|(name, spread)| {
        (format!("{}, {}, {name}", row.content, link_name(row.link_bytes_per_second)), spread.median / 1e6)
    })
}

fn link_name(bytes_per_second: Option<u64>) -> String {
    bytes_per_second.map_or("loopback".to_owned(), |bytes| format!("{} Gbit/s", bytes as f64 * 8e-9))
}

fn row(content: &'static str, bytes: f64, rounds: &[TlsRound]) -> Result<TlsRow> {
    let whole = |times: StoreAndFetch| times.store + times.fetch;
    Ok(TlsRow {
        content,
        link_bytes_per_second: None,
        plain: spread_of(rounds, |round| bytes / round.plain.fetch)?,
        tls: spread_of(rounds, |round| bytes / round.tls.fetch)?,
        tls_over_plain: spread_of(rounds, |round| round.plain.fetch / round.tls.fetch)?,
        store_and_fetch_tls_over_plain: spread_of(rounds, |round| whole(round.plain) / whole(round.tls))?,
    })
}

fn print_tables(rows: &[TlsRow], handshakes: &[HandshakeRow]) {
    println!(
        "{:10} {:10} {:>9} {:>9} {:>28} {:>17}",
        "MB/s", "link", "plain", "TLS", "TLS/plain (range)", "with store"
    );
    for row in rows {
        println!(
            "{:10} {:10} {:>9.0} {:>9.0} {:>28} {:>17.3}",
            row.content,
            link_name(row.link_bytes_per_second),
            row.plain.median / 1e6,
            row.tls.median / 1e6,
            row.tls_over_plain.to_string(),
            row.store_and_fetch_tls_over_plain.median,
        );
    }
    println!("{:26} {:>26} {:>26}", "handshakes, ms (range)", "p50", "p99");
    for row in handshakes {
        println!("{:26} {:>26} {:>26}", row.port.name(), row.p50_ms.to_string(), row.p99_ms.to_string());
    }
}

/// Lets two workers fetch the same content in turns: one without TLS, and one with it. Both are behind a `link` of so
/// many bytes in a second.
async fn fetch_rounds(content: &[u8], rounds: u32, link: Option<u64>) -> Result<Vec<TlsRound>> {
    let keys = FakeKeys::new();
    let mut options = vec![("result-bytes", RESULT_BYTES.to_string())];
    if let Some(bytes) = link {
        options.extend([("link", String::new()), ("link-bytes-per-second", bytes.to_string())]);
    }
    let plain = LoadPool::start(vec![FleetProcess::start(1, &options)?], 20).await?;
    options.push(("tls", keys.worker_file().display().to_string()));
    let secure = LoadPool::secure(FleetProcess::start(1, &options)?, keys.orchestrator()).await?;
    let fetch = async |pool: &LoadPool| {
        let (store, fetch) = store_and_fetch(pool, content).await?;
        anyhow::Ok(StoreAndFetch { store, fetch })
    };
    // Connections get their buffers, and processes their memory.
    fetch(&plain).await?;
    fetch(&secure).await?;
    let mut measured = Vec::new();
    for round in 0..rounds {
        measured.push(if round % 2 == 0 {
            let plain = fetch(&plain).await?;
            TlsRound { plain, tls: fetch(&secure).await? }
        } else {
            let tls = fetch(&secure).await?;
            TlsRound { plain: fetch(&plain).await?, tls }
        });
    }
    plain.end().await;
    secure.end().await;
    Ok(measured)
}

async fn measure_port(port: SecurePort, pace: HandshakePace, rounds: u32) -> Result<HandshakeRow> {
    let mut measured = Vec::new();
    for _ in 0..rounds {
        measured.push(match port {
            SecurePort::Worker => dial_worker(pace).await?,
            SecurePort::Join => join_orchestrator(pace).await?,
        });
    }
    Ok(HandshakeRow {
        port,
        p50_ms: spread_of(&measured, |round| round.p50_ms)?,
        p99_ms: spread_of(&measured, |round| round.p99_ms)?,
    })
}

/// Measures the handshakes of orchestrators at the port of a worker.
async fn dial_worker(pace: HandshakePace) -> Result<LatencySummary> {
    let keys = FakeKeys::new();
    let fleet = FleetProcess::start(1, &[("tls", keys.worker_file().display().to_string())])?;
    let address = *fleet.addresses.first().context("the process has no worker")?;
    shake_hands(address, Role::IdleOrchestrator, &keys.orchestrator(), pace).await
}

/// Measures the handshakes of workers at the port for joining workers.
async fn join_orchestrator(pace: HandshakePace) -> Result<LatencySummary> {
    let keys = FakeKeys::new();
    let mut settings = OrchestratorSettings::new(fake_build());
    settings.store = NO_STORE;
    settings.tls = Some(keys.orchestrator());
    let orchestrator = Orchestrator::start(settings, None, None);
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
    let address = listener.local_addr().context("the listener has no address")?;
    let from: Filter = "127.0.0.1".parse().context("the filter is invalid")?;
    orchestrator.serve_joining(listener, JoinSettings::new(from));
    let measured = shake_hands(address, Role::Worker, &keys.worker(), pace).await;
    orchestrator.shutdown().await;
    measured
}

/// Makes handshakes at a fixed rate, whether or not those before them are done.
async fn shake_hands(
    address: SocketAddr,
    role: Role,
    tls: &Arc<TlsIdentity>,
    pace: HandshakePace,
) -> Result<LatencySummary> {
    let count = (pace.time.as_secs_f64() * f64::from(pace.per_second)).max(1.0) as u64;
    let (mut ticks, mut running) = (interval(Duration::from_secs(1) / pace.per_second), JoinSet::new());
    for _ in 0..count {
        ticks.tick().await;
        let tls = tls.clone();
        running.spawn(async move { shake_hands_once(address, role, &tls).await });
    }
    let mut seconds = Vec::new();
    while let Some(shaken) = running.join_next().await {
        seconds.push(shaken??);
    }
    LatencySummary::of(seconds)
}

/// Returns the seconds from the start of a connection to the reply of the port.
async fn shake_hands_once(address: SocketAddr, role: Role, tls: &Arc<TlsIdentity>) -> Result<f64> {
    let start = Instant::now();
    let stream = TcpStream::connect(address).await.context("cannot connect to a port with TLS")?;
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let mut stream = tls.connect(stream).await.context("a TLS handshake failed")?;
    match dial(&mut stream, role).await {
        // A worker that has not yet noticed the end of the connection before is busy. It has verified the certificate.
        Ok(_) | Err(PreambleError::Busy(_)) => Ok(start.elapsed().as_secs_f64()),
        Err(error) => Err(error).context("a port with TLS refused the peer"),
    }
}
