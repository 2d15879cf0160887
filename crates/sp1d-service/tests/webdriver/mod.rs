//! A browser for tests, controlled by the WebDriver protocol (<https://www.w3.org/TR/webdriver2>).

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// Headless Chromium without background connections to other servers. Dropping it kills only the driver, so tests end
/// with [`Browser::close`].
pub(crate) struct Browser {
    driver: Child,
    session: String,
    http: Client,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with a window of this size in pixels.
    pub(crate) async fn start(width: u32, height: u32) -> Self {
        let port = sp1d_testing::free_address().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (Debian package chromium-driver); `./x test` installs it");
        let profile = tempfile::tempdir().unwrap();
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let size = format!("--window-size={width},{height}");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &size,
            &user_data,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let http = Client::new();
        let sessions = format!("http://127.0.0.1:{port}/session");
        let deadline = Instant::now() + PATIENCE;
        let opened: Value = loop {
            match http.post(&sessions).body(wanted.to_string()).send().await {
                Ok(answer) => break serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap(),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let id = opened["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{opened}"));
        Self { driver, session: format!("{sessions}/{id}"), http, _profile: profile }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method.clone(), format!("{}{path}", self.session));
        let request = if method == Method::GET { request } else { request.body(body.to_string()) };
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    pub(crate) async fn open(&self, url: &str) {
        self.ask(Method::POST, "/url", json!({ "url": url })).await;
    }

    /// Opens a further tab with the page at `url`. All later calls are about this tab.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) async fn open_tab(&self, url: &str) {
        let tab = self.ask(Method::POST, "/window/new", json!({ "type": "tab" })).await;
        self.ask(Method::POST, "/window", json!({ "handle": tab["handle"] })).await;
        self.open(url).await;
    }

    /// Returns the value of a JavaScript expression in the page.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        self.ask(Method::POST, "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until a JavaScript expression is true in the page.
    pub(crate) async fn wait_for(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(&format!("!!({expression})")).await != true {
            if Instant::now() >= deadline {
                let text = self.value("document.body.innerText").await;
                panic!(
                    "this expression did not become true: {expression}\ntext of the page: {}",
                    text.as_str().unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks on the first element that the selector matches. Fails if the element is not visible.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) async fn click(&self, selector: &str) {
        let found = json!({ "using": "css selector", "value": selector });
        let element = self.ask(Method::POST, "/element", found).await;
        let id = element.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.ask(Method::POST, &format!("/element/{id}/click"), json!({})).await;
    }

    /// Accepts the confirmation dialog of the page.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) async fn accept(&self) {
        self.ask(Method::POST, "/alert/accept", json!({})).await;
    }

    /// Dismisses the confirmation dialog of the page.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) async fn dismiss(&self) {
        self.ask(Method::POST, "/alert/dismiss", json!({})).await;
    }

    /// Saves a screenshot of the page in the folder `SP1D_TEST_PICTURES`, if that variable is set.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("SP1D_TEST_PICTURES") else { return };
        let picture = self.ask(Method::GET, "/screenshot", Value::Null).await;
        let picture = BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(name).with_extension("png"), picture).unwrap();
    }

    /// Closes the browser and its driver. If only the driver is killed, the browser continues to run.
    pub(crate) async fn close(mut self) {
        self.ask(Method::DELETE, "", json!({})).await;
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
