//! Measures what one orchestrator can carry, with workers that prove nothing: `./x bench dispatch`, `hub`, `artifacts`,
//! `recovery`, `tls`, `simulate` and `counts`. It does not know SP1.
//!
//! - `part/`: one file for each command: its rows, its table and its files.
//! - `pool/`: the orchestrator, which runs in this process, and the workers, which run in others.
//! - `proof/`: a proof to which a part submits tasks, and the times of its attempts.
//! - `measure/`: submits tasks, makes records, and reads processor times.
//! - `simulation/`: the real scheduler in virtual time.
//! - `counts/`: the instructions of hot paths.
//! - `report/`: percentiles and spreads.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures go to stdout, progress to stderr")]

mod counts;
mod measure;
mod part;
mod pool;
mod proof;
mod report;
mod simulation;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use part::{artifacts, counts as counts_part, dispatch, hub, recovery, simulate, tls};
use pool::{FleetArguments, serve_fleet};
use tikv_jemallocator::Jemalloc;
use tokio::runtime::Runtime;

#[derive(Debug, Parser)]
#[command(about = "Measure what one orchestrator can carry, with workers that prove nothing")]
struct LoadArguments {
    #[command(subcommand)]
    part: LoadPart,
}

#[derive(Debug, Subcommand)]
enum LoadPart {
    /// Measure how many tasks are dispatched in a second, and how long a task waits for its start. Takes about two
    /// minutes.
    Dispatch(dispatch::DispatchArguments),
    /// Measure what shards of real sizes cost the orchestrator, and what a slow connection costs the others. Takes
    /// about 15 minutes.
    Hub(hub::HubArguments),
    /// Compare the throughput of artifacts with a raw TCP copy and with Redis. Takes about two minutes.
    Artifacts(artifacts::ArtifactsArguments),
    /// Measure how long a task stands still after the loss of a worker or of a connection. Takes about two minutes.
    Recovery(recovery::RecoveryArguments),
    /// Measure what TLS costs artifacts, and how long handshakes take. Takes about three minutes.
    Tls(tls::TlsArguments),
    /// Simulate the real scheduler with up to 1,000 workers, and compare runs with the least possible time. Takes about
    /// a minute.
    Simulate(simulate::SimulateArguments),
    /// Count the instructions of hot paths with valgrind, and record them. Takes about a minute.
    Counts(counts_part::CountsArguments),
    /// Take a path whose instructions are counted. The bench starts this itself.
    #[command(hide = true)]
    Counted(counts_part::CountedArguments),
    /// Run fake workers. The bench starts this itself.
    #[command(hide = true)]
    Workers(FleetArguments),
}

/// The allocator of `sp1d`. With another one, blocks of a megabyte would be mapped anew each time.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Each worker has a listener and a connection, and a link needs two more.
const MIN_OPEN_FILES: u64 = 1024;

/// Starts the threads of the parts that have connections.
fn runtime() -> Result<Runtime> {
    let files = sp1d_machine::raise_open_files();
    ensure!(
        files >= MIN_OPEN_FILES,
        "this process may open {files} files, and the bench needs {MIN_OPEN_FILES}\nhint: raise the limit with `ulimit -n {MIN_OPEN_FILES}`"
    );
    Runtime::new().context("cannot start threads")
}

fn main() -> Result<()> {
    match LoadArguments::parse().part {
        LoadPart::Dispatch(arguments) => runtime()?.block_on(dispatch::run(&arguments)),
        LoadPart::Hub(arguments) => runtime()?.block_on(hub::run(&arguments)),
        LoadPart::Artifacts(arguments) => runtime()?.block_on(artifacts::run(&arguments)),
        LoadPart::Recovery(arguments) => runtime()?.block_on(recovery::run(&arguments)),
        LoadPart::Tls(arguments) => runtime()?.block_on(tls::run(&arguments)),
        LoadPart::Simulate(arguments) => simulate::run(&arguments),
        LoadPart::Counts(arguments) => counts_part::run(&arguments),
        LoadPart::Counted(arguments) => counts_part::take(&arguments),
        LoadPart::Workers(arguments) => runtime()?.block_on(serve_fleet(arguments)),
    }
}
