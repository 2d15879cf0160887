//! The commands that start the provers of a worker: this program, with a share of the cores or with a GPU.

use crate::{
    args::{LogArguments, WorkerArguments},
    exit::{self, CliError},
};
use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity};
use sp1d_engine::{MIN_FREE_GPU_BYTES, MIN_GPU_BYTES, largest_gpu_cut};
use sp1d_machine::{
    GpuDevice, GpuFault, GpuLibrary, GpuSelection, check_free_memory, check_gpus, gpu_code, gpu_library, near_cores,
};
use sp1d_model::hint;
use sp1d_worker::ProverCommand;
use std::{ffi::OsString, sync::Arc, thread};

/// The commands of a worker's provers.
#[derive(Debug)]
pub(super) struct ProverCommands {
    pub(super) commands: Vec<ProverCommand>,
    /// The GPU of each prover. Empty if the provers compute on the processor.
    pub(super) gpus: Vec<GpuDevice>,
}

/// Returns the commands for the provers that `arguments` ask for.
pub(super) fn prover_commands(arguments: &WorkerArguments, log: &LogArguments) -> Result<ProverCommands> {
    let set = sched_getaffinity(None).context("cannot read the list of cores")?;
    let cores: Vec<u16> =
        (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).filter_map(|core| core.try_into().ok()).collect();
    match &arguments.gpus {
        None => Ok(ProverCommands { commands: on_processor(arguments, log, &cores), gpus: Vec::new() }),
        Some(selection) => {
            let gpus = select_gpus(selection)?;
            Ok(ProverCommands { commands: on_gpus(arguments, log, &cores, &gpus), gpus })
        }
    }
}

fn refusal(fault: GpuFault) -> anyhow::Error {
    CliError::new(exit_code(&fault), fault.to_string()).into()
}

fn exit_code(fault: &GpuFault) -> u8 {
    match fault {
        GpuFault::NotBuilt | GpuFault::UnknownDevice { .. } | GpuFault::VisibleDevices { .. } => exit::USAGE,
        _ => exit::HOST,
    }
}

/// Finds the selected GPUs, and checks that this build runs on them and that SP1's provers fit into their memory.
pub(super) fn select_gpus(selection: &GpuSelection) -> Result<Vec<GpuDevice>> {
    usable_gpus(selection).map_err(refusal)
}

/// Like [`select_gpus`], for a measurement: no other program may have filled a GPU. A worker would wait for it. Also
/// returns the driver's library.
pub(super) fn free_gpus(selection: &GpuSelection) -> Result<(Vec<GpuDevice>, Arc<dyn GpuLibrary>)> {
    let gpus = select_gpus(selection)?;
    let library: Arc<dyn GpuLibrary> = gpu_library().map_err(refusal)?.into();
    check_free_memory(&*library, &gpus, MIN_FREE_GPU_BYTES).map_err(refusal)?;
    Ok((gpus, library))
}

fn usable_gpus(selection: &GpuSelection) -> Result<Vec<GpuDevice>, GpuFault> {
    let found = check_gpus(&*gpu_library()?)?;
    for (gpu, fault) in selection.left_out(&found) {
        let reason = hint::one_line(&fault.to_string());
        tracing::warn!(gpu, %reason, "a GPU of this machine cannot be used and is left out");
    }
    let gpus = selection.choose(found)?;
    for gpu in &gpus {
        gpu_code(gpu.capability)?;
        if largest_gpu_cut(gpu.memory_bytes).is_none() {
            return Err(GpuFault::TooLittleMemory { memory_bytes: gpu.memory_bytes, needed_bytes: MIN_GPU_BYTES });
        }
    }
    Ok(gpus)
}

/// The provers divide `cores`.
fn on_processor(arguments: &WorkerArguments, log: &LogArguments, cores: &[u16]) -> Vec<ProverCommand> {
    let provers = usize::from(arguments.provers);
    let share = |number: usize| {
        let (start, end) = (number * cores.len() / provers, (number + 1) * cores.len() / provers);
        // With more provers than cores, a prover without a core of its own may use all cores.
        if start < end && provers > 1 { &cores[start..end] } else { cores }
    };
    let prover = |number: usize| {
        let own = share(number);
        let pinned = if provers > 1 { own } else { &[] };
        command(line(arguments, log, provers, own.len(), pinned))
    };
    (0..provers).map(prover).collect()
}

/// Each prover has one GPU and runs on the cores next to it. SP1 uses only the first GPU that a process sees.
fn on_gpus(arguments: &WorkerArguments, log: &LogArguments, cores: &[u16], gpus: &[GpuDevice]) -> Vec<ProverCommand> {
    let near: Vec<Vec<u16>> = gpus.iter().map(|gpu| near_cores(&gpu.pci_address, cores)).collect();
    let prover = |(gpu, own): (&GpuDevice, Vec<u16>)| {
        let mut arguments = line(arguments, log, gpus.len(), own.len(), &own);
        arguments.push("--gpu".into());
        let variables = vec![("CUDA_VISIBLE_DEVICES".to_owned(), gpu.uuid.clone())];
        let name = format!("GPU {} ({})", gpu.index, gpu.model);
        ProverCommand { variables, gpu: Some(name), ..command(arguments) }
    };
    gpus.iter().zip(divide(&near)).map(prover).collect()
}

/// Divides the cores among the provers that are next to the same ones. A prover that would get none keeps all.
fn divide(near: &[Vec<u16>]) -> Vec<Vec<u16>> {
    let share = |(at, own): (usize, &Vec<u16>)| {
        let same = |others: &[Vec<u16>]| others.iter().filter(|other| *other == own).count();
        let (number, count) = (same(&near[..at]), same(near));
        let part = &own[number * own.len() / count..(number + 1) * own.len() / count];
        if part.is_empty() { own.clone() } else { part.to_vec() }
    };
    near.iter().enumerate().map(share).collect()
}

/// The arguments of one of `provers` provers, with `own_cores` cores.
fn line(
    arguments: &WorkerArguments,
    log: &LogArguments,
    provers: usize,
    own_cores: usize,
    pinned: &[u16],
) -> Vec<OsString> {
    // A container's quota of processor time may be smaller than its number of visible cores.
    let allowed = thread::available_parallelism().map_or(own_cores, usize::from) / provers;
    let threads = arguments.threads.map_or(own_cores.min(allowed).max(1), usize::from);
    let mut line: Vec<OsString> = vec!["prover".into(), "--threads".into(), threads.to_string().into()];
    if let Some(shards) = arguments.parallel_shards {
        line.extend(["--parallel-shards".into(), shards.to_string().into()]);
    }
    if !pinned.is_empty() {
        let cores: Vec<String> = pinned.iter().map(u16::to_string).collect();
        line.extend(["--pin".into(), cores.join(",").into()]);
    }
    if let Some(filter) = &log.log {
        line.extend(["--log".into(), filter.into()]);
    }
    line.extend(["--log-format".into(), log.log_format.name().into()]);
    line
}

fn command(arguments: Vec<OsString>) -> ProverCommand {
    // This path is the running program, even if its file has been replaced by another release.
    ProverCommand { program: "/proc/self/exe".into(), arguments, variables: Vec::new(), gpu: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(near: &[&[u16]], expected: &[&[u16]]) {
        let near: Vec<Vec<u16>> = near.iter().map(|cores| cores.to_vec()).collect();
        assert_eq!(divide(&near), expected);
    }

    #[test]
    fn provers_next_to_the_same_cores_divide_them() {
        check(&[&[0, 1, 2, 3]], &[&[0, 1, 2, 3]]);
        check(&[&[0, 1, 2, 3], &[0, 1, 2, 3]], &[&[0, 1], &[2, 3]]);
        check(&[&[0, 1], &[8, 9], &[0, 1], &[8, 9]], &[&[0], &[8], &[1], &[9]]);
        check(&[&[5], &[5]], &[&[5], &[5]]);
    }

    #[test]
    fn each_prover_sees_only_its_gpu() {
        use crate::args::CliArguments;
        use clap::Parser;
        let parsed = CliArguments::parse_from(["sp1d", "worker", "--join", "h:1", "--gpus", "all", "--threads", "4"]);
        let crate::args::CliCommand::Prover(crate::args::Sp1Command::Worker(arguments)) = &parsed.command else {
            panic!("another command")
        };
        let gpu = |index: u32| GpuDevice {
            index,
            uuid: format!("GPU-{index}"),
            model: "a GPU".to_owned(),
            memory_bytes: 80 << 30,
            capability: (9, 0),
            pci_address: "ffff:ff:1f.7".to_owned(),
            processes: Vec::new(),
        };
        let commands = on_gpus(arguments, &parsed.log, &[0, 1], &[gpu(0), gpu(3)]);
        let found: Vec<_> = commands.iter().map(|command| command.variables[0].clone()).collect();
        let expected = ["GPU-0", "GPU-3"].map(|uuid| ("CUDA_VISIBLE_DEVICES".to_owned(), uuid.to_owned()));
        assert_eq!(found, expected);
        assert!(commands.iter().all(|command| command.arguments.contains(&"--gpu".into())));
        assert!(commands[1].arguments.windows(2).any(|pair| pair == ["--pin", "1"]), "{commands:?}");
    }
}
