//! What the result cache remembers of the starts of the service.

use crate::state::private_files::replace_durably;
use std::{fs, io, path::Path};

/// File with the number of the service's last start, in decimal digits.
pub(super) const STARTS: &str = "starts";

/// File with the [`ServiceLineage`].
pub(super) const LINEAGE: &str = "lineage";

/// Random id that a service sends to its workers and keeps over restarts. A worker that sees the same id again
/// continues the attempts that an earlier process of the service assigned.
pub(crate) type ServiceLineage = [u8; 16];

/// How a start of the service uses the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheStart {
    /// Number of the start.
    pub(crate) start: u64,
    /// The lineage, which may not be on disk yet.
    pub(crate) lineage: ServiceLineage,
    /// Whether the cached results must be removed first.
    pub(super) clears: bool,
}

/// Reads how the start number `start` uses the cache in `folder`. Writes nothing.
///
/// If the cache has already seen this start or a later one, the database was restored from an older copy. Then the
/// service assigns the same attempt numbers again, which occur in the names of cached artifacts. Therefore all results
/// are removed, and the lineage is a new one.
pub(super) fn plan_start(folder: &Path, start: u64) -> io::Result<CacheStart> {
    let last = match fs::read_to_string(folder.join(STARTS)) {
        Ok(text) => text.trim().parse().unwrap_or(u64::MAX),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let clears = last >= start;
    let known = if clears { None } else { read_lineage(folder)? };
    let lineage = match known {
        Some(lineage) => lineage,
        None => {
            let mut lineage = ServiceLineage::default();
            getrandom::fill(&mut lineage).map_err(io::Error::other)?;
            lineage
        }
    };
    Ok(CacheStart { start, lineage, clears })
}

fn read_lineage(folder: &Path) -> io::Result<Option<ServiceLineage>> {
    match fs::read(folder.join(LINEAGE)).map(ServiceLineage::try_from) {
        Ok(lineage) => Ok(lineage.ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the lineage and the number of `start`, so that a full disk or a power failure leaves the old files or the new
/// ones.
pub(super) fn write_start(folder: &Path, start: &CacheStart) -> io::Result<()> {
    if read_lineage(folder)? != Some(start.lineage) {
        replace_durably(folder, LINEAGE, &start.lineage)?;
    }
    replace_durably(folder, STARTS, start.start.to_string().as_bytes())
}
