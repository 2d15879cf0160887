//! Tests of settings: precedence of sources and validation. They are not unit tests, because those would compile SP1's
//! prover a second time.

use sp1_distributed::distributed::config::{Config, ConfigOverrides};
use std::fs;

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
    check(LIST, &[("ELEMENT_THRESHOLD", "33554432")], |_| {}, "element_threshold", Ok(("33554432", "environment")));
}

#[test]
fn errors_name_the_invalid_setting_and_its_source() {
    let batch = "shard_batch_size";
    for rubbish in ["0", "", "x", "129", "-1", "1.5"] {
        check(LIST, &[("SHARD_BATCH_SIZE", rubbish)], |_| {}, batch, Err("environment variable SHARD_BATCH_SIZE"));
    }
    check(LIST, &[("SP1_DISTRIBUTED_PLACEMENT", "tight")], |_| {}, batch, Err("spread, pack"));
    check(LIST, &[("ELEMENT_THRESHOLD", "1")], |_| {}, batch, Err("29360128 to"));
    check(r#"{"workers": ["a:1"], "timeout_s": 0}"#, &[], |_| {}, batch, Err("none, or 1 to"));
    for part in ["unknown setting \"shards\" in ", "list.json\nhint: use one of workers, url, shard_batch_size"] {
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
    let service = |overrides: &ConfigOverrides| Config::load(overrides, variable).unwrap().service;
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
