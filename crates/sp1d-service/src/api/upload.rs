//! Receives uploads of programs and inputs.

use super::{body::body_problem, problem::Problem};
use crate::{
    queue::{RequestError, Service, UploadPlace},
    state::{BlobError, StoredBlob},
};
use axum::http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::{error::Error, sync::Arc, thread};
use tokio::sync::{mpsc, oneshot};

sp1d_model::limits! {
    /// Maximum number of received parts of one upload that wait for the disk. A part has at most 64 KiB.
    pub(super) const MAX_WAITING_PARTS: usize = 8; Count by Client;
}

/// Niceness of the threads that write uploads. A thread with this niceness has about a tenth of the weight of a usual
/// thread. A usual thread hashes and writes more than most networks carry.
const WRITER_NICENESS: i32 = 10;

/// What a client uploads. Each kind has its own size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadKind {
    Program,
    Input,
}

impl UploadKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Program => "the program",
            Self::Input => "the input",
        }
    }

    /// Returns the maximum length in bytes.
    pub(super) fn limit(self, service: &Service) -> u64 {
        match self {
            Self::Program => service.settings().max_program_bytes,
            Self::Input => service.settings().max_input_bytes,
        }
    }
}

/// Returns the length that the client has declared for the body of its request.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Runs `write` on a thread of its own with a low priority, so that a client that uploads as fast as it can takes
/// little processor time from the proofs. The thread holds `place`, so clients whose connections break cannot start
/// more threads than there are places. The argument of `write` returns true once the receiver is dropped and the result
/// has no use. If `write` panics, the receiver fails.
///
/// # Errors
/// Fails if the system has no thread left.
pub(super) fn start_writer<T: Send + 'static>(
    place: Arc<UploadPlace>,
    write: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, Problem> {
    let (sender, written) = oneshot::channel();
    let run = move || {
        // Without the low priority, the upload only takes more processor time from others.
        let _ = rustix::process::nice(WRITER_NICENESS);
        let written = write(&|| sender.is_closed());
        drop(place);
        // The client may have closed its connection.
        let _ = sender.send(written);
    };
    thread::Builder::new().name("upload".to_owned()).spawn(run).map(|_| written).map_err(|error| {
        let text = format!("cannot start a thread for the upload: {error}\nhint: try again later");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", &text)
    })
}

/// Writes the `parts` of an upload to disk as one blob. Reserves its `declared` length on the disk first. An upload
/// that breaks off or is too long leaves no file. The caller holds the place until it has checked the upload, and the
/// thread that writes holds it too.
pub(crate) async fn receive<E: Error + 'static>(
    service: &Service,
    place: &Arc<UploadPlace>,
    upload: UploadKind,
    declared: Option<u64>,
    parts: impl Stream<Item = Result<Bytes, E>>,
) -> Result<StoredBlob, Problem> {
    let limit = upload.limit(service);
    let failed = |error: BlobError| match error {
        BlobError::TooLong { limit } => Problem::from(RequestError::TooLong { what: upload.name(), limit }),
        error => RequestError::from(error).into(),
    };
    let starting = service.clone();
    let started = tokio::task::spawn_blocking(move || starting.writer(limit, declared));
    // Before the first byte is read: a client that sends its length gets the refusal at once.
    let mut blob = started.await.expect("starting to write does not panic").map_err(failed)?;
    let (sender, mut coming) = mpsc::channel::<Option<Bytes>>(MAX_WAITING_PARTS);
    let received = place.clone();
    let write = start_writer(place.clone(), move |_| {
        while let Some(part) = coming.blocking_recv() {
            match part {
                Some(part) => blob.write(&part)?,
                None => {
                    let stored = blob.finish()?;
                    received.on_received(stored.length);
                    return Ok::<_, BlobError>(Some(stored));
                }
            }
        }
        Ok(None)
    })?;
    let mut parts = std::pin::pin!(parts);
    let mut broken = None;
    loop {
        let part = match parts.next().await {
            Some(Ok(part)) => Some(part),
            Some(Err(error)) => {
                broken = Some(body_problem(&format!("the upload of {} failed", upload.name()), &error));
                break;
            }
            None => None,
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
        (Ok(Some(stored)), None) if stored.length == 0 => {
            Err(RequestError::Invalid(format!("{} is empty", upload.name())).into())
        }
        (Ok(Some(stored)), None) => Ok(stored),
        (Ok(None), None) => Err(Problem::malformed(&format!("the upload of {} broke off", upload.name()))),
        (Err(error), None) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;
    use tokio::sync::Semaphore;

    /// Returns a place, and what shows whether it is held.
    fn place() -> (Arc<UploadPlace>, Arc<Semaphore>) {
        let permits = Arc::new(Semaphore::new(1));
        let permit = permits.clone().try_acquire_owned().unwrap();
        (Arc::new(UploadPlace::of_permit(permit)), permits)
    }

    #[tokio::test]
    async fn uploads_are_written_with_a_low_priority() {
        let own = getpriority_process(None).unwrap();
        let written = start_writer(place().0, |_| getpriority_process(None).unwrap()).unwrap();
        // 19 is the highest niceness.
        assert_eq!(written.await.unwrap(), (own + WRITER_NICENESS).min(19));
    }

    #[tokio::test]
    async fn a_writer_whose_client_has_left_keeps_its_place_until_it_ends() {
        let (place, permits) = place();
        let wanted = start_writer(place.clone(), |is_unwanted| is_unwanted()).unwrap();
        assert!(!wanted.await.unwrap());
        let (leave, left) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let written = start_writer(place, move |is_unwanted| {
            left.blocking_recv().unwrap();
            tell.send(is_unwanted()).unwrap();
        });
        drop(written.unwrap());
        assert_eq!(permits.available_permits(), 0);
        leave.send(()).unwrap();
        assert!(told.await.unwrap());
        let _free = permits.acquire().await.unwrap();
    }
}
