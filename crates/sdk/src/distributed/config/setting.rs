//! The settings there are: what people may set, where, and within which bounds. The reference page is made from this
//! table.

use ::client::Client;
use engine::CutOptions;
use orchestrator::{DEFAULT_PATH, MOST_SHARDS, Placement, Verify};
use std::fmt;

/// One thing that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name in `distributed.json` and in `sp1d config`.
    pub name: String,
    /// Its environment variable.
    pub variable: &'static str,
    /// Its value when nobody sets it.
    pub default: String,
    /// What it may be.
    pub range: Range,
    /// Unit of a number; empty for a count.
    pub unit: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// What a setting may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Range {
    /// A file.
    Path,
    /// The word, or a folder.
    FolderOr(&'static str),
    /// A whole number between these, both included.
    Number(u64, u64),
    /// The word, or a number between these.
    NumberOr(&'static str, u64, u64),
    /// The word, or the address of a service.
    UrlOr(&'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Range {
    /// Checks that `text` is within.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let number = |least: u64, most: u64| match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            Ok(_) => Err(format!("it is out of range: {self}")),
            Err(_) => Err(format!("it is no number: {self}")),
        };
        match self {
            Self::Path if text.is_empty() => Err("it is empty: name a file".to_owned()),
            Self::Path => Ok(()),
            Self::FolderOr(_) if text.is_empty() => Err("it is empty: name a folder".to_owned()),
            Self::FolderOr(_) => Ok(()),
            Self::NumberOr(word, ..) | Self::UrlOr(word) if text == *word => Ok(()),
            Self::UrlOr(_) => Client::new(text).map(|_| ()).map_err(|_| format!("it is no address: {self}")),
            Self::Number(least, most) | Self::NumberOr(_, least, most) => number(*least, *most),
            Self::Choice(words) if words.contains(&text) => Ok(()),
            Self::Choice(_) => Err(format!("it is none of the choices: {self}")),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("a file"),
            Self::FolderOr(word) => write!(f, "{word}, or a folder"),
            Self::Number(least, most) => write!(f, "{least} to {most}"),
            Self::NumberOr(word, least, most) => write!(f, "{word}, or {least} to {most}"),
            Self::UrlOr(word) => write!(f, "{word}, or http://HOST:PORT"),
            Self::Choice(words) => f.write_str(&words.join(", ")),
        }
    }
}

pub(super) const WORKERS: &str = "workers";
pub(super) const URL: &str = "url";
pub(super) const SHARD_BATCH_SIZE: &str = "shard_batch_size";
pub(super) const PLACEMENT: &str = "placement";
pub(super) const HEARTBEAT: &str = "heartbeat_ms";
pub(super) const MISSED_HEARTBEATS: &str = "missed_heartbeats";
pub(super) const PATIENCE: &str = "patience_s";
pub(super) const TIMEOUT: &str = "timeout_s";
pub(super) const LOCAL_THREADS: &str = "local_threads";
pub(super) const VERIFY: &str = "verify";
pub(super) const MAX_FAILURES: &str = "max_failures";
pub(super) const MAX_LOSSES: &str = "max_losses";
pub(super) const STORE_MEMORY: &str = "store_memory_mb";
pub(super) const STORE_DISK: &str = "store_disk_mb";
pub(super) const SPILL_FOLDER: &str = "spill_folder";

/// Words for a number that nobody chose.
pub(super) const NONE: &str = "none";
pub(super) const AUTO: &str = "auto";

/// A year, in seconds: longer than any proof.
const LONGEST_S: u64 = 365 * 24 * 60 * 60;

/// Every setting of an orchestrator, in the order in which they are shown.
#[must_use]
pub fn settings() -> Vec<Setting> {
    let setting = |name: &str, variable, default: &str, range, unit, meaning| Setting {
        name: name.to_owned(),
        variable,
        default: default.to_owned(),
        range,
        unit,
        meaning,
    };
    let own = [
        setting(
            WORKERS,
            "SP1_DISTRIBUTED_WORKERS",
            DEFAULT_PATH,
            Range::Path,
            "",
            "the list of workers: a JSON array of addresses, of which \"local\" is the orchestrator's own process; or an object with that array as \"workers\" and further settings beside it",
        ),
        setting(
            URL,
            "SP1_DISTRIBUTED_URL",
            NONE,
            Range::UrlOr(NONE),
            "",
            "the service that programs have their proofs made by instead of by workers of their own; `sp1d prove` has its own always",
        ),
        setting(
            SHARD_BATCH_SIZE,
            "SHARD_BATCH_SIZE",
            "2",
            Range::Number(1, MOST_SHARDS.into()),
            "",
            "how many shards a worker may hold at a time for each of its provers, from assignment to report; 1 for the least memory, more so that the next is there when one is done",
        ),
        setting(
            PLACEMENT,
            "SP1_DISTRIBUTED_PLACEMENT",
            Placement::Spread.name(),
            Range::Choice(&["spread", "pack"]),
            "",
            "`spread` gives work to everybody; `pack` to as few workers as finish as early, and leaves the others free",
        ),
        setting(
            HEARTBEAT,
            "SP1_DISTRIBUTED_HEARTBEAT_MS",
            "1000",
            Range::Number(50, 60_000),
            "milliseconds",
            "time between signs of life, both ways",
        ),
        setting(
            MISSED_HEARTBEATS,
            "SP1_DISTRIBUTED_MISSED_HEARTBEATS",
            "3",
            Range::Number(1, 1000),
            "",
            "signs of life that may be missed before a side gives the other up",
        ),
        setting(
            PATIENCE,
            "SP1_DISTRIBUTED_PATIENCE_S",
            "60",
            Range::Number(0, LONGEST_S),
            "seconds",
            "how long a proof waits when no worker is connected, or none that does what is left",
        ),
        setting(
            TIMEOUT,
            "SP1_DISTRIBUTED_TIMEOUT_S",
            NONE,
            Range::NumberOr(NONE, 1, LONGEST_S),
            "seconds",
            "longest time that a proof may take",
        ),
        setting(
            VERIFY,
            "SP1_DISTRIBUTED_VERIFY",
            Verify::All.name(),
            Range::Choice(&["all", "final"]),
            "",
            "`all` verifies every result before anything is built on it; `final` only the finished proof, and proves it again with all verified should that one be wrong",
        ),
        setting(
            MAX_FAILURES,
            "SP1_DISTRIBUTED_MAX_FAILURES",
            "3",
            Range::Number(1, 100),
            "",
            "failed attempts and wrong results after which a task, and its proof, fails for good",
        ),
        setting(
            MAX_LOSSES,
            "SP1_DISTRIBUTED_MAX_LOSSES",
            "5",
            Range::Number(1, 1000),
            "",
            "workers lost with a task after which it, and its proof, fails for good",
        ),
        setting(
            STORE_MEMORY,
            "SP1_DISTRIBUTED_STORE_MEMORY_MB",
            AUTO,
            Range::NumberOr(AUTO, 16, 1 << 30),
            "megabytes",
            "memory for the artifacts of running proofs; what is beyond goes to disk. `auto` is a quarter of the machine's",
        ),
        setting(
            STORE_DISK,
            "SP1_DISTRIBUTED_STORE_DISK_MB",
            AUTO,
            Range::NumberOr(AUTO, 0, 1 << 40),
            "megabytes",
            "disk for artifacts that memory has no room for; 0 for none. `auto` is four times the memory",
        ),
        setting(
            SPILL_FOLDER,
            "SP1_DISTRIBUTED_SPILL_FOLDER",
            AUTO,
            Range::FolderOr(AUTO),
            "",
            "where those go, in a folder of their own; `auto` is TMPDIR, else /var/tmp",
        ),
        setting(
            LOCAL_THREADS,
            "SP1_DISTRIBUTED_LOCAL_THREADS",
            AUTO,
            Range::NumberOr(AUTO, 1, 1024),
            "",
            "proving threads of the worker \"local\"; `auto` leaves one core to the executor",
        ),
    ];
    let cut = CutOptions::ALL.into_iter().map(|option| Setting {
        name: option.name.to_ascii_lowercase(),
        variable: option.name,
        default: if option.auto { AUTO.to_owned() } else { option.default.to_string() },
        range: if option.auto {
            Range::NumberOr(AUTO, option.least, option.most)
        } else {
            Range::Number(option.least, option.most)
        },
        unit: "",
        meaning: option.meaning,
    });
    own.into_iter().chain(cut).collect()
}
