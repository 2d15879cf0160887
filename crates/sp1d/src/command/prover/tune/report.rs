//! The result of a search, for people and for programs.

use super::{
    measure::worker_flags,
    search::{TuneFigures, TuneMeasurement, TuneSearch, TuneSetting},
};
use crate::terminal::print;
use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

pub(super) fn words(TuneSetting { provers, threads, parallel_shards, cut }: TuneSetting) -> String {
    let plural = |count: u16, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let each = if provers == 1 { "" } else { " each" };
    let cut = cut.map_or_else(String::new, |cut| format!(", ELEMENT_THRESHOLD={cut}"));
    let provers = match threads {
        Some(threads) => format!("{}, {}{each}", plural(provers, "prover"), plural(threads, "thread")),
        None => plural(provers, "GPU"),
    };
    format!("{provers}, {} at a time{each}{cut}", plural(parallel_shards, "shard"))
}

/// Returns what a user must set to use `setting`: flags of the worker, and an environment variable of the program that
/// requests proofs. An automatic value needs neither.
fn to_copy(setting: TuneSetting, automatic: Option<TuneSetting>, gpus: &[u32]) -> (Vec<String>, Option<String>) {
    let is_automatic = Some(TuneSetting { cut: None, ..setting }) == automatic;
    let flags = if is_automatic { Vec::new() } else { worker_flags(setting, gpus) };
    (flags, setting.cut.map(|cut| format!("ELEMENT_THRESHOLD={cut}")))
}

/// Returns the result of the search as JSON. `gpus` are the numbers of the GPUs that were measured.
pub(super) fn report(search: &TuneSearch, gpus: &[u32]) -> Value {
    let of = |TuneMeasurement { setting, outcome }: &TuneMeasurement| {
        let (figures, failure) = match outcome {
            Ok(figures) => (Some(figures), None),
            Err(reason) => (None, Some(reason)),
        };
        let rate = figures.map(TuneFigures::cycles_per_second);
        json!({ "setting": setting, "figures": figures, "cycles_per_second": rate, "failure": failure })
    };
    let fastest = search.fastest().map(|fastest| {
        let (flags, variable) = to_copy(fastest.setting, search.automatic(), gpus);
        json!({ "measured": of(fastest), "worker_flags": flags, "environment": variable })
    });
    json!({ "measured": search.measured().iter().map(of).collect::<Vec<_>>(), "fastest": fastest })
}

/// Prints the result of the search for people. `gpus` are the numbers of the GPUs that were measured.
pub(super) fn print_table(search: &TuneSearch, gpus: &[u32]) -> Result<()> {
    let Some(fastest) = search.fastest() else { return Ok(()) };
    let mut table = Table::new();
    let mut header = if gpus.is_empty() { vec!["provers", "threads each"] } else { vec!["GPUs"] };
    header.extend(["shards each", "ELEMENT_THRESHOLD", "cycles/s", "s/million cycles", "peak memory"]);
    header.extend((!gpus.is_empty()).then_some("peak of a GPU"));
    header.push("");
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for measured in search.measured() {
        let TuneSetting { provers, threads, parallel_shards, cut } = measured.setting;
        let mut row = vec![provers.to_string()];
        row.extend(threads.map(|threads| threads.to_string()));
        row.push(parallel_shards.to_string());
        match &measured.outcome {
            Ok(figures) => {
                let rate = figures.cycles_per_second();
                let auto = if cut.is_none() { " (auto)" } else { "" };
                row.push(format!("{}{auto}", figures.cut));
                row.push(format!("{rate:.0}"));
                row.push(format!("{:.1}", 1e6 / rate));
                let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
                row.push(gigabytes(figures.peak_bytes));
                if !gpus.is_empty() {
                    row.push(figures.gpu_peak_bytes.map_or_else(|| "unknown".to_owned(), gigabytes));
                }
            }
            Err(_) => row.extend([cut.map_or("auto".to_owned(), |cut| cut.to_string()), "failed".to_owned()]),
        }
        if measured.outcome.is_ok() {
            row.push(if measured == fastest { "fastest" } else { "" }.to_owned());
        }
        table.add_row(row);
    }
    print(&table.to_string())?;
    let (flags, variable) = to_copy(fastest.setting, search.automatic(), gpus);
    print(&match flags.as_slice() {
        [] => "worker: no flags needed: the automatic setting is the fastest".to_owned(),
        flags => format!("worker: sp1d worker {}", flags.join(" ")),
    })?;
    print(&match variable {
        Some(variable) => format!("proofs: {variable} in the environment of the orchestrator"),
        None => "proofs: ELEMENT_THRESHOLD=auto, the default".to_owned(),
    })
}
