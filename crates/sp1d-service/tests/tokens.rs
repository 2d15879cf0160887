//! Tokens, roles and tenants at the HTTP interface.

mod running;

use reqwest::{
    Client, Method, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use running::Running;
use serde_json::{Value, json};
use sp1d_service::{NewApiToken, NewProof, TenantQuota, TokenStore, openapi};
use std::{collections::BTreeSet, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::time::timeout;

const HOUR: Duration = Duration::from_secs(3600);

/// All routes: the method, the path, and the role that the call needs.
const ROUTES: [(&str, &str, Option<&str>); 28] = [
    ("GET", "/", None),
    ("GET", "/page.css", None),
    ("GET", "/page.js", None),
    ("GET", "/openapi.json", None),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/metrics", Some("read")),
    ("GET", "/v1/session", Some("read")),
    ("POST", "/v1/login", Some("read")),
    ("POST", "/v1/logout", None),
    ("GET", "/v1/events", Some("read")),
    ("GET", "/v1/programs", Some("read")),
    ("POST", "/v1/programs", Some("submit")),
    ("GET", "/v1/programs/{id}", Some("read")),
    ("POST", "/v1/inputs", Some("submit")),
    ("GET", "/v1/proofs", Some("read")),
    ("POST", "/v1/proofs", Some("submit")),
    ("GET", "/v1/proofs/{id}", Some("read")),
    ("GET", "/v1/proofs/{id}/proof", Some("read")),
    ("GET", "/v1/proofs/{id}/tasks", Some("read")),
    ("GET", "/v1/proofs/{id}/events", Some("read")),
    ("GET", "/v1/proofs/{id}/trace", Some("read")),
    ("DELETE", "/v1/proofs/{id}", Some("submit")),
    ("GET", "/v1/workers", Some("read")),
    ("POST", "/v1/workers/{worker}/drain", Some("operate")),
    ("POST", "/v1/workers/{worker}/resume", Some("operate")),
    ("DELETE", "/v1/workers/{worker}", Some("operate")),
    // Last, because it deletes the proof that the other routes need.
    ("DELETE", "/v1/proofs/{id}/data", Some("submit")),
];

/// The files of the page, which are not part of the described interface.
const PAGE: [&str; 4] = ["/", "/page.css", "/page.js", "/openapi.json"];

fn store(folder: &Path) -> TokenStore {
    TokenStore::open(&folder.join("state")).unwrap()
}

/// Creates a token and returns its text.
fn create(folder: &Path, name: &str, tenant: &str, roles: &str, valid: Duration) -> String {
    let roles = roles.parse().unwrap();
    let new = NewApiToken { name: name.parse().unwrap(), tenant: tenant.parse().unwrap(), roles, valid };
    store(folder).create(&new).unwrap().to_string()
}

/// Returns a client of the same service that sends `token`.
fn with_token(running: &Running, token: &str) -> Running {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let client = Client::builder().default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)])).build().unwrap();
    Running { service: running.service.clone(), address: running.address, url: running.url.clone(), client }
}

/// A service without workers, and the clients of two tenants with the roles `read` and `submit`.
async fn two_tenants() -> (TempDir, Running, Running) {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |_| {}).await;
    let [a, b] = ["a", "b"].map(|tenant| create(folder.path(), tenant, tenant, "read,submit", HOUR));
    (folder, with_token(&running, &a), with_token(&running, &b))
}

async fn status(client: &Running, method: &str, path: &str) -> StatusCode {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    client.client.request(method, format!("{}{path}", client.url)).send().await.unwrap().status()
}

#[test]
fn the_table_of_this_test_has_every_route() {
    let described: Value = serde_json::from_str(&openapi()).unwrap();
    let paths = described["paths"].as_object().unwrap();
    let described: BTreeSet<(String, &str)> = paths
        .iter()
        .flat_map(|(path, calls)| {
            calls.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.as_str()))
        })
        .collect();
    let listed = ROUTES.iter().filter(|(_, path, _)| !PAGE.contains(path));
    let listed: BTreeSet<(String, &str)> = listed.map(|(method, path, _)| ((*method).to_owned(), *path)).collect();
    assert_eq!(described, listed);
}

#[tokio::test]
async fn every_route_checks_token_role_and_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let open = Running::start(folder.path(), &[], |_| {}).await;
    let roles = ["read", "submit", "operate"];
    let clients = roles.map(|role| with_token(&open, &create(folder.path(), role, "team", role, HOUR)));
    let others = roles.map(|role| {
        let name = format!("other-{role}");
        with_token(&open, &create(folder.path(), &name, "other", role, HOUR))
    });
    let unknown = with_token(&open, &format!("sp1d_{}_{}", "0".repeat(16), "0".repeat(64)));
    let malformed = with_token(&open, "password");
    let expired = with_token(&open, &create(folder.path(), "expired", "team", "admin", Duration::ZERO));
    let submitting = create(folder.path(), "submitting", "team", "read,submit", HOUR);
    let submitting = with_token(&open, &submitting);
    let (program, proof) = (submitting.program().await, submitting.submit(1, |_| {}).await);
    for (method, path, role) in ROUTES {
        let id = if path.starts_with("/v1/programs") { &program } else { &proof };
        let real = path.replace("{id}", id).replace("{worker}", "nameless");
        let Some(role) = role else {
            let found = status(&open, method, &real).await;
            assert!(found != StatusCode::UNAUTHORIZED && found != StatusCode::FORBIDDEN, "{method} {path}: {found}");
            continue;
        };
        for client in [&open, &unknown, &malformed, &expired] {
            assert_eq!(status(client, method, &real).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
        for (name, client) in roles.iter().zip(&clients) {
            let found = status(client, method, &real).await;
            assert_eq!(found == StatusCode::FORBIDDEN, *name != role, "{method} {path} as {name}: {found}");
            assert_ne!(found, StatusCode::UNAUTHORIZED, "{method} {path} as {name}");
        }
        if path.contains("{id}") {
            let other = &others[roles.iter().position(|name| *name == role).unwrap()];
            // The deletion of a proof that does not exist succeeds.
            let expected = if path.ends_with("/data") { StatusCode::OK } else { StatusCode::NOT_FOUND };
            assert_eq!(status(other, method, &real).await, expected, "{method} {path} of another tenant");
        }
    }
    open.service.shutdown().await;
}

#[tokio::test]
async fn tenants_see_nothing_of_each_other() {
    let (_folder, a, b) = two_tenants().await;
    let program = a.program().await;
    let input = a.upload("/v1/inputs", "input").await;
    let request = json!({ "program": program, "input": input, "cycle_limit": 1, "idempotency_key": "k" }).to_string();
    let (created, proof) = a.post("/v1/proofs", "application/json", request.clone()).await;
    assert_eq!(created, StatusCode::CREATED, "{proof}");
    let path = format!("/v1/proofs/{}", proof["id"].as_str().unwrap());
    // The response is the same as for a proof that does not exist, except for its id.
    let (status, problem) = b.get(&path).await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("unknown")));
    assert_eq!(b.json("/v1/proofs").await["proofs"], json!([]));
    assert_eq!(b.json("/v1/programs").await["programs"], json!([]));
    assert_eq!(b.json("/healthz").await["proofs"]["queued"], json!(0));
    assert_eq!(b.json("/healthz").await["proofs"]["running"], json!(0));
    // B cannot use A's program, and after its own upload not A's input.
    let (status, _) = b.post("/v1/proofs", "application/json", request.clone()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, uploaded) = b.post("/v1/programs", "application/octet-stream", "program").await;
    assert_eq!((status, &uploaded["id"]), (StatusCode::CREATED, &json!(program)));
    assert_eq!(uploaded["verifying_key"], Value::Null, "the key that A has shows that A has the program");
    let (status, _) = b.post("/v1/proofs", "application/json", request.clone()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(b.upload("/v1/inputs", "input").await, input);
    let (status, own) = b.post("/v1/proofs", "application/json", request.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "the same idempotency key of another tenant is another request: {own}");
    assert_ne!(own["id"], proof["id"]);
    let (status, again) = a.post("/v1/proofs", "application/json", request).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &proof["id"]));
    assert_eq!(a.json("/v1/proofs").await["proofs"].as_array().unwrap().len(), 1);
    a.service.shutdown().await;
}

#[tokio::test]
async fn an_administrator_sees_all_tenants() {
    let (folder, a, b) = two_tenants().await;
    let ids = [a.submit(1, |_| {}).await, b.submit(1, |_| {}).await];
    let admin = with_token(&a, &create(folder.path(), "root", "default", "admin", HOUR));
    let listed = admin.json("/v1/proofs").await["proofs"].clone();
    let tenants: Vec<_> = listed.as_array().unwrap().iter().map(|proof| proof["tenant"].clone()).collect();
    assert_eq!(tenants, ["b", "a"], "the newest proof is the first one");
    for (id, tenant) in ids.iter().zip(["a", "b"]) {
        assert_eq!(admin.json(&format!("/v1/proofs/{id}")).await["tenant"], tenant);
        assert_eq!(status(&admin, "DELETE", &format!("/v1/proofs/{id}")).await, StatusCode::OK);
    }
    a.service.shutdown().await;
}

#[tokio::test]
async fn a_quota_limits_one_tenant_only() {
    let (folder, a, b) = two_tenants().await;
    // The program has 7 bytes. No proof of the tenant runs, because it may run none.
    let quota =
        TenantQuota { max_queue: Some(1), parallel_proofs: Some(0), max_bytes: Some(10), ..TenantQuota::default() };
    let quota = TenantQuota { max_priority: Some(0), ..quota };
    store(folder.path()).set_quota(&"a".parse().unwrap(), &quota).unwrap();
    let request = NewProof { program: Some(a.program().await), cycle_limit: Some(1), ..NewProof::default() };
    let keyed = NewProof { idempotency_key: Some("k".to_owned()), ..request.clone() };
    assert_eq!(a.request(&keyed).await.status(), StatusCode::CREATED);
    let refused = |status: StatusCode, problem: &Value| (status, problem["code"].as_str().unwrap().to_owned());
    let post = async |request: &NewProof| {
        let (found, problem) = a.post("/v1/proofs", "application/json", serde_json::to_vec(request).unwrap()).await;
        refused(found, &problem)
    };
    assert_eq!(post(&request).await, (StatusCode::TOO_MANY_REQUESTS, "quota".to_owned()));
    let important = NewProof { priority: 1, ..request };
    assert_eq!(post(&important).await, (StatusCode::UNPROCESSABLE_ENTITY, "invalid".to_owned()));
    let (found, problem) = a.post("/v1/inputs", "application/octet-stream", "four").await;
    assert_eq!(refused(found, &problem), (StatusCode::TOO_MANY_REQUESTS, "quota".to_owned()));
    a.upload("/v1/inputs", "abc").await;
    // A repeated request returns its proof also when the quota is used up.
    assert_eq!(a.request(&keyed).await.status(), StatusCode::OK);
    let other = b.submit(1, |_| {}).await;
    b.submit(1, |request| request.priority = 100).await;
    b.upload("/v1/inputs", "a longer input").await;
    b.wait(&other, |proof| proof.started.is_some()).await;
    let proofs = a.json("/v1/proofs?state=queued").await;
    assert_eq!(proofs["proofs"].as_array().unwrap().len(), 1, "the tenant may run no proof: {proofs}");
    a.service.shutdown().await;
}

#[tokio::test]
async fn refused_uploads_of_a_tenant_do_not_fill_the_disk() {
    let (folder, a, b) = two_tenants().await;
    let quota = TenantQuota { max_bytes: Some(10), ..TenantQuota::default() };
    store(folder.path()).set_quota(&"a".parse().unwrap(), &quota).unwrap();
    let upload = async |client: &Running, content: &'static str| {
        client.post("/v1/inputs", "application/octet-stream", content).await.0
    };
    // An upload that is accepted counts only once.
    assert_eq!(upload(&a, "accepted").await, StatusCode::CREATED);
    // One upload is larger than the quota permits, the other one is not a valid input. The files of both stay on the
    // disk for a while.
    assert_eq!(upload(&a, "large").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(upload(&a, "bad input").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(upload(&a, "ok").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(upload(&b, "ok").await, StatusCode::CREATED);
    a.service.shutdown().await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_without_a_restart_and_its_streams_end() {
    let (folder, a, b) = two_tenants().await;
    let id = a.submit(1, |_| {}).await;
    let mut stream = a.client.get(format!("{}/v1/proofs/{id}/events", a.url)).send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    store(folder.path()).revoke(&"a".parse().unwrap()).unwrap();
    let (found, problem) = a.get("/v1/proofs").await;
    assert_eq!((found, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("token_refused")));
    assert_eq!(status(&b, "GET", "/v1/proofs").await, StatusCode::OK, "the other token is valid");
    let ended = async { while stream.chunk().await.is_ok_and(|part| part.is_some()) {} };
    timeout(running::PATIENCE, ended).await.unwrap();
    // Without any token, the service does not become open to all.
    store(folder.path()).revoke(&"b".parse().unwrap()).unwrap();
    let nameless = Running { client: Client::new(), ..a };
    assert_eq!(status(&nameless, "GET", "/v1/proofs").await, StatusCode::UNAUTHORIZED);
    store(folder.path()).remove_all().unwrap();
    assert_eq!(status(&nameless, "GET", "/v1/proofs").await, StatusCode::OK);
    nameless.service.shutdown().await;
}

#[tokio::test]
async fn a_service_can_require_tokens_before_the_first_one() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), &[], |settings| settings.require_tokens = true).await;
    let (found, problem) = running.get("/v1/proofs").await;
    assert_eq!((found, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("token_missing")));
    // Probes need no token, and see no number of proofs.
    assert_eq!(running.json("/healthz").await["proofs"], json!({}));
    let admin = with_token(&running, &create(folder.path(), "root", "default", "admin", HOUR));
    assert_eq!(admin.json("/healthz").await["proofs"]["queued"], json!(0));
    running.service.shutdown().await;
}

#[tokio::test]
async fn a_browser_keeps_its_token_in_a_cookie_that_scripts_cannot_read() {
    let (_folder, a, _) = two_tenants().await;
    let response = a.client.post(format!("{}/v1/login", a.url)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age=") && !cookie.contains("Secure"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let session = Client::new().get(format!("{}/v1/session", a.url)).header("cookie", pair).send().await.unwrap();
    let session: Value = serde_json::from_slice(&session.bytes().await.unwrap()).unwrap();
    assert_eq!(session, json!({ "token": "a", "tenant": "a", "roles": "read,submit" }));
    // Another site cannot use the cookie for a change.
    let foreign = Client::new().delete(format!("{}/v1/proofs/1", a.url)).header("cookie", pair);
    let foreign = foreign.header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let left = a.client.post(format!("{}/v1/logout", a.url)).send().await.unwrap();
    assert!(left.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    a.service.shutdown().await;
}

#[tokio::test]
async fn the_audit_log_says_who_did_what() {
    let (folder, a, b) = two_tenants().await;
    let id = a.submit(1, |_| {}).await;
    assert_eq!(status(&b, "DELETE", &format!("/v1/proofs/{id}")).await, StatusCode::NOT_FOUND);
    assert_eq!(status(&a, "POST", "/v1/workers/w/drain").await, StatusCode::FORBIDDEN);
    a.json("/v1/proofs").await;
    let content = std::fs::read_to_string(folder.path().join("state/audit.log")).unwrap();
    let lines: Vec<Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (commands, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["token"] == "(machine)");
    let created = |line: &Value| (line["path"].clone(), line["tenant"].clone(), line["object"].clone());
    let expected = ["a", "b"].map(|name| (json!("sp1d tokens create"), json!(name), json!(name)));
    assert_eq!(commands.iter().map(created).collect::<Vec<_>>(), expected);
    let found: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            (text("token"), text("method"), text("path"), line["status"].as_u64().unwrap())
        })
        .collect();
    let entry =
        |token: &str, method: &str, path: &str, status| (token.to_owned(), method.to_owned(), path.to_owned(), status);
    let expected = [
        entry("a", "POST", "/v1/programs", 201),
        entry("a", "POST", "/v1/proofs", 201),
        entry("b", "DELETE", &format!("/v1/proofs/{id}"), 404),
        entry("a", "POST", "/v1/workers/w/drain", 403),
    ];
    assert_eq!(found, expected);
    assert_eq!((&lines[1]["object"], &lines[1]["from"]), (&json!(id), &json!("127.0.0.1")));
    assert!(!content.contains("sp1d_"), "the log has no secrets");
    a.service.shutdown().await;
}
