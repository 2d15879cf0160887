//! Receives uploads of programs and inputs.

use super::problem::Problem;
use crate::{
    queue::{RequestError, Service},
    state::{BlobError, StoredBlob},
};
use axum::http::StatusCode;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};

/// Received parts of one upload that may wait for the disk.
const MAX_WAITING_PARTS: usize = 8;

/// Longest wait for the next part of an upload.
const MAX_PART_WAIT: Duration = Duration::from_secs(30);

/// What a client uploads. Each kind has its own size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadKind {
    Program,
    Input,
}

impl UploadKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Program => "the program",
            Self::Input => "the input",
        }
    }

    fn limit(self, service: &Service) -> u64 {
        match self {
            Self::Program => service.settings().program_bytes,
            Self::Input => service.settings().input_bytes,
        }
    }
}

/// Writes the `parts` of an upload to disk as one blob. An upload that breaks off or is too long leaves no file.
pub(crate) async fn receive<E: std::fmt::Display>(
    service: &Service,
    upload: UploadKind,
    parts: impl Stream<Item = Result<Bytes, E>>,
) -> Result<StoredBlob, Problem> {
    let _place = service.place_for_upload().await?;
    let limit = upload.limit(service);
    let (sender, mut coming) = mpsc::channel::<Option<Bytes>>(MAX_WAITING_PARTS);
    let writer = service.clone();
    let write = tokio::task::spawn_blocking(move || {
        let mut blob = writer.writer(limit)?;
        while let Some(part) = coming.blocking_recv() {
            match part {
                Some(part) => blob.write(&part)?,
                None => return blob.finish().map(Some),
            }
        }
        Ok(None)
    });
    let mut parts = std::pin::pin!(parts);
    let mut broken = None;
    loop {
        let part = match timeout(MAX_PART_WAIT, parts.next()).await {
            Ok(Some(Ok(part))) => Some(part),
            Ok(Some(Err(error))) => {
                broken = Some(Problem::malformed(&format!("the upload of {} broke off: {error}", upload.name())));
                break;
            }
            Ok(None) => None,
            Err(_) => {
                let seconds = MAX_PART_WAIT.as_secs();
                let text = format!("the upload of {} stalled: no data for {seconds} s", upload.name());
                broken = Some(Problem::new(StatusCode::REQUEST_TIMEOUT, "stalled", &text));
                break;
            }
        };
        let last = part.is_none();
        // Sending fails only if the writer has failed. Its error is returned below.
        if sender.send(part).await.is_err() || last {
            break;
        }
    }
    drop(sender);
    let written = write.await.expect("writing does not panic");
    match (written, broken) {
        (_, Some(problem)) => Err(problem),
        (Ok(Some(stored)), None) => Ok(stored),
        (Ok(None), None) => Err(Problem::malformed(&format!("the upload of {} broke off", upload.name()))),
        (Err(BlobError::TooLong { limit }), None) => Err(RequestError::TooLong { what: upload.name(), limit }.into()),
        (Err(error), None) => Err(RequestError::from(error).into()),
    }
}
