//! The files with the figures.

use anyhow::{Context, Result};
use serde::Serialize;
use std::{fs, path::Path};

/// Writes figures to a JSON file, and creates its folder if needed.
///
/// # Errors
/// Fails if the file or its folder cannot be written.
#[expect(clippy::print_stderr, reason = "benches tell people where their figures are")]
pub fn write_figures(path: &Path, figures: &impl Serialize) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write the figures to {}", path.display()))?;
    eprintln!("figures written to {}", path.display());
    Ok(())
}
