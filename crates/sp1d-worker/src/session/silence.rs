//! Detects an orchestrator that sends nothing, or reads nothing.

use super::end::SessionEnd;
use crate::attempt::SessionHandle;
use sp1d_protocol::{Closer, wire::from_worker};
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Whether the orchestrator still sends.
pub(super) struct SilenceDetector<'a> {
    closer: &'a Closer,
    limit: Duration,
    bytes: u64,
    at: Instant,
}

impl<'a> SilenceDetector<'a> {
    pub(super) fn new(closer: &'a Closer, limit: Duration) -> Self {
        Self { closer, limit, bytes: closer.bytes_read(), at: Instant::now() }
    }

    /// Returns the time after which the orchestrator counts as silent if it sends nothing until then.
    pub(super) fn deadline(&mut self) -> Instant {
        let bytes = self.closer.bytes_read();
        if bytes != self.bytes {
            (self.bytes, self.at) = (bytes, Instant::now());
        }
        self.at + self.limit
    }

    /// Sends `message`. Waits while the outbox is full, which means that the orchestrator does not read. Returns false
    /// if the session is over.
    ///
    /// The session does nothing else while it waits here. So this function itself checks for silence and for the stop.
    ///
    /// # Errors
    /// Fails if the orchestrator sends nothing or reads nothing for the silence limit, or if the worker is stopping.
    pub(super) async fn send(
        &mut self,
        session: &SessionHandle,
        message: from_worker::Message,
        stop: &CancellationToken,
    ) -> Result<bool, SessionEnd> {
        let read_deadline = Instant::now() + self.limit;
        let mut sending = pin!(session.send(message));
        loop {
            let deadline = self.deadline().min(read_deadline);
            tokio::select! {
                biased;
                sent = &mut sending => return Ok(sent),
                () = stop.cancelled() => return Err(SessionEnd::Stopping),
                () = sleep_until(deadline) => {
                    // The orchestrator may have sent something since the deadline was computed.
                    if self.deadline().min(read_deadline) <= Instant::now() {
                        return Err(SessionEnd::Silence(self.limit));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_protocol::{
        Connection,
        wire::{self, FromWorker, session_client::SessionClient},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        sync::mpsc,
        time::sleep,
    };
    use tonic::transport::Endpoint;

    const LIMIT: Duration = Duration::from_secs(3);

    /// Returns a session with a full outbox. It stays full as long as the receiver exists.
    fn full_session(closer: &Closer) -> (SessionHandle, mpsc::Receiver<FromWorker>) {
        let client = SessionClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy());
        let (outbox, unread) = mpsc::channel(1);
        outbox.try_send(FromWorker { message: None }).unwrap();
        (SessionHandle { client, outbox, closer: closer.clone() }, unread)
    }

    fn heartbeat() -> from_worker::Message {
        from_worker::Message::Heartbeat(wire::Heartbeat {})
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_outbox_ends_the_session_when_the_orchestrator_is_silent() {
        let (_connection, closer) = Connection::new(tokio::io::empty());
        let (session, _unread) = full_session(&closer);
        let started = Instant::now();
        let mut silence = SilenceDetector::new(&closer, LIMIT);
        sleep(Duration::from_secs(2)).await;
        let sent = silence.send(&session, heartbeat(), &CancellationToken::new()).await;
        assert!(matches!(sent, Err(SessionEnd::Silence(_))), "{sent:?}");
        assert_eq!(started.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_outbox_ends_the_session_when_the_orchestrator_sends_but_does_not_read() {
        let (ours, mut theirs) = duplex(64);
        let (mut connection, closer) = Connection::new(ours);
        let (session, _unread) = full_session(&closer);
        let mut silence = SilenceDetector::new(&closer, LIMIT);
        sleep(Duration::from_secs(2)).await;
        let started = Instant::now();
        let chatter = async {
            for _ in 0..10 {
                sleep(Duration::from_millis(700)).await;
                theirs.write_u8(0).await.unwrap();
                connection.read_u8().await.unwrap();
            }
        };
        let stop = CancellationToken::new();
        let sent = tokio::select! {
            sent = silence.send(&session, heartbeat(), &stop) => sent,
            () = chatter => panic!("the session did not end"),
        };
        assert!(matches!(sent, Err(SessionEnd::Silence(_))), "{sent:?}");
        assert_eq!(started.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_outbox_does_not_delay_the_stop() {
        let (_connection, closer) = Connection::new(tokio::io::empty());
        let (session, _unread) = full_session(&closer);
        let stop = CancellationToken::new();
        stop.cancel();
        let sent = SilenceDetector::new(&closer, LIMIT).send(&session, heartbeat(), &stop).await;
        assert!(matches!(sent, Err(SessionEnd::Stopping)), "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_sent_once_the_orchestrator_reads() {
        let (_connection, closer) = Connection::new(tokio::io::empty());
        let (session, mut unread) = full_session(&closer);
        let stop = CancellationToken::new();
        let mut silence = SilenceDetector::new(&closer, LIMIT);
        let reading = async {
            sleep(Duration::from_secs(1)).await;
            unread.recv().await
        };
        let (sent, _) = tokio::join!(silence.send(&session, heartbeat(), &stop), reading);
        assert!(matches!(sent, Ok(true)), "{sent:?}");
        assert!(unread.recv().await.is_some_and(|sent| sent.message.is_some()));
    }
}
