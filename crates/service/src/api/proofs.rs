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

/// Maximum length of the JSON request in bytes. Program and input have their own limits.
const REQUEST_BYTES: usize = 64 << 10;

/// Proofs on a page if the client sends no `limit`.
const PAGE: u32 = 100;

/// Maximum value of `limit`.
const LONGEST_PAGE: u32 = 1000;

/// Maximum number of events in one read from the database.
const EVENTS: u32 = 1000;

/// A page of the list of proofs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Proofs {
    /// The proofs, newest first.
    proofs: Vec<Proof>,
    /// Value of `before` for the next page. `null` if this page has fewer than `limit` proofs and is the last one.
    next: Option<i64>,
}

/// Selects the proofs to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// Lists only proofs in this state.
    state: Option<ProofState>,
    /// Maximum number of proofs in the response, 1 to 1000; 100 by default.
    limit: Option<u32>,
    /// Value of `next` in an earlier response. Lists the proofs after it.
    before: Option<i64>,
}

/// A proof request as a form, which can contain the program and the input.
#[derive(ToSchema)]
#[expect(dead_code, reason = "utoipa reads only its schema")]
struct Parts {
    /// The proof request as JSON.
    request: NewProof,
    /// The program's ELF file.
    #[schema(format = Binary)]
    program: Option<String>,
    /// The input: an `SP1Stdin`, serialized with bincode 1.
    #[schema(format = Binary)]
    stdin: Option<String>,
}

/// Lists proofs, newest first.
#[utoipa::path(
    get,
    path = "/v1/proofs",
    tag = "proofs",
    params(List),
    responses((status = 200, body = Proofs), (status = 400, description = "A query parameter is invalid.", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(
    State(service): State<Service>,
    query: Result<Query<List>, QueryRejection>,
) -> Result<Json<Proofs>, Problem> {
    let Query(List { state, limit, before }) = query.map_err(|error| Problem::malformed(&error.body_text()))?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Problem::malformed(&format!("limit {limit} is out of range: 1 to {LONGEST_PAGE}")));
    }
    let found = service.proofs(Selection { state, before, limit }).await?;
    let next = if found.len() == limit as usize { found.last().map(|(number, _)| *number) } else { None };
    Ok(Json(Proofs { proofs: found.into_iter().map(|(_, proof)| proof).collect(), next }))
}

/// Submits a proof request. If the program and the input were uploaded before, send the request as JSON. Otherwise send
/// a form with the part `request`, which is the same JSON, and the parts `program` and `stdin`, which are the bytes.
#[utoipa::path(
    post,
    path = "/v1/proofs",
    tag = "proofs",
    params(("Idempotency-Key" = Option<String>, Header, description = "Replaces `idempotency_key` of the request.")),
    request_body(content((NewProof = "application/json"), (Parts = "multipart/form-data"))),
    responses(
        (status = 201, description = "The proof request was accepted.", body = Proof),
        (status = 200, description = "The same request was accepted before.", body = Proof),
        (status = 400, description = "The request cannot be read.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such program or input.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A different request has used this idempotency key.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The program or the input is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is neither JSON nor a form.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid program, input or field value.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The queue is full.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The service has too little free disk space.", body = Problem, content_type = "application/problem+json")
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
        read_request(&body.map_err(|error| Problem::malformed(&format!("cannot read the request: {error}")))?)?
    } else {
        let text = format!(
            "the content type `{kind:.80}` is not supported\nhint: send `application/json`, or `multipart/form-data` with the parts `request`, `program` and `stdin`"
        );
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown_type", &text));
    };
    if let Some(key) = headers.get("idempotency-key") {
        let key = key
            .to_str()
            .map_err(|_| Problem::malformed("the header Idempotency-Key has characters other than visible ASCII"))?;
        asked.idempotency_key = Some(key.to_owned());
    }
    let (proof, new) = service.submit(asked).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(proof)))
}

fn read_request(body: &[u8]) -> Result<NewProof, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::malformed(&format!("invalid request: {error}")))
}

async fn read_form(service: &Service, request: Request) -> Result<NewProof, Problem> {
    let unreadable = |error: &dyn std::fmt::Display| Problem::malformed(&format!("cannot read the form: {error}"));
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
                        let text = format!("the form part `request` is longer than the limit of {REQUEST_BYTES} bytes");
                        return Err(Problem::malformed(&text));
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
                return Err(Problem::malformed(&format!("the form has the part `{name}` twice")));
            }
            _ => {
                let name: String = name.chars().take(40).collect();
                return Err(Problem::malformed(&format!(
                    "unknown form part `{name}`\nhint: use the parts `request`, `program` and `stdin`"
                )));
            }
        }
    }
    let mut asked = asked.unwrap_or_default();
    let given = [(program, "program", &mut asked.program, "program"), (input, "stdin", &mut asked.input, "input")];
    for (part, name, named, field) in given {
        match (part, &named) {
            (Some(_), Some(_)) => {
                return Err(Problem::malformed(&format!(
                    "the form has the part `{name}`, and its request sets `{field}`\nhint: use only one of them"
                )));
            }
            (Some(id), None) => *named = Some(id),
            (None, _) => {}
        }
    }
    Ok(asked)
}

/// Returns a proof.
#[utoipa::path(
    get,
    path = "/v1/proofs/{id}",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses((status = 200, body = Proof), (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn show(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Proof>, Problem> {
    Ok(Json(service.proof(&id).await?))
}

/// Cancels a proof. A running proof ends shortly after the response. A proof that has ended does not change.
#[utoipa::path(
    delete,
    path = "/v1/proofs/{id}",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses((status = 200, body = Proof), (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn cancel(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Proof>, Problem> {
    Ok(Json(service.cancel(&id).await?))
}

/// Downloads a finished proof, in the file format of SP1's own tools.
#[utoipa::path(
    get,
    path = "/v1/proofs/{id}/proof",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The proof is not done.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn fetch(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, Problem> {
    let content = service.result(&id).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response())
}

/// Streams the events of a proof as server-sent events, from the first one until the proof ends. The name of each
/// server-sent event is the field `event`, and its id is the field `number`. After a disconnect, a client sends the
/// last id that it received as `Last-Event-ID`, and the stream continues after that event.
#[utoipa::path(
    get,
    path = "/v1/proofs/{id}/events",
    tag = "proofs",
    params(
        ("id" = String, Path, description = "Id of the proof."),
        Follow,
        ("Last-Event-ID" = Option<u64>, Header, description = "Number of the last event that the client received.")
    ),
    responses(
        (status = 200, body = EventRecord, content_type = "text/event-stream"),
        (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn events(
    State(service): State<Service>,
    Path(id): Path<String>,
    query: Result<Query<Follow>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Query(Follow { follow }) = query.map_err(|error| Problem::malformed(&error.body_text()))?;
    service.proof(&id).await?;
    let after = match headers.get("last-event-id") {
        None => 0,
        Some(text) => {
            let number = text.to_str().ok().and_then(|text| text.trim().parse().ok());
            number.ok_or_else(|| Problem::malformed("the header Last-Event-ID is not a number"))?
        }
    };
    Ok(Sse::new(told(service, id, after, follow.unwrap_or(true))).keep_alive(KeepAlive::default()))
}

/// Options of the event stream.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    /// If true, which is the default, the stream waits for further events until the proof ends. If false, it ends after
    /// the events that have already happened.
    follow: Option<bool>,
}

/// State of one event stream.
struct Reading {
    service: Service,
    id: String,
    after: u64,
    /// Whether to wait for further events.
    follow: bool,
    ready: VecDeque<EventRecord>,
    over: bool,
    /// The last read returned no events although the proof had ended.
    looked_at_end: bool,
}

/// Longest wait for the last event of a proof after the proof has ended.
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
            .expect("an event can be serialized");
        Some((Ok(event), reading))
    })
}

impl Reading {
    /// Waits for the next event. `None` after the last event, when the service stops, and if the database fails.
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
                // The client may already have the last event, or may have sent a larger number. The last event may also
                // be missing because it could not be written. So an ended proof is read only once more.
                let is_over = self.service.proof(&self.id).await.map_or(true, |proof| proof.state.is_final());
                if is_over && self.looked_at_end {
                    return None;
                }
                self.looked_at_end = is_over;
                if is_over {
                    // The last event is written shortly after the proof has ended.
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
