//! Measures attacks and judges the figures.

mod limits;
mod plan;
mod report;
mod rounds;

pub(crate) use plan::BenchPlan;
pub(crate) use report::HostileReport;
pub(crate) use rounds::measure;
