//! `sp1d config`: shows the settings and the source of each value.

use crate::{
    args::{ConfigArguments, PoolArguments},
    terminal::print,
};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sp1d_engine::preview_cut;
use sp1d_model::counted;
use sp1d_orchestrator::{ProbeError, Probed, ProofMode, ShardWorker, probe};
use sp1d_roles::config::{Config, ConfigError, ConfigOverrides, environment};

/// Loads the configuration from flags, environment variables and the worker list's file. Warns of values that cannot
/// be used.
pub(crate) fn load(arguments: &PoolArguments) -> Result<Config, ConfigError> {
    load_with(&overrides(arguments))
}

fn load_with(overrides: &ConfigOverrides) -> Result<Config, ConfigError> {
    let config = Config::load(overrides, environment)?;
    config.warn_of_replaced_values();
    Ok(config)
}

/// Like [`load`], for a service that workers can join: the worker list is optional.
pub(crate) fn load_joined(arguments: &PoolArguments) -> Result<Config, ConfigError> {
    let mut overrides = overrides(arguments);
    overrides.joined_workers();
    load_with(&overrides)
}

fn overrides(arguments: &PoolArguments) -> ConfigOverrides {
    let mut overrides = ConfigOverrides::default();
    overrides.name_flags();
    overrides.default_spill_folder(&arguments.default_spill_folder);
    if let Some(path) = &arguments.workers {
        overrides.workers_file(path);
    }
    if let Some(shards) = arguments.shard_batch_size {
        overrides.shard_batch_size(shards);
    }
    if let Some(placement) = arguments.placement {
        overrides.placement(placement);
    }
    if let Some(path) = &arguments.tls {
        overrides.tls(path);
    }
    if arguments.trusted_only {
        overrides.trusted_only(true);
    }
    overrides
}

pub(crate) async fn show(arguments: ConfigArguments) -> Result<()> {
    let config = load(&arguments.pool)?;
    let workers: Vec<String> = config.list.0.iter().map(ToString::to_string).collect();
    let cut = if config.cut.is_auto() { Some(automatic_cut(&config).await) } else { None };
    if arguments.json {
        let settings = config.effective.iter().map(|effective| {
            json!({
                "name": effective.setting.name,
                "value": effective.value,
                "unit": effective.setting.unit,
                "source": effective.source.to_string(),
                "variable": effective.setting.variable,
            })
        });
        let settings: Vec<_> = settings.collect();
        return print(&json!({ "workers": workers, "settings": settings, "automatic_cut": cut }).to_string());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["setting", "value", "unit", "from"]);
    for effective in &config.effective {
        let setting = &effective.setting;
        table.add_row([&setting.name, &effective.value, setting.unit, &effective.source.to_string()]);
    }
    print(&table.to_string())?;
    print(&format!("workers: {}", workers.join(", ")))?;
    match cut {
        Some(cut) => print(&format!("cut: {cut}")),
        None => Ok(()),
    }
}

/// Describes the automatic cut of a core proof that starts now. It depends on the memory of the workers that respond.
async fn automatic_cut(config: &Config) -> String {
    /// Instructions of an average program. Only very large programs get another cut.
    const INSTRUCTIONS: u64 = 30_000;
    let probes =
        config.list.0.iter().map(|worker| probe(worker, &config.orchestrator.build, config.orchestrator.tls.as_ref()));
    let found = futures::future::join_all(probes).await;
    let busy = found.iter().filter(|found| matches!(found, Err(ProbeError::Busy(_)))).count();
    let silent = found.iter().filter(|found| found.is_err()).count() - busy;
    let bounds = |probed: Probed| ShardWorker {
        name: probed.name,
        largest_cut: probed.largest_cut,
        ..ShardWorker::with_memory(probed.memory)
    };
    let workers: Vec<_> = found.into_iter().flatten().map(bounds).collect();
    let mut text = match preview_cut(ProofMode::Core, INSTRUCTIONS, &workers) {
        Some((cut, reason)) if !workers.is_empty() => {
            format!("a core proof gets shards of {cut} trace cells (setting ELEMENT_THRESHOLD): {reason}")
        }
        _ => "chosen when a proof starts".to_owned(),
    };
    for (count, why) in [(busy, "in use by another orchestrator"), (silent, "unreachable")] {
        if count > 0 {
            let all = counted(config.list.0.len(), "worker");
            text.push_str(&format!("; not considered, because {why}: {count} of {all}"));
        }
    }
    text
}
