//! What all parts print, plot and write. It does not know what a part measures.

mod latency;
mod plot;

pub(crate) use latency::{LatencySummary, spread_of};
pub(crate) use plot::{PlotCurve, plot_bars, plot_curves};
