//! `sp1d config`: the settings, and where each comes from.

use super::program::print;
use crate::args::{Arguments, ConfigArguments, OutputForm, PoolArguments};
use anyhow::Result;
use clap::CommandFactory;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::json;
use sp1_distributed::distributed::config::{Config, ConfigError, Overrides, Range, environment, settings};
use std::fmt::Write;

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

/// The page `docs/reference/settings.md`.
pub(crate) fn print_reference() -> Result<()> {
    let mut page = String::from(
        "# Settings\n\n\
         <!-- Printed by `sp1d reference`; `./x fix` writes it anew. -->\n\n\
         What a program sets with its builder, or a flag of `sp1d`, counts more than an environment variable, that more than the list's file, that more \
         than the default. `sp1d config` shows what counts and where it came from. All of them are set on the orchestrator; a worker takes what it is \
         told with each task.\n\n\
         In the file they stand beside the workers: `{\"workers\": [\"10.0.0.7:8081\"], \"shard_batch_size\": 4}`.\n\n\
         | name | environment variable | default | range | unit | meaning |\n\
         |---|---|---|---|---|---|\n",
    );
    for setting in settings() {
        let (variable, default, meaning) = (setting.variable, setting.default, setting.meaning);
        let name = match setting.range {
            // Its place in the file is taken by the workers themselves.
            Range::Path => String::new(),
            _ => format!("`{}`", setting.name),
        };
        let (range, unit) = (setting.range.to_string(), setting.unit);
        writeln!(page, "| {name} | `{variable}` | `{default}` | {range} | {unit} | {meaning} |")?;
    }
    page.push_str("\n## Flags of `sp1d worker`\n\nA worker's own settings; a program that embeds one has them on `WorkerBuilder`.\n\n| flag | meaning |\n|---|---|\n");
    for argument in Arguments::command().find_subcommand("worker").expect("it is one").get_arguments() {
        let Some(flag) = argument.get_long().filter(|_| !argument.is_hide_set()) else { continue };
        let value = argument.get_value_names().map(|names| format!(" {}", names.join(" "))).unwrap_or_default();
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "| `--{flag}{value}` | {} |", help.replace('|', "\\|"))?;
    }
    page.push_str(OTHERS);
    print(page.trim_end())
}

/// What is read elsewhere.
const OTHERS: &str = "
## Other environment variables

| variable | read by | meaning |
|---|---|---|
| `SP1_PROVER` | programs | which prover `ProverClient::from_env` gives: `distributed`, or one of sp1-sdk's (`cpu`, `mock`, `light`, `cuda`, `network`, `hosted`) |
| `SP1D_LOG` | `sp1d` | what is logged, as a filter like `info` or `sp1_distributed_worker=debug` |
| `SP1D_LOG_FORMAT` | `sp1d` | `text` or `json` |
| `NO_COLOR` | `sp1d` | no colours |
| `TMPDIR` | orchestrators | folder for the executor's helper: one that nobody else can write to, and not mounted noexec |
| `SP1_GROTH16_CIRCUIT_PATH`, `SP1_PLONK_CIRCUIT_PATH` | workers | folders above those of the circuit files, by default `~/.sp1/circuits/groth16` and `~/.sp1/circuits/plonk` |
| `RAYON_NUM_THREADS` | programs | proving threads of a process that makes no pool of its own; `sp1d worker` has `--threads` |
";
