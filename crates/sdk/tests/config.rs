//! Where settings come from and what they may be. Not beside the code: unit tests would compile SP1's prover once more.

use sp1_distributed::distributed::config::{Config, Overrides};
use std::fs;

/// Loads with a file of this content and these variables, and looks up `name`.
fn check(
    file: &str,
    variables: &[(&str, &str)],
    change: impl FnOnce(&mut Overrides),
    name: &str,
    expected: Result<(&str, &str), &str>,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.json");
    fs::write(&path, file).unwrap();
    let mut overrides = Overrides::default();
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
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}

const LIST: &str = r#"["127.0.0.1:1"]"#;
const OBJECT: &str = r#"{"workers": ["127.0.0.1:1"], "shard_batch_size": 3, "placement": "pack"}"#;

#[test]
fn the_program_counts_more_than_the_environment_and_that_more_than_the_file() {
    let batch = "shard_batch_size";
    check(LIST, &[], |_| {}, batch, Ok(("2", "default")));
    check(OBJECT, &[], |_| {}, batch, Ok(("3", "list.json")));
    check(OBJECT, &[("SHARD_BATCH_SIZE", "4")], |_| {}, batch, Ok(("4", "environment")));
    check(OBJECT, &[("SHARD_BATCH_SIZE", "4")], |said| said.shard_batch_size(5), batch, Ok(("5", "program")));
    check(OBJECT, &[], |_| {}, "placement", Ok(("pack", "list.json")));
    check(LIST, &[("ELEMENT_THRESHOLD", "33554432")], |_| {}, "element_threshold", Ok(("33554432", "environment")));
}

#[test]
fn what_is_out_of_range_is_named_with_where_it_was_said() {
    let batch = "shard_batch_size";
    for rubbish in ["0", "", "x", "129", "-1", "1.5"] {
        check(LIST, &[("SHARD_BATCH_SIZE", rubbish)], |_| {}, batch, Err("environment, SHARD_BATCH_SIZE"));
    }
    check(LIST, &[("SP1_DISTRIBUTED_PLACEMENT", "tight")], |_| {}, batch, Err("spread, pack"));
    check(LIST, &[("ELEMENT_THRESHOLD", "1")], |_| {}, batch, Err("29360128 to"));
    check(r#"{"workers": ["a:1"], "timeout_s": 0}"#, &[], |_| {}, batch, Err("none, or 1 to"));
    check(
        r#"{"workers": ["a:1"], "shards": 1}"#,
        &[],
        |_| {},
        batch,
        Err("no setting \"shards\"; there are workers, url, shard_batch_size"),
    );
    check("[]", &[], |_| {}, batch, Err("names no worker"));
    check(LIST, &[], |said| said.workers(vec!["nowhere".into()]), batch, Err("worker 1 of the program's list"));
}

#[test]
fn a_program_that_is_its_own_worker_needs_no_list() {
    let mut overrides = Overrides::default();
    overrides.local_worker();
    let list = Config::load(&overrides, |_| None).unwrap().list;
    assert_eq!(list.0.iter().map(ToString::to_string).collect::<Vec<_>>(), ["local"]);
    let named = |_: &str| Some("/no/such/list.json".to_owned());
    assert!(Config::load(&overrides, named).is_err(), "a list that somebody named must be there");
    overrides.workers(vec!["127.0.0.1:1".into(), "127.0.0.1:1".into()]);
    assert_eq!(Config::load(&overrides, |_| None).unwrap().list.0.len(), 2);
}

#[test]
fn a_service_stands_for_the_workers_where_a_program_may_ask_one() {
    let variable = |name: &str| (name == "SP1_DISTRIBUTED_URL").then(|| "http://somewhere:8090".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let mut overrides = Overrides::default();
    // sp1d has workers of its own, whatever the environment says.
    overrides.workers_file(&folder.path().join("none.json"));
    assert!(Config::load(&overrides, variable).is_err());
    let mut overrides = Overrides::default();
    overrides.allow_service();
    let service = |overrides: &Overrides| Config::load(overrides, variable).unwrap().service;
    assert_eq!(service(&overrides).as_deref(), Some("http://somewhere:8090"));
    // Workers that the program names count more than the environment's service.
    let mut with_workers = overrides.clone();
    with_workers.workers(vec!["127.0.0.1:1".to_owned()]);
    assert_eq!(service(&with_workers), None);
    let mut local = overrides.clone();
    local.local_worker();
    assert_eq!(service(&local), None);
    with_workers.url("http://elsewhere:1");
    let error = Config::load(&with_workers, variable).err().unwrap().to_string();
    assert!(error.contains("one or the other"), "{error}");
    overrides.url("http://elsewhere:1");
    assert_eq!(service(&overrides).as_deref(), Some("http://elsewhere:1"));
    check(
        LIST,
        &[("SP1_DISTRIBUTED_URL", "somewhere")],
        Overrides::allow_service,
        "url",
        Err("none, or http://HOST:PORT"),
    );
}
