//! `/v1/proofs`.

use super::{
    problem::Problem,
    upload::{Upload, receive},
};
use crate::{Service, database::Selection};
use axum::{
    Json,
    extract::{FromRequest, Multipart, Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use client::{EventRecord, NewProof, Proof, ProofEvent, ProofState};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, convert::Infallible, time::Duration};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

/// Longest request without programs and inputs, in bytes.
const REQUEST_BYTES: usize = 64 << 10;

/// Proofs in an answer when nobody says how many.
const PAGE: u32 = 100;
const LONGEST_PAGE: u32 = 1000;

/// Events that are read from the database at a time.
const EVENTS: u32 = 1000;

/// Proofs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Proofs {
    /// The newest first.
    proofs: Vec<Proof>,
    /// What to give as `before` for the next page; none when this is the last.
    next: Option<i64>,
}

/// Which proofs to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// Only those in this state.
    state: Option<ProofState>,
    /// At most so many, 1 to 1000; 100 when absent.
    limit: Option<u32>,
    /// From an earlier answer.
    before: Option<i64>,
}

/// A proof that was asked for, with the program and input that came with the request.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its description is of use")]
struct Parts {
    /// The request.
    request: NewProof,
    /// The program's ELF file.
    #[schema(format = Binary)]
    program: Option<String>,
    /// The input: an `SP1Stdin` serialised with bincode 1.
    #[schema(format = Binary)]
    stdin: Option<String>,
}

/// Lists proofs.
#[utoipa::path(
    get,
    path = "/v1/proofs",
    tag = "proofs",
    params(List),
    responses((status = 200, body = Proofs), (status = 400, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(
    State(service): State<Service>,
    query: Result<Query<List>, QueryRejection>,
) -> Result<Json<Proofs>, Problem> {
    let Query(List { state, limit, before }) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Problem::malformed(format!("limit is 1 to {LONGEST_PAGE}")));
    }
    let found = service.proofs(Selection { state, before, limit }).await?;
    let next = if found.len() == limit as usize { found.last().map(|(number, _)| *number) } else { None };
    Ok(Json(Proofs { proofs: found.into_iter().map(|(_, proof)| proof).collect(), next }))
}

/// Asks for a proof. As JSON when its program, and its input if it reads any, were handed in before; else as a form
/// whose parts are `request`, the same JSON, and `program` and `stdin`, the bytes.
#[utoipa::path(
    post,
    path = "/v1/proofs",
    tag = "proofs",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same as `idempotency_key` in the request.")),
    request_body(content((NewProof = "application/json"), (Parts = "multipart/form-data"))),
    responses(
        (status = 201, description = "It was accepted.", body = Proof),
        (status = 200, description = "It was accepted before.", body = Proof),
        (status = 400, description = "The request cannot be read.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such program or input.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another request had this idempotency key.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Something is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "It is neither JSON nor a form.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The program, the input or a value is none.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many wait.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn submit(
    State(service): State<Service>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<Proof>), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut asked = if kind.starts_with("multipart/form-data") {
        read_form(&service, request).await?
    } else if kind.starts_with("application/json") {
        let body = axum::body::to_bytes(request.into_body(), REQUEST_BYTES).await;
        read_request(&body.map_err(|error| Problem::malformed(format!("the request cannot be read: {error}")))?)?
    } else {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unknown_type",
            "send application/json, or multipart/form-data with the parts request, program and stdin",
        ));
    };
    if let Some(key) = headers.get("idempotency-key") {
        let key = key.to_str().map_err(|_| Problem::malformed("Idempotency-Key is no text"))?;
        asked.idempotency_key = Some(key.to_owned());
    }
    let (proof, new) = service.submit(asked).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(proof)))
}

fn read_request(body: &[u8]) -> Result<NewProof, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::malformed(format!("the request: {error}")))
}

async fn read_form(service: &Service, request: Request) -> Result<NewProof, Problem> {
    let unreadable = |error: &dyn std::fmt::Display| Problem::malformed(format!("the form cannot be read: {error}"));
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| unreadable(&error.body_text()))?;
    let (mut asked, mut program, mut input) = (None, None, None);
    while let Some(mut field) = form.next_field().await.map_err(|error| unreadable(&error.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "request" if asked.is_none() => {
                let mut body = Vec::new();
                while let Some(part) = field.chunk().await.map_err(|error| unreadable(&error.body_text()))? {
                    body.extend(part);
                    if body.len() > REQUEST_BYTES {
                        return Err(Problem::malformed(format!(
                            "the part request is longer than {REQUEST_BYTES} bytes"
                        )));
                    }
                }
                asked = Some(read_request(&body)?);
            }
            "program" if program.is_none() => {
                let kept = receive(service, Upload::Program, field).await?;
                program = Some(service.add_program(kept).await?.id);
            }
            "stdin" if input.is_none() => {
                let kept = receive(service, Upload::Input, field).await?;
                input = Some(service.add_input(kept).await?.digest);
            }
            "request" | "program" | "stdin" => {
                return Err(Problem::malformed(format!("the part {name} is there twice")));
            }
            _ => {
                let name: String = name.chars().take(40).collect();
                return Err(Problem::malformed(format!(
                    "there is no part {name}: they are request, program and stdin"
                )));
            }
        }
    }
    let mut asked = asked.unwrap_or_default();
    for (part, named, name) in [(program, &mut asked.program, "program"), (input, &mut asked.input, "stdin")] {
        match (part, &named) {
            (Some(_), Some(_)) => {
                return Err(Problem::malformed(format!("{name} is both a part and named in the request")));
            }
            (Some(id), None) => *named = Some(id),
            (None, _) => {}
        }
    }
    Ok(asked)
}

/// Shows a proof.
#[utoipa::path(
    get,
    path = "/v1/proofs/{id}",
    tag = "proofs",
    responses((status = 200, body = Proof), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn show(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Proof>, Problem> {
    Ok(Json(service.proof(&id).await?))
}

/// Cancels a proof. One that runs ends within moments; one that has ended stays as it is.
#[utoipa::path(
    delete,
    path = "/v1/proofs/{id}",
    tag = "proofs",
    responses((status = 200, body = Proof), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn cancel(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Proof>, Problem> {
    Ok(Json(service.cancel(&id).await?))
}

/// Fetches a finished proof, as SP1's own tools save it.
#[utoipa::path(
    get,
    path = "/v1/proofs/{id}/proof",
    tag = "proofs",
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not done.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn fetch(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, Problem> {
    let content = service.result(&id).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response())
}

/// Tells what happens to a proof, from its beginning and until its end, as server-sent events: the name of each is its
/// `event`, its id its number. Whoever was cut off goes on after the number in `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/v1/proofs/{id}/events",
    tag = "proofs",
    params(Follow, ("Last-Event-ID" = Option<u64>, Header, description = "Number of the last event that was seen.")),
    responses(
        (status = 200, body = EventRecord, content_type = "text/event-stream"),
        (status = 404, body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn events(
    State(service): State<Service>,
    Path(id): Path<String>,
    query: Result<Query<Follow>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Query(Follow { follow }) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    service.proof(&id).await?;
    let after = match headers.get("last-event-id") {
        None => 0,
        Some(text) => {
            let number = text.to_str().ok().and_then(|text| text.trim().parse().ok());
            number.ok_or_else(|| Problem::malformed("Last-Event-ID is no number"))?
        }
    };
    Ok(Sse::new(told(service, id, after, follow.unwrap_or(true))).keep_alive(KeepAlive::default()))
}

/// Whether to wait for what has not happened yet.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    /// Go on until the proof ends; true when absent. Otherwise what has happened is told, and no more.
    follow: Option<bool>,
}

/// Where a reader of events is.
struct Reading {
    service: Service,
    id: String,
    after: u64,
    /// Wait for what has not happened yet.
    follow: bool,
    ready: VecDeque<EventRecord>,
    over: bool,
    /// The proof was over when there were no events the last time.
    looked_at_end: bool,
}

/// How long the last event of a proof may come after its end.
const LAST_EVENT: Duration = Duration::from_secs(1);

fn told(service: Service, id: String, after: u64, follow: bool) -> impl Stream<Item = Result<Event, Infallible>> {
    let reading = Reading { service, id, after, follow, ready: VecDeque::new(), over: false, looked_at_end: false };
    stream::unfold(reading, |mut reading| async move {
        let record = reading.next().await?;
        let name = serde_json::to_value(&record.event).ok().and_then(|event| Some(event["event"].as_str()?.to_owned()));
        let event = Event::default()
            .id(record.number.to_string())
            .event(name.unwrap_or_default())
            .json_data(&record)
            .expect("an event is serialisable");
        Some((Ok(event), reading))
    })
}

impl Reading {
    /// The next event, when it comes; `None` after the last, and when the service stops.
    async fn next(&mut self) -> Option<EventRecord> {
        let mut written = self.service.written();
        loop {
            if let Some(record) = self.ready.pop_front() {
                self.after = record.number;
                self.over = matches!(record.event, ProofEvent::Finished { .. });
                return Some(record);
            }
            if self.over {
                return None;
            }
            written.mark_unchanged();
            let found = self.service.events(&self.id, self.after, EVENTS).await;
            self.ready = found.ok()?.into();
            if self.ready.is_empty() && !self.follow {
                return None;
            }
            if self.ready.is_empty() {
                // Whoever has seen the end, or more, waits for nothing; and an end that could not be written comes
                // never.
                let is_over = self.service.proof(&self.id).await.map_or(true, |proof| proof.state.is_final());
                if is_over && self.looked_at_end {
                    return None;
                }
                self.looked_at_end = is_over;
                if is_over {
                    // It is written some moments after the proof has ended.
                    let _ = timeout(LAST_EVENT, written.changed()).await;
                    continue;
                }
                tokio::select! {
                    () = self.service.stopping().cancelled() => return None,
                    changed = written.changed() => changed.ok()?,
                }
            }
        }
    }
}
