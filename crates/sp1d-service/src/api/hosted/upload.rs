//! Receives programs and inputs as sp1-sdk sends them: compressed with zstd.

use crate::{
    api::{
        body::body_problem,
        problem::Problem,
        upload::{MAX_WAITING_PARTS, UploadKind, start_writer},
    },
    queue::{RequestError, Service, UploadPlace},
    state::{BlobError, StoredBlob},
};
use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use std::{
    error::Error,
    io::{self, Read},
    sync::Arc,
};
use tokio::sync::mpsc;

sp1d_model::limits! {
    /// Maximum size of the window of compressed data, a power of two. The decoder of each upload keeps a window in
    /// memory. sp1-sdk compresses with level 3, whose window has 2 MiB.
    const MAX_WINDOW_BYTES: u32 = 8 << 20; Bytes by Client;
    /// How much longer than the limit of its content a compressed upload may be. Data that cannot be compressed grows
    /// by less than a hundredth.
    const MAX_GROWTH_BYTES: u64 = 16 << 20; Bytes by Client;
}

/// Size of the parts in which content is decompressed.
const PART_BYTES: usize = 64 << 10;

/// Why the content of an upload is refused.
#[derive(Debug)]
pub(super) enum ContentFault {
    /// The data ended early.
    BrokenOff,
    NotZstd(io::Error),
    Malformed(String),
    Blob(BlobError),
}

/// Reads the received parts. Blocks until the next one arrives.
struct PartsReader {
    coming: mpsc::Receiver<Option<Bytes>>,
    part: Bytes,
    /// All parts have arrived.
    is_complete: bool,
}

impl Read for PartsReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.is_complete && self.part.is_empty() {
            match self.coming.blocking_recv() {
                Some(Some(part)) => self.part = part,
                Some(None) => self.is_complete = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let length = self.part.len().min(buffer.len());
        self.part.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Decompresses what `reader` returns, and passes it to `write` part by part. A program is a sequence of bytes with its
/// length in front, in eight bytes, the lowest byte first. An input is stored as it is.
pub(super) fn decompress(
    reader: impl Read,
    kind: UploadKind,
    mut write: impl FnMut(&[u8]) -> Result<(), ContentFault>,
) -> Result<(), ContentFault> {
    let fault = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionAborted => ContentFault::BrokenOff,
        _ => ContentFault::NotZstd(error),
    };
    let mut decoder = zstd::Decoder::new(reader).map_err(fault)?;
    decoder.window_log_max(MAX_WINDOW_BYTES.ilog2()).map_err(fault)?;
    let declared = match kind {
        UploadKind::Program => {
            let mut length = [0; 8];
            decoder.read_exact(&mut length).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    ContentFault::Malformed("the program has no length in front of it".to_owned())
                }
                _ => fault(error),
            })?;
            Some(u64::from_le_bytes(length))
        }
        UploadKind::Input => None,
    };
    let (mut part, mut total) = (vec![0; PART_BYTES], 0_u64);
    loop {
        let length = decoder.read(&mut part).map_err(fault)?;
        if length == 0 {
            break;
        }
        total += length as u64;
        write(&part[..length])?;
    }
    match declared {
        Some(declared) if declared != total => Err(ContentFault::Malformed(format!(
            "the program has {total} bytes, but the length in front of it says {declared}"
        ))),
        _ => Ok(()),
    }
}

/// Writes the decompressed content of an upload to disk as one blob. An upload that breaks off, is too long or cannot
/// be decompressed leaves no file. The caller holds the place until it has checked the content, and the thread that
/// writes holds it too.
pub(super) async fn receive_compressed<E: Error + 'static>(
    service: &Service,
    place: &Arc<UploadPlace>,
    kind: UploadKind,
    declared: Option<u64>,
    parts: impl Stream<Item = Result<Bytes, E>>,
) -> Result<StoredBlob, Problem> {
    let limit = kind.limit(service);
    let max_compressed = limit.saturating_add(MAX_GROWTH_BYTES);
    let too_long = || Problem::from(RequestError::TooLong { what: kind.name(), limit });
    if declared.is_some_and(|declared| declared > max_compressed) {
        return Err(too_long());
    }
    let failed = |error: BlobError| match error {
        BlobError::TooLong { .. } => too_long(),
        error => RequestError::from(error).into(),
    };
    let starting = service.clone();
    // Reserves at least what arrives. The rest is reserved as it is written.
    let started = tokio::task::spawn_blocking(move || starting.writer(limit, declared.map(|bytes| bytes.min(limit))));
    let mut blob = started.await.expect("starting to write does not panic").map_err(failed)?;
    let (sender, coming) = mpsc::channel::<Option<Bytes>>(MAX_WAITING_PARTS);
    let reader = PartsReader { coming, part: Bytes::new(), is_complete: false };
    let place_of_writer = place.clone();
    let write = start_writer(place.clone(), move |is_unwanted| {
        decompress(reader, kind, |part| {
            // A received part of 64 KiB can be decompressed to gigabytes. The client may have left meanwhile.
            if is_unwanted() {
                return Err(ContentFault::BrokenOff);
            }
            blob.write(part).map_err(ContentFault::Blob)
        })?;
        let stored = blob.finish().map_err(ContentFault::Blob)?;
        place_of_writer.on_received(stored.length);
        Ok::<_, ContentFault>(stored)
    })?;
    let mut parts = std::pin::pin!(parts);
    let (mut broken, mut received) = (None, 0_u64);
    loop {
        let part = match parts.next().await {
            Some(Ok(part)) => Some(part),
            Some(Err(error)) => {
                broken = Some(body_problem(&format!("the upload of {} failed", kind.name()), &error));
                break;
            }
            None => None,
        };
        received += part.as_ref().map_or(0, |part| part.len() as u64);
        if received > max_compressed {
            broken = Some(too_long());
            break;
        }
        let last = part.is_none();
        // Sending fails only if the writer has failed. Its error is returned below.
        if sender.send(part).await.is_err() || last {
            break;
        }
    }
    drop(sender);
    let written = write.await.expect("writing does not panic");
    if let Some(problem) = broken {
        return Err(problem);
    }
    let what = kind.name();
    written.map_err(|fault| match fault {
        ContentFault::BrokenOff => Problem::malformed(&format!("the upload of {what} broke off")),
        ContentFault::NotZstd(reason) => {
            let text = format!("the upload of {what} cannot be decompressed: {reason}\nhint: compress it with zstd");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_zstd", &text)
        }
        ContentFault::Malformed(text) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", &text),
        ContentFault::Blob(error) => failed(error),
    })
}
