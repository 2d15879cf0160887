//! Figures of benches: median and range, the machine that they were measured on, the peak memory of processes and GPUs,
//! and the files with the figures. It does not know what a bench measures.

mod file;
mod gpu_memory;
mod machine_facts;
mod peak;
mod spread;

pub use file::write_figures;
pub use gpu_memory::{GpuMemoryFigures, GpuMemoryWatch};
pub use machine_facts::MachineFacts;
pub use peak::{forget_peak, peak_bytes};
pub use spread::FigureSpread;
