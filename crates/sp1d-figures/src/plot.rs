//! Plots as SVG files.

use anyhow::{Context, Result};
use plotters::prelude::*;
use std::{fs, path::Path};

/// A named line of a plot.
pub struct PlotCurve {
    /// The name in the legend.
    pub name: String,
    /// The points of the line, from left to right.
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (720, 420);

/// Creates the folder of a plot.
fn make_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))
}

/// Draws curves over a logarithmic axis from 1 on, for example numbers of connections.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn plot_curves(path: &Path, caption: &str, (x, y): (&str, &str), curves: &[PlotCurve]) -> Result<()> {
    make_folder(path)?;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let right = points().map(|point| point.0).fold(2.0, f64::max) * 1.1;
    let top = points().map(|point| point.1).fold(1e-9, f64::max) * 1.1;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((0.9..right).log_scale(), 0.0..top)?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(TRANSPARENT).draw()?;
    for (number, curve) in curves.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)).point_size(4);
        chart
            .draw_series(line)?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    // The axis starts at 0, so the lower corner is free if the curves do not fall to a small part of the largest value.
    let labels = &mut chart.configure_series_labels();
    labels.position(SeriesLabelPosition::LowerRight).border_style(BLACK).background_style(WHITE).draw()?;
    area.present().with_context(|| format!("cannot write {}", path.display()))
}

/// Draws one bar for each named value.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn plot_bars(path: &Path, caption: &str, y: &str, bars: &[(String, f64)]) -> Result<()> {
    make_folder(path)?;
    let top = bars.iter().map(|bar| bar.1).fold(1e-9, f64::max) * 1.1;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    // The right half has the names of the bars.
    let right = bars.len() as f64 * 1.6;
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(12)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    chart.configure_mesh().disable_x_mesh().x_labels(0).y_desc(y).light_line_style(TRANSPARENT).draw()?;
    for (number, (name, value)) in bars.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let left = number as f64;
        let bar = Rectangle::new([(left + 0.1, 0.0), (left + 0.9, *value)], color.filled());
        chart
            .draw_series([bar])?
            .label(format!("{name}: {value:.2}"))
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 16, y + 4)], color.filled()));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    area.present().with_context(|| format!("cannot write {}", path.display()))
}
