//! `sp1d top`: shows a service in the terminal and refreshes the view periodically.

mod rows;
mod run;
mod snapshot;
mod view;

pub(in crate::command) use run::run;
