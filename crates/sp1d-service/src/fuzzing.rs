//! Private parsers of untrusted bytes, for the fuzz targets. They can change in any release.
//!
//! This module is in every build, so that the fuzz targets run the code that ships.

pub use crate::api::{
    HostedRequestFacts, decompress_hosted_upload, hosted_file_url, opens_hosted_url, read_hosted_artifact,
    read_hosted_registration, read_hosted_request,
};

use crate::{
    api::{ProofFormPart, ProofFormReader, UploadKind},
    state::{read_cache_file, write_cache_file},
};
use axum::{
    body::Body,
    http::{Request, header::CONTENT_TYPE},
};
use futures::stream;
use sp1d_model::NewProof;
use sp1d_orchestrator::CachedResult;
use std::convert::Infallible;

/// The content of a form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FormContent {
    /// The JSON request.
    pub request: Option<NewProof>,
    /// The data of the program.
    pub program: Option<Vec<u8>>,
    /// The data of the input.
    pub input: Option<Vec<u8>>,
}

/// Reads a proof request as a form whose body arrives in these pieces. The JSON request has at most `request_bytes`
/// bytes, and the uploads together have at most `upload_bytes`.
///
/// # Errors
/// Returns why the form is refused.
pub async fn read_form(
    content_type: &[u8],
    pieces: Vec<Vec<u8>>,
    request_bytes: usize,
    upload_bytes: u64,
) -> Result<FormContent, String> {
    let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
    let request = Request::builder().header(CONTENT_TYPE, content_type).body(body);
    let request = request.map_err(|error| error.to_string())?;
    let form = ProofFormReader::new(request, request_bytes, upload_bytes).await;
    let mut form = form.map_err(|problem| format!("{problem:?}"))?;
    let mut content = FormContent::default();
    while let Some(part) = form.next().await.map_err(|problem| format!("{problem:?}"))? {
        match part {
            ProofFormPart::Request(request) => content.request = Some(request),
            ProofFormPart::Upload(kind, mut field) => {
                let mut data = Vec::new();
                while let Some(piece) = field.chunk().await.map_err(|error| error.to_string())? {
                    data.extend(piece);
                }
                match kind {
                    UploadKind::Program => content.program = Some(data),
                    UploadKind::Input => content.input = Some(data),
                }
            }
        }
    }
    Ok(content)
}

/// Reads a file of the result cache. Returns `None` if it is incomplete or damaged.
#[must_use]
pub fn read_cached_result(file: &[u8]) -> Option<CachedResult> {
    read_cache_file(&mut &*file)
}

/// Returns the file of the result cache for `result`.
#[must_use]
pub fn cached_result_file(result: &CachedResult) -> Vec<u8> {
    let mut file = Vec::new();
    write_cache_file(result, &mut file).expect("writing to memory does not fail");
    file
}
