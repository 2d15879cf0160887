//! Waits for a proof, and repeats requests, across lost connections and restarts of the service.

use crate::{client::Client, error::ClientError};
use futures::StreamExt;
use sp1d_model::{EventRecord, ProofEvent, ProofSummary};
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, sleep};

/// Pause between two tries to reach a service.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

impl Client {
    /// Waits until `proof` has ended, across lost connections and restarts of the service. Returns the proof in its
    /// final state. Meanwhile, calls `on_event` for each event after event number `after`, until the last one. Returns
    /// at once, without events, if `proof` has already ended.
    ///
    /// # Errors
    /// Fails if the service no longer has the proof, or if the service has not responded for `patience`. Without
    /// `patience`, waits without limit.
    pub async fn follow(
        &self,
        mut proof: ProofSummary,
        mut after: u64,
        patience: Option<Duration>,
        mut on_event: impl FnMut(&EventRecord),
    ) -> Result<ProofSummary, ClientError> {
        if proof.state.is_final() {
            return Ok(proof);
        }
        let id = &proof.id.clone();
        let mut silent_since = None;
        let mut has_last_event = false;
        loop {
            let had_ended = proof.state.is_final();
            let read = self.report_events(id, &mut after, &mut on_event).await;
            has_last_event |= matches!(read, Ok(true));
            let found = match read {
                // The stream of an ended proof has all its events.
                Ok(_) if had_ended => return Ok(proof),
                Err(error) if had_ended => Err(error),
                // The stream also ends when the connection is lost, and the proof may end meanwhile.
                _ => self.proof(id).await,
            };
            match found {
                Ok(now) if now.state.is_final() && has_last_event => return Ok(now),
                Ok(now) => (proof, silent_since) = (now, None),
                Err(error) if !error.is_passing() => return Err(error),
                Err(error) => {
                    // Warn only about the first failure in a row.
                    if silent_since.is_none() {
                        let error = error.without_hint();
                        tracing::warn!(%error, proof_id = id, "request to the service failed; retrying");
                    }
                    let since = *silent_since.get_or_insert_with(Instant::now);
                    if patience.is_some_and(|patience| since.elapsed() >= patience) {
                        return Err(error);
                    }
                }
            }
            if silent_since.is_some() || !proof.state.is_final() {
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Calls `on_event` for each event of the proof `id` after event number `after`, until the stream ends. Sets
    /// `after` to the number of the last event so far. Returns true if the proof has no further events.
    ///
    /// # Errors
    /// Fails if the stream cannot be read to its end.
    async fn report_events(
        &self,
        id: &str,
        after: &mut u64,
        on_event: &mut impl FnMut(&EventRecord),
    ) -> Result<bool, ClientError> {
        let mut events = pin!(self.events(id, *after).await?);
        let mut is_last = false;
        while let Some(event) = events.next().await {
            let event = event?;
            *after = event.number;
            is_last = matches!(event.event, ProofEvent::Finished { .. });
            on_event(&event);
        }
        Ok(is_last)
    }

    /// Calls `ask` until it succeeds or fails with an error that does not pass. Does not try again if a try fails after
    /// `patience`.
    ///
    /// # Errors
    /// Returns the error of the last try.
    pub async fn persist<T, A: Future<Output = Result<T, ClientError>>>(
        patience: Duration,
        mut ask: impl FnMut() -> A,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        loop {
            match ask().await {
                Err(error) if error.is_passing() && started.elapsed() < patience => {
                    let error = error.without_hint();
                    tracing::debug!(%error, "request to the service failed; retrying");
                    sleep(RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sp1d_model::{Moment, ProofState};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A response to one request: the content, and whether the connection breaks before its end.
    type Reply = (String, bool);

    /// Sends one of `replies` on each connection.
    async fn serve(listener: TcpListener, replies: Vec<Reply>) {
        for (content, breaks) in replies {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let length = content.len() + usize::from(breaks);
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(format!("{head}{content}").as_bytes()).await.unwrap();
        }
    }

    fn proof(state: &str) -> ProofSummary {
        serde_json::from_value(json!({
            "id": "a", "tenant": "default", "program": "", "input": "", "mode": "core", "state": state, "priority": 0,
            "nonce": [0, 0, 0, 0], "created": "2026-01-01T00:00:10Z", "starts": 1,
            "tasks": {"known": 0, "done": 0, "cached": 0}, "workers": []
        }))
        .unwrap()
    }

    fn state(state: &str) -> Reply {
        (serde_json::to_string(&proof(state)).unwrap(), false)
    }

    /// Returns an event stream with these events, which may break.
    fn stream(events: Vec<(u64, ProofEvent)>, breaks: bool) -> Reply {
        let texts = events.into_iter().map(|(number, event)| {
            let record = EventRecord { number, at: Moment(0), event };
            format!("data: {}\n\n", serde_json::to_string(&record).unwrap())
        });
        (texts.collect(), breaks)
    }

    fn finished() -> ProofEvent {
        ProofEvent::Finished { state: ProofState::Done, failure: None }
    }

    /// Checks the numbers of the events of a running proof that ends as done, if the service sends these replies.
    async fn check(replies: Vec<Reply>, expected: &[u64]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let serving = tokio::spawn(serve(listener, replies));
        let mut numbers = Vec::new();
        let ended = client.follow(proof("running"), 0, Some(Duration::ZERO), |event| numbers.push(event.number)).await;
        assert_eq!((ended.unwrap().state, numbers.as_slice()), (ProofState::Done, expected));
        // All replies were needed.
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn all_events_are_reported_if_the_proof_ends_during_an_outage() {
        let start = || (1, ProofEvent::Started { start: 1 });
        check(vec![stream(vec![start(), (2, finished())], false), state("done")], &[1, 2]).await;
        let rest = || stream(vec![(2, finished())], false);
        check(vec![stream(vec![start()], true), state("done"), rest()], &[1, 2]).await;
        check(vec![stream(vec![start()], true), state("running"), rest(), state("done")], &[1, 2]).await;
        // A service that is stopping ends the stream without an error.
        check(vec![stream(vec![start()], false), state("done"), rest()], &[1, 2]).await;
    }
}
