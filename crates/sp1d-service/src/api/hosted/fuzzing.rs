//! The parsers of this interface, for the fuzz targets.

use super::{
    address::RequesterAddress,
    refusal::HostedRefusal,
    request::{artifact_id, artifact_signer, artifact_uri, check_body, open_signed, program_hash},
    upload::{ContentFault, decompress},
    url_permit::{HostedFileKind, UrlPermit, UrlPermitKey},
    wire::{
        artifact::CreateArtifactRequest,
        network::{CreateProgramRequestBody, RequestProofRequestBody, SignedRequest},
    },
};
use crate::{api::upload::UploadKind, state::BlobError};
use prost::Message;
use tonic::Status;

/// The key of all URLs here.
const KEY: UrlPermitKey = UrlPermitKey::new([7; 32]);

/// What the service uses of a request for a proof whose signature and fields are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedRequestFacts {
    /// Address of the signer.
    pub signer: String,
    /// The program, in the form that people compare.
    pub program: String,
    /// Seconds until the deadline.
    pub timeout_seconds: u64,
    /// `None` for no limit.
    pub cycle_limit: Option<u64>,
    /// `None` for no limit.
    pub gas_limit: Option<u64>,
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| error.to_string())
}

fn text(refusal: HostedRefusal) -> String {
    Status::from(refusal).message().to_owned()
}

/// Reads a signed request for a proof at `now`, in seconds since 1970. `version` is the version of the circuits.
///
/// # Errors
/// Returns why the request is refused.
pub fn read_hosted_request(request: &[u8], version: &str, now: u64) -> Result<HostedRequestFacts, String> {
    let (signer, body) = open_signed::<RequestProofRequestBody>(&decode::<SignedRequest>(request)?).map_err(text)?;
    let asked = check_body(&body, version, now).map_err(text)?;
    Ok(HostedRequestFacts {
        signer: signer.to_string(),
        program: asked.program.key(),
        timeout_seconds: asked.timeout_seconds,
        cycle_limit: asked.cycle_limit,
        gas_limit: asked.gas_limit,
    })
}

/// Reads the signed registration of a program. Returns the names of the program and of its artifact.
///
/// # Errors
/// Returns why the registration is refused.
pub fn read_hosted_registration(request: &[u8]) -> Result<(String, String), String> {
    let (_, body) = open_signed::<CreateProgramRequestBody>(&decode::<SignedRequest>(request)?).map_err(text)?;
    let hash = program_hash(&body.vk_hash).map_err(text)?;
    let id = artifact_id(&body.program_uri, "program_uri").map_err(text)?;
    Ok((hash.key(), artifact_uri(id)))
}

/// Reads the signed creation of an artifact. Returns the address of the signer.
///
/// # Errors
/// Returns why the creation is refused.
pub fn read_hosted_artifact(request: &[u8]) -> Result<String, String> {
    let request: CreateArtifactRequest = decode(request)?;
    artifact_signer(&request.signature).map(|signer| signer.to_string()).map_err(text)
}

/// Returns the secret part of a URL that permits to send `file` until `expires`, in seconds since 1970.
#[must_use]
pub fn hosted_file_url(file: [u8; 16], expires: u64) -> String {
    let requester = RequesterAddress([4; 20]);
    KEY.seal(&UrlPermit::Send { file, kind: HostedFileKind::Stdin, requester }, expires)
}

/// Returns true if a URL with the secret part `text` permits anything at `now`.
#[must_use]
pub fn opens_hosted_url(text: &str, now: u64) -> bool {
    KEY.open(text, now).is_ok()
}

/// Decompresses an upload whose content has at most `max_bytes`. The content of a program has its length in front.
///
/// # Errors
/// Returns why the upload is refused.
pub fn decompress_hosted_upload(upload: &[u8], is_program: bool, max_bytes: usize) -> Result<Vec<u8>, String> {
    let kind = if is_program { UploadKind::Program } else { UploadKind::Input };
    let mut content = Vec::new();
    let write = |part: &[u8]| {
        if content.len() + part.len() > max_bytes {
            return Err(ContentFault::Blob(BlobError::TooLong { limit: max_bytes as u64 }));
        }
        content.extend_from_slice(part);
        Ok(())
    };
    decompress(upload, kind, write).map_err(|fault| format!("{fault:?}"))?;
    Ok(content)
}
