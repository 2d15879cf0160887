//! The files: clients send programs and inputs, and fetch proofs. The URL of a file is all that permits it.

use super::{
    address::{RequesterAddress, to_hex},
    audit::{SignerOutcome, SignerRequest},
    interface::HostedInterface,
    upload::receive_compressed,
    url_permit::{HostedFileKind, MAX_URL_PERMIT_AGE, UrlPermit, UrlPermitFault},
};
use crate::{
    access::TenantName,
    api::{
        body::PacedBody,
        problem::Problem,
        proofs::download,
        upload::{UploadKind, declared_length},
    },
    queue::{ClientNetwork, RequestError},
    state::HostedArtifact,
};
use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

/// Returns what the URL with this secret part permits.
fn open(interface: &HostedInterface, secret: &str) -> Result<UrlPermit, Problem> {
    interface.key().open(secret, interface.seconds()).map_err(|fault| match fault {
        UrlPermitFault::Unknown => unknown_url(),
        UrlPermitFault::Expired => {
            let text = "the URL has expired\nhint: send the request again";
            Problem::new(StatusCode::GONE, "expired_url", text)
        }
    })
}

fn unknown_url() -> Problem {
    let text = "this service did not make this URL, or not for this method";
    Problem::new(StatusCode::NOT_FOUND, "unknown_url", text)
}

/// Receives the content of an artifact.
pub(super) async fn send(
    State(interface): State<HostedInterface>,
    Extension(client): Extension<ClientNetwork>,
    Path(secret): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let UrlPermit::Send { file, kind, requester } = open(&interface, &secret)? else {
        return Err(unknown_url());
    };
    // The list of signers may have changed since the service made this URL.
    let tenant = interface.tenant_of(requester).ok_or_else(unknown_url)?;
    let upload = PermittedUpload { file, kind, requester, tenant: &tenant };
    let outcome = store(&interface, client, &headers, body, upload).await;
    let (code, recorded) = match &outcome {
        Ok(blob) => ("ok", SignerOutcome::Made(blob.clone())),
        Err(problem) => ("refused", SignerOutcome::Refused(problem.status())),
    };
    interface.service().metrics().on_hosted_call("send", code);
    let (method, path) = ("PUT", "/hosted/v1/files".to_owned());
    let request = SignerRequest { signer: requester, tenant: &tenant, from: Some(client), method, path };
    interface.record(request, recorded).await;
    outcome.map(|_| StatusCode::OK)
}

/// An upload that a URL permits.
struct PermittedUpload<'a> {
    file: [u8; 16],
    kind: HostedFileKind,
    requester: RequesterAddress,
    tenant: &'a TenantName,
}

/// Stores the content of an upload, and returns the id of the program or input.
async fn store(
    interface: &HostedInterface,
    client: ClientNetwork,
    headers: &HeaderMap,
    body: Body,
    PermittedUpload { file, kind, requester, tenant }: PermittedUpload<'_>,
) -> Result<String, Problem> {
    let service = interface.service();
    let place = service.place_for_upload(client, tenant).await.map_err(|error| match error {
        // sp1-sdk repeats an upload only after an error with `timeout` in its name, and this one says so.
        RequestError::Busy => Problem::new(StatusCode::REQUEST_TIMEOUT, "busy", &error.to_string()),
        error => error.into(),
    })?;
    let upload = match kind {
        HostedFileKind::Program => UploadKind::Program,
        HostedFileKind::Stdin | HostedFileKind::PrivateStdin => UploadKind::Input,
    };
    let body = PacedBody::limit(body, &service.settings().http).into_data_stream();
    let blob = receive_compressed(service, &place, upload, declared_length(headers), body).await?;
    let blob = match upload {
        UploadKind::Program => service.add_program(tenant, blob, &place).await?.id,
        UploadKind::Input => service.add_input(tenant, blob, &place).await?.digest,
    };
    let artifact = HostedArtifact {
        id: to_hex(&file),
        requester: requester.to_string(),
        kind: kind.name().to_owned(),
        expires: service.now().plus_seconds(MAX_URL_PERMIT_AGE.as_secs()),
        blob,
    };
    match service.add_artifact(artifact.clone()).await? {
        // A client that did not get the response sends the same content again.
        Some(stored) if stored.blob == artifact.blob => Ok(artifact.blob),
        Some(_) => {
            let text = "the URL was used before, for another content\nhint: create a new artifact";
            Err(Problem::new(StatusCode::CONFLICT, "used_url", text))
        }
        None => {
            let text = format!("{requester} has too many uploads that no proof uses\nhint: they expire within an hour");
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_uploads", &text))
        }
    }
}

/// Returns a finished proof in the format of SP1's own tools. sp1-sdk ignores its last byte: it says that the proof has
/// no signature of a trusted execution environment.
pub(super) async fn fetch(
    State(interface): State<HostedInterface>,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    let UrlPermit::Fetch { request } = open(&interface, &secret)? else {
        return Err(unknown_url());
    };
    let service = interface.service();
    let Some((_, proof)) = service.hosted_request(to_hex(&request)).await? else {
        let text = "the proof was removed\nhint: ended proofs are removed after `--keep` days";
        return Err(Problem::new(StatusCode::GONE, "removed", text));
    };
    let file = service.result(&proof).await?;
    service.metrics().on_hosted_call("fetch", "ok");
    Ok(download(file))
}
