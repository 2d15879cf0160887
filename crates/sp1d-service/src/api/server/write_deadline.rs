//! A stream on which the peer must accept what is written.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Fails writes, flushes and the shutdown if the peer has accepted nothing for `max_time`. Reads have no deadline.
#[derive(Debug)]
pub(super) struct WriteDeadline<S> {
    stream: S,
    max_time: Duration,
    /// Runs while a write, a flush or the shutdown waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteDeadline<S> {
    pub(super) fn new(stream: S, max_time: Duration) -> Self {
        Self { stream, max_time, timer: None }
    }

    /// Returns the outcome of a write, a flush or the shutdown, or an error if it waits for too long.
    fn bounded<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.timer = None;
            return outcome;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.max_time)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.bounded(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex},
        time::{Instant, timeout},
    };

    #[tokio::test(start_paused = true)]
    async fn write_fails_when_the_peer_accepts_nothing() {
        let (near, mut far) = duplex(4);
        let mut near = WriteDeadline::new(near, Duration::from_secs(5));
        let started = Instant::now();
        let writing = tokio::spawn(async move { near.write_all(b"123456789").await });
        // The peer accepts four bytes after each 4 s, and then nothing.
        let mut part = [0; 4];
        tokio::time::sleep(Duration::from_secs(4)).await;
        far.read_exact(&mut part).await.unwrap();
        let failed = writing.await.unwrap().unwrap_err();
        assert_eq!((failed.kind(), started.elapsed().as_secs()), (io::ErrorKind::TimedOut, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn flush_and_shutdown_fail_when_the_peer_accepts_nothing() {
        for shuts_down in [false, true] {
            let (near, _far) = duplex(4);
            // Like TLS, it accepts all bytes at once and sends them later.
            let mut near = WriteDeadline::new(BufWriter::new(near), Duration::from_secs(5));
            near.write_all(b"123456789").await.unwrap();
            let started = Instant::now();
            let sending = async { if shuts_down { near.shutdown().await } else { near.flush().await } };
            let sent = timeout(Duration::from_secs(60), sending).await.expect("it has a deadline");
            assert_eq!((sent.unwrap_err().kind(), started.elapsed().as_secs()), (io::ErrorKind::TimedOut, 5));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_peer_that_accepts_something_is_served() {
        let (near, mut far) = duplex(1);
        let mut near = WriteDeadline::new(near, Duration::from_secs(5));
        let writing = tokio::spawn(async move { near.write_all(&[7; 10]).await });
        let mut part = [0; 1];
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            far.read_exact(&mut part).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }
}
