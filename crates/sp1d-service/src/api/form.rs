//! A proof request as a form: which parts it may have. It does not know what becomes of them.

use super::{
    body::{FormBody, FormHeads, body_problem},
    problem::Problem,
    upload::UploadKind,
};
use axum::extract::{
    FromRequest, Multipart, Request,
    multipart::{Field, MultipartError},
};
use sp1d_model::NewProof;
use std::collections::BTreeSet;

/// Reads the parts of a form in their order.
#[derive(Debug)]
pub(crate) struct ProofFormReader {
    heads: FormHeads,
    form: Multipart,
    /// Maximum length of the JSON request.
    request_bytes: usize,
    /// Names of the parts that were found.
    found: BTreeSet<&'static str>,
}

/// A part of a form.
#[derive(Debug)]
pub(crate) enum ProofFormPart<'a> {
    /// The JSON request, which was read.
    Request(NewProof),
    /// A file, whose data follows.
    Upload(UploadKind, Field<'a>),
}

impl ProofFormReader {
    /// Starts to read the form in the body of `request`. The JSON request has at most `request_bytes` bytes, and the
    /// uploads together have at most `upload_bytes`.
    pub(crate) async fn new(request: Request, request_bytes: usize, upload_bytes: u64) -> Result<Self, Problem> {
        let heads = FormHeads::default();
        let data_bytes = upload_bytes.saturating_add(request_bytes as u64);
        let request = request.map(|body| FormBody::limit(body, data_bytes, heads.clone()));
        let form = Multipart::from_request(request, &()).await;
        let form = form.map_err(|error| Problem::malformed(&format!("cannot read the form: {}", error.body_text())))?;
        Ok(Self { heads, form, request_bytes, found: BTreeSet::new() })
    }

    /// Returns the next part; `None` at the end of the form. The data of the part before it is skipped.
    pub(crate) async fn next(&mut self) -> Result<Option<ProofFormPart<'_>>, Problem> {
        self.heads.search();
        let Some(mut field) = self.form.next_field().await.map_err(unreadable)? else { return Ok(None) };
        self.heads.found();
        let name = field.name().unwrap_or_default();
        let known = ["request", "program", "stdin"].into_iter().find(|known| *known == name);
        let Some(known) = known else {
            let name: String = name.chars().take(40).collect();
            return Err(Problem::malformed(&format!(
                "unknown form part `{name}`\nhint: use the parts `request`, `program` and `stdin`"
            )));
        };
        if !self.found.insert(known) {
            return Err(Problem::malformed(&format!("the form has the part `{known}` twice")));
        }
        let upload = match known {
            "program" => UploadKind::Program,
            "stdin" => UploadKind::Input,
            _ => {
                let mut body = Vec::new();
                while let Some(part) = field.chunk().await.map_err(unreadable)? {
                    body.extend(part);
                    if body.len() > self.request_bytes {
                        let limit = self.request_bytes;
                        let text = format!("the form part `request` is longer than the limit of {limit} bytes");
                        return Err(Problem::malformed(&text));
                    }
                }
                return Ok(Some(ProofFormPart::Request(read_request(&body)?)));
            }
        };
        Ok(Some(ProofFormPart::Upload(upload, field)))
    }
}

fn unreadable(error: MultipartError) -> Problem {
    body_problem("cannot read the form", &error)
}

/// Reads a JSON request.
pub(super) fn read_request(body: &[u8]) -> Result<NewProof, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::malformed(&format!("invalid request: {error}")))
}
