//! `/v1/proofs`.

use super::{
    auth::{AuditedObject, CurrentCaller, VisibleProof},
    body::body_problem,
    form::{ProofFormPart, ProofFormReader, read_request},
    path_part::PathPart,
    problem::Problem,
    upload::{UploadKind, receive},
};
use crate::{
    access::TenantName,
    queue::{ClientNetwork, Service, UploadPlace},
    state::{OpenBlob, ProofSelection},
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use sp1d_model::{NewProof, ProofState, ProofSummary};
use std::{io, sync::Arc};
use tokio::{fs::File, io::AsyncReadExt};
use utoipa::{IntoParams, ToSchema};

sp1d_model::limits! {
    /// Maximum length of the JSON request. Program and input have their own limits.
    const MAX_REQUEST_BYTES: usize = 64 << 10; Bytes by Client;
    /// Maximum number of proofs or tasks on a page.
    const MAX_PAGE: u32 = 1000; Count by Client;
    /// Size of the parts in which a finished proof is read for a download. A download has one part in memory.
    const MAX_DOWNLOAD_PART_BYTES: usize = 64 << 10; Bytes by Client;
}

/// Items on a page if the client sends no `limit`.
const PAGE: u32 = 100;

/// Maximum of `before`: the largest number that is exact in every JSON library, see RFC 8259, section 6.
const MAX_BEFORE: i64 = (1 << 53) - 1;

/// A page of the list of proofs.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProofPage {
    /// The proofs, newest first.
    proofs: Vec<ProofSummary>,
    /// Value of `before` for the next page. `null` if this page has fewer than `limit` proofs and is the last one.
    next: Option<i64>,
}

/// Selects the proofs to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProofListQuery {
    /// Lists only proofs in this state.
    state: Option<ProofState>,
    /// Maximum number of proofs in the response, 1 to 1000; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Value of `next` in an earlier response. Lists the proofs after it. 1 to 9007199254740991.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    before: Option<i64>,
}

/// A proof request as a form, which can contain the program and the input.
#[derive(ToSchema)]
#[expect(dead_code, reason = "utoipa reads only its schema")]
struct ProofForm {
    /// The proof request as JSON. Without it, all fields have their defaults.
    request: Option<NewProof>,
    /// The program's ELF file.
    #[schema(format = Binary)]
    program: Option<String>,
    /// The input: an `SP1Stdin`, serialized with bincode 1.
    #[schema(format = Binary)]
    stdin: Option<String>,
}

/// The outcome of a deletion.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedProof {
    /// Id of the proof.
    id: String,
    /// True if this request deleted the proof. False if the service had no such proof, for example because an earlier
    /// request deleted it.
    deleted: bool,
}

/// Returns the number of items on a page for which the client sent `limit`.
pub(super) fn page_size(limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(PAGE);
    if (1..=MAX_PAGE).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::malformed(&format!("limit {limit} is out of range: 1 to {MAX_PAGE}")))
    }
}

/// Lists proofs, newest first.
#[utoipa::path(
    get,
    operation_id = "list_proofs",
    path = "/v1/proofs",
    tag = "proofs",
    params(ProofListQuery),
    responses((status = 200, description = "The proofs.", body = ProofPage), (status = 400, description = "A query parameter is invalid.", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn list(
    State(service): State<Service>,
    CurrentCaller(caller): CurrentCaller,
    query: Result<Query<ProofListQuery>, QueryRejection>,
) -> Result<Json<ProofPage>, Problem> {
    let Query(ProofListQuery { state, limit, before }) =
        query.map_err(|error| Problem::malformed(&error.body_text()))?;
    let limit = page_size(limit)?;
    if let Some(before) = before.filter(|before| !(1..=MAX_BEFORE).contains(before)) {
        return Err(Problem::malformed(&format!("before {before} is out of range: 1 to {MAX_BEFORE}")));
    }
    let found = service.proofs(caller.scope(), ProofSelection { state, before, limit }).await?;
    let next = if found.len() == limit as usize { found.last().map(|(number, _)| *number) } else { None };
    Ok(Json(ProofPage { proofs: found.into_iter().map(|(_, proof)| proof).collect(), next }))
}

/// Submits a proof request. If the program and the input were uploaded before, send the request as JSON. Otherwise send
/// a form with the part `request`, which is the same JSON, and the parts `program` and `stdin`, which are the bytes.
#[utoipa::path(
    post,
    operation_id = "submit_proof",
    path = "/v1/proofs",
    tag = "proofs",
    params(("Idempotency-Key" = Option<String>, Header, description = "Replaces `idempotency_key` of the request.")),
    request_body(content((NewProof = "application/json"), (ProofForm = "multipart/form-data"))),
    responses(
        (status = 201, description = "The proof request was accepted.", body = ProofSummary),
        (status = 200, description = "The same request was accepted before.", body = ProofSummary),
        (status = 400, description = "The request cannot be read.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such program or input.", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body stalled or is too slow.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A different request has used this idempotency key.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The program or the input is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is neither JSON nor a form.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Invalid program, input or field value.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "The queue is full.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many uploads run at the same time.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The service has too little free disk space.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn submit(
    State(service): State<Service>,
    Extension(client): Extension<ClientNetwork>,
    CurrentCaller(caller): CurrentCaller,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Extension<AuditedObject>, Json<ProofSummary>), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut asked = if kind.starts_with("multipart/form-data") {
        read_form(&service, client, &caller.tenant, request).await?
    } else if kind.starts_with("application/json") {
        let body = axum::body::to_bytes(request.into_body(), MAX_REQUEST_BYTES).await;
        read_request(&body.map_err(|error| body_problem("cannot read the request", &error))?)?
    } else {
        let text = format!(
            "the content type `{kind:.80}` is not supported\nhint: send `application/json`, or `multipart/form-data` with the parts `request`, `program` and `stdin`"
        );
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown_type", &text));
    };
    if let Some(key) = headers.get("idempotency-key") {
        let key = key
            .to_str()
            .map_err(|_| Problem::malformed("the header Idempotency-Key has characters other than visible ASCII"))?;
        asked.idempotency_key = Some(key.to_owned());
    }
    let (proof, new) = service.submit_for(caller, asked).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Extension(AuditedObject(proof.id.clone())), Json(proof)))
}

async fn read_form(
    service: &Service,
    client: ClientNetwork,
    tenant: &TenantName,
    request: Request,
) -> Result<NewProof, Problem> {
    let kinds = [UploadKind::Program, UploadKind::Input].map(|kind| kind.limit(service));
    let upload_bytes = kinds.into_iter().fold(0, u64::saturating_add);
    let mut form = ProofFormReader::new(request, MAX_REQUEST_BYTES, upload_bytes).await?;
    let (mut asked, mut program, mut input) = (None, None, None);
    // Taken for the first upload, and held until the last one is checked.
    let mut place = None;
    while let Some(part) = form.next().await? {
        match part {
            ProofFormPart::Request(request) => asked = Some(request),
            ProofFormPart::Upload(kind, field) => {
                let place = held_place(service, client, tenant, &mut place).await?;
                let blob = receive(service, place, kind, None, field).await?;
                match kind {
                    UploadKind::Program => program = Some(service.add_program(tenant, blob, place).await?.id),
                    UploadKind::Input => input = Some(service.add_input(tenant, blob, place).await?.digest),
                }
            }
        }
    }
    let mut asked = asked.unwrap_or_default();
    let given = [(program, "program", &mut asked.program, "program"), (input, "stdin", &mut asked.input, "input")];
    for (part, name, named, field) in given {
        match (part, &named) {
            (Some(_), Some(_)) => {
                return Err(Problem::malformed(&format!(
                    "the form has the part `{name}`, and its request sets `{field}`\nhint: use only one of them"
                )));
            }
            (Some(id), None) => *named = Some(id),
            (None, _) => {}
        }
    }
    Ok(asked)
}

/// Returns the place for the uploads of a form. Waits for one if the form has none yet.
async fn held_place<'a>(
    service: &Service,
    client: ClientNetwork,
    tenant: &TenantName,
    place: &'a mut Option<Arc<UploadPlace>>,
) -> Result<&'a Arc<UploadPlace>, Problem> {
    let held = match place.take() {
        Some(held) => held,
        None => service.place_for_upload(client, tenant).await?,
    };
    Ok(place.insert(held))
}

/// Returns a proof.
#[utoipa::path(
    get,
    operation_id = "get_proof",
    path = "/v1/proofs/{id}",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses(
        (status = 200, description = "The proof.", body = ProofSummary),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn show(
    State(service): State<Service>,
    VisibleProof(id): VisibleProof,
) -> Result<Json<ProofSummary>, Problem> {
    Ok(Json(service.proof(&id).await?))
}

/// Cancels a proof. A running proof ends shortly after the response. A proof that has ended does not change.
#[utoipa::path(
    delete,
    operation_id = "cancel_proof",
    path = "/v1/proofs/{id}",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses(
        (status = 200, description = "The proof.", body = ProofSummary),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn cancel(
    State(service): State<Service>,
    VisibleProof(id): VisibleProof,
) -> Result<Json<ProofSummary>, Problem> {
    Ok(Json(service.cancel(&id).await?))
}

/// Deletes an ended proof with its data: the finished proof, its events and its trace. If no other proof has the same
/// input, the input is deleted too, with the cached results that were made for it. Cancel a queued or running proof
/// first. A repeated request changes nothing. If the service is stopped meanwhile, it completes the deletion later.
#[utoipa::path(
    delete,
    operation_id = "delete_proof_data",
    path = "/v1/proofs/{id}/data",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses(
        (status = 200, description = "No such proof is left.", body = DeletedProof),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The proof has not ended.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The database is locked.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn delete(
    State(service): State<Service>,
    CurrentCaller(caller): CurrentCaller,
    PathPart(id): PathPart,
) -> Result<Json<DeletedProof>, Problem> {
    let deleted = service.delete_in(caller.scope(), &id).await?;
    Ok(Json(DeletedProof { id, deleted }))
}

/// Downloads a finished proof, in the file format of SP1's own tools.
#[utoipa::path(
    get,
    operation_id = "fetch_proof",
    path = "/v1/proofs/{id}/proof",
    tag = "proofs",
    params(("id" = String, Path, description = "Id of the proof.")),
    responses(
        (status = 200, description = "The bytes of the proof.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "The path is not valid UTF-8.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such proof.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The proof is not done.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn fetch(State(service): State<Service>, VisibleProof(id): VisibleProof) -> Result<Response, Problem> {
    Ok(download(service.result(&id).await?))
}

/// Returns a response with the content of a file.
pub(super) fn download(file: OpenBlob) -> Response {
    let OpenBlob { file, bytes } = file;
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_LENGTH, bytes.to_string())];
    (headers, Body::from_stream(file_parts(File::from_std(file)))).into_response()
}

/// Returns the content of a file in parts.
fn file_parts(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let mut part = BytesMut::with_capacity(MAX_DOWNLOAD_PART_BYTES);
        let is_part = file.read_buf(&mut part).await? > 0;
        Ok::<_, io::Error>(is_part.then(|| (part.freeze(), file)))
    })
}
