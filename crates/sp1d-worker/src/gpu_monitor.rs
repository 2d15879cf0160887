//! Reads the state of the GPUs that a worker proves on.

use crate::driver_call::call_driver;
use sp1d_machine::GpuLibrary;
use sp1d_protocol::wire::{GpuReading, GpuReadings};
use std::{
    fmt,
    sync::{Arc, Mutex, TryLockError},
    time::Duration,
};

/// How long reading may take. The driver takes long while it recovers from an error, and a call for a GPU that hangs
/// never returns.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// Reads the state of the GPUs that a worker proves on. The default has none.
#[derive(Clone, Default)]
pub struct GpuMonitor {
    /// The driver's library, and the numbers of the GPUs.
    source: Option<(Arc<dyn GpuLibrary>, Vec<u32>)>,
    /// Locked while the driver is asked. So at most one thread waits for it.
    asking: Arc<Mutex<()>>,
}

impl GpuMonitor {
    /// Creates a monitor of the GPUs with these numbers.
    #[must_use]
    pub fn new(library: Arc<dyn GpuLibrary>, indexes: Vec<u32>) -> Self {
        Self { source: Some((library, indexes)), asking: Arc::default() }
    }

    /// Returns the state of the GPUs; `None` without GPUs, or if the driver does not respond in time. A GPU whose
    /// state cannot be read is left out.
    pub(crate) async fn read(&self) -> Option<GpuReadings> {
        let (library, indexes) = self.source.clone()?;
        let asking = self.asking.clone();
        let read = move || {
            let _asking = match asking.try_lock() {
                // An earlier call has not returned.
                Err(TryLockError::WouldBlock) => return None,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Ok(guard) => guard,
            };
            Some(GpuReadings { gpus: indexes.iter().filter_map(|index| read_one(&*library, *index)).collect() })
        };
        call_driver(READ_TIMEOUT, read).await.flatten()
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
    use sp1d_machine::{FoundGpus, GpuDriver, GpuFault, GpuReading as MachineReading};
    use std::sync::mpsc;

    /// A driver that has lost its second GPU.
    struct HalfLostGpus;

    impl GpuLibrary for HalfLostGpus {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Err(GpuFault::NoDriver)
        }

        fn devices(&self) -> Result<FoundGpus, GpuFault> {
            Err(GpuFault::NoDriver)
        }

        fn reading(&self, index: u32) -> Result<MachineReading, GpuFault> {
            if index == 1 {
                return Err(GpuFault::Lost("GPU is lost".to_owned()));
            }
            Ok(MachineReading { celsius: Some(60 + index), ..MachineReading::default() })
        }
    }

    /// A driver that reports each call, and hangs as long as the test keeps the other end of `release`.
    struct HangingGpus {
        asked: mpsc::Sender<()>,
        release: Mutex<mpsc::Receiver<()>>,
    }

    impl GpuLibrary for HangingGpus {
        fn driver(&self) -> Result<GpuDriver, GpuFault> {
            Err(GpuFault::NoDriver)
        }

        fn devices(&self) -> Result<FoundGpus, GpuFault> {
            Err(GpuFault::NoDriver)
        }

        fn reading(&self, _: u32) -> Result<MachineReading, GpuFault> {
            let _ = self.asked.send(());
            let _ = self.release.lock().unwrap().recv();
            Ok(MachineReading::default())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_hangs_delays_nothing_and_is_asked_once() {
        let ((release, hanging), (asked, calls)) = (mpsc::channel(), mpsc::channel());
        let gpus = HangingGpus { asked, release: Mutex::new(hanging) };
        let monitor = GpuMonitor::new(Arc::new(gpus), vec![0]);
        assert!(monitor.read().await.is_none());
        calls.recv().unwrap();
        assert!(monitor.asking.try_lock().is_err(), "the first call has not returned");
        assert!(monitor.read().await.is_none());
        drop(release);
        // The driver answers again.
        let _free = monitor.asking.lock().unwrap();
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
