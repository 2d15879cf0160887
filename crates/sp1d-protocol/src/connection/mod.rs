//! How two machines connect: addresses, who may connect, the first bytes, and HTTP/2. It does not know the messages.

mod address;
mod backoff;
mod filter;
mod http2;
mod preamble;
mod queue;

pub use address::{Address, AddressError};
pub use backoff::Backoff;
pub use filter::{Filter, FilterError};
pub use http2::{Closer, Connection, connect_client, serve_connection};
pub use preamble::{Admission, PREAMBLE_TIMEOUT, PreambleError, PreambleReply, Role, accept, dial, read_dialer, reply};
pub use queue::{QueuePlace, receive_place, send_place};
