//! A stream whose first bytes must arrive in time.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

/// The first bytes of an HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Fails reads until the peer has shown whether it speaks HTTP/2, if that takes too long. hyper has no deadline for
/// this: it reads the whole preface, or up to the first byte that differs.
#[derive(Debug)]
pub(super) struct PrefaceDeadline<S> {
    stream: S,
    /// The bytes of the preface that have not arrived. Empty once the version is clear.
    missing: &'static [u8],
    timer: Pin<Box<Sleep>>,
}

impl<S> PrefaceDeadline<S> {
    pub(super) fn new(stream: S, max_time: Duration) -> Self {
        Self { stream, missing: PREFACE, timer: Box::pin(sleep(max_time)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefaceDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.missing.is_empty() {
            return read;
        }
        if read.is_pending() {
            return self.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        self.missing = self.missing.strip_prefix(&buffer.filled()[before..]).unwrap_or_default();
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };

    const LONGEST: Duration = Duration::from_secs(8);

    /// Checks whether reads fail after a peer has sent `start`, one byte a second, and then nothing.
    async fn check(start: &'static [u8], fails: bool) {
        let (near, mut far) = duplex(64);
        let mut near = PrefaceDeadline::new(near, LONGEST);
        let sending = async {
            for byte in start {
                far.write_u8(*byte).await.unwrap();
                sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            loop {
                if let Err(error) = near.read_u8().await {
                    return error.kind();
                }
            }
        };
        let failed = tokio::select! {
            () = sending => None,
            failed = timeout(4 * LONGEST, reading) => failed.ok(),
        };
        assert_eq!(failed, fails.then_some(io::ErrorKind::TimedOut), "{start:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn reads_fail_until_the_version_is_clear() {
        check(b"", true).await;
        check(&PREFACE[..4], true).await;
        check(PREFACE, true).await;
        check(b"PRI /", false).await;
        check(b"GET", false).await;
    }
}
