//! Configuration. Precedence: flag or builder, then environment variable, then worker list file, then default.

mod setting;

pub use setting::{Range, Setting, settings};

use engine::{CutOptions, build_identity};
use orchestrator::{ListError, Member, Placement, Settings, Verify, WorkerFile, WorkerList};
use protocol::AddressError;
use serde_json::Value;
use setting::{
    HEARTBEAT, LOCAL_THREADS, MAX_FAILURES, MAX_LOSSES, MISSED_HEARTBEATS, NONE, PATIENCE, PLACEMENT, SHARD_BATCH_SIZE,
    SPILL_FOLDER, STORE_DISK, STORE_MEMORY, TIMEOUT, URL, VERIFY, WORKERS,
};
use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The default: the setting is not set anywhere.
    Default,
    /// The worker list file.
    File(PathBuf),
    /// An environment variable.
    Environment(&'static str),
    /// A command line flag or the builder in the program.
    Program,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Program => f.write_str("flag or builder"),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The worker list cannot be used.
    #[error(transparent)]
    List(#[from] ListError),
    /// The address of a worker in the program's list is invalid.
    #[error("invalid address of worker {number} of the program's list: {reason}")]
    Worker {
        /// Position in the list, starting at 1.
        number: usize,
        /// What is wrong with the address.
        reason: AddressError,
    },
    /// The value of a setting is invalid.
    #[error("invalid setting {name} = {value:?} (from {source_text}): {reason}")]
    Setting {
        /// Name of the setting.
        name: String,
        /// The invalid value.
        value: String,
        /// Where the value comes from.
        source_text: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// The worker list file contains an unknown setting.
    #[error("unknown setting {name:?} in {}\nhint: use one of {known}", path.display())]
    Unknown {
        /// The worker list file.
        path: PathBuf,
        /// Name of the unknown setting.
        name: String,
        /// The known settings, separated by commas.
        known: String,
    },
    /// The options that cut a run into shards cannot be used by workers.
    #[error("invalid option for cutting a run into shards: {0}")]
    Options(#[from] engine::OptionsError),
}

/// The settings that a program or flags set. They take precedence over all other sources.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    values: BTreeMap<&'static str, String>,
    workers: Option<Vec<String>>,
    local: bool,
    joined: bool,
    service: bool,
    cut: Option<CutOptions>,
}

impl Overrides {
    /// Reads the worker list from `path`.
    pub fn workers_file(&mut self, path: &Path) {
        self.values.insert(WORKERS, path.display().to_string());
    }

    /// Sets the workers. No worker list file is read.
    pub fn workers(&mut self, workers: Vec<String>) {
        self.workers = Some(workers);
    }

    /// Makes the worker list optional, because workers dial this orchestrator.
    pub fn joined_workers(&mut self) {
        self.joined = true;
    }

    /// Allows a service to create the proofs instead of workers.
    pub fn allow_service(&mut self) {
        self.service = true;
    }

    /// Sets the address of the service, as `http://HOST:PORT`.
    pub fn url(&mut self, url: &str) {
        self.values.insert(URL, url.to_owned());
    }

    /// Returns true if the service at `url` makes the proofs. Workers set by the program take precedence over a service
    /// from the environment or the worker list file.
    ///
    /// # Errors
    /// If the program sets both workers and a service.
    fn asks_service(&self, url: &Effective) -> Result<bool, ConfigError> {
        let names_workers = self.workers.is_some() || self.local || self.values.contains_key(WORKERS);
        match (url.value.as_str(), &url.source) {
            (NONE, _) => Ok(false),
            (_, Source::Program) if names_workers => Err(ConfigError::Setting {
                name: URL.to_owned(),
                value: url.value.clone(),
                source_text: url.source.to_string(),
                reason: "the program also sets workers\nhint: set either the workers or `url`, not both".to_owned(),
            }),
            _ => Ok(self.service && !names_workers),
        }
    }

    /// Makes this process a worker too.
    pub fn local_worker(&mut self) {
        self.local = true;
    }

    /// Sets `shard_batch_size`, see [`settings`].
    pub fn shard_batch_size(&mut self, shards: u32) {
        self.values.insert(SHARD_BATCH_SIZE, shards.to_string());
    }

    /// Sets `placement`, see [`settings`].
    pub fn placement(&mut self, placement: Placement) {
        self.values.insert(PLACEMENT, placement.name().to_owned());
    }

    /// Sets `heartbeat_ms`, see [`settings`].
    pub fn heartbeat(&mut self, interval: Duration) {
        self.values.insert(HEARTBEAT, interval.as_millis().to_string());
    }

    /// Sets `missed_heartbeats`, see [`settings`].
    pub fn missed_heartbeats(&mut self, count: u32) {
        self.values.insert(MISSED_HEARTBEATS, count.to_string());
    }

    /// Sets `patience_s`, see [`settings`]. Rounded down to whole seconds.
    pub fn patience(&mut self, patience: Duration) {
        self.values.insert(PATIENCE, patience.as_secs().to_string());
    }

    /// Sets `timeout_s`, see [`settings`]. Rounded down to whole seconds, at least 1.
    pub fn timeout(&mut self, timeout: Duration) {
        self.values.insert(TIMEOUT, timeout.as_secs().max(1).to_string());
    }

    /// Sets `verify`, see [`settings`].
    pub fn verify(&mut self, verify: Verify) {
        self.values.insert(VERIFY, verify.name().to_owned());
    }

    /// Sets `max_failures`, see [`settings`].
    pub fn max_failures(&mut self, failures: u32) {
        self.values.insert(MAX_FAILURES, failures.to_string());
    }

    /// Sets `max_losses`, see [`settings`].
    pub fn max_losses(&mut self, losses: u32) {
        self.values.insert(MAX_LOSSES, losses.to_string());
    }

    /// Sets `store_memory_mb`, `store_disk_mb` and `spill_folder`, see [`settings`]. Rounds sizes down to whole MiB.
    pub fn store(&mut self, memory_bytes: u64, disk_bytes: u64, folder: &Path) {
        self.values.insert(STORE_MEMORY, (memory_bytes >> 20).to_string());
        self.values.insert(STORE_DISK, (disk_bytes >> 20).to_string());
        self.values.insert(SPILL_FOLDER, folder.display().to_string());
    }

    /// Sets `local_threads`, see [`settings`].
    pub fn local_threads(&mut self, threads: usize) {
        self.values.insert(LOCAL_THREADS, threads.to_string());
    }

    /// Sets how runs are cut into shards. Replaces all individual settings for that.
    pub fn cut(&mut self, options: CutOptions) {
        self.cut = Some(options);
    }
}

/// The value of a setting, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The setting.
    pub setting: Setting,
    /// The value.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

/// The validated configuration of an orchestrator.
#[derive(Debug, Clone)]
pub struct Config {
    /// The workers.
    pub list: WorkerList,
    /// Address of the service that makes the proofs, if one is used instead of workers.
    pub service: Option<String>,
    /// Settings of the orchestrator.
    pub orchestrator: Settings,
    /// How runs are cut into shards.
    pub cut: CutOptions,
    /// Maximum duration of a proof. `None`: unlimited.
    pub timeout: Option<Duration>,
    /// Proving threads of the local worker. `None`: chosen automatically.
    pub local_threads: Option<usize>,
    /// All settings with their values.
    pub effective: Vec<Effective>,
}

/// Returns the value of an environment variable. Invalid Unicode is replaced so that no setting accepts the value.
pub fn environment(variable: &str) -> Option<String> {
    env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
}

impl Config {
    /// Combines `overrides`, `environment` and the worker list file.
    ///
    /// # Errors
    /// The first error found, with the source of the wrong value.
    pub fn load(overrides: &Overrides, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let settings = settings();
        let path = find(&settings[0], overrides, &environment, None)?;
        let url = settings.iter().find(|setting| setting.name == URL).expect("the table contains `url`");
        let asks_service = overrides.asks_service(&find(url, overrides, &environment, None)?)?;
        let file = read_list(overrides, &path, asks_service)?;
        let path = PathBuf::from(&path.value);
        check_known(&file, &settings, &path)?;
        let in_file = |setting: &Setting| {
            let value = match file.settings.get(&setting.name)? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some((value, path.clone()))
        };
        let effective = settings.iter().map(|setting| find(setting, overrides, &environment, in_file(setting)));
        let mut effective = effective.collect::<Result<Vec<_>, _>>()?;
        let values: BTreeMap<String, String> =
            effective.iter().map(|effective| (effective.setting.name.clone(), effective.value.clone())).collect();
        let text = |name: &str| values[name].as_str();
        let number = |name: &str| text(name).parse::<u64>().expect("checked against its range");
        let chosen = |name: &str| text(name).parse::<u64>().ok();
        let small = |number: u64| u32::try_from(number).expect("checked against its range");
        let cut = match &overrides.cut {
            Some(cut) => cut.clone(),
            None => CutOptions::from_variables(|variable| values.get(&variable.to_ascii_lowercase()).cloned())?,
        };
        if overrides.cut.is_some() {
            // The program's options replace all individual settings, so the individual settings are not shown.
            effective.retain(|effective| !CutOptions::ALL.iter().any(|cut| cut.name == effective.setting.variable));
        }
        let effective_url = effective.iter().find(|effective| effective.setting.name == URL);
        let service = match effective_url {
            Some(url) if overrides.asks_service(url)? => Some(url.value.clone()),
            Some(_) | None => None,
        };
        let mut orchestrator = Settings::new(build_identity());
        orchestrator.shard_batch_size = small(number(SHARD_BATCH_SIZE));
        orchestrator.placement = text(PLACEMENT).parse().expect("checked against the choices");
        orchestrator.heartbeat = Duration::from_millis(number(HEARTBEAT));
        orchestrator.missed_heartbeats = small(number(MISSED_HEARTBEATS));
        orchestrator.patience = Duration::from_secs(number(PATIENCE));
        let verify = Verify::ALL.into_iter().find(|verify| verify.name() == text(VERIFY));
        orchestrator.verify = verify.expect("checked against the choices");
        orchestrator.max_failures = small(number(MAX_FAILURES));
        orchestrator.max_losses = small(number(MAX_LOSSES));
        let store = &mut orchestrator.store;
        if let Some(mebibytes) = chosen(STORE_MEMORY) {
            (store.memory_bytes, store.disk_bytes) = (mebibytes << 20, mebibytes << 22);
        }
        if let Some(mebibytes) = chosen(STORE_DISK) {
            store.disk_bytes = mebibytes << 20;
        }
        if text(SPILL_FOLDER) != setting::AUTO {
            store.spill_folder = Some(text(SPILL_FOLDER).into());
        }
        Ok(Self {
            list: file.list,
            service,
            orchestrator,
            cut,
            timeout: chosen(TIMEOUT).map(Duration::from_secs),
            local_threads: chosen(LOCAL_THREADS).and_then(|threads| usize::try_from(threads).ok()),
            effective,
        })
    }
}

/// Returns the validated value of `setting`, and where it comes from.
fn find(
    setting: &Setting,
    overrides: &Overrides,
    environment: impl Fn(&str) -> Option<String>,
    in_file: Option<(String, PathBuf)>,
) -> Result<Effective, ConfigError> {
    let of_program = overrides.values.get(setting.name.as_str()).cloned().map(|value| (value, Source::Program));
    let of_environment = || environment(setting.variable).map(|value| (value, Source::Environment(setting.variable)));
    let of_file = || in_file.map(|(value, path)| (value, Source::File(path)));
    let found = of_program.or_else(of_environment).or_else(of_file);
    let (value, source) = found.unwrap_or_else(|| (setting.default.clone(), Source::Default));
    let value = value.trim().to_owned();
    match setting.range.check(&value) {
        Ok(()) => Ok(Effective { setting: setting.clone(), value, source }),
        Err(reason) => {
            Err(ConfigError::Setting { name: setting.name.clone(), value, source_text: source.to_string(), reason })
        }
    }
}

/// Returns the workers, from the program or from the worker list file.
fn read_list(overrides: &Overrides, path: &Effective, asks_service: bool) -> Result<WorkerFile, ConfigError> {
    let file = Path::new(&path.value);
    let needs_none = overrides.local || overrides.joined || asks_service;
    let mut read = match &overrides.workers {
        Some(workers) => WorkerFile { list: parse_workers(workers)?, ..WorkerFile::default() },
        // The list is optional if this process is a worker, if workers dial this orchestrator, or if a service makes
        // the proofs. But a list that is named explicitly must exist.
        None if needs_none && path.source == Source::Default && !file.exists() => WorkerFile::default(),
        None => WorkerFile::read(file)?,
    };
    if overrides.local && !read.list.has_local() {
        read.list.0.push(Member::Local);
    }
    if read.list.0.is_empty() && !overrides.joined && !asks_service {
        return Err(ListError::Empty { path: file.to_owned() }.into());
    }
    Ok(read)
}

fn parse_workers(workers: &[String]) -> Result<WorkerList, ConfigError> {
    let parse = |(at, text): (usize, &String)| {
        text.parse::<Member>().map_err(|reason| ConfigError::Worker { number: at + 1, reason })
    };
    let mut list = WorkerList::default();
    for member in workers.iter().enumerate().map(parse) {
        let member = member?;
        if !list.0.contains(&member) {
            list.0.push(member);
        }
    }
    Ok(list)
}

fn check_known(file: &WorkerFile, settings: &[Setting], path: &Path) -> Result<(), ConfigError> {
    let known = |name: &String| settings.iter().any(|setting| setting.name == *name);
    match file.settings.keys().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(ConfigError::Unknown {
            path: path.to_owned(),
            name: name.clone(),
            known: settings.iter().map(|setting| setting.name.as_str()).collect::<Vec<_>>().join(", "),
        }),
    }
}
