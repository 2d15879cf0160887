//! Reads the machine's memory, the limits of control groups, the memory use of processes, the size of the shared
//! memory, and the features of the processor. The sources are files of the Linux kernel. Also raises the limit of open
//! files, disables core dumps, and lists the machine's GPUs.

mod cgroup;
mod core_dumps;
mod gpu;
mod memory;
mod open_files;
mod processor;
mod read;
mod shared_memory;
mod usage;

pub use core_dumps::disable_core_dumps;
pub use gpu::{
    FoundGpus, GpuCode, GpuDevice, GpuDriver, GpuFault, GpuLibrary, GpuMemoryPeaks, GpuReading, GpuSelection,
    GpuSelectionError, MAX_GPUS, check_free_memory, check_gpus, gpu_code, gpu_library, near_cores,
};
pub use memory::{Memory, OomKills};
pub use open_files::raise_open_files;
pub use processor::{ProcessorError, check_processor, unused_processor_feature};
pub use shared_memory::shared_memory_bytes;
pub use usage::{child_processes, lazily_freed_bytes, live_bytes, resident_bytes};
