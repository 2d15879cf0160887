//! The memory of GPUs during a measurement.

use anyhow::{Context, Result};
use serde::Serialize;
use sp1d_machine::{GpuDevice, GpuLibrary, GpuMemoryPeaks};
use std::{fmt, sync::Arc};

/// The used memory of a GPU during a measurement, by all processes. A value is `None` if the driver does not report it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GpuMemoryFigures {
    /// Number of the GPU.
    pub index: u32,
    /// The model, for people.
    pub model: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Used bytes before the measurement.
    pub before_bytes: Option<u64>,
    /// The most used bytes during the measurement.
    pub peak_bytes: Option<u64>,
}

impl fmt::Display for GpuMemoryFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, model, memory_bytes, peak_bytes, .. } = self;
        let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        let peak = peak_bytes.map_or_else(|| "unknown".to_owned(), gigabytes);
        write!(f, "GPU {index} ({model}): peak memory {peak} of {}", gigabytes(*memory_bytes))
    }
}

/// Watches the used memory of GPUs during a measurement.
#[derive(Debug)]
pub struct GpuMemoryWatch {
    /// The figures at the start.
    start: Vec<GpuMemoryFigures>,
    peaks: GpuMemoryPeaks,
}

impl GpuMemoryWatch {
    /// Starts to watch `gpus`.
    ///
    /// # Errors
    /// Fails if the system refuses to create a thread.
    pub fn start(library: &Arc<dyn GpuLibrary>, gpus: &[GpuDevice]) -> Result<Self> {
        let start = |gpu: &GpuDevice| GpuMemoryFigures {
            index: gpu.index,
            model: gpu.model.clone(),
            memory_bytes: gpu.memory_bytes,
            before_bytes: library.reading(gpu.index).ok().and_then(|reading| reading.used_bytes),
            peak_bytes: None,
        };
        let start: Vec<GpuMemoryFigures> = gpus.iter().map(start).collect();
        let peaks = GpuMemoryPeaks::start(library.clone(), gpus.iter().map(|gpu| gpu.index).collect());
        Ok(Self { start, peaks: peaks.context("cannot read the memory of the GPUs")? })
    }

    /// Returns the figures so far.
    #[must_use]
    pub fn figures(&self) -> Vec<GpuMemoryFigures> {
        let now = |start: &GpuMemoryFigures| {
            let peak_bytes = self.peaks.bytes(start.index).max(start.before_bytes);
            GpuMemoryFigures { peak_bytes, ..start.clone() }
        };
        self.start.iter().map(now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_machine::{FoundGpus, GpuDriver, GpuFault, GpuReading};

    /// A driver that reports the used memory of GPU 0, and has lost the others.
    struct OneReading(u64);

    impl GpuLibrary for OneReading {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Err(GpuFault::NoDriver)
        }

        fn devices(&self) -> Result<FoundGpus, GpuFault> {
            Err(GpuFault::NoDriver)
        }

        fn reading(&self, index: u32) -> Result<GpuReading, GpuFault> {
            if index > 0 {
                return Err(GpuFault::Lost("GPU is lost".to_owned()));
            }
            Ok(GpuReading { used_bytes: Some(self.0), ..GpuReading::default() })
        }
    }

    fn gpu(index: u32) -> GpuDevice {
        GpuDevice {
            index,
            uuid: format!("GPU-{index}"),
            model: "H200".to_owned(),
            memory_bytes: 141_000_000_000,
            capability: (9, 0),
            pci_address: "0000:17:00.0".to_owned(),
            processes: Vec::new(),
        }
    }

    #[test]
    fn figures_name_each_gpu_with_the_peak_of_its_memory() {
        let library: Arc<dyn GpuLibrary> = Arc::new(OneReading(20_400_000_000));
        let figures = GpuMemoryWatch::start(&library, &[gpu(0), gpu(1)]).unwrap().figures();
        let found: Vec<_> = figures.iter().map(|figures| (figures.index, figures.peak_bytes)).collect();
        assert_eq!(found, [(0, Some(20_400_000_000)), (1, None)]);
        assert_eq!(figures[0].before_bytes, Some(20_400_000_000));
        assert_eq!(figures[0].to_string(), "GPU 0 (H200): peak memory 20.4 GB of 141.0 GB");
        assert_eq!(figures[1].to_string(), "GPU 1 (H200): peak memory unknown of 141.0 GB");
    }
}
