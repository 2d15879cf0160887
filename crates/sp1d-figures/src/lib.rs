//! Figures of benches: median and range, where the time of a proof went, the machine that they were measured on, the
//! peak memory of processes and GPUs, plots, and the files with the figures. It does not know what a bench measures.

mod file;
mod gpu_memory;
mod machine_facts;
mod peak;
mod plot;
mod process_end;
mod spread;
mod time_split;

pub use file::write_figures;
pub use gpu_memory::{GpuMemoryFigures, GpuMemoryWatch};
pub use machine_facts::MachineFacts;
pub use peak::{forget_peak, peak_bytes};
pub use plot::{PlotCurve, plot_bars, plot_curves};
pub use process_end::end_process;
pub use spread::FigureSpread;
pub use time_split::TimeSplit;
