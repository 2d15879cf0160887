//! The life of a proof request: accepted, queued, run, stored and at last removed. It does not know HTTP: `api`
//! translates requests into calls of [`Service`].

mod control;
mod events;
mod garbage_collection;
mod list_watcher;
mod queries;
mod request;
mod runs;
mod service;
mod settings;
mod start;
mod submission;

pub use list_watcher::follow_list;
pub use request::RequestError;
pub use service::Service;
pub use settings::ServiceSettings;
pub use start::StartError;
