//! A link to a worker, which can be slow and can be disconnected.

use anyhow::{Context, Result};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a link may be late before it loses the time.
const MAX_DELAY: Duration = Duration::from_millis(2);

/// Forwards connections to one worker.
pub(super) struct FleetLink {
    address: SocketAddr,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl FleetLink {
    /// Starts a link to `target`. `bytes_per_second` limits the direction to the worker, so that the worker looks like
    /// a slow reader.
    pub(super) fn start(target: SocketAddr, bytes_per_second: Option<u64>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        let address = listener.local_addr().context("the listener has no address")?;
        let ends: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let open = ends.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // The orchestrator connects again after a failure.
                let _ = connect(&near, target, bytes_per_second, &open);
            }
        });
        Ok(Self { address, ends })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections. New ones are accepted at once.
    pub(super) fn disconnect(&self) {
        for end in self.ends.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A connection that has ended needs no end.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn connect(
    near: &TcpStream,
    target: SocketAddr,
    bytes_per_second: Option<u64>,
    open: &Mutex<Vec<TcpStream>>,
) -> std::io::Result<()> {
    let far = TcpStream::connect(target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    open.lock().unwrap_or_else(PoisonError::into_inner).extend([near.try_clone()?, far.try_clone()?]);
    let (to_worker, from_worker) = ((near.try_clone()?, far.try_clone()?), (far, near.try_clone()?));
    thread::spawn(move || pass(to_worker, bytes_per_second));
    thread::spawn(move || pass(from_worker, None));
    Ok(())
}

fn pass((mut from, mut to): (TcpStream, TcpStream), bytes_per_second: Option<u64>) {
    let mut buffer = [0; 16 << 10];
    let mut free_at = Instant::now();
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(limit) = bytes_per_second {
            // A sleep lasts longer than asked for, and the next one is shorter by as much. A pause of the sender is
            // lost.
            free_at = free_at.max(Instant::now() - MAX_DELAY) + Duration::from_secs_f64(read as f64 / limit as f64);
            thread::sleep(free_at.saturating_duration_since(Instant::now()));
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        // The other direction may have closed it.
        let _ = end.shutdown(Shutdown::Both);
    }
}
