//! Reads the state of the GPUs that a worker proves on.

use sp1d_machine::GpuLibrary;
use sp1d_protocol::wire::{GpuReading, GpuReadings};
use std::{fmt, sync::Arc};

/// Reads the state of the GPUs that a worker proves on. The default has none.
#[derive(Clone, Default)]
pub struct GpuMonitor {
    /// The driver's library, and the numbers of the GPUs.
    source: Option<(Arc<dyn GpuLibrary>, Vec<u32>)>,
}

impl GpuMonitor {
    /// Creates a monitor of the GPUs with these numbers.
    #[must_use]
    pub fn new(library: Arc<dyn GpuLibrary>, indexes: Vec<u32>) -> Self {
        Self { source: Some((library, indexes)) }
    }

    /// Returns the state of the GPUs; `None` without GPUs. A GPU whose state cannot be read is left out.
    pub(crate) async fn read(&self) -> Option<GpuReadings> {
        let (library, indexes) = self.source.clone()?;
        // The driver may take long while it recovers from an error.
        let read =
            move || GpuReadings { gpus: indexes.iter().filter_map(|index| read_one(&*library, *index)).collect() };
        tokio::task::spawn_blocking(read).await.ok()
    }
}

fn read_one(library: &dyn GpuLibrary, index: u32) -> Option<GpuReading> {
    match library.reading(index) {
        Ok(reading) => Some(GpuReading {
            index,
            used_bytes: reading.used_bytes,
            utilization_percent: reading.utilization_percent,
            celsius: reading.celsius,
            milliwatts: reading.milliwatts,
        }),
        Err(fault) => {
            tracing::debug!(gpu = index, %fault, "cannot read the state of a GPU");
            None
        }
    }
}

impl fmt::Debug for GpuMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indexes: &[u32] = match &self.source {
            Some((_, indexes)) => indexes,
            None => &[],
        };
        f.debug_tuple("GpuMonitor").field(&indexes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_machine::{GpuDevice, GpuDriver, GpuFault, GpuReading as MachineReading};

    /// A driver that has lost its second GPU.
    struct HalfLostGpus;

    impl GpuLibrary for HalfLostGpus {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Err(GpuFault::NoDriver)
        }

        fn devices(&self) -> Result<Vec<GpuDevice>, GpuFault> {
            Err(GpuFault::NoDriver)
        }

        fn reading(&self, index: u32) -> Result<MachineReading, GpuFault> {
            if index == 1 {
                return Err(GpuFault::Lost("GPU is lost".to_owned()));
            }
            Ok(MachineReading { celsius: Some(60 + index), ..MachineReading::default() })
        }
    }

    #[tokio::test]
    async fn a_gpu_that_cannot_be_read_is_left_out() {
        let monitor = GpuMonitor::new(Arc::new(HalfLostGpus), vec![0, 1, 2]);
        let readings = monitor.read().await.unwrap();
        let found: Vec<_> = readings.gpus.iter().map(|gpu| (gpu.index, gpu.celsius)).collect();
        assert_eq!(found, [(0, Some(60)), (2, Some(62))]);
        assert!(GpuMonitor::default().read().await.is_none());
    }
}
