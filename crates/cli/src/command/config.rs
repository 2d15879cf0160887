//! `sp1d config`: the settings, and where each comes from.

use super::program::print;
use crate::args::{ConfigArguments, OutputForm, PoolArguments};
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sp1_distributed::distributed::config::{Config, ConfigError, Overrides, environment};

/// The configuration that flags, environment and file make together.
pub(crate) fn load(arguments: &PoolArguments) -> Result<Config, ConfigError> {
    Config::load(&overrides(arguments), environment)
}

/// The same where workers come by themselves, and a list is not needed.
pub(crate) fn load_joined(arguments: &PoolArguments) -> Result<Config, ConfigError> {
    let mut overrides = overrides(arguments);
    overrides.joined_workers();
    Config::load(&overrides, environment)
}

fn overrides(arguments: &PoolArguments) -> Overrides {
    let mut overrides = Overrides::default();
    if let Some(path) = &arguments.workers {
        overrides.workers_file(path);
    }
    if let Some(shards) = arguments.shard_batch_size {
        overrides.shard_batch_size(shards);
    }
    if let Some(placement) = arguments.placement {
        overrides.placement(placement);
    }
    overrides
}

pub(crate) fn show(arguments: &ConfigArguments) -> Result<()> {
    let config = load(&arguments.pool)?;
    let workers: Vec<String> = config.list.0.iter().map(ToString::to_string).collect();
    if arguments.output == OutputForm::Json {
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
        return print(&json!({ "workers": workers, "settings": settings }).to_string());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["setting", "value", "unit", "from"]);
    for effective in &config.effective {
        let setting = &effective.setting;
        table.add_row([&setting.name, &effective.value, setting.unit, &effective.source.to_string()]);
    }
    print(&table.to_string())?;
    print(&format!("workers: {}", workers.join(", ")))
}
