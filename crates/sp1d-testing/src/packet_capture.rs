//! A packet capture, as tcpdump makes one.

use crate::observed_traffic::ObservedTraffic;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, ErrorKind, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// All protocols: `ETH_P_ALL` of packet(7).
const ALL_PROTOCOLS: u16 = 3;

/// Longest packet that is kept whole. Packets that are captured before their segmentation have up to 64 KiB.
const PACKET_BYTES: usize = 128 << 10;

/// How long no packet must come at the end of a capture.
const QUIET: Duration = Duration::from_millis(200);

/// Longest wait for the end. A capture that is still busy then fails.
const MAX_END: Duration = Duration::from_secs(20);

/// A capture of all packets of all interfaces in the network namespace of the thread that starts it. It needs the right
/// `CAP_NET_RAW` in that namespace.
#[derive(Debug)]
pub struct PacketCapture {
    traffic: ObservedTraffic,
    is_ending: Arc<AtomicBool>,
    capturing: Option<JoinHandle<()>>,
}

impl PacketCapture {
    /// Starts a capture.
    ///
    /// # Errors
    /// If the kernel refuses it, for example because the right is missing.
    pub fn start() -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(ALL_PROTOCOLS.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        // Packets wait here while the thread has no core. The kernel lowers the number to its limit.
        socket.set_recv_buffer_size(16 << 20)?;
        socket.set_read_timeout(Some(QUIET))?;
        let (traffic, is_ending) = (ObservedTraffic::default(), Arc::<AtomicBool>::default());
        let (of_thread, ends) = (traffic.clone(), is_ending.clone());
        let capturing = Some(thread::spawn(move || capture(socket, &of_thread, &ends)));
        Ok(Self { traffic, is_ending, capturing })
    }

    /// Ends the capture when no packet comes any more, and returns what it has seen.
    ///
    /// # Panics
    /// Panics if the capture has failed, or if packets do not stop within 20 s.
    #[must_use]
    pub fn end(mut self) -> ObservedTraffic {
        self.is_ending.store(true, Ordering::Relaxed);
        let capturing = self.capturing.take().expect("a capture ends once");
        capturing.join().expect("packets are captured until the end");
        self.traffic.clone()
    }
}

impl Drop for PacketCapture {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }
}

fn capture(mut socket: Socket, traffic: &ObservedTraffic, is_ending: &AtomicBool) {
    let mut buffer = vec![0; PACKET_BYTES];
    let mut ends_at = None;
    loop {
        if is_ending.load(Ordering::Relaxed) {
            let ends_at = *ends_at.get_or_insert_with(|| Instant::now() + MAX_END);
            assert!(Instant::now() < ends_at, "packets do not stop at the end of the capture");
        }
        match socket.read(&mut buffer) {
            Ok(length) => {
                let part = traffic.open_part();
                traffic.extend(part, &buffer[..length]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if is_ending.load(Ordering::Relaxed) {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("packets cannot be captured: {error}"),
        }
    }
}
