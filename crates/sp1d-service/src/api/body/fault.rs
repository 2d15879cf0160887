//! Why the body of a request is refused while it arrives.

use crate::api::problem::Problem;
use axum::http::StatusCode;
use std::{error::Error, time::Duration};

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyFault {
    /// Nothing arrived for too long.
    #[error("it stalled: no data for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// The body arrives too slowly.
    #[error("it is too slow: fewer than {0} bytes per second\nhint: upload over a faster connection")]
    Slow(u64),
    /// A form has no boundary, or the head of a part does not end.
    #[error("no form part within {0} bytes: the boundary or the end of the part's head is missing")]
    Head(usize),
    /// A form is longer than its parts may be together.
    #[error("the form is longer than the limit of {0} bytes")]
    Form(u64),
}

impl BodyFault {
    const fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Stalled(_) => (StatusCode::REQUEST_TIMEOUT, "stalled"),
            Self::Slow(_) => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            Self::Head(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::Form(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_long"),
        }
    }
}

/// Returns the problem for a body that cannot be received. `what` is the sentence without its end: `the upload of the
/// program failed`. The fault may be a cause of `error`, because axum and the form's parser wrap errors.
pub(in crate::api) fn body_problem(what: &str, error: &(dyn Error + 'static)) -> Problem {
    let (mut cause, mut text) = (Some(error), error.to_string());
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<BodyFault>() {
            let (status, code) = fault.status();
            return Problem::new(status, code, &format!("{what}: {fault}"));
        }
        text = error.to_string();
        cause = error.source();
    }
    Problem::malformed(&format!("{what}: {text}"))
}
