//! `sp1d reference`: pages of the documentation that are made from the code.

use super::program::print;
use crate::args::{Arguments, ReferencePage};
use anyhow::Result;
use clap::CommandFactory;
use serde_json::{Map, Value};
use sp1_distributed::distributed::config::{Range, settings};
use std::fmt::Write;

pub(crate) fn run(page: ReferencePage) -> Result<()> {
    let page = match page {
        ReferencePage::Settings => settings_page()?,
        ReferencePage::Api => api_page()?,
    };
    print(page.trim_end())
}

/// The page `docs/reference/settings.md`.
fn settings_page() -> Result<String> {
    let mut page = String::from(
        "# Settings\n\n\
         <!-- Printed by `sp1d reference settings`; `./x fix` writes it anew. -->\n\n\
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
    Ok(page)
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

/// The page `docs/reference/api.md`.
fn api_page() -> Result<String> {
    let document: Value = serde_json::from_str(&service::openapi())?;
    let mut page = String::from(
        "# Interface of the service\n\n\
         <!-- Printed by `sp1d reference api`; `./x fix` writes it anew. -->\n\n\
         What `sp1d serve` answers over HTTP. `/openapi.json` says the same for programs, as OpenAPI 3.1. An answer that is no success is a `Problem`, whose \
         `code` never changes and whose `detail` is for people.\n",
    );
    for tag in list(&document["tags"]) {
        let name = text(&tag["name"]);
        write!(page, "\n## {}\n\n{}\n", capitalised(name), text(&tag["description"]))?;
        for (path, methods) in entries(&document["paths"]) {
            for (method, operation) in entries(methods) {
                if list(&operation["tags"]).iter().any(|of| of == name) {
                    describe_operation(&mut page, path, method, operation)?;
                }
            }
        }
    }
    page.push_str("\n## Types\n");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        describe_type(&mut page, name, schema)?;
    }
    Ok(page)
}

fn describe_operation(page: &mut String, path: &str, method: &str, operation: &Value) -> Result<()> {
    let (summary, description) = (text(&operation["summary"]), text(&operation["description"]));
    write!(page, "\n### `{} {path}`\n\n{summary}", method.to_uppercase())?;
    page.push_str(if description.is_empty() { "\n" } else { "\n\n" });
    if !description.is_empty() {
        writeln!(page, "{description}")?;
    }
    let parameters = list(&operation["parameters"]);
    if !parameters.is_empty() {
        page.push_str("\n| parameter | in | type | meaning |\n|---|---|---|---|\n");
        for parameter in parameters {
            let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
            let kind = kind(&parameter["schema"]);
            writeln!(page, "| `{name}` | {place} | {kind} | {} |", line(text(&parameter["description"])))?;
        }
    }
    let bodies: Vec<String> = entries(&operation["requestBody"]["content"])
        .map(|(media, content)| format!("`{media}` ({})", content_kind(media, content)))
        .collect();
    if !bodies.is_empty() {
        writeln!(page, "\nBody: {}.", bodies.join(", or "))?;
    }
    page.push_str("\n| status | answer | when |\n|---|---|---|\n");
    for (status, answer) in entries(&operation["responses"]) {
        let contents: Vec<String> =
            entries(&answer["content"]).map(|(media, content)| content_kind(media, content)).collect();
        writeln!(page, "| {status} | {} | {} |", contents.join(", "), line(text(&answer["description"])))?;
    }
    Ok(())
}

fn describe_type(page: &mut String, name: &str, schema: &Value) -> Result<()> {
    write!(page, "\n### {name}\n\n{}\n", text(&schema["description"]))?;
    let words: Vec<String> = list(&schema["enum"]).iter().map(|word| format!("`{}`", text(word))).collect();
    if !words.is_empty() {
        writeln!(page, "\nOne of {}.", words.join(", "))?;
    }
    for (choices, word) in [("oneOf", "One of these:"), ("allOf", "All of these together:")] {
        let choices = list(&schema[choices]);
        if !choices.is_empty() {
            writeln!(page, "\n{word}\n")?;
        }
        for choice in choices {
            let fields: Vec<String> =
                entries(&choice["properties"]).map(|(field, of)| field_words(field, of)).collect();
            let form = if fields.is_empty() { kind(choice) } else { fields.join(", ") };
            writeln!(page, "- {form}{}", colon(text(&choice["description"])))?;
        }
    }
    let mut properties = entries(&schema["properties"]).peekable();
    if properties.peek().is_some() {
        page.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    }
    let required = list(&schema["required"]);
    for (field, of) in properties {
        let optional = if required.iter().any(|name| name == field) { "" } else { ", optional" };
        writeln!(page, "| `{field}` | {}{optional} | {} |", kind(of), line(text(&of["description"])))?;
    }
    Ok(())
}

/// What is handed in or answered as `media`.
fn content_kind(media: &str, content: &Value) -> String {
    if media == "application/octet-stream" { "bytes".to_owned() } else { kind(&content["schema"]) }
}

fn field_words(field: &str, of: &Value) -> String {
    match list(&of["enum"]).first() {
        Some(word) => format!("`{field}` = `{}`", text(word)),
        None => format!("`{field}` ({})", kind(of)),
    }
}

/// What a schema asks for, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or(name);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for choices in ["oneOf", "anyOf", "allOf"] {
        let choices: Vec<String> =
            list(&schema[choices]).iter().filter(|choice| choice["type"] != "null").map(kind).collect();
        if !choices.is_empty() {
            return choices.join(" or ");
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).filter(|name| *name != "null").collect(),
        one => vec![text(one)],
    };
    let name = types.join(" or ");
    match (name.as_str(), text(&schema["format"])) {
        ("array", _) => format!("array of {}", kind(&schema["items"])),
        ("string", "date-time") => "time (RFC 3339)".to_owned(),
        ("string", "binary") => "bytes".to_owned(),
        ("", _) => "anything".to_owned(),
        (name, _) => name.to_owned(),
    }
}

fn colon(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {}", line(words)) }
}

/// In one line of a table.
fn line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}
