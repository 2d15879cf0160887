//! A proxy between two processes that can disturb their connections.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Forwards connections to one address.
pub(crate) struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
}

struct Link {
    target: SocketAddr,
    /// Whether new connections are closed at once.
    closed: AtomicBool,
    /// Bytes per second in each direction. 0 means no limit.
    limit: AtomicU64,
    connections: Mutex<Vec<Arc<Pair>>>,
}

/// One connection: its two sockets, and which directions are swallowed.
struct Pair {
    near: TcpStream,
    far: TcpStream,
    /// Whether bytes to the target, and bytes from the target, are dropped silently.
    swallows: [AtomicBool; 2],
}

impl Proxy {
    /// Starts a proxy for `target` that does not disturb anything yet.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let link = Arc::new(Link {
            target,
            closed: AtomicBool::new(false),
            limit: AtomicU64::new(0),
            connections: Mutex::default(),
        });
        let serving = link.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                serving.connect(near);
            }
        });
        Self { address, link }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections, and closes new connections at once.
    pub(crate) fn close(&self) {
        self.link.closed.store(true, Ordering::SeqCst);
        for pair in self.link.connections.lock().unwrap().drain(..) {
            let _ = pair.near.shutdown(Shutdown::Both);
            let _ = pair.far.shutdown(Shutdown::Both);
        }
    }

    /// Accepts new connections again.
    pub(crate) fn open(&self) {
        self.link.closed.store(false, Ordering::SeqCst);
    }

    /// Silently drops all further bytes of the existing connections, in the given directions. New connections are not
    /// affected.
    pub(crate) fn swallow(&self, to_target: bool, from_target: bool) {
        for pair in &*self.link.connections.lock().unwrap() {
            pair.swallows[0].store(to_target, Ordering::SeqCst);
            pair.swallows[1].store(from_target, Ordering::SeqCst);
        }
    }

    /// Limits each direction to this number of bytes per second.
    pub(crate) fn limit(&self, bytes_per_second: u64) {
        self.link.limit.store(bytes_per_second, Ordering::SeqCst);
    }
}

impl Link {
    fn connect(self: &Arc<Self>, near: TcpStream) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(far) = TcpStream::connect(self.target) else { return };
        for socket in [&near, &far] {
            socket.set_nodelay(true).unwrap();
        }
        let pair = Arc::new(Pair { near, far, swallows: Default::default() });
        self.connections.lock().unwrap().push(pair.clone());
        for direction in [0, 1] {
            let (link, pair) = (self.clone(), pair.clone());
            thread::spawn(move || link.pass(&pair, direction));
        }
    }

    fn pass(&self, pair: &Pair, direction: usize) {
        let (mut from, mut to) = if direction == 0 { (&pair.near, &pair.far) } else { (&pair.far, &pair.near) };
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let limit = self.limit.load(Ordering::SeqCst);
            if limit > 0 {
                thread::sleep(Duration::from_secs_f64(read as f64 / limit as f64));
            }
            if pair.swallows[direction].load(Ordering::SeqCst) {
                continue;
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // Closing a swallowed connection would notify the peers, so leave it open.
        if !pair.swallows.iter().any(|swallows| swallows.load(Ordering::SeqCst)) {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
    }
}
