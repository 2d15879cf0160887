//! `/v1/proofs/{id}/events`: the events of a proof as a stream.

use super::{
    auth::{VisibleProof, token_in, until_refused},
    live::live,
    problem::Problem,
};
use crate::queue::{Follower, RequestError, Service};
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{Response, sse::Event},
};
use futures::{Stream, stream};
use serde::Deserialize;
use sp1d_model::{EventRecord, ProofEvent};
use std::collections::VecDeque;
use utoipa::IntoParams;

sp1d_model::limits! {
    /// Maximum number of events that a reader of an event stream has in memory.
    const MAX_READ: u32 = 1000; Count by Client;
}

/// Options of the event stream.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventStreamQuery {
    /// If true, which is the default, the stream waits for further events until the proof ends. If false, it ends after
    /// the events that have already happened.
    follow: Option<bool>,
}

/// State of one event stream.
struct EventReader {
    service: Service,
    follower: Follower,
    id: String,
    after: u64,
    /// Whether to wait for further events.
    follow: bool,
    ready: VecDeque<EventRecord>,
    over: bool,
    /// The last read returned no events although the proof had ended.
    looked_at_end: bool,
}

/// Streams the events of a proof as server-sent events, from the first one until the proof ends. The name of each
/// server-sent event is the field `event`, and its id is the field `number`. After a disconnect, a client sends the
/// last id that it received as `Last-Event-ID`, and the stream continues after that event.
#[utoipa::path(
    get,
    operation_id = "follow_proof",
    path = "/v1/proofs/{id}/events",
    tag = "proofs",
    params(
        ("id" = String, Path, description = "Id of the proof."),
        EventStreamQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Number of the last event that the client received.")
    ),
    responses(
        (status = 200, description = "The events.", body = EventRecord, content_type = "text/event-stream"),
        (status = 400, description = "The path, a query parameter or a header is invalid.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn events(
    State(service): State<Service>,
    VisibleProof(id): VisibleProof,
    query: Result<Query<EventStreamQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(EventStreamQuery { follow }) = query.map_err(|error| Problem::malformed(&error.body_text()))?;
    let after = match headers.get("last-event-id") {
        None => 0,
        Some(text) => {
            let number = text.to_str().ok().and_then(|text| text.trim().parse().ok());
            number.ok_or_else(|| Problem::malformed("the header Last-Event-ID is not a number"))?
        }
    };
    let ended = until_refused(service.clone(), token_in(&headers));
    Ok(live(event_stream(service, id, after, follow.unwrap_or(true)), ended))
}

fn event_stream(
    service: Service,
    id: String,
    after: u64,
    follow: bool,
) -> impl Stream<Item = Result<Event, RequestError>> {
    let follower = service.follow(&id);
    let reader =
        EventReader { service, follower, id, after, follow, ready: VecDeque::new(), over: false, looked_at_end: false };
    stream::try_unfold(reader, |mut reader| async move {
        let Some(record) = reader.next().await? else { return Ok(None) };
        let name = serde_json::to_value(&record.event).ok().and_then(|event| Some(event["event"].as_str()?.to_owned()));
        let event = Event::default()
            .id(record.number.to_string())
            .event(name.unwrap_or_default())
            .json_data(&record)
            .expect("an event can be serialized");
        Ok::<_, RequestError>(Some((event, reader)))
    })
}

impl EventReader {
    /// Waits for the next event. `None` after the last event, and when the service stops.
    ///
    /// # Errors
    /// Fails if the database fails. Then the proof may have further events.
    async fn next(&mut self) -> Result<Option<EventRecord>, RequestError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                self.after = record.number;
                self.over = matches!(record.event, ProofEvent::Finished { .. });
                return Ok(Some(record));
            }
            if self.over {
                return Ok(None);
            }
            self.follower.mark_unchanged();
            self.ready = self.service.events(&self.id, self.after, MAX_READ).await?.into();
            if self.ready.is_empty() && !self.follow {
                return Ok(None);
            }
            if self.ready.is_empty() {
                // The proof may have ended after this read, so the events of an ended proof are read once more. If it
                // has none, the client has the last event already, or has sent a larger number.
                let is_over = match self.service.proof(&self.id).await {
                    Ok(proof) => proof.state.is_final(),
                    // The proof was removed.
                    Err(RequestError::Unknown(_)) => true,
                    Err(error) => return Err(error),
                };
                if is_over && self.looked_at_end {
                    return Ok(None);
                }
                self.looked_at_end = is_over;
                if is_over {
                    continue;
                }
                tokio::select! {
                    () = self.service.stopping().cancelled() => return Ok(None),
                    () = self.follower.changed() => {}
                }
            }
        }
    }
}
