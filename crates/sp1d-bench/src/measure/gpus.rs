//! The GPUs that a bench measures.

use anyhow::Result;
use sp1d_engine::MIN_FREE_GPU_BYTES;
use sp1d_figures::GpuMemoryWatch;
use sp1d_machine::{GpuDevice, GpuLibrary, GpuSelection, check_free_memory, check_gpus, gpu_library};
use std::{path::PathBuf, sync::Arc};

#[derive(Debug, clap::Args)]
pub(crate) struct GpuArguments {
    /// GPUs to measure: `all`, or their numbers separated by commas, as `nvidia-smi -L` lists them [default: none].
    #[arg(long, value_name = "N[,N…]|all")]
    gpus: Option<GpuSelection>,
    /// File for the figures [default: the bench's own file in docs/bench, another one with --gpus].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl GpuArguments {
    /// Returns the GPUs to measure; `None` without `--gpus`.
    ///
    /// # Errors
    /// Fails if this build has no GPU support, if the machine has no such GPUs, or if another program has filled one.
    pub(crate) fn find(&self) -> Result<Option<BenchGpus>> {
        let Some(selection) = &self.gpus else { return Ok(None) };
        let library: Arc<dyn GpuLibrary> = gpu_library()?.into();
        let devices = selection.choose(check_gpus(&*library)?)?;
        check_free_memory(&*library, &devices, MIN_FREE_GPU_BYTES)?;
        Ok(Some(BenchGpus { devices, library }))
    }

    /// Returns the file for the figures of the bench `name`.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        let suffix = if self.gpus.is_some() { "-gpu" } else { "" };
        self.output.clone().unwrap_or_else(|| format!("docs/bench/{name}{suffix}.json").into())
    }
}

/// The GPUs that a bench measures.
pub(crate) struct BenchGpus {
    /// At least one.
    devices: Vec<GpuDevice>,
    library: Arc<dyn GpuLibrary>,
}

impl BenchGpus {
    /// Returns the value of the flag `--gpus` of `sp1d`.
    pub(crate) fn flag(&self) -> String {
        let numbers: Vec<String> = self.devices.iter().map(|device| device.index.to_string()).collect();
        numbers.join(",")
    }

    /// Returns the number of GPUs. A worker has a prover for each.
    pub(crate) fn count(&self) -> usize {
        self.devices.len()
    }

    /// Returns the first GPU alone, for benches of a single prover.
    pub(crate) fn first(mut self) -> Self {
        self.devices.truncate(1);
        self
    }

    /// Starts to watch the memory of the GPUs.
    pub(crate) fn watch(&self) -> Result<GpuMemoryWatch> {
        GpuMemoryWatch::start(&self.library, &self.devices)
    }
}
