//! `/v1/programs` and `/v1/inputs`.

use super::{
    auth::{AuditedObject, CurrentCaller},
    path_part::PathPart,
    problem::Problem,
    upload::{UploadKind, declared_length, receive},
};
use crate::queue::{ClientNetwork, Service};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use sp1d_model::ProgramSummary;
use utoipa::ToSchema;

/// A list of uploaded programs.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProgramList {
    /// The newest programs, at most 1000, newest first.
    programs: Vec<ProgramSummary>,
}

/// An uploaded input.
#[derive(Serialize, ToSchema)]
pub(crate) struct InputSummary {
    /// blake3 digest of the input, in hexadecimal digits.
    id: String,
    /// Length of the input in bytes.
    bytes: u64,
}

/// Lists the uploaded programs, newest first. The list contains at most 1000 programs.
#[utoipa::path(
    get,
    operation_id = "list_programs",
    path = "/v1/programs",
    tag = "programs",
    responses((status = 200, description = "The programs.", body = ProgramList))
)]
pub(crate) async fn list(
    State(service): State<Service>,
    CurrentCaller(caller): CurrentCaller,
) -> Result<Json<ProgramList>, Problem> {
    Ok(Json(ProgramList { programs: service.programs(caller.scope()).await? }))
}

/// Uploads a program. The body is the program's ELF file. If the same file was uploaded before, returns the existing
/// program.
#[utoipa::path(
    post,
    operation_id = "add_program",
    path = "/v1/programs",
    tag = "programs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The program, also if it was uploaded before.", body = ProgramSummary),
        (status = 400, description = "The body cannot be read.", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body stalled or is too slow.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The program is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The file is not a valid program.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many uploads run at the same time.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The service has too little free disk space.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn add(
    State(service): State<Service>,
    Extension(client): Extension<ClientNetwork>,
    CurrentCaller(caller): CurrentCaller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Extension<AuditedObject>, Json<ProgramSummary>), Problem> {
    let place = service.place_for_upload(client, &caller.tenant).await?;
    let declared = declared_length(&headers);
    let blob = receive(&service, &place, UploadKind::Program, declared, body.into_data_stream()).await?;
    let program = service.add_program(&caller.tenant, blob, &place).await?;
    Ok((StatusCode::CREATED, Extension(AuditedObject(program.id.clone())), Json(program)))
}

/// Returns a program.
#[utoipa::path(
    get,
    operation_id = "get_program",
    path = "/v1/programs/{id}",
    tag = "programs",
    params(("id" = String, Path, description = "Id of the program.")),
    responses(
        (status = 200, description = "The program.", body = ProgramSummary),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such program.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn show(
    State(service): State<Service>,
    CurrentCaller(caller): CurrentCaller,
    PathPart(id): PathPart,
) -> Result<Json<ProgramSummary>, Problem> {
    Ok(Json(service.program(caller.scope(), &id).await?))
}

/// Uploads an input. The body is an `SP1Stdin`, serialized with bincode 1. An input that no proof uses is removed after
/// an hour.
#[utoipa::path(
    post,
    operation_id = "add_input",
    path = "/v1/inputs",
    tag = "programs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The input.", body = InputSummary),
        (status = 400, description = "The body cannot be read.", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body stalled or is too slow.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The input is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body is not a valid input.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many uploads run at the same time.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The service has too little free disk space.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn add_input(
    State(service): State<Service>,
    Extension(client): Extension<ClientNetwork>,
    CurrentCaller(caller): CurrentCaller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Extension<AuditedObject>, Json<InputSummary>), Problem> {
    let place = service.place_for_upload(client, &caller.tenant).await?;
    let declared = declared_length(&headers);
    let blob = receive(&service, &place, UploadKind::Input, declared, body.into_data_stream()).await?;
    let blob = service.add_input(&caller.tenant, blob, &place).await?;
    Ok((
        StatusCode::CREATED,
        Extension(AuditedObject(blob.digest.clone())),
        Json(InputSummary { id: blob.digest, bytes: blob.length }),
    ))
}
