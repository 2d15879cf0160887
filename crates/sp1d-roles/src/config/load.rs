//! Combines the sources of all settings into a validated configuration.

use super::{
    error::ConfigError,
    overrides::ConfigOverrides,
    setting::{
        AUTO, CA_FILE, ConfigSetting, HEARTBEAT, LOCAL_THREADS, MAX_FAILURES, MAX_LOSSES, MISSED_HEARTBEATS, NONE,
        PATIENCE, PLACEMENT, SHARD_BATCH_SIZE, SPILL_FOLDER, STORE_DISK, STORE_MEMORY, TIMEOUT, TLS, TOKEN_FILE,
        TRUSTED_ONLY, URL, UnacceptedValue, VERIFY, WORKER_ORIGINS, settings,
    },
    source::{EffectiveSetting, ValueSource},
};
use serde_json::Value;
use sp1d_client::{ClientSettings, redacted};
use sp1d_engine::{CutOptions, ReplacedValue, SHARD_CELL_BYTES, build_identity};
use sp1d_identity::{PeerRole, TlsIdentity};
use sp1d_orchestrator::{
    ListError, OrchestratorSettings, Verify, WorkerAddress, WorkerFile, WorkerList, WorkerOrigins,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// The validated configuration of an orchestrator.
#[derive(Debug, Clone)]
pub struct Config {
    /// The workers.
    pub list: WorkerList,
    /// The service that makes the proofs, if one is used instead of workers.
    pub service: Option<ClientSettings>,
    /// Settings of the orchestrator.
    pub orchestrator: OrchestratorSettings,
    /// How runs are cut into shards.
    pub cut: CutOptions,
    /// Maximum duration of a proof, with the wait for the first worker. `None`: unlimited.
    pub timeout: Option<Duration>,
    /// Proving threads of the local worker. `None`: chosen automatically.
    pub local_threads: Option<usize>,
    /// All settings with their values.
    pub effective: Vec<EffectiveSetting>,
    /// Values of SP1's environment variables and options that are not used as they are. See
    /// [`Config::warn_of_replaced_values`].
    pub replaced: Vec<ReplacedValue>,
}

impl Config {
    /// Combines `overrides`, `environment` and the worker list file.
    ///
    /// # Errors
    /// The first error found, with the source of the wrong value.
    pub fn load(
        overrides: &ConfigOverrides,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let settings = settings();
        let (path, _) = find(&settings[0], overrides, &environment, None)?;
        let url = settings.iter().find(|setting| setting.name == URL).expect("the table contains `url`");
        let (url, _) = find(url, overrides, &environment, None)?;
        let asks_service = overrides.asks_service(&url)?;
        let file = read_list(overrides, &path, asks_service)?;
        let path = PathBuf::from(&path.value);
        check_known(&file, &settings, &path)?;
        let in_file = |setting: &ConfigSetting| {
            let value = match file.settings.get(&setting.name)? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some((value, path.clone()))
        };
        let effective = settings.iter().map(|setting| find(setting, overrides, &environment, in_file(setting)));
        let found = effective.collect::<Result<Vec<_>, _>>()?;
        let (mut effective, replaced): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let mut replaced: Vec<ReplacedValue> = replaced.into_iter().flatten().collect();
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
            let is_cut = |variable: &str| CutOptions::ALL.iter().any(|cut| cut.name == variable);
            effective.retain(|effective| !is_cut(effective.setting.variable));
            replaced.retain(|value| !is_cut(value.variable));
            replaced.extend(overrides.replaced.iter().cloned());
        }
        let file_of = |name: &str| Some(text(name)).filter(|path| *path != NONE).map(PathBuf::from);
        let mut service = None;
        if let Some(url) = effective.iter_mut().find(|effective| effective.setting.name == URL) {
            if overrides.asks_service(url)? {
                let url = url.value.parse().expect("checked against its range");
                service = Some(ClientSettings { url, ca_file: file_of(CA_FILE), token_file: file_of(TOKEN_FILE) });
            }
            // From here on, the value is only shown.
            url.value = redacted(&url.value);
        }
        let mut orchestrator = OrchestratorSettings::new(build_identity());
        orchestrator.shard_cell_bytes = Some(SHARD_CELL_BYTES);
        orchestrator.shard_batch_size = small(number(SHARD_BATCH_SIZE));
        orchestrator.placement = text(PLACEMENT).parse().expect("checked against the choices");
        orchestrator.heartbeat = Duration::from_millis(number(HEARTBEAT));
        orchestrator.missed_heartbeats = small(number(MISSED_HEARTBEATS));
        orchestrator.patience = Duration::from_secs(number(PATIENCE));
        let verify = Verify::ALL.into_iter().find(|verify| verify.name() == text(VERIFY));
        orchestrator.verify = verify.expect("checked against the choices");
        orchestrator.max_failures = small(number(MAX_FAILURES));
        orchestrator.max_losses = small(number(MAX_LOSSES));
        let origins = WorkerOrigins::ALL.into_iter().find(|origins| origins.name() == text(WORKER_ORIGINS));
        orchestrator.worker_origins = origins.expect("checked against the choices");
        orchestrator.trusted_only = text(TRUSTED_ONLY) == "true";
        // A program whose proofs a service makes connects to no worker.
        if let (Some(path), None) = (file_of(TLS), &service) {
            orchestrator.tls = Some(TlsIdentity::load(&path, PeerRole::Orchestrator)?);
        }
        let store = &mut orchestrator.store;
        if let Some(mebibytes) = chosen(STORE_MEMORY) {
            (store.memory_bytes, store.disk_bytes) = (mebibytes << 20, mebibytes << 22);
        }
        if let Some(mebibytes) = chosen(STORE_DISK) {
            store.disk_bytes = mebibytes << 20;
        }
        if text(SPILL_FOLDER) != AUTO {
            store.spill_folder = Some(text(SPILL_FOLDER).into());
        } else if let Some(folder) = &overrides.default_spill_folder {
            store.spill_folder = Some(folder.clone());
        }
        Ok(Self {
            list: file.list,
            service,
            orchestrator,
            cut,
            timeout: chosen(TIMEOUT).map(Duration::from_secs),
            local_threads: chosen(LOCAL_THREADS).and_then(|threads| usize::try_from(threads).ok()),
            effective,
            replaced,
        })
    }

    /// Logs a warning for each value that is not used as it was given. Call this once for each configuration.
    pub fn warn_of_replaced_values(&self) {
        for ReplacedValue { variable, given, used, reason } in &self.replaced {
            tracing::warn!(variable, given, used, reason, "setting replaced: its value cannot be used");
        }
    }
}

/// Returns the validated value of `setting`, and where it comes from. Returns the value of the environment variable
/// too, if another value is used instead.
fn find(
    setting: &ConfigSetting,
    overrides: &ConfigOverrides,
    environment: impl Fn(&str) -> Option<String>,
    in_file: Option<(String, PathBuf)>,
) -> Result<(EffectiveSetting, Option<ReplacedValue>), ConfigError> {
    let of_program = overrides.value(&setting.name);
    let of_environment =
        || environment(setting.variable).map(|value| (value, ValueSource::Environment(setting.variable)));
    let of_file = || in_file.map(|(value, path)| (value, ValueSource::File(path)));
    let found = of_program.or_else(of_environment).or_else(of_file);
    let (value, source) = found.unwrap_or_else(|| (setting.default.clone(), ValueSource::Default));
    let value = value.trim().to_owned();
    let effective = |value| EffectiveSetting { setting: setting.clone(), value, source: source.clone() };
    let Err(mut reason) = setting.range.check(&value) else { return Ok((effective(value), None)) };
    if let ValueSource::Environment(variable) = source {
        if let Some(used) = setting.replacement(&value) {
            let replaced = ReplacedValue { variable, given: value, used: used.clone(), reason };
            return Ok((effective(used), Some(replaced)));
        }
        if let UnacceptedValue::Rounded { .. } = setting.unaccepted {
            reason.push_str(&format!("\nhint: SP1 panics with this value; change {variable}, or unset it"));
        }
    }
    let value = if setting.name == URL { redacted(&value) } else { value };
    Err(ConfigError::Setting { name: setting.name.clone(), value, source_text: source.to_string(), reason })
}

/// Returns the workers, from the program or from the worker list file.
fn read_list(
    overrides: &ConfigOverrides,
    path: &EffectiveSetting,
    asks_service: bool,
) -> Result<WorkerFile, ConfigError> {
    let file = Path::new(&path.value);
    let needs_none = overrides.local || overrides.joined || asks_service;
    let mut read = match &overrides.workers {
        Some(workers) => WorkerFile { list: parse_workers(workers)?, ..WorkerFile::default() },
        // The list is optional if this process is a worker, if workers dial this orchestrator, or if a service makes
        // the proofs. But a list that is named explicitly must exist.
        None if needs_none && path.source == ValueSource::Default && !file.exists() => WorkerFile::default(),
        None => WorkerFile::read(file)?,
    };
    if overrides.local && !read.list.has_local() {
        read.list.0.push(WorkerAddress::Local);
    }
    if read.list.0.is_empty() && !overrides.joined && !asks_service {
        return Err(ListError::Empty { path: file.to_owned() }.into());
    }
    Ok(read)
}

fn parse_workers(workers: &[String]) -> Result<WorkerList, ConfigError> {
    let parse = |(at, text): (usize, &String)| {
        text.parse::<WorkerAddress>().map_err(|reason| ConfigError::Worker { number: at + 1, reason })
    };
    let (mut list, mut known) = (WorkerList::default(), BTreeSet::new());
    for worker_address in workers.iter().enumerate().map(parse) {
        let worker_address = worker_address?;
        if known.insert(worker_address.clone()) {
            list.0.push(worker_address);
        }
    }
    Ok(list)
}

fn check_known(file: &WorkerFile, settings: &[ConfigSetting], path: &Path) -> Result<(), ConfigError> {
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
