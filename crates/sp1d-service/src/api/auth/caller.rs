//! What handlers need to know of the caller.

use crate::{
    access::Caller,
    api::{path_part::PathPart, problem::Problem},
    queue::Service,
};
use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

/// The caller of a route that needs one.
pub(crate) struct CurrentCaller(pub(in crate::api) Caller);

impl<S: Send + Sync> FromRequestParts<S> for CurrentCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // A route without a check of its caller refuses all requests. It never serves them as those of a default one.
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or_else(|| {
            Problem::new(StatusCode::UNAUTHORIZED, "token_missing", "this call needs a token, and the request has none")
        })
    }
}

/// The id of a proof in the path. The proof exists, and the caller can see it.
pub(crate) struct VisibleProof(pub(in crate::api) String);

impl FromRequestParts<Service> for VisibleProof {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Problem> {
        let PathPart(id) = PathPart::from_request_parts(parts, service).await?;
        let CurrentCaller(caller) = CurrentCaller::from_request_parts(parts, service).await?;
        service.proof_in(caller.scope(), &id).await?;
        Ok(Self(id))
    }
}
