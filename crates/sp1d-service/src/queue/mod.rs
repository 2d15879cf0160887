//! The life of a proof request: accepted, queued, run, stored and at last removed. It does not know HTTP: `api`
//! translates requests into calls of [`Service`].

mod background_tasks;
mod client_network;
mod control;
mod deletion;
mod events;
mod file_watcher;
mod followers;
mod garbage_collection;
mod hosted;
mod http_limits;
mod limits;
mod list_watcher;
mod liveness;
mod lock;
mod proof_end;
mod queries;
mod request;
mod retry;
mod runs;
mod service;
mod settings;
mod shared_read;
mod start;
mod start_error;
mod start_gate;
mod start_record;
mod submission;
mod token_store;
mod tokens;
mod upload_places;
mod uploads;

pub(crate) use client_network::ClientNetwork;
pub(crate) use file_watcher::FileWatcher;
pub(crate) use followers::Follower;
pub use http_limits::HttpLimits;
pub(crate) use limits::limits;
pub use list_watcher::follow_list;
pub use request::RequestError;
pub use service::Service;
pub use settings::ServiceSettings;
pub(crate) use shared_read::SharedRead;
pub use start_error::StartError;
pub use token_store::{NewApiToken, TokenStore, TokenStoreError, TokenSummary};
pub(crate) use tokens::CallerOutcome;
pub(crate) use upload_places::UploadPlace;
