//! Asking a service.

use crate::{EventRecord, Health, Moment, NewProof, Program, Proof, ProofState, Workers};
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures::{Stream, StreamExt, stream};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{future::ready, pin::pin, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence of a service. One that reads a large program takes 20 s for it, and a stream of events has a sign of
/// life every 15 s.
const SILENCE: Duration = Duration::from_secs(90);

/// Bytes a second below which what is handed in has stalled.
const SLOWEST: u64 = 100_000;

/// Longest answer that is no proof: a thousand proofs with a thousand workers each come to less.
const MOST_ANSWER_BYTES: usize = 256 << 20;

/// Longest text of an error.
const MOST_PROBLEM_BYTES: usize = 1 << 20;

/// Longest event that is told of a proof. An attempt's failure has the longest: a panic's words.
const MOST_EVENT_BYTES: usize = 16 << 20;

/// Events that are kept of a proof at most: a hundred thousand tasks.
const MOST_EVENTS: usize = 1 << 20;

/// Longest proof: ten thousand shards.
const MOST_PROOF_BYTES: usize = 16 << 30;

/// Between two tries to reach a service that was there before.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a service has not done what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{url}: this is no address like http://HOST:PORT")]
    Address {
        /// What was given as an address.
        url: String,
    },
    /// Nobody answers, or the connection was lost.
    #[error(
        "the service at {url} does not answer: {cause}; start it with `sp1d serve`, or name its address with --url or SP1_DISTRIBUTED_URL"
    )]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What is wrong.
        cause: String,
    },
    /// It answers that it will not, or cannot.
    #[error("{text}")]
    Refused {
        /// The status of its answer, see RFC 9110.
        status: u16,
        /// Why, in its own words.
        text: String,
    },
    /// Somebody else answers.
    #[error("{url} is no service of sp1d of this release: {cause}")]
    Foreign {
        /// Where it should be.
        url: String,
        /// What is wrong with the answer.
        cause: String,
    },
}

impl ClientError {
    /// True when asking the same again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // Too many requests.
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Address { .. } | Self::Foreign { .. } => false,
        }
    }
}

/// What an operator does with a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerAction {
    /// It finishes what it has, and gets nothing more.
    Drain,
    /// It gets tasks again.
    Resume,
    /// It is let go.
    Forget,
}

/// A client of one service. Its futures may be dropped at any time; what was asked may have been done then.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// A client of the service at `url`, to which nothing is said yet.
    ///
    /// # Errors
    /// When `url` is no address of a service: there is no encryption yet.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address { url: url.to_owned() };
        let parsed = reqwest::Url::parse(url).map_err(|_| wrong())?;
        if parsed.scheme() != "http" || !parsed.has_host() {
            return Err(wrong());
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build().map_err(|_| wrong())?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    /// Where the service is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.url.clone(), cause: root_cause(error) }
    }

    fn foreign(&self, cause: impl std::fmt::Display) -> ClientError {
        ClientError::Foreign { url: self.url.clone(), cause: cause.to_string() }
    }

    fn silent(&self) -> ClientError {
        let cause = format!("nothing was heard of it for {} s", SILENCE.as_secs());
        ClientError::Unreachable { url: self.url.clone(), cause }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        self.send_within(request, SILENCE).await
    }

    /// Sends a request whose answer begins within `longest`.
    async fn send_within(&self, request: RequestBuilder, longest: Duration) -> Result<Response, ClientError> {
        let response = timeout(longest, request.send()).await.map_err(|_| self.silent())?;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // Without its words the status says enough.
        let body = self.content(response, MOST_PROBLEM_BYTES).await.unwrap_or_default();
        let problem: Option<Value> = serde_json::from_slice(&body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let text = detail.map_or_else(|| format!("{} answered {status}", self.url), ToOwned::to_owned);
        Err(ClientError::Refused { status: status.as_u16(), text })
    }

    /// What comes with an answer, at most `limit` bytes of it.
    async fn content(&self, mut response: Response, limit: usize) -> Result<Bytes, ClientError> {
        let mut content = BytesMut::new();
        loop {
            let part = timeout(SILENCE, response.chunk()).await.map_err(|_| self.silent())?;
            match part.map_err(|error| self.unreachable(&error))? {
                Some(part) if content.len() + part.len() > limit => {
                    return Err(self.foreign(format!("its answer is longer than {limit} bytes")));
                }
                Some(part) => content.extend_from_slice(&part),
                None => return Ok(content.freeze()),
            }
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = self.content(response, MOST_ANSWER_BYTES).await?;
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
        let longest = SILENCE + Duration::from_secs(content.len() as u64 / SLOWEST);
        let request = self.request(Method::POST, path).header("content-type", kind).body(content);
        let response = self.send_within(request, longest).await?;
        self.read(response).await
    }

    /// Hands in a program, unless the service has it.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn add_program(&self, elf: Bytes) -> Result<Program, ClientError> {
        match self.get(&format!("/v1/programs/{}", blake3::hash(&elf).to_hex())).await {
            Err(ClientError::Refused { status, .. }) if status == StatusCode::NOT_FOUND.as_u16() => {
                self.post("/v1/programs", "application/octet-stream", elf).await
            }
            known => known,
        }
    }

    /// Hands in an input, an `SP1Stdin` serialised with bincode 1, and gives its id.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn add_input(&self, stdin: Bytes) -> Result<String, ClientError> {
        let input: Value = self.post("/v1/inputs", "application/octet-stream", stdin).await?;
        let id = input["id"].as_str().ok_or_else(|| self.foreign("its answer to an input has no id"))?;
        Ok(id.to_owned())
    }

    /// Asks for a proof. With an idempotency key the same may be asked again when the answer was lost.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub async fn submit(&self, request: &NewProof) -> Result<Proof, ClientError> {
        let content = serde_json::to_vec(request).expect("a request is serialisable");
        self.post("/v1/proofs", "application/json", content.into()).await
    }

    /// How the service is.
    ///
    /// # Errors
    /// When nobody answers, or it is ill.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("/healthz").await
    }

    /// What its clock says, in whole seconds; `None` when it does not say.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn clock(&self) -> Result<Option<Moment>, ClientError> {
        let response = self.send(self.request(Method::GET, "/healthz")).await?;
        let text = response.headers().get("date").and_then(|date| date.to_str().ok());
        let date = text.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        Ok(date.map(|date| Moment(date.timestamp_millis())))
    }

    /// Its workers.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn workers(&self) -> Result<Workers, ClientError> {
        self.get("/v1/workers").await
    }

    /// The newest proofs, of one state or of all; at most `limit`, which is 1 to 1000.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn proofs(&self, state: Option<ProofState>, limit: u32) -> Result<Vec<Proof>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            proofs: Vec<Proof>,
        }
        let state = state.map(|state| format!("&state={}", state.name())).unwrap_or_default();
        let page: Page = self.get(&format!("/v1/proofs?limit={limit}{state}")).await?;
        Ok(page.proofs)
    }

    /// The proof `id`.
    ///
    /// # Errors
    /// When there is none, or nobody answers.
    pub async fn proof(&self, id: &str) -> Result<Proof, ClientError> {
        self.get(&format!("/v1/proofs/{}", encoded(id))).await
    }

    /// Cancels the proof `id`, and shows it as it is then.
    ///
    /// # Errors
    /// When there is none, or nobody answers.
    pub async fn cancel(&self, id: &str) -> Result<Proof, ClientError> {
        self.ask(Method::DELETE, &format!("/v1/proofs/{}", encoded(id))).await
    }

    /// Content of the finished proof `id`, as SP1's own tools save it.
    ///
    /// # Errors
    /// When it is not there, or nobody answers.
    pub async fn fetch(&self, id: &str) -> Result<Bytes, ClientError> {
        let response = self.send(self.request(Method::GET, &format!("/v1/proofs/{}/proof", encoded(id)))).await?;
        self.content(response, MOST_PROOF_BYTES).await
    }

    /// Events of the proof `id` after number `after`, until it ends. The stream breaks off with an error when the
    /// connection does.
    ///
    /// # Errors
    /// When there is no such proof, or nobody answers.
    pub async fn events(
        &self,
        id: &str,
        after: u64,
    ) -> Result<impl Stream<Item = Result<EventRecord, ClientError>> + use<>, ClientError> {
        self.told(&format!("/v1/proofs/{}/events", encoded(id)), after).await
    }

    /// What has happened to the proof `id` so far, after number `after`.
    ///
    /// # Errors
    /// When there is no such proof, or nobody answers.
    pub async fn past_events(&self, id: &str, after: u64) -> Result<Vec<EventRecord>, ClientError> {
        let mut events = pin!(self.told(&format!("/v1/proofs/{}/events?follow=false", encoded(id)), after).await?);
        let mut past = Vec::new();
        while let Some(event) = events.next().await {
            if past.len() == MOST_EVENTS {
                return Err(self.foreign(format!("it tells of more than {MOST_EVENTS} events")));
            }
            past.push(event?);
        }
        Ok(past)
    }

    async fn told(
        &self,
        path: &str,
        after: u64,
    ) -> Result<impl Stream<Item = Result<EventRecord, ClientError>> + use<>, ClientError> {
        let request = self.request(Method::GET, path).header("last-event-id", after.to_string());
        let of = self.clone();
        let (mut pending, from) = (0, self.clone());
        let bytes = self.send(request).await?.bytes_stream().map(move |bytes| {
            let bytes = bytes.map_err(|error| from.unreachable(&error))?;
            // An event ends with an empty line, and is kept whole until then.
            pending = if bytes.windows(2).any(|two| two == b"\n\n") { 0 } else { pending + bytes.len() };
            if pending > MOST_EVENT_BYTES { Err(from.foreign("it tells of an event without end")) } else { Ok(bytes) }
        });
        let events = Box::pin(bytes.eventsource());
        let told = stream::unfold(events, move |mut events| {
            let of = of.clone();
            async move {
                let event = match timeout(SILENCE, events.next()).await {
                    Ok(event) => event?.map_err(|error| match error {
                        EventStreamError::Transport(error) => error,
                        EventStreamError::Utf8(_) | EventStreamError::Parser(_) => of.foreign(error),
                    }),
                    Err(_) => Err(of.silent()),
                };
                Some((event, events))
            }
        });
        Ok(told.filter_map(|event| {
            // What another release tells and this one does not know is passed over.
            let read = |event: Event| match serde_json::from_str(&event.data) {
                Ok(record) => Some(record),
                Err(error) => {
                    tracing::debug!(%error, event = event.event, "an event of another release");
                    None
                }
            };
            ready(event.map(read).transpose())
        }))
    }

    /// Waits until `proof` has ended, over lost connections and restarts of the service, and shows it then. Events
    /// after number `after` are told on the way, those of a proof that has ended already are not.
    ///
    /// # Errors
    /// When it is not there any more, or nobody has answered for `patience`; without one it is waited for ever.
    pub async fn follow(
        &self,
        mut proof: Proof,
        mut after: u64,
        patience: Option<Duration>,
        mut told: impl FnMut(&EventRecord),
    ) -> Result<Proof, ClientError> {
        let id = &proof.id.clone();
        let mut silent_since = None;
        while !proof.state.is_final() {
            if let Ok(events) = self.events(id, after).await {
                let mut events = pin!(events);
                // It ends when the proof does, or the connection.
                while let Some(Ok(event)) = events.next().await {
                    after = event.number;
                    told(&event);
                }
            }
            match self.proof(id).await {
                Ok(now) => (proof, silent_since) = (now, None),
                Err(error) if !error.is_passing() => return Err(error),
                Err(error) => {
                    // The same again is no news.
                    if silent_since.is_none() {
                        tracing::warn!(%error, proof_id = id, "waiting on");
                    }
                    let since = *silent_since.get_or_insert_with(Instant::now);
                    if patience.is_some_and(|patience| since.elapsed() >= patience) {
                        return Err(error);
                    }
                }
            }
            if !proof.state.is_final() {
                sleep(PAUSE).await;
            }
        }
        Ok(proof)
    }

    /// Does something with `worker`, a name or an address.
    ///
    /// # Errors
    /// When there is no such worker, or nobody answers.
    pub async fn on_worker(&self, worker: &str, action: WorkerAction) -> Result<(), ClientError> {
        let (method, last) = match action {
            WorkerAction::Drain => (Method::POST, "/drain"),
            WorkerAction::Resume => (Method::POST, "/resume"),
            WorkerAction::Forget => (Method::DELETE, ""),
        };
        self.send(self.request(method, &format!("/v1/workers/{}{last}", encoded(worker)))).await.map(|_| ())
    }

    /// Does what `ask` asks for again and again for as long as that may help, at most for `patience`.
    ///
    /// # Errors
    /// Why the last try came to nothing.
    pub async fn persist<T, A: Future<Output = Result<T, ClientError>>>(
        patience: Duration,
        mut ask: impl FnMut() -> A,
    ) -> Result<T, ClientError> {
        let began = Instant::now();
        loop {
            match ask().await {
                Err(error) if error.is_passing() && began.elapsed() < patience => {
                    tracing::debug!(%error, "asking again");
                    sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
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

/// A text as a part of a path.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
