//! The interface of a service, from the other side.

use crate::exit::{self, Failure};
use anyhow::{Context, Result};
use eventsource_stream::{EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::{Method, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use service::EventRecord;
use std::time::Duration;

/// The service was asked and says no: asking again is of no use.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Refused(pub(crate) Failure);

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// A client of the service at `url`, to which nothing is said yet.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let parsed = reqwest::Url::parse(url);
        let is_http = parsed.as_ref().is_ok_and(|url| url.scheme() == "http" && url.has_host());
        if !is_http {
            // There is no encryption yet.
            return Err(Failure::usage(format!("--url {url}: this is no address like http://HOST:PORT")).into());
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build().context("make a client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| {
            let cause = root_cause(&error);
            let text = format!("the service at {} does not answer: {cause}; start it with `sp1d serve`, or name its address with --url or SP1_DISTRIBUTED_URL", self.url);
            Failure::new(exit::WORKERS, text)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        let problem: Option<Value> = serde_json::from_slice(&body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let code = match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => exit::WORKERS,
            StatusCode::INSUFFICIENT_STORAGE => exit::HOST,
            _ if status.is_client_error() => exit::USAGE,
            _ => exit::OTHER,
        };
        let text = detail.map_or_else(|| format!("{} answered {status}", self.url), ToOwned::to_owned);
        let failure = Failure::new(code, text);
        Err(if status.is_client_error() { Refused(failure).into() } else { failure.into() })
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let body = response.bytes().await.with_context(|| format!("read the answer of {}", self.url))?;
        serde_json::from_slice(&body).with_context(|| format!("{} is no service of sp1d of this release", self.url))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.send(self.http.get(format!("{}{path}", self.url))).await?;
        self.read(response).await
    }

    pub(crate) async fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let response = self.send(self.http.get(format!("{}{path}", self.url))).await?;
        Ok(response.bytes().await.with_context(|| format!("read the answer of {}", self.url))?.to_vec())
    }

    /// Asks for something without content to be done.
    pub(crate) async fn call(&self, method: Method, path: &str) -> Result<Response> {
        self.send(self.http.request(method, format!("{}{path}", self.url))).await
    }

    /// The same, with an answer.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T> {
        let response = self.call(method, path).await?;
        self.read(response).await
    }

    /// Hands in bytes.
    pub(crate) async fn upload<T: DeserializeOwned>(&self, path: &str, content: Vec<u8>) -> Result<T> {
        let request = self.http.post(format!("{}{path}", self.url)).body(content);
        let response = self.send(request.header("content-type", "application/octet-stream")).await?;
        self.read(response).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, content: &impl Serialize) -> Result<T> {
        let request = self.http.post(format!("{}{path}", self.url)).body(serde_json::to_vec(content)?);
        let response = self.send(request.header("content-type", "application/json")).await?;
        self.read(response).await
    }

    /// Events of a proof after number `after`. The stream breaks off with an error when the connection does.
    pub(crate) async fn events(
        &self,
        proof: &str,
        after: u64,
    ) -> Result<impl Stream<Item = Result<EventRecord>> + use<>> {
        let request = self.http.get(format!("{}/v1/proofs/{proof}/events", self.url));
        let response = self.send(request.header("last-event-id", after.to_string())).await?;
        let read = |event: Result<eventsource_stream::Event, EventStreamError<reqwest::Error>>| {
            let event = event.context("read events")?;
            serde_json::from_str(&event.data).context("the service tells events that this release does not know")
        };
        Ok(response.bytes_stream().eventsource().map(read))
    }
}

/// reqwest's own text names the address and not what is wrong.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
