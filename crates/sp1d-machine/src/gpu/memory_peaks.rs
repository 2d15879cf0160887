//! The peak of the used memory of GPUs, which the driver does not keep.

use super::library::GpuLibrary;
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// Time between two readings. The stages of a shard that need most memory last about as long.
const INTERVAL: Duration = Duration::from_millis(100);

/// Reads the used memory of GPUs on a thread of its own, and keeps the peaks. After the drop, the thread ends as soon
/// as the driver answers.
#[derive(Debug)]
pub struct GpuMemoryPeaks {
    /// The peaks in bytes, by the number of the GPU.
    peaks: Arc<Mutex<BTreeMap<u32, u64>>>,
    _stop: mpsc::Sender<()>,
}

impl GpuMemoryPeaks {
    /// Starts to read the used memory of the GPUs with the numbers `indexes`, ten times a second.
    ///
    /// # Errors
    /// Fails if the system refuses to create a thread.
    pub fn start(library: Arc<dyn GpuLibrary>, indexes: Vec<u32>) -> io::Result<Self> {
        Self::start_every(INTERVAL, library, indexes)
    }

    fn start_every(interval: Duration, library: Arc<dyn GpuLibrary>, indexes: Vec<u32>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let peaks: Arc<Mutex<BTreeMap<u32, u64>>> = Arc::default();
        let kept = peaks.clone();
        let read = move || {
            loop {
                for index in &indexes {
                    let Some(used) = library.reading(*index).ok().and_then(|reading| reading.used_bytes) else {
                        continue;
                    };
                    let mut peaks = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    let peak = peaks.entry(*index).or_default();
                    *peak = used.max(*peak);
                }
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        thread::Builder::new().name("gpu-memory".to_owned()).spawn(read)?;
        Ok(Self { peaks, _stop: stop })
    }

    /// Returns the peak so far in bytes, of all processes together. `None` if the GPU has not reported its used memory.
    #[must_use]
    pub fn bytes(&self, index: u32) -> Option<u64> {
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner).get(&index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{
        fault::GpuFault,
        library::{FoundGpus, GpuDriver, GpuReading},
    };

    /// A driver with the planted readings of GPU 0. It has lost all other GPUs.
    struct PlannedReadings {
        asked: mpsc::Sender<()>,
        used_bytes: Mutex<mpsc::Receiver<Option<u64>>>,
    }

    impl GpuLibrary for PlannedReadings {
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
            let _ = self.asked.send(());
            let used_bytes = self.used_bytes.lock().unwrap().recv().map_err(|_| GpuFault::NoDriver)?;
            Ok(GpuReading { used_bytes, ..GpuReading::default() })
        }
    }

    #[test]
    fn the_highest_reading_of_each_gpu_is_kept() {
        let ((asked, asks), (plan, used_bytes)) = (mpsc::channel(), mpsc::channel());
        for reading in [Some(5), Some(9), None, Some(7)] {
            plan.send(reading).unwrap();
        }
        let library = PlannedReadings { asked, used_bytes: Mutex::new(used_bytes) };
        let interval = Duration::from_millis(1);
        let peaks = GpuMemoryPeaks::start_every(interval, Arc::new(library), vec![0, 1]).unwrap();
        // The fifth reading waits, so the others are kept.
        (0..5).for_each(|_| asks.recv().unwrap());
        assert_eq!((peaks.bytes(0), peaks.bytes(1), peaks.bytes(2)), (Some(9), None, None));
        drop(peaks);
        drop(plan);
        assert!(asks.recv().is_err(), "the thread must end and drop the library");
    }
}
