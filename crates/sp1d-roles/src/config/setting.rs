//! The table of all settings: where each can be set, its bounds and its default. The reference page is generated from
//! this table.

use sp1d_client::ServiceUrl;
use sp1d_engine::CutOptions;
use sp1d_orchestrator::{DEFAULT_PATH, MAX_HELD_ATTEMPTS, Placement, Verify, WorkerOrigins};
use std::fmt;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSetting {
    /// Name in `distributed.json` and in `sp1d config`.
    pub name: String,
    /// Environment variable.
    pub variable: &'static str,
    /// Value when the setting is not set.
    pub default: String,
    /// Accepted values.
    pub range: ValueRange,
    /// What happens if the value of the environment variable is not accepted.
    pub unaccepted: UnacceptedValue,
    /// Unit of a number. Empty for a count or a text.
    pub unit: &'static str,
    /// What the setting does.
    pub meaning: &'static str,
}

/// What happens if a setting does not accept the value of its environment variable. Environment files of SP1's users
/// contain values that SP1 ignores. Such a value must not fail a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnacceptedValue {
    /// The value is an error.
    Refused,
    /// SP1 ignores the variable. The default is used.
    Ignored,
    /// SP1 reads the variable. The default replaces a text that is not a number, as in SP1. The nearest accepted number
    /// replaces another number.
    Rounded {
        /// SP1 panics with a smaller number, so a smaller number is an error.
        min: u64,
    },
}

impl ConfigSetting {
    /// Returns the value that is used instead of `value`, which the setting does not accept. `None` if `value` is an
    /// error.
    pub(super) fn replacement(&self, value: &str) -> Option<String> {
        match self.unaccepted {
            UnacceptedValue::Refused => None,
            UnacceptedValue::Ignored => Some(self.default.clone()),
            UnacceptedValue::Rounded { min } => match value.parse::<u64>() {
                Err(_) => Some(self.default.clone()),
                Ok(number) if number < min => None,
                Ok(number) => self.range.nearest(number).map(|nearest| nearest.to_string()),
            },
        }
    }
}

/// The values that a setting accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueRange {
    /// A file path.
    Path,
    /// The given word or a file path.
    FileOr(&'static str),
    /// The given word or a folder path.
    FolderOr(&'static str),
    /// A whole number between the two bounds, inclusive.
    Number(u64, u64),
    /// The given word or a whole number between the two bounds, inclusive.
    NumberOr(&'static str, u64, u64),
    /// The given word or the address of a service.
    UrlOr(&'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl ValueRange {
    /// Returns the accepted number nearest to `number`. `None` if the setting does not accept numbers.
    fn nearest(&self, number: u64) -> Option<u64> {
        match self {
            Self::Number(least, most) | Self::NumberOr(_, least, most) => Some(number.clamp(*least, *most)),
            Self::Path | Self::FileOr(_) | Self::FolderOr(_) | Self::UrlOr(_) | Self::Choice(_) => None,
        }
    }

    /// Checks that `text` is an accepted value.
    ///
    /// # Errors
    /// What is wrong with `text`.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let number = |least: u64, most: u64| match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            Ok(_) => Err(format!("out of range; expected {self}")),
            Err(_) => Err(format!("not a whole number; expected {self}")),
        };
        match self {
            Self::Path if text.is_empty() => Err(format!("empty path; expected {self}")),
            Self::Path => Ok(()),
            Self::FileOr(_) | Self::FolderOr(_) if text.is_empty() => Err(format!("empty path; expected {self}")),
            Self::FileOr(_) | Self::FolderOr(_) => Ok(()),
            Self::NumberOr(word, ..) | Self::UrlOr(word) if text == *word => Ok(()),
            Self::UrlOr(_) => {
                text.parse::<ServiceUrl>().map(|_| ()).map_err(|_| format!("not a valid address; expected {self}"))
            }
            Self::Number(least, most) | Self::NumberOr(_, least, most) => number(*least, *most),
            Self::Choice(words) if words.contains(&text) => Ok(()),
            Self::Choice(_) => Err(format!("unknown choice; expected one of {self}")),
        }
    }
}

impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("a file"),
            Self::FileOr(word) => write!(f, "{word}, or a file"),
            Self::FolderOr(word) => write!(f, "{word}, or a folder"),
            Self::Number(least, most) => write!(f, "{least} to {most}"),
            Self::NumberOr(word, least, most) => write!(f, "{word}, or {least} to {most}"),
            Self::UrlOr(word) => write!(f, "{word}, or http://HOST:PORT or https://HOST:PORT, with an optional path"),
            Self::Choice(words) => f.write_str(&words.join(", ")),
        }
    }
}

pub(super) const WORKERS: &str = "workers";
pub(super) const URL: &str = "url";
pub(super) const CA_FILE: &str = "ca_file";
pub(super) const TOKEN_FILE: &str = "token_file";
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
pub(super) const WORKER_ORIGINS: &str = "worker_origins";
pub(super) const TRUSTED_ONLY: &str = "trusted_only";
pub(super) const TLS: &str = "tls";
pub(super) const STORE_MEMORY: &str = "store_memory_mb";
pub(super) const STORE_DISK: &str = "store_disk_mb";
pub(super) const SPILL_FOLDER: &str = "spill_folder";

/// Words that are accepted instead of a number, address or folder.
pub(super) const NONE: &str = "none";
pub(super) const AUTO: &str = "auto";

/// Maximum of a duration in seconds: one year, longer than any proof takes.
const MAX_SECONDS: u64 = 365 * 24 * 60 * 60;

/// Returns every setting of an orchestrator, in display order.
#[must_use]
pub fn settings() -> Vec<ConfigSetting> {
    let setting = |name: &str, variable, default: &str, range, unit, meaning| ConfigSetting {
        name: name.to_owned(),
        variable,
        default: default.to_owned(),
        range,
        // SP1's earlier releases read this variable.
        unaccepted: if name == SHARD_BATCH_SIZE { UnacceptedValue::Ignored } else { UnacceptedValue::Refused },
        unit,
        meaning,
    };
    let own = [
        setting(
            WORKERS,
            "SP1_DISTRIBUTED_WORKERS",
            DEFAULT_PATH,
            ValueRange::Path,
            "",
            "file with the worker list: a JSON array of addresses, or an object that contains this array as \"workers\" and other settings. The address \"local\" is the orchestrator's own process",
        ),
        setting(
            URL,
            "SP1_DISTRIBUTED_URL",
            NONE,
            ValueRange::UrlOr(NONE),
            "",
            "address of a service that makes the proofs of a program, instead of the program's own workers. `sp1d prove` always uses its own workers",
        ),
        setting(
            CA_FILE,
            "SP1_DISTRIBUTED_CA_FILE",
            NONE,
            ValueRange::FileOr(NONE),
            "",
            "file with the certificates (PEM) of the only authorities that the client of a service trusts for `https`. With `none`, it trusts those of the system",
        ),
        setting(
            TOKEN_FILE,
            "SP1_DISTRIBUTED_TOKEN_FILE",
            NONE,
            ValueRange::FileOr(NONE),
            "",
            "file with a token of the service, or of a proxy in front of it. The client of a service sends it as `Authorization: Bearer`",
        ),
        setting(
            SHARD_BATCH_SIZE,
            "SHARD_BATCH_SIZE",
            "2",
            ValueRange::Number(1, MAX_HELD_ATTEMPTS.into()),
            "",
            "maximum number of tasks (usually shards) that a worker holds at the same time for each of its provers, from assignment to report. 1 needs the least memory; with more, the prover does not wait for its next task",
        ),
        setting(
            PLACEMENT,
            "SP1_DISTRIBUTED_PLACEMENT",
            Placement::Spread.name(),
            ValueRange::Choice(&["spread", "pack"]),
            "",
            "`spread` assigns tasks to all workers. `pack` assigns them to as few workers as finish about equally early, and leaves the others free. With `pack`, a proof may end up to about one attempt later",
        ),
        setting(
            HEARTBEAT,
            "SP1_DISTRIBUTED_HEARTBEAT_MS",
            "1000",
            ValueRange::Number(50, 60_000),
            "milliseconds",
            "time between heartbeats, in both directions",
        ),
        setting(
            MISSED_HEARTBEATS,
            "SP1_DISTRIBUTED_MISSED_HEARTBEATS",
            "3",
            ValueRange::Number(1, 1000),
            "",
            "number of missed heartbeats after which a side closes the connection",
        ),
        setting(
            PATIENCE,
            "SP1_DISTRIBUTED_PATIENCE_S",
            "60",
            ValueRange::Number(0, MAX_SECONDS),
            "seconds",
            "how long a proof waits while no worker is connected, or no connected worker supports the remaining tasks. Then the proof fails. If connected workers support them, but each has no loaded prover or is draining, it waits at least 30 minutes. A program also waits this long for its first worker. While all workers serve other orchestrators, the time starts anew when the orchestrator moves up in a worker's queue. In `sp1d serve`, a value below 86400 (24 hours) counts as 86400",
        ),
        setting(
            TIMEOUT,
            "SP1_DISTRIBUTED_TIMEOUT_S",
            NONE,
            ValueRange::NumberOr(NONE, 1, MAX_SECONDS),
            "seconds",
            "maximum duration of a proof, with the wait for the first worker",
        ),
        setting(
            VERIFY,
            "SP1_DISTRIBUTED_VERIFY",
            Verify::All.name(),
            ValueRange::Choice(&["all", "final"]),
            "",
            "`all` verifies every result before it is used. `final` verifies only the finished proof; if that proof is wrong, or a wrong result made the try fail, the proof is made again with every result verified",
        ),
        setting(
            MAX_FAILURES,
            "SP1_DISTRIBUTED_MAX_FAILURES",
            "3",
            ValueRange::Number(1, 100),
            "",
            "a task and the try of its proof fail after failures on workers of this many different origins (`worker_origins`). Wrong output counts as a failure. If every worker that supports the task was tried or is too small, this many failures in total are enough",
        ),
        setting(
            MAX_LOSSES,
            "SP1_DISTRIBUTED_MAX_LOSSES",
            "5",
            ValueRange::Number(1, 1000),
            "",
            "a task and the try of its proof fail after workers of this many different origins (`worker_origins`) were lost with the task, ran it for too long, or never started it. If every worker that supports the task was tried or is too small, this many losses in total are enough",
        ),
        setting(
            WORKER_ORIGINS,
            "SP1_DISTRIBUTED_WORKER_ORIGINS",
            WorkerOrigins::ByAddress.name(),
            ValueRange::Choice(&["address", "name"]),
            "",
            "which workers count as one machine. Such workers do not confirm each other's claims, a new one starts with the faults of the others, and `max_failures` and `max_losses` count them once. `address`: workers with one IP address, or of one IPv6 network of 64 bits. `name`: no two workers, for workers behind one router that are independent",
        ),
        setting(
            TLS,
            "SP1_DISTRIBUTED_TLS",
            NONE,
            ValueRange::FileOr(NONE),
            "",
            "file or folder with the identity of this orchestrator (`sp1d keys`). With it, connections to workers use TLS, and the name in a worker's certificate and the worker's own name identify the worker, whatever its address is. The HTTP ports of `sp1d serve` then use HTTPS, except on the loopback interface",
        ),
        setting(
            TRUSTED_ONLY,
            "SP1_DISTRIBUTED_TRUSTED_ONLY",
            "false",
            ValueRange::Choice(&["false", "true"]),
            "",
            "whether only trusted workers get tasks: those whose certificates were issued with `sp1d keys issue --trusted`, and the worker \"local\". In `sp1d serve`, `true` applies to all proofs; with `false`, each request can ask for it",
        ),
        setting(
            STORE_MEMORY,
            "SP1_DISTRIBUTED_STORE_MEMORY_MB",
            AUTO,
            ValueRange::NumberOr(AUTO, 16, 1 << 30),
            "MiB",
            "memory for the artifacts of running proofs. Artifacts that do not fit go to disk. `auto` is a quarter of the machine's memory",
        ),
        setting(
            STORE_DISK,
            "SP1_DISTRIBUTED_STORE_DISK_MB",
            AUTO,
            ValueRange::NumberOr(AUTO, 0, 1 << 40),
            "MiB",
            "disk space for artifacts that do not fit in memory; 0 uses no disk. `auto` is four times `store_memory_mb`",
        ),
        setting(
            SPILL_FOLDER,
            "SP1_DISTRIBUTED_SPILL_FOLDER",
            AUTO,
            ValueRange::FolderOr(AUTO),
            "",
            "folder for artifacts on disk. The orchestrator creates its own folder inside it. `auto` is `TMPDIR` if you set it, otherwise /var/tmp if it is writable, otherwise /tmp",
        ),
        setting(
            LOCAL_THREADS,
            "SP1_DISTRIBUTED_LOCAL_THREADS",
            AUTO,
            ValueRange::NumberOr(AUTO, 1, 1024),
            "",
            "number of proving threads of the worker \"local\". `auto` leaves one core for the executor",
        ),
    ];
    let cut = CutOptions::ALL.into_iter().map(|option| ConfigSetting {
        name: option.name.to_ascii_lowercase(),
        variable: option.name,
        default: if option.auto { AUTO.to_owned() } else { option.default.to_string() },
        range: if option.auto {
            ValueRange::NumberOr(AUTO, option.min, option.max)
        } else {
            ValueRange::Number(option.min, option.max)
        },
        unaccepted: UnacceptedValue::Rounded { min: option.sp1_min },
        unit: "",
        meaning: option.meaning,
    });
    own.into_iter().chain(cut).collect()
}
