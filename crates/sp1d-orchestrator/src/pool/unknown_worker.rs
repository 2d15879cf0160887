//! Why a name or address does not select a worker.

use crate::describe_first_workers::describe_first_workers;
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

/// Displays the first names with commas, and the number of the others.
struct NameList<'a>(&'a [String]);

impl fmt::Display for NameList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&describe_first_workers(self.0.iter(), String::clone).join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(count: usize, expected: &str) {
        let connected = (1..=count).map(|number| format!("prover-{number}")).collect();
        let text = UnknownWorker::NotConnected { wanted: "other".to_owned(), connected }.to_string();
        assert_eq!(text, format!("unknown worker other; connected workers: {expected}"));
    }

    #[test]
    fn an_unknown_worker_names_the_first_connected_ones() {
        let ten: Vec<String> = (1..=10).map(|number| format!("prover-{number}")).collect();
        check(0, "none");
        check(2, "prover-1, prover-2");
        check(4096, &format!("{}, and 4086 more", ten.join(", ")));
    }
}
