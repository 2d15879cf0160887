//! The targets: one file for each.

mod cache_file;
mod chunks;
mod form;
mod hosted;
mod preamble;
mod runtime;
mod session;
mod worker_list;

pub use cache_file::CACHE_FILE;
pub use chunks::CHUNKS;
pub use form::FORM;
pub use hosted::HOSTED;
pub use preamble::PREAMBLE;
pub use session::SESSION;
pub use worker_list::WORKER_LIST;
