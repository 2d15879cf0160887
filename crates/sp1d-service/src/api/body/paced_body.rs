//! A body that must arrive at a minimum rate.

use super::fault::BodyFault;
use crate::queue::HttpLimits;
use axum::{
    BoxError,
    body::{Body, BodyDataStream},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// The data of a body. Fails if the client sends nothing for too long, or sends too slowly. Only the time in which the
/// reader waits for the client counts.
#[derive(Debug)]
pub(in crate::api) struct PacedBody {
    parts: BodyDataStream,
    silence: Duration,
    bytes_per_second: u64,
    received: u64,
    /// Time for which the reader has waited for the client, without the present wait.
    waited: Duration,
    wait: Option<BodyWait>,
}

/// A wait for the client.
#[derive(Debug)]
struct BodyWait {
    since: Instant,
    fault: BodyFault,
    timer: Pin<Box<Sleep>>,
}

impl PacedBody {
    /// Returns `body` with the limits of the HTTP interface.
    pub(in crate::api) fn limit(body: Body, limits: &HttpLimits) -> Body {
        Body::from_stream(Self {
            parts: body.into_data_stream(),
            silence: limits.silence,
            bytes_per_second: limits.bytes_per_second.max(1),
            received: 0,
            waited: Duration::ZERO,
            wait: None,
        })
    }

    fn new_wait(&self) -> BodyWait {
        let since = Instant::now();
        // The first bytes of a body have the time of a silence, so that a short body is never too slow.
        let allowed = self.silence.saturating_add(Duration::from_secs(self.received / self.bytes_per_second));
        let left = allowed.saturating_sub(self.waited);
        let (max_time, fault) = if left < self.silence {
            (left, BodyFault::Slow(self.bytes_per_second))
        } else {
            (self.silence, BodyFault::Stalled(self.silence))
        };
        BodyWait { since, fault, timer: Box::pin(sleep_until(since + max_time)) }
    }
}

impl Stream for PacedBody {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(part) = self.parts.poll_next_unpin(context) {
            if let Some(wait) = self.wait.take() {
                self.waited += wait.since.elapsed();
            }
            if let Some(Ok(part)) = &part {
                self.received += part.len() as u64;
            }
            return Poll::Ready(part.map(|part| part.map_err(BoxError::from)));
        }
        let mut wait = self.wait.take().unwrap_or_else(|| self.new_wait());
        if wait.timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(wait.fault.into())));
        }
        self.wait = Some(wait);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body::body_problem;
    use futures::stream;
    use tokio::time::sleep;

    /// Returns how a body ends of which `parts` parts of `bytes` bytes arrive, one after each `pause`, and the seconds
    /// until then.
    async fn received(parts: usize, bytes: usize, pause: Duration) -> (Result<usize, String>, u64) {
        let limits = HttpLimits { silence: Duration::from_secs(30), bytes_per_second: 1000, ..HttpLimits::default() };
        let parts = stream::iter(0..parts).then(move |_| async move {
            sleep(pause).await;
            Ok::<_, BoxError>(Bytes::from(vec![0; bytes]))
        });
        let started = Instant::now();
        let body = axum::body::to_bytes(PacedBody::limit(Body::from_stream(parts), &limits), usize::MAX).await;
        let body = body.map(|body| body.len());
        let code = |error: axum::Error| {
            let problem = serde_json::to_value(body_problem("the upload failed", &error)).unwrap();
            format!("{} {}", problem["status"], problem["code"].as_str().unwrap())
        };
        (body.map_err(code), started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn silent_and_slow_bodies_end() {
        let seconds = Duration::from_secs;
        assert_eq!(received(3, 10, seconds(9)).await, (Ok(30), 27));
        assert_eq!(received(1, 10, seconds(3600)).await, (Err("408 stalled".to_owned()), 30));
        // 500 bytes per second: after 59 s, 29,500 bytes have arrived, which allow for 30 + 29 s.
        let (outcome, after) = received(1000, 500, seconds(1)).await;
        assert_eq!(outcome, Err("408 too_slow".to_owned()));
        assert!((55..=62).contains(&after), "{after}");
        assert_eq!(received(1000, 2000, seconds(1)).await, (Ok(2_000_000), 1000));
    }
}
