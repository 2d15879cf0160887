//! `sp1d prove`: proves a program on the workers of a worker list.

use super::{
    config,
    exposure::warn_of_plain_workers,
    program::{read_program, runner},
    shared_memory::SmallSharedMemory,
    signals::cancelled_by_signals,
};
use crate::{
    args::ProveArguments,
    command::public_values::{hexadecimal, shown},
    files::{OutputFile, read_stdin},
    terminal::{PhaseStarts, print, say_text, show_progress},
};
use anyhow::{Context, Result};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde::{Serialize, Serializer};
use sp1d_engine::check_executor_host;
use sp1d_machine::Memory;
use sp1d_model::{WorkerTasks, counted};
use sp1d_orchestrator::{ExpectedExit, ProofFailure, ProofMode, ProofRequest, WorkerAddress, WorkerList};
use sp1d_roles::{CallDeadline, WorkerPool, check_local_memory, config::Config, start_proving_threads};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// The output of `--json`.
#[derive(Serialize)]
pub(super) struct ProveSummary {
    mode: ProofMode,
    cycles: u64,
    /// Known only with `--gas-limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gas: Option<u64>,
    shards: u64,
    seconds: f64,
    verified: bool,
    proof: String,
    #[serde(serialize_with = "as_hexadecimal")]
    public_values: Vec<u8>,
    workers: Vec<WorkerTasks>,
}

fn as_hexadecimal<S: Serializer>(values: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hexadecimal(values))
}

impl ProveSummary {
    pub(super) fn print_table(&self) -> Result<()> {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["worker", "address", "tasks"]);
        for share in &self.workers {
            table.add_row([share.name.clone(), share.address.clone(), share.tasks.to_string()]);
        }
        print(&table.to_string())?;
        print(&format!("public values: {}", shown(&self.public_values)))?;
        let Self { mode, seconds, proof, .. } = self;
        let (cycles, shards) = (counted(self.cycles, "cycle"), counted(self.shards, "shard"));
        print(&format!("{mode} proof of {cycles} in {shards}, verified, {seconds:.1} s: {proof}"))
    }
}

pub(crate) async fn run(arguments: ProveArguments) -> Result<()> {
    // Check the whole request before connecting to any worker.
    let config = config::load(&arguments.pool)?;
    start_proving_threads(&config);
    let program = read_program(&arguments.program.elf)?;
    let stdin = read_stdin(arguments.program.stdin.as_deref(), &arguments.program.input)?;
    let request = ProofRequest {
        elf: program.into(),
        stdin: stdin.into(),
        mode: arguments.mode,
        cycle_limit: arguments.program.cycle_limit,
        gas_limit: arguments.limits.gas_limit,
        expected_exit: ExpectedExit::Success,
        check_input_proofs: true,
        trusted_only: config.orchestrator.trusted_only,
        nonce: fresh_nonce()?,
        options: config.cut.encode(),
        timeout: arguments.program.timeout.map(Duration::from_secs).or(config.timeout),
        cache_scope: String::new(),
        share_group: 0,
        label: String::new(),
    };
    let output = OutputFile::reserve(&arguments.output)?;
    check_executor_host()?;
    if let Some(small) = request.finite_gas_limit().and_then(|_| SmallSharedMemory::for_gas_limit()) {
        small.warn();
    }
    check_local_memory(&config.list, Memory::now())?;
    say_text(&format!("{}\n", first_line(arguments.mode, &arguments.program.elf, &config.list)));
    if config.orchestrator.tls.is_none() {
        warn_of_plain_workers(&config.list).await;
    }
    let cancel = cancelled_by_signals()?;
    let (summary, _) = prove(&config, request, output, &arguments.output, cancel).await?;
    if arguments.json { print(&serde_json::to_string(&summary)?) } else { summary.print_table() }
}

/// Says what the command does, before anything else appears.
fn first_line(mode: ProofMode, program: &Path, list: &WorkerList) -> String {
    let listed = list.0.iter().filter(|worker| **worker != WorkerAddress::Local).count();
    let others = counted(listed, "listed worker");
    let place = match (list.has_local(), listed) {
        (true, 0) => "in this process".to_owned(),
        (true, _) => format!("in this process and on {others}"),
        (false, _) => format!("on {others}"),
    };
    format!("making a {mode} proof of {} {place}", program.display())
}

/// Returns a random nonce, so that two proofs of the same run differ.
fn fresh_nonce() -> Result<[u32; 4]> {
    let mut words = [0; 4];
    for word in &mut words {
        // Each word must be below the modulus of SP1's field, 2^31 - 2^24 + 1.
        *word = getrandom::u32().context("cannot create a random nonce")? & 0x3fff_ffff;
    }
    Ok(words)
}

/// Proves `request` on the workers of `config` and writes the proof. Returns also when the phases of the proof started.
pub(super) async fn prove(
    config: &Config,
    mut request: ProofRequest,
    output: OutputFile,
    path: &Path,
    cancel: CancellationToken,
) -> Result<(ProveSummary, PhaseStarts)> {
    let started = Instant::now();
    let mode = request.mode;
    let deadline = CallDeadline::start(request.timeout);
    // Opening the pool may wait for the first worker.
    let opening = deadline.bound(|| CallDeadline::first_worker(&config.list), WorkerPool::open(config));
    let opened = async { tokio::join!(opening, runner()) };
    let (pool, runner) = tokio::select! {
        () = cancel.cancelled() => return Err(ProofFailure::Cancelled.into()),
        opened = opened => opened,
    };
    let pool = pool??;
    deadline.limit(&mut request);
    let (progress, events) = broadcast::channel(4096);
    let view = tokio::spawn(show_progress(events));
    let proven = pool.prove(request, Arc::new(runner), progress, cancel).await;
    let phases = view.await.context("the progress display failed")?;
    pool.shutdown().await;
    let proven = proven.map_err(|failure| deadline.restated(failure))?;
    output.commit(&proven.output.proof)?;
    let summary = ProveSummary {
        mode,
        cycles: proven.output.cycles,
        gas: proven.output.gas,
        shards: proven.shards,
        seconds: started.elapsed().as_secs_f64(),
        // `WorkerPool::prove` only returns verified proofs.
        verified: true,
        proof: path.display().to_string(),
        public_values: proven.output.public_values,
        workers: proven.workers,
    };
    Ok((summary, phases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_is_proven_and_where() {
        for (list, expected) in [
            (&["local"][..], "making a core proof of program.elf in this process"),
            (&["127.0.0.1:9"], "making a core proof of program.elf on 1 listed worker"),
            (&["127.0.0.1:9", "worker:9"], "making a core proof of program.elf on 2 listed workers"),
            (&["127.0.0.1:9", "local"], "making a core proof of program.elf in this process and on 1 listed worker"),
        ] {
            let list = WorkerList(list.iter().map(|worker| worker.parse().unwrap()).collect());
            assert_eq!(first_line(ProofMode::Core, Path::new("program.elf"), &list), expected);
        }
    }
}
