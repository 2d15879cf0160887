//! Attacks of a client of the HTTP interface, or of the interface for sp1-sdk.

mod forms;
mod hosted;
mod http;
mod reads;
mod text;
mod uploads;

pub(super) use forms::{form_without_boundary, form_without_head_end};
pub(super) use hosted::{hosted_bad_signatures, hosted_uploads};
pub(super) use reads::{cheap_reads, half_requests, many_followers, unread_responses};
pub(super) use text::control_characters;
pub(super) use uploads::{endless_zeros, large_inputs, slow_uploads, wrong_programs};
