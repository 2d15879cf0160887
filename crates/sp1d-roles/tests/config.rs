//! Tests of settings: precedence of sources and validation. They are not unit tests, because those would compile SP1's
//! prover a second time.

use sp1_core_executor::SP1CoreOpts;
use sp1d_engine::{CutOptions, SHARD_CELL_BYTES};
use sp1d_machine::Memory;
use sp1d_orchestrator::{WorkerList, default_spill_folder};
use sp1d_roles::{
    check_local_memory,
    config::{Config, ConfigOverrides},
};
use std::{fs, path::Path};

/// Loads a configuration from a worker list file with this content, these environment variables and the changes of
/// `change`. Expects the value and source of the setting `name`, or an error that contains the given text.
fn check(
    file: &str,
    variables: &[(&str, &str)],
    change: impl FnOnce(&mut ConfigOverrides),
    name: &str,
    expected: Result<(&str, &str), &str>,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.json");
    fs::write(&path, file).unwrap();
    let mut overrides = ConfigOverrides::default();
    overrides.workers_file(&path);
    change(&mut overrides);
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let loaded = Config::load(&overrides, variable);
    match expected {
        Ok((value, source)) => {
            let loaded = loaded.unwrap();
            let found = loaded.effective.iter().find(|effective| effective.setting.name == name).unwrap();
            assert_eq!(found.value, value);
            assert!(found.source.to_string().contains(source), "{}", found.source);
        }
        Err(part) => {
            let text = loaded.err().unwrap().to_string();
            assert!(text.contains(part), "{text}");
            assert!(text.lines().skip(1).all(|line| line.starts_with("hint: ")), "{text}");
        }
    }
}

const LIST: &str = r#"["127.0.0.1:1"]"#;
const OBJECT: &str = r#"{"workers": ["127.0.0.1:1"], "shard_batch_size": 3, "placement": "pack"}"#;

#[test]
fn program_overrides_environment_and_environment_overrides_file() {
    let batch = "shard_batch_size";
    check(LIST, &[], |_| {}, batch, Ok(("2", "default")));
    check(OBJECT, &[], |_| {}, batch, Ok(("3", "list.json")));
    check(OBJECT, &[("SHARD_BATCH_SIZE", "4")], |_| {}, batch, Ok(("4", "environment")));
    check(OBJECT, &[("SHARD_BATCH_SIZE", "4")], |overrides| overrides.shard_batch_size(5), batch, Ok(("5", "builder")));
    check(OBJECT, &[], |_| {}, "placement", Ok(("pack", "list.json")));
    let (private, trusted) = (r#"{"workers": ["127.0.0.1:1"], "trusted_only": true}"#, "trusted_only");
    check(private, &[], |_| {}, trusted, Ok(("true", "list.json")));
    let variable = "SP1_DISTRIBUTED_TRUSTED_ONLY";
    check(private, &[(variable, "false")], |_| {}, trusted, Ok(("false", "environment")));
    check(private, &[(variable, "false")], |overrides| overrides.trusted_only(true), trusted, Ok(("true", "builder")));
    check(LIST, &[(variable, "yes")], |_| {}, trusted, Err("unknown choice"));
    check(LIST, &[("ELEMENT_THRESHOLD", "33554432")], |_| {}, "element_threshold", Ok(("33554432", "environment")));
}

#[test]
fn credentials_in_the_url_of_a_service_are_used_but_not_shown() {
    let mut overrides = ConfigOverrides::default();
    overrides.allow_service();
    overrides.ca_file(Path::new("ca.pem"));
    let load = |url: &'static str| {
        let variable = move |name: &str| (name == "SP1_DISTRIBUTED_URL").then(|| url.to_owned());
        Config::load(&overrides, variable)
    };
    let config = load("https://me:secret@somewhere/sp1d/").unwrap();
    let shown = config.effective.iter().find(|effective| effective.setting.name == "url").unwrap();
    assert_eq!(shown.value, "https://***@somewhere/sp1d/");
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
    let service = config.service.unwrap();
    assert_eq!(service.url, "https://me:secret@somewhere/sp1d".parse().unwrap());
    assert_eq!((service.ca_file, service.token_file), (Some("ca.pem".into()), None));
    let error = load("ftp://me:secret@somewhere").err().unwrap().to_string();
    assert!(error.contains("somewhere") && !error.contains("secret"), "{error}");
}

#[test]
fn errors_name_the_invalid_setting_and_its_source() {
    let batch = "shard_batch_size";
    for rubbish in ["0", "", "x", "1001", "-1", "1.5"] {
        let variable = "SP1_DISTRIBUTED_MISSED_HEARTBEATS";
        check(LIST, &[(variable, rubbish)], |_| {}, batch, Err(&format!("environment variable {variable}")));
    }
    check(LIST, &[("SP1_DISTRIBUTED_PLACEMENT", "tight")], |_| {}, batch, Err("spread, pack"));
    check(LIST, &[("ELEMENT_THRESHOLD", "1")], |_| {}, batch, Err("29360128 to"));
    // Only values of the environment are replaced: no other program reads the file and the builder.
    check(r#"{"workers": ["a:1"], "shard_batch_size": 0}"#, &[], |_| {}, batch, Err("1 to 128"));
    check(r#"{"workers": ["a:1"], "memory_limit": "16Gi"}"#, &[], |_| {}, batch, Err("not a whole number"));
    check(LIST, &[], |overrides| overrides.shard_batch_size(0), batch, Err("flag or builder"));
    let by_flag = |overrides: &mut ConfigOverrides| {
        overrides.name_flags();
        overrides.shard_batch_size(0);
    };
    check(LIST, &[], by_flag, batch, Err("(from flag --shard-batch-size)"));
    check(r#"{"workers": ["a:1"], "timeout_s": 0}"#, &[], |_| {}, batch, Err("none, or 1 to"));
    for part in [
        "unknown setting \"shards\" in ",
        "list.json\nhint: use one of workers, url, ca_file, token_file, shard_batch_size",
    ] {
        check(r#"{"workers": ["a:1"], "shards": 1}"#, &[], |_| {}, batch, Err(part));
    }
    check("[]", &[], |_| {}, batch, Err("names no worker"));
    check(
        LIST,
        &[],
        |overrides| overrides.workers(vec!["nowhere".into()]),
        batch,
        Err("worker 1 of the program's list"),
    );
}

/// Loads a configuration of the worker `local` with these environment variables.
fn with_variables(variables: &[(&str, &str)]) -> Result<Config, String> {
    let mut overrides = ConfigOverrides::default();
    overrides.local_worker();
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Config::load(&overrides, variable).map_err(|error| error.to_string())
}

/// Checks which value is used if an environment file for SP1 sets `variable` to `given`. A replaced value has exactly
/// one warning. An error must contain the expected text and a hint.
#[track_caller]
fn check_of_sp1(variable: &str, given: &str, expected: Result<&str, &str>) {
    match (with_variables(&[(variable, given)]), expected) {
        (Ok(config), Ok(used)) => {
            let found = config.effective.iter().find(|effective| effective.setting.variable == variable).unwrap();
            assert_eq!(found.value, used, "{variable}={given}");
            let warnings: Vec<_> = config
                .replaced
                .iter()
                .map(|replaced| (replaced.variable, replaced.given.as_str(), replaced.used.as_str()))
                .collect();
            assert_eq!(warnings, if used == given { vec![] } else { vec![(found.setting.variable, given, used)] });
        }
        (Err(text), Err(part)) => assert!(text.contains(part) && text.contains("\nhint: "), "{text}"),
        (found, _) => panic!("{variable}={given}: {found:?}"),
    }
}

#[test]
fn values_that_sp1_accepts_ignores_or_rounds_fail_no_program() {
    for rubbish in ["0", "", "x", "129", "-1", "1.5"] {
        check_of_sp1("SHARD_BATCH_SIZE", rubbish, Ok("2"));
    }
    check_of_sp1("SHARD_BATCH_SIZE", "1", Ok("1"));
    for rubbish in ["16Gi", "", "-1", "99999999999999999999"] {
        check_of_sp1("MEMORY_LIMIT", rubbish, Ok("25769803776"));
    }
    // Columns: variable, value, value that is used.
    for (variable, given, used) in [
        ("MEMORY_LIMIT", "17179869184", "17179869184"),
        ("MEMORY_LIMIT", "0", "16777216"),
        ("MEMORY_LIMIT", "18446744073709551615", "1099511627776"),
        ("SHARD_SIZE", "4194304", "4194304"),
        ("SHARD_SIZE", "0", "16384"),
        ("SHARD_SIZE", "33554432", "16777216"),
        ("ELEMENT_THRESHOLD", "auto", "auto"),
        ("ELEMENT_THRESHOLD", "many", "auto"),
        ("ELEMENT_THRESHOLD", "67108864", "67108864"),
        ("ELEMENT_THRESHOLD", "16777216", "29360128"),
        ("ELEMENT_THRESHOLD", "805306368", "402653184"),
        ("HEIGHT_THRESHOLD", "", "auto"),
        ("HEIGHT_THRESHOLD", "1048576", "1048576"),
        ("HEIGHT_THRESHOLD", "1024", "65536"),
        ("HEIGHT_THRESHOLD", "8388608", "4194304"),
        ("TRACE_CHUNK_SLOTS", "2", "2"),
        ("TRACE_CHUNK_SLOTS", "0", "2"),
        ("TRACE_CHUNK_SLOTS", "100", "64"),
        ("MINIMAL_TRACE_CHUNK_THRESHOLD", "1", "16384"),
        ("MINIMAL_TRACE_CHUNK_THRESHOLD", "1000000000", "134217728"),
    ] {
        check_of_sp1(variable, given, Ok(used));
    }
}

#[test]
fn values_with_which_sp1_panics_are_refused_with_a_hint() {
    for (variable, given) in [("ELEMENT_THRESHOLD", "0"), ("ELEMENT_THRESHOLD", "1000"), ("HEIGHT_THRESHOLD", "1023")] {
        check_of_sp1(
            variable,
            given,
            Err(&format!("hint: SP1 panics with this value; change {variable}, or unset it")),
        );
    }
}

#[test]
fn a_published_tuning_for_machines_of_24_gb_is_used_unchanged() {
    let tuning = [
        ("SHARD_SIZE", "4194304"),
        ("ELEMENT_THRESHOLD", "67108864"),
        ("HEIGHT_THRESHOLD", "1048576"),
        ("TRACE_CHUNK_SLOTS", "2"),
    ];
    let config = with_variables(&tuning).unwrap();
    assert!(config.replaced.is_empty(), "{:?}", config.replaced);
    for (variable, value) in tuning {
        let found = config.effective.iter().find(|effective| effective.setting.variable == variable).unwrap();
        assert_eq!(found.value, value);
    }
    assert!(!config.cut.is_auto());
    assert_eq!(CutOptions::decode(&config.cut.encode()), Ok(config.cut));
}

#[test]
fn options_of_a_program_are_rounded_like_the_environment() {
    let load = |options: SP1CoreOpts| {
        let mut overrides = ConfigOverrides::default();
        overrides.local_worker();
        overrides.cut(options).map_err(|error| error.to_string())?;
        // The program's options take precedence, so values of the environment are not warned about.
        Ok::<_, String>(Config::load(&overrides, |name| (name == "MEMORY_LIMIT").then(|| "16Gi".to_owned())).unwrap())
    };
    let config = load(SP1CoreOpts { trace_chunk_slots: 1, ..SP1CoreOpts::default() }).unwrap();
    let replaced: Vec<_> =
        config.replaced.iter().map(|value| (value.variable, value.given.as_str(), value.used.as_str())).collect();
    assert_eq!(replaced, [("TRACE_CHUNK_SLOTS", "1", "2")]);
    let mut options = SP1CoreOpts::default();
    options.sharding_threshold.height_threshold = 0;
    let text = load(options).err().unwrap();
    assert!(text.contains("HEIGHT_THRESHOLD=0 is out of range") && text.contains("\nhint: "), "{text}");
}

/// Checks whether a machine of `total_bytes` is large enough for the local workers of `list`.
#[track_caller]
fn check_memory(list: &[&str], total_bytes: u64, expected: Result<(), &str>) {
    let list = WorkerList(list.iter().map(|entry| entry.parse().unwrap()).collect());
    let checked = check_local_memory(&list, Some(Memory { available_bytes: 0, total_bytes }));
    match (checked.map_err(|error| error.to_string()), expected) {
        (Err(text), Err(part)) => assert!(text.contains(part) && text.contains("\nhint: "), "{text}"),
        (found, expected) => assert_eq!(found.is_ok(), expected.is_ok(), "{found:?}"),
    }
}

#[test]
fn a_machine_that_cannot_load_its_only_prover_is_reported() {
    check_memory(&["local"], 1_000_000_000, Err("2.0 GB needed"));
    // Memory that is only in use can become free.
    check_memory(&["local"], 24_000_000_000, Ok(()));
    check_memory(&["local", "10.0.0.7:8081"], 1_000_000_000, Ok(()));
    check_memory(&["10.0.0.7:8081"], 1_000_000_000, Ok(()));
    check_memory(&[], 1_000_000_000, Ok(()));
}

#[test]
fn a_named_spill_folder_overrides_the_default_of_the_program() {
    let spill_folder = |overrides: &ConfigOverrides, variable: Option<&str>| {
        let environment = |name: &str| variable.filter(|_| name == "SP1_DISTRIBUTED_SPILL_FOLDER").map(str::to_owned);
        Config::load(overrides, environment).unwrap().orchestrator.store.spill_folder
    };
    let mut overrides = ConfigOverrides::default();
    overrides.local_worker();
    assert_eq!(spill_folder(&overrides, None), Some(default_spill_folder()));
    overrides.default_spill_folder(Path::new("/default"));
    assert_eq!(spill_folder(&overrides, None).as_deref(), Some(Path::new("/default")));
    assert_eq!(spill_folder(&overrides, Some("auto")).as_deref(), Some(Path::new("/default")));
    assert_eq!(spill_folder(&overrides, Some("/named")).as_deref(), Some(Path::new("/named")));
}

#[test]
fn the_orchestrator_gets_the_memory_of_sp1s_shards() {
    let mut overrides = ConfigOverrides::default();
    overrides.local_worker();
    let orchestrator = Config::load(&overrides, |_| None).unwrap().orchestrator;
    assert_eq!(orchestrator.shard_cell_bytes, Some(SHARD_CELL_BYTES));
}

#[test]
fn a_local_worker_makes_the_worker_list_optional() {
    let mut overrides = ConfigOverrides::default();
    overrides.local_worker();
    let list = Config::load(&overrides, |_| None).unwrap().list;
    assert_eq!(list.0.iter().map(ToString::to_string).collect::<Vec<_>>(), ["local"]);
    let named = |_: &str| Some("/no/such/list.json".to_owned());
    assert!(Config::load(&overrides, named).is_err(), "a worker list that is named explicitly must exist");
    overrides.workers(vec!["127.0.0.1:1".into(), "127.0.0.1:1".into()]);
    assert_eq!(Config::load(&overrides, |_| None).unwrap().list.0.len(), 2);
}

#[test]
fn a_service_replaces_workers_only_if_allowed_and_no_workers_are_named() {
    let variable = |name: &str| (name == "SP1_DISTRIBUTED_URL").then(|| "http://somewhere:8090".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let mut overrides = ConfigOverrides::default();
    // `sp1d` never uses a service: it has its own workers, even if the environment names a service.
    overrides.workers_file(&folder.path().join("none.json"));
    assert!(Config::load(&overrides, variable).is_err());
    let mut overrides = ConfigOverrides::default();
    overrides.allow_service();
    let service = |overrides: &ConfigOverrides| {
        Config::load(overrides, variable).unwrap().service.map(|service| service.url.shown().to_owned())
    };
    assert_eq!(service(&overrides).as_deref(), Some("http://somewhere:8090"));
    // Workers that the program names take precedence over a service from the environment.
    let mut with_workers = overrides.clone();
    with_workers.workers(vec!["127.0.0.1:1".to_owned()]);
    assert_eq!(service(&with_workers), None);
    let mut local = overrides.clone();
    local.local_worker();
    assert_eq!(service(&local), None);
    with_workers.url("http://elsewhere:1");
    let error = Config::load(&with_workers, variable).err().unwrap().to_string();
    assert!(error.contains("the program also sets workers"), "{error}");
    overrides.url("http://elsewhere:1");
    assert_eq!(service(&overrides).as_deref(), Some("http://elsewhere:1"));
    check(
        LIST,
        &[("SP1_DISTRIBUTED_URL", "somewhere")],
        ConfigOverrides::allow_service,
        "url",
        Err("none, or http://HOST:PORT"),
    );
}
