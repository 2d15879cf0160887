//! Figures of benches: median and range, the machine that they were measured on, the peak memory of processes, and the
//! files with the figures. It does not know what a bench measures.

mod file;
mod machine_facts;
mod peak;
mod spread;

pub use file::write_figures;
pub use machine_facts::MachineFacts;
pub use peak::{forget_peak, peak_bytes};
pub use spread::FigureSpread;
