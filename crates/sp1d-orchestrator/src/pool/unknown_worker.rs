//! Why a name or address does not select a worker.

use std::fmt;

/// A name or address does not select a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownWorker {
    /// No connected worker has this name or address.
    #[error("unknown worker {wanted}; connected workers: {}", NameList(connected))]
    NotConnected {
        /// The name or address that the caller passed.
        wanted: String,
        /// Names of the connected workers.
        connected: Vec<String>,
    },
    /// Several workers have this name. A worker chooses its name itself.
    #[error("several workers are named {wanted}: {}\nhint: pass one of these addresses instead", NameList(addresses))]
    Ambiguous {
        /// The name that the caller passed.
        wanted: String,
        /// Addresses of the workers.
        addresses: Vec<String>,
    },
}

/// Displays names with commas.
struct NameList<'a>(&'a [String]);

impl fmt::Display for NameList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}
