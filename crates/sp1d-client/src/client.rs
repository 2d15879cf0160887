//! Sends requests to a service and reads its responses.

use crate::{
    address::{ServiceUrl, redacted},
    credentials::ClientCredentials,
    error::ClientError,
    settings::{ClientSettings, http_client},
};
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures::{Stream, StreamExt, stream};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{HeaderValue, LOCATION},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use sp1d_model::{
    EventRecord, Health, Moment, NewProof, OpenTasks, ProgramSummary, ProofState, ProofSummary, WorkersReport,
    clean_line,
};
use std::{fmt, future::ready, pin::pin, time::Duration};
use tokio::time::timeout;

sp1d_model::limits! {
    /// Maximum silence of a service. A service may need 20 s to read a large program, and it sends a keep-alive on an
    /// event stream every 15 s.
    const MAX_SILENCE: Duration = Duration::from_secs(90); Time by Service;
    /// Minimum upload speed in bytes per second. A slower upload counts as stalled.
    const MIN_BYTES_PER_SECOND: u64 = 100_000; Rate by Service;
    /// Maximum size of a response that is not a proof. A list of a thousand proofs with a thousand workers each is
    /// smaller.
    const MAX_RESPONSE_BYTES: u64 = 256 << 20; Bytes by Service;
    /// Maximum size of an error response.
    const MAX_PROBLEM_BYTES: u64 = 1 << 20; Bytes by Service;
    /// Maximum number of characters of an address that a server redirects to.
    const MAX_LOCATION_CHARACTERS: usize = 200; Count by Service;
    /// Maximum size of one event. The largest events are failed attempts with the message of a panic.
    const MAX_EVENT_BYTES: usize = 16 << 20; Bytes by Service;
    /// Maximum number of past events of a proof: enough for a hundred thousand tasks.
    const MAX_EVENTS: usize = 1 << 20; Count by Service;
    /// Maximum size of a proof: enough for ten thousand shards.
    const MAX_PROOF_BYTES: u64 = 16 << 30; Bytes by Service;
}

/// An operator's action on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerAction {
    /// The worker finishes the attempts that it has started, and gets no others.
    Drain,
    /// The worker gets tasks again.
    Resume,
    /// The service disconnects the worker and no longer lists it.
    Forget,
}

/// A client of one service. Its futures can be dropped at any time. The service may still carry out the request.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: ServiceUrl,
    credentials: ClientCredentials,
}

// The HTTP client can contain credentials of proxies.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Client {
    /// Creates a client of the service at `url`, with the authorities of the system and without a token. Does not
    /// connect yet.
    ///
    /// # Errors
    /// Fails if `url` is not an `http` or `https` URL with a host.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Self::with(&ClientSettings::new(url.parse()?))
    }

    /// Creates a client with these settings. Reads the files of the settings. Does not connect yet.
    ///
    /// # Errors
    /// Fails if a file of the settings cannot be used.
    pub fn with(settings: &ClientSettings) -> Result<Self, ClientError> {
        let (url, credentials) = (settings.url.clone(), settings.credentials());
        Ok(Self { http: http_client(settings)?, url, credentials })
    }

    /// Returns the URL of the service, without credentials and without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.shown()
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url.at(path))
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::failed(self.url(), error)
    }

    fn foreign(&self, cause: impl std::fmt::Display) -> ClientError {
        ClientError::Foreign { url: self.url().to_owned(), cause: cause.to_string() }
    }

    fn silent(&self) -> ClientError {
        let cause = format!("it sent nothing for {} s", MAX_SILENCE.as_secs());
        ClientError::Unreachable { url: self.url().to_owned(), cause }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        self.send_within(request, MAX_SILENCE).await
    }

    /// Sends a request. Fails if the response does not start within `max_time`.
    async fn send_within(&self, request: RequestBuilder, max_time: Duration) -> Result<Response, ClientError> {
        let response = timeout(max_time, request.send()).await.map_err(|_| self.silent())?;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let location = response.headers().get(LOCATION).map(HeaderValue::as_bytes).unwrap_or_default();
            let location = redacted(&String::from_utf8_lossy(location));
            let location = clean_line(&location, MAX_LOCATION_CHARACTERS);
            return Err(ClientError::Redirected { url: self.url().to_owned(), location });
        }
        // If the error text cannot be read, the status is enough.
        let body = self.content(response, MAX_PROBLEM_BYTES).await.unwrap_or_default();
        Err(ClientError::refused(self.url(), self.credentials, status, &body))
    }

    /// Reads the body of a response, of at most `limit` bytes.
    async fn content(&self, mut response: Response, limit: u64) -> Result<Bytes, ClientError> {
        let mut content = BytesMut::new();
        loop {
            let part = timeout(MAX_SILENCE, response.chunk()).await.map_err(|_| self.silent())?;
            match part.map_err(|error| self.unreachable(&error))? {
                Some(part) if (content.len() + part.len()) as u64 > limit => {
                    return Err(self.foreign(format!("its response is longer than {limit} bytes")));
                }
                Some(part) => content.extend_from_slice(&part),
                None => return Ok(content.freeze()),
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = self.content(response, MAX_RESPONSE_BYTES).await?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(error))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        let response = self.send(self.request(method, path)).await?;
        self.read(response).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, kind: &str, content: Bytes) -> Result<T, ClientError> {
        let max_time = MAX_SILENCE + Duration::from_secs(content.len() as u64 / MIN_BYTES_PER_SECOND);
        let request = self.request(Method::POST, path).header("content-type", kind).body(content);
        let response = self.send_within(request, max_time).await?;
        self.read(response).await
    }

    /// Returns the id that every service gives to the program `elf`.
    #[must_use]
    pub fn program_id(elf: &[u8]) -> String {
        blake3::hash(elf).to_hex().to_string()
    }

    /// Uploads a program, unless the service already has it.
    ///
    /// # Errors
    /// Fails if the service rejects the program or does not respond.
    pub async fn add_program(&self, elf: Bytes) -> Result<ProgramSummary, ClientError> {
        match self.get(&format!("/v1/programs/{}", Self::program_id(&elf))).await {
            Err(ClientError::Refused { status, .. }) if status == StatusCode::NOT_FOUND.as_u16() => {
                self.post("/v1/programs", "application/octet-stream", elf).await
            }
            known => known,
        }
    }

    /// Uploads an input, an `SP1Stdin` serialized with bincode 1. Returns the id of the input.
    ///
    /// # Errors
    /// Fails if the service rejects the input or does not respond.
    pub async fn add_input(&self, stdin: Bytes) -> Result<String, ClientError> {
        let input: Value = self.post("/v1/inputs", "application/octet-stream", stdin).await?;
        let id = input["id"].as_str().ok_or_else(|| self.foreign("its response to an uploaded input has no id"))?;
        Ok(id.to_owned())
    }

    /// Requests a proof. If the response is lost, a request with an idempotency key can be sent again without starting
    /// a second proof.
    ///
    /// # Errors
    /// Fails if the service rejects the request or does not respond.
    pub async fn submit(&self, request: &NewProof) -> Result<ProofSummary, ClientError> {
        let content = serde_json::to_vec(request).expect("a request can always be serialized");
        self.post("/v1/proofs", "application/json", content.into()).await
    }

    /// Returns the state of the service.
    ///
    /// # Errors
    /// Fails if the service does not respond or is not healthy.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("/healthz").await
    }

    /// Returns the time of the service's clock, in whole seconds. `None` if the response has no valid date.
    ///
    /// # Errors
    /// Fails if the service does not respond or is not healthy.
    pub async fn clock(&self) -> Result<Option<Moment>, ClientError> {
        let response = self.send(self.request(Method::GET, "/healthz")).await?;
        let text = response.headers().get("date").and_then(|date| date.to_str().ok());
        let date = text.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        Ok(date.map(|date| Moment(date.timestamp_millis())))
    }

    /// Returns the workers of the service.
    ///
    /// # Errors
    /// Fails if the service does not respond.
    pub async fn workers(&self) -> Result<WorkersReport, ClientError> {
        self.get("/v1/workers").await
    }

    /// Returns the newest proofs, at most `limit` (1 to 1000). With `state`, returns only proofs in this state.
    ///
    /// # Errors
    /// Fails if the service does not respond.
    pub async fn proofs(&self, state: Option<ProofState>, limit: u32) -> Result<Vec<ProofSummary>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            proofs: Vec<ProofSummary>,
        }
        let state = state.map(|state| format!("&state={}", state.name())).unwrap_or_default();
        let page: Page = self.get(&format!("/v1/proofs?limit={limit}{state}")).await?;
        Ok(page.proofs)
    }

    /// Returns the proof `id`.
    ///
    /// # Errors
    /// Fails if the proof does not exist or the service does not respond.
    pub async fn proof(&self, id: &str) -> Result<ProofSummary, ClientError> {
        self.get(&format!("/v1/proofs/{}", encoded(id))).await
    }

    /// Returns at most `limit` (1 to 1000) open tasks of the running proof `id`, from the first one whose number is
    /// above `after`, and why some tasks wait. Only a running proof has open tasks.
    ///
    /// # Errors
    /// Fails if the proof does not exist or the service does not respond.
    pub async fn open_tasks(&self, id: &str, after: u64, limit: u32) -> Result<OpenTasks, ClientError> {
        self.get(&format!("/v1/proofs/{}/tasks?after={after}&limit={limit}", encoded(id))).await
    }

    /// Cancels the proof `id`, unless it has ended. Returns the proof as it is after that.
    ///
    /// # Errors
    /// Fails if the proof does not exist or the service does not respond.
    pub async fn cancel(&self, id: &str) -> Result<ProofSummary, ClientError> {
        self.ask(Method::DELETE, &format!("/v1/proofs/{}", encoded(id))).await
    }

    /// Deletes the ended proof `id` with its data, for good. Returns false if the service has no such proof, for
    /// example because it was deleted before.
    ///
    /// # Errors
    /// Fails if the proof has not ended or the service does not respond.
    pub async fn delete(&self, id: &str) -> Result<bool, ClientError> {
        let outcome: Value = self.ask(Method::DELETE, &format!("/v1/proofs/{}/data", encoded(id))).await?;
        outcome["deleted"].as_bool().ok_or_else(|| self.foreign("its response to a deletion has no outcome"))
    }

    /// Returns the content of the finished proof `id`, in the format in which SP1's own tools save proofs.
    ///
    /// # Errors
    /// Fails if the proof does not exist or is not done, or if the service does not respond.
    pub async fn fetch(&self, id: &str) -> Result<Bytes, ClientError> {
        let response = self.send(self.request(Method::GET, &format!("/v1/proofs/{}/proof", encoded(id)))).await?;
        self.content(response, MAX_PROOF_BYTES).await
    }

    /// Returns the events of the proof `id` that come after event number `after`, until the proof ends. The stream
    /// returns an error if the connection is lost.
    ///
    /// # Errors
    /// Fails if the proof does not exist or the service does not respond.
    pub async fn events(
        &self,
        id: &str,
        after: u64,
    ) -> Result<impl Stream<Item = Result<EventRecord, ClientError>> + use<>, ClientError> {
        self.event_stream(&format!("/v1/proofs/{}/events", encoded(id)), after).await
    }

    /// Returns the events of the proof `id` so far that come after event number `after`.
    ///
    /// # Errors
    /// Fails if the proof does not exist, if the service does not respond, or if there are more than 1,048,576 events.
    pub async fn past_events(&self, id: &str, after: u64) -> Result<Vec<EventRecord>, ClientError> {
        let mut events =
            pin!(self.event_stream(&format!("/v1/proofs/{}/events?follow=false", encoded(id)), after).await?);
        let mut past = Vec::new();
        while let Some(event) = events.next().await {
            if past.len() == MAX_EVENTS {
                return Err(self.foreign(format!("it sent more than {MAX_EVENTS} events of one proof")));
            }
            past.push(event?);
        }
        Ok(past)
    }

    async fn event_stream(
        &self,
        path: &str,
        after: u64,
    ) -> Result<impl Stream<Item = Result<EventRecord, ClientError>> + use<>, ClientError> {
        let request = self.request(Method::GET, path).header("last-event-id", after.to_string());
        let of = self.clone();
        let (mut pending, from) = (0, self.clone());
        let bytes = self.send(request).await?.bytes_stream().map(move |bytes| {
            let bytes = bytes.map_err(|error| from.unreachable(&error))?;
            // An event ends with an empty line. Until then, all of its bytes stay in memory.
            pending = if bytes.windows(2).any(|two| two == b"\n\n") { 0 } else { pending + bytes.len() };
            if pending > MAX_EVENT_BYTES {
                return Err(from.foreign(format!("it sent an event of more than {MAX_EVENT_BYTES} bytes")));
            }
            Ok(bytes)
        });
        let events = Box::pin(bytes.eventsource());
        let records = stream::unfold(events, move |mut events| {
            let of = of.clone();
            async move {
                let event = match timeout(MAX_SILENCE, events.next()).await {
                    Ok(event) => event?.map_err(|error| match error {
                        EventStreamError::Transport(error) => error,
                        EventStreamError::Utf8(_) | EventStreamError::Parser(_) => of.foreign(error),
                    }),
                    Err(_) => Err(of.silent()),
                };
                Some((event, events))
            }
        });
        Ok(records.filter_map(|event| {
            let read = |event: Event| read_event(&event.event, &event.data);
            ready(event.map(read).transpose())
        }))
    }

    /// Applies `action` to `worker`, which is the worker's name or address.
    ///
    /// # Errors
    /// Fails if the worker does not exist or the service does not respond.
    pub async fn act_on_worker(&self, worker: &str, action: WorkerAction) -> Result<(), ClientError> {
        let (method, last) = match action {
            WorkerAction::Drain => (Method::POST, "/drain"),
            WorkerAction::Resume => (Method::POST, "/resume"),
            WorkerAction::Forget => (Method::DELETE, ""),
        };
        self.send(self.request(method, &format!("/v1/workers/{}{last}", encoded(worker)))).await.map(|_| ())
    }
}

/// Reads the event called `name`. `None` if another release sent it and this release does not know it.
fn read_event(name: &str, data: &str) -> Option<EventRecord> {
    match serde_json::from_str(data) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::debug!(%error, event = name, "unknown event ignored");
            None
        }
    }
}

/// Percent-encodes a text as one segment of a URL path.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_model::{ProofEvent, TaskKind};

    #[test]
    fn unknown_events_and_task_kinds_are_ignored() {
        let read = |event: &str| {
            let data = format!(r#"{{"number": 7, "at": "1970-01-01T00:00:00Z", {event}}}"#);
            read_event("", &data).map(|record| record.event)
        };
        let known = ProofEvent::Submitted { kind: TaskKind::ProveShard };
        assert_eq!(read(r#""event": "submitted", "kind": "prove_shard""#), Some(known));
        assert_eq!(read(r#""event": "submitted", "kind": "dream""#), None);
        assert_eq!(read(r#""event": "melted""#), None);
    }
}
