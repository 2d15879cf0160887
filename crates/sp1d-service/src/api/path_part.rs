//! The part of a path that names a proof, a program or a worker.

use super::problem::Problem;
use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

/// The only variable part of a path, decoded. Unlike axum's own extractor, it refuses an invalid part with a problem
/// document.
pub(crate) struct PathPart(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathPart {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let part = Path::<String>::from_request_parts(parts, state).await;
        part.map(|Path(part)| Self(part)).map_err(|error| Problem::malformed(&error.body_text()))
    }
}
