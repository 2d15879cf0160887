//! How two machines connect: addresses, who may connect, the first bytes, and HTTP/2. It does not know the messages.
//!
//! - `filter`, `peer_filter`: who may connect. `port_guard`: how many connections are in their handshake.
//!   `peer_port`: accepts connections with both.
//! - `peer_network`, `peer_table`, `peer_places`: counts of connections, in total and per address.
//! - `rate_limiter`: how often a peer may cause a log line.
//! - `open_listener`: waits for a port that is in use. `reserved_port`: a free port for a process that starts later.
//! - `preamble`, `queue`: the first bytes, and the wait for a worker's turn. `holder`: which orchestrator has a worker.
//!   `http2`: what follows.

mod address;
mod backoff;
mod filter;
mod holder;
mod http2;
mod open_listener;
mod peer_filter;
mod peer_network;
mod peer_places;
mod peer_port;
mod peer_table;
mod port_guard;
mod preamble;
mod queue;
mod rate_limiter;
mod reserved_port;

pub use address::{Address, AddressError};
pub use backoff::{Backoff, spread_out};
pub use filter::{Filter, FilterError};
pub use holder::{BusyWorker, HolderId};
pub(crate) use http2::LIMITS as HTTP2_LIMITS;
pub use http2::{Closer, Connection, connect_client, serve_connection};
pub use open_listener::open_listener;
pub(crate) use peer_filter::LIMITS as FILTER_LIMITS;
pub use peer_network::PeerNetwork;
pub use peer_places::{PeerPlace, PeerPlaces};
pub use peer_port::PeerPort;
pub use peer_table::PeerLimits;
pub(crate) use port_guard::LIMITS as PORT_LIMITS;
pub use port_guard::{PortGuard, PortPlace};
pub(crate) use preamble::LIMITS as PREAMBLE_LIMITS;
pub use preamble::{Admission, PREAMBLE_TIMEOUT, PreambleError, PreambleReply, Role, dial, read_dialer, reply};
pub(crate) use queue::LIMITS as QUEUE_LIMITS;
pub use queue::{QueuePlace, receive_place, send_place};
pub(crate) use rate_limiter::LIMITS as RATE_LIMITS;
pub use rate_limiter::RateLimiter;
pub use reserved_port::ReservedPort;
