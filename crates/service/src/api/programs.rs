//! `/v1/programs` and `/v1/inputs`.

use super::{
    problem::Problem,
    upload::{Upload, receive},
};
use crate::Service;
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
};
use client::Program;
use serde::Serialize;
use utoipa::ToSchema;

/// Programs that were handed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Programs {
    /// The newest first.
    programs: Vec<Program>,
}

/// An input that was handed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Input {
    /// blake3 digest of its bytes, in hexadecimal digits.
    id: String,
    /// Length in bytes.
    bytes: u64,
}

/// Lists the programs.
#[utoipa::path(get, path = "/v1/programs", tag = "programs", responses((status = 200, body = Programs)))]
pub(crate) async fn list(State(service): State<Service>) -> Result<Json<Programs>, Problem> {
    Ok(Json(Programs { programs: service.programs().await? }))
}

/// Hands in a program: its ELF file as it is. The same program again is no other one.
#[utoipa::path(
    post,
    path = "/v1/programs",
    tag = "programs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, body = Program),
        (status = 413, description = "It is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It is no program.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn add(State(service): State<Service>, body: Body) -> Result<(StatusCode, Json<Program>), Problem> {
    let kept = receive(&service, Upload::Program, body.into_data_stream()).await?;
    Ok((StatusCode::CREATED, Json(service.add_program(kept).await?)))
}

/// Shows a program.
#[utoipa::path(
    get,
    path = "/v1/programs/{id}",
    tag = "programs",
    responses(
        (status = 200, body = Program),
        (status = 404, body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn show(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Program>, Problem> {
    Ok(Json(service.program(&id).await?))
}

/// Hands in an input: an `SP1Stdin` serialised with bincode 1. One that no proof asks for within an hour is removed.
#[utoipa::path(
    post,
    path = "/v1/inputs",
    tag = "programs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, body = Input),
        (status = 413, description = "It is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It is no input.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn add_input(
    State(service): State<Service>,
    body: Body,
) -> Result<(StatusCode, Json<Input>), Problem> {
    let kept = receive(&service, Upload::Input, body.into_data_stream()).await?;
    let kept = service.add_input(kept).await?;
    Ok((StatusCode::CREATED, Json(Input { id: kept.digest, bytes: kept.length })))
}
