//! Responses that stream events as they happen.

use axum::{
    BoxError,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt};

/// Returns a response that streams `events` until `ended`, with a comment every 15 s, so that silence means a lost
/// connection. After an error, the connection breaks, so that the client does not take the events for all events.
pub(super) fn live<E: Into<BoxError> + 'static>(
    events: impl Stream<Item = Result<Event, E>> + Send + 'static,
    ended: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let events = events.take_until(ended);
    // By default, nginx and proxies like it collect a response before they pass it on.
    ([("x-accel-buffering", "no")], Sse::new(events).keep_alive(KeepAlive::default())).into_response()
}
