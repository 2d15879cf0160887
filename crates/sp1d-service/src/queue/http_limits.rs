//! The limits of the HTTP interface that an operator can set.

use std::time::Duration;

sp1d_model::limits! {
    /// Default maximum number of open HTTP connections. Each has a read buffer and a write buffer of up to 64 KiB. A
    /// process may usually open 1024 files, and the database and the workers' connections need some of them.
    const MAX_CONNECTIONS: usize = 512; Count by Client;
    /// Default maximum number of open HTTP connections of one client: an IPv4 address or a /64 network of IPv6
    /// addresses. One client cannot take the connections of all others.
    const MAX_CONNECTIONS_PER_CLIENT: usize = 128; Count by Client;
    /// Default time in which a client must send the head of a request, or the first bytes of HTTP/2. It also ends
    /// HTTP/1.1 connections without a request. It is longer than the minute after which many monitors ask again, so
    /// that they can keep their connection. A new connection can replace one without a request at any time.
    const MAX_HEAD_TIME: Duration = Duration::from_secs(65); Time by Client;
    /// Default time for which a client may send no part of a body, or accept no part of a response. Networks lose
    /// connections for a few seconds, rarely for longer.
    const MAX_SILENCE: Duration = Duration::from_secs(30); Time by Client;
    /// Default minimum rate of a body in bytes per second, after the longest silence. It gives every upload a deadline:
    /// an input of 1 GiB takes at most three hours. `sp1d submit` gives up below the same rate.
    const MIN_BODY_RATE: u64 = 100_000; Rate by Client;
}

/// Limits of the HTTP interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Maximum number of open connections. A further connection replaces the oldest one that has no request, or is
    /// closed at once.
    pub connections: usize,
    /// Maximum number of open connections of one client: an IPv4 address or a /64 network of IPv6 addresses.
    pub connections_per_client: usize,
    /// Time in which a client must send the head of a request, or the first bytes of HTTP/2. It also ends HTTP/1.1
    /// connections without a request.
    pub head_time: Duration,
    /// Longest time for which a client sends no part of a body, or accepts no part of a response.
    pub silence: Duration,
    /// Minimum rate of a body in bytes per second; 0 means 1. A client may wait for `silence` in total, and longer in
    /// proportion to the bytes that it has sent.
    pub bytes_per_second: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            connections_per_client: MAX_CONNECTIONS_PER_CLIENT,
            head_time: MAX_HEAD_TIME,
            silence: MAX_SILENCE,
            bytes_per_second: MIN_BODY_RATE,
        }
    }
}
