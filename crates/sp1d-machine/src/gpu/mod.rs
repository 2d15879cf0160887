//! The GPUs of this machine: which ones a worker uses, which cores are near them, what they report, and what their
//! errors mean.
//!
//! [`GpuLibrary`] is the interface to the driver's management library (NVML). Only `nvml`, which needs the feature
//! `gpu`, loads that library. Everything else here also compiles without the feature, and knows nothing about CUDA.

mod architectures;
mod cuda_errors;
mod fault;
mod library;
mod load;
mod memory_peaks;
mod near_cores;
#[cfg(feature = "gpu")]
mod nvml;
mod selection;

pub use architectures::{GpuCode, gpu_code};
pub use fault::GpuFault;
pub use library::{FoundGpus, GpuDevice, GpuDriver, GpuLibrary, GpuReading, MAX_GPUS, check_free_memory, check_gpus};
pub use load::gpu_library;
pub use memory_peaks::GpuMemoryPeaks;
pub use near_cores::near_cores;
pub use selection::{GpuSelection, GpuSelectionError};
