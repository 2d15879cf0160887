//! The worker list: `distributed.json`.

use crate::workers::worker_address::WorkerAddress;
use serde::Deserialize;
use serde_json::{Map, Value};
use sp1d_protocol::AddressError;
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Default path of the worker list.
pub const DEFAULT_PATH: &str = "distributed.json";

/// Maximum number of entries. No deployment has more, so a longer file is probably not a worker list.
const MAX_WORKERS: usize = 10_000;

/// The workers of the pool, in the order of the file, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerList(pub Vec<WorkerAddress>);

/// A worker list, and the settings in its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerFile {
    /// The list.
    pub list: WorkerList,
    /// The other fields of the file; empty if the file is an array.
    pub settings: Map<String, Value>,
}

/// Why a worker list cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The file cannot be read.
    #[error(
        "cannot read the worker list {}: {reason}\nhint: create it as a JSON array of workers like `[\"127.0.0.1:8081\"]`, or write `[\"local\"]` to prove in this process, or name another file with `--workers` or `SP1_DISTRIBUTED_WORKERS`",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// The file is not JSON of the expected form.
    #[error("invalid worker list {}:{line}:{column}: {reason}\nhint: write a JSON array like `[\"127.0.0.1:8081\"]` or `[\"local\"]` (this process), or an object with such an array in `workers`", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line of the mistake, from 1.
        line: usize,
        /// Column of the mistake, from 1; 0 if the line is empty.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// An entry is not a valid address.
    #[error("invalid worker list {}: entry {number}: {reason}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Position in the array, from 1.
        number: usize,
        /// Why it is not a valid address.
        reason: AddressError,
    },
    /// The list names no worker.
    #[error("the worker list {} names no worker\nhint: add at least one worker, like `[\"127.0.0.1:8081\"]`, or `[\"local\"]` to prove in this process", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The list names too many workers.
    #[error("the worker list {} names {count} workers, and at most {MAX_WORKERS} are supported", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// Number of workers in the list.
        count: usize,
    },
}

#[derive(Deserialize)]
struct Object {
    workers: Vec<String>,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

impl WorkerList {
    /// Returns true if the list contains the worker in the orchestrator's own process.
    #[must_use]
    pub fn has_local(&self) -> bool {
        self.0.contains(&WorkerAddress::Local)
    }
}

impl WorkerFile {
    /// Reads the file at `path`: a JSON array of addresses (`"local"` is this process), or an object with such an array
    /// in `"workers"` and settings in its other fields.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is malformed, names no worker or too many, or has an entry that is not a valid
    /// address.
    pub fn read(path: &Path) -> Result<Self, ListError> {
        let text = fs::read_to_string(path).map_err(|reason| ListError::Read { path: path.to_owned(), reason })?;
        Self::parse(&text, path)
    }

    /// Parses `text`, the content of the file. `path` is only used in messages.
    ///
    /// # Errors
    /// The same as for [`WorkerFile::read`], except that no file is read.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ListError> {
        // Some editors start a file with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        let read = if text.trim_start().starts_with('{') {
            serde_json::from_str(text)
        } else {
            serde_json::from_str(text).map(|workers| Object { workers, settings: Map::new() })
        };
        let Object { workers: entries, settings } = read.map_err(|error| ListError::Syntax {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            reason: reason_of(&error),
        })?;
        if entries.len() > MAX_WORKERS {
            return Err(ListError::TooMany { path: path.to_owned(), count: entries.len() });
        }
        let (mut members, mut known) = (Vec::new(), BTreeSet::new());
        for (at, entry) in entries.iter().enumerate() {
            let worker_address: WorkerAddress =
                entry.parse().map_err(|reason| ListError::Entry { path: path.to_owned(), number: at + 1, reason })?;
            if known.insert(worker_address.clone()) {
                members.push(worker_address);
            } else {
                tracing::warn!(worker = %worker_address, path = %path.display(), "worker list names a worker twice");
            }
        }
        if members.is_empty() {
            return Err(ListError::Empty { path: path.to_owned() });
        }
        Ok(Self { list: WorkerList(members), settings })
    }
}

/// Returns the message of `serde_json` without the position at its end, because our own message contains the position.
fn reason_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[&str], &str>) {
        let got = WorkerFile::parse(text, Path::new("distributed.json"));
        match expected {
            Ok(addresses) => {
                let got: Vec<_> = got.unwrap().list.0.iter().map(ToString::to_string).collect();
                assert_eq!(got, addresses);
            }
            Err(part) => {
                let message = got.unwrap_err().to_string();
                assert!(message.contains(part), "{message}");
                assert!(message.lines().skip(1).all(|line| line.starts_with("hint: ")), "{message}");
            }
        }
    }

    #[test]
    fn arrays_and_objects_of_addresses_are_read() {
        check(
            r#"["127.0.0.1:8081", "[::1]:8081", "localhost:1"]"#,
            Ok(&["127.0.0.1:8081", "[::1]:8081", "localhost:1"]),
        );
        check(r#"{"workers": ["127.0.0.1:8081", "local"], "shard_batch_size": 1}"#, Ok(&["127.0.0.1:8081", "local"]));
        check("\u{feff}[\"127.0.0.1:8081\"]", Ok(&["127.0.0.1:8081"]));
        check(r#"["127.0.0.1:8081", "127.0.0.1:8081"]"#, Ok(&["127.0.0.1:8081"]));
    }

    #[test]
    fn errors_name_the_position_of_the_mistake() {
        check("[\n  \"127.0.0.1:8081\",\n]", Err("distributed.json:3:1: trailing comma"));
        check("", Err("distributed.json:1:0: EOF"));
        check("[1]", Err("distributed.json:1:2: invalid type: integer"));
        check(r#"{"worker": []}"#, Err("missing field `workers`"));
        check("[]", Err("names no worker"));
        check("[]", Err("`[\"local\"]` to prove in this process"));
        check("[1]", Err("`[\"local\"]` (this process)"));
        check(r#"{"workers": []}"#, Err("names no worker"));
        check(r#"["127.0.0.1:8081", "localhost"]"#, Err("entry 2: \"localhost\" has no port"));
    }

    #[test]
    fn the_error_for_a_missing_file_says_how_to_create_it() {
        let message = WorkerFile::read(Path::new("/no/such/file.json")).unwrap_err().to_string();
        assert!(message.contains("/no/such/file.json") && message.contains("--workers"), "{message}");
        assert!(message.contains("write `[\"local\"]` to prove in this process"), "{message}");
    }
}
