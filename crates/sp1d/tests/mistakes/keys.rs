//! Identities, certificates and tokens.

use super::{check, folder, outcome, sp1d};
use std::{fs, os::unix::fs::PermissionsExt, process::Output};

#[test]
fn a_certificate_for_https_needs_its_key_and_is_not_for_workers() {
    let folder = folder();
    assert!(outcome(&mut sp1d(folder.path(), &["keys", "init", "keys"])).status.success());
    let check_serve = |join: &str, rest: &[&str], parts: &[&str]| {
        let ports = ["serve", "--state", "state", "--listen", "0.0.0.0:8090", "--join-listen", join];
        check(folder.path(), &[&ports[..], &["--join-from", "127.0.0.1"], rest].concat(), 2, parts);
    };
    let (loopback, certificate, key) = ("127.0.0.1:8091", "--https-certificate", "--https-key");
    let alone = outcome(&mut sp1d(folder.path(), &["serve", "--state", "state", certificate, "keys/orchestrator.pem"]));
    assert_eq!(alone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("--https-key"), "{alone:?}");
    check_serve(loopback, &[certificate, "keys/none.pem", key, "keys/orchestrator.pem"], &["none.pem"]);
    check_serve(loopback, &[certificate, "keys/ca.crt", key, "keys/orchestrator.pem"], &["does not belong", "ca.crt"]);
    // Workers are known by the certificate of `--tls` only.
    let usable = [certificate, "keys/orchestrator.pem", key, "keys/orchestrator.pem"];
    check_serve("0.0.0.0:8091", &usable, &["--join-listen 0.0.0.0:8091", "--tls", "--insecure"]);
}

#[test]
fn keys_are_made_checked_and_never_overwritten() {
    let folder = folder();
    let run = |arguments: &[&str]| outcome(&mut sp1d(folder.path(), arguments));
    assert!(run(&["keys", "init", "keys"]).status.success());
    assert!(run(&["keys", "issue", "w", "--group", "g"]).status.success());
    check(folder.path(), &["keys", "init", "keys"], 2, &["exists already"]);
    check(folder.path(), &["keys", "issue", "w"], 2, &["exists already", "w.pem"]);
    check(folder.path(), &["keys", "issue", "../w"], 2, &["lower-case letters"]);
    let worker = ["worker", "--listen", "0.0.0.0:8081", "--orchestrator", "any", "--tls"];
    check(folder.path(), &[&worker[..], &["keys/orchestrator.pem"]].concat(), 2, &["the role worker"]);
    check(folder.path(), &[&worker[..], &["keys/none.pem"]].concat(), 2, &["none.pem"]);
    let first = fs::read(folder.path().join("keys/w.pem")).unwrap();
    assert!(run(&["keys", "renew", "w"]).status.success());
    assert_ne!(fs::read(folder.path().join("keys/w.pem")).unwrap(), first);
    check(folder.path(), &["keys", "renew", "other"], 2, &["other.pem"]);
    let misspelled = |outcome: &Output| String::from_utf8_lossy(&outcome.stderr).contains("misspelled");
    let (known, unknown) = (run(&["keys", "revoke", "w"]), run(&["keys", "revoke", "v"]));
    assert!(known.status.success() && unknown.status.success());
    assert!(!misspelled(&known) && misspelled(&unknown));
    check(folder.path(), &[&worker[..], &["keys/w.pem"]].concat(), 2, &["is revoked"]);
}

#[test]
fn tokens_are_created_listed_and_revoked_before_the_service_has_started() {
    let folder = folder();
    let run = |arguments: &[&str]| outcome(&mut sp1d(folder.path(), arguments));
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    check(folder.path(), &["tokens", "list", "--state", "state"], 2, &["not the state folder", "--state"]);
    let created = run(&["tokens", "create", "ci", "--state", "state", "--tenant", "team-a", "--roles", "read"]);
    let token = text(&created);
    assert!(created.status.success() && token.starts_with("sp1d_"), "{created:?}");
    check(folder.path(), &["tokens", "create", "ci", "--state", "state"], 2, &["exists already", "tokens revoke ci"]);
    check(folder.path(), &["tokens", "create", "c", "--state", "state", "--roles", "root"], 2, &["operate"]);
    check(folder.path(), &["tokens", "create", "C I", "--state", "state"], 2, &["lower-case letters"]);
    let listed = text(&run(&["tokens", "list", "--state", "state", "--json"]));
    assert!(listed.contains("\"tenant\":\"team-a\"") && listed.contains("\"roles\":\"read\""), "{listed}");
    assert!(!listed.contains(&token[token.len() - 16..]));
    assert!(run(&["tokens", "revoke", "ci", "--state", "state"]).status.success());
    check(
        folder.path(),
        &["tokens", "revoke", "ci", "--state", "state"],
        2,
        &["no token has the name ci", "tokens list"],
    );
    assert!(run(&["tokens", "quota", "team-a", "--state", "state", "--max-queue", "5"]).status.success());
    let quotas = text(&run(&["tokens", "quotas", "--state", "state", "--json"]));
    assert!(quotas.contains("\"queued\":5") && quotas.contains("\"running\":null"), "{quotas}");
    let mode = fs::metadata(folder.path().join("state/service.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
