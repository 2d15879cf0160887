//! The state that the parts of the orchestrator share, and the inputs of the dispatcher.
//!
//! - `dispatcher_input`: what the other parts send to the dispatcher.
//! - `published`: the parts of the shared state that have a writer of their own.
//! - `shared_state`: everything else that is shared. Its documentation says who writes each part.
//! - `upload_budget`: the memory for uploads that are not in the store yet.
//!
//! This folder does not know what the parts do with the state.

pub(crate) mod dispatcher_input;
pub(crate) mod published;
pub(crate) mod shared_state;
pub(crate) mod upload_budget;
