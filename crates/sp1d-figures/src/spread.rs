//! Median and range of several figures.

use serde::Serialize;
use std::fmt;

/// Median, smallest and largest of several figures.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FigureSpread {
    /// The middle of the sorted figures.
    pub median: f64,
    min: f64,
    max: f64,
}

impl FigureSpread {
    /// Returns `None` if there are no figures.
    #[must_use]
    pub fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let median = (sorted.get(count.checked_sub(1)? / 2)? + sorted.get(count / 2)?) / 2.0;
        Some(Self { median, min: *sorted.first()?, max: *sorted.last()? })
    }
}

/// Shows three digits after the point, or as many as the format asks for.
impl fmt::Display for FigureSpread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "{:.digits$} ({:.digits$} to {:.digits$})", self.median, self.min, self.max)
    }
}
