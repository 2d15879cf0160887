//! Responses that stream events as they happen.

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures::Stream;
use std::convert::Infallible;

/// Returns a response that streams `events`, with a comment every 15 s, so that silence means a lost connection.
pub(super) fn live(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    // By default, nginx and proxies like it collect a response before they pass it on.
    ([("x-accel-buffering", "no")], Sse::new(events).keep_alive(KeepAlive::default())).into_response()
}
