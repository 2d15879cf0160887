//! Audits: they find the workers whose results or claims turn out to be wrong after other tasks have used them.
//!
//! - `deferred_claims`: what workers claim about the deferred events of shards, and the comparison of these claims.
//! - `unverified`: the results that were used before they were verified.
//! - `wrong_results`: verifies these results after their proof has failed, and reports the workers that were proven
//!   wrong.
//!
//! This folder does not know how a result is verified. Only the runner knows that.

pub(crate) mod deferred_claims;
pub(crate) mod unverified;
mod wrong_results;
