//! Receives the artifacts that attempts upload.
//!
//! Memory is reserved for each chunk before the chunk is read. The quotas count uncompressed bytes, because zeros take
//! nearly nothing on the wire.

use super::{part_timeout::with_part_timeout, worker_session::WorkerSession};
use crate::{
    runner::failure::ProofFailure,
    scope::{attempt_scope, try_scope},
    state::{
        published::RegisteredAttempt,
        shared_state::SharedState,
        upload_budget::{OpenUpload, OtherUploads},
    },
};
use sp1d_artifacts::{Blob, StoreError};
use sp1d_model::hint::one_line;
use sp1d_protocol::{
    IncomingArtifact, MessageLimits, TaskOutput, UploadError, made_prefix,
    wire::{UploadHeader, UploadPart, upload_part},
};
use sp1d_scheduler::AttemptId;
use std::{fmt::Display, time::Duration};
use tokio::time::timeout;
use tonic::{Status, Streaming};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum uncompressed bytes of the artifacts of a proof, with all uploads of its attempts. Honest artifacts
    /// compress to a quarter, so 256 GiB of memory and disk hold less than this.
    const MAX_PROOF_BYTES: u64 = 1 << 40; Bytes by Worker;
    /// Lower bound of `max_worker_bytes`: what the uploads of a worker may use until they are accepted. A small store
    /// must still take the uploads of honest attempts.
    const MIN_WORKER_BYTES: u64 = 256 << 20; Bytes by Worker;
    /// Maximum wait of an upload for memory. Memory is free again when the uploads of other workers are stored, which
    /// usually takes seconds. The worker then tries again.
    const MAX_ROOM_WAIT: Duration = Duration::from_secs(60); Time by Worker;
}

/// Until they are accepted, the uploads of a worker may use a quarter of the store's memory and disk. A worker that
/// uploads and never reports a result then leaves room for the others.
const WORKER_STORE_DIVISOR: u64 = 4;

/// Memory that a chunk takes beyond its stored bytes.
const CHUNK_OVERHEAD_BYTES: u64 = 80;

/// Chunks and artifacts of at most this size are handled without a switch to a blocking thread. A chunk of 1 MiB takes
/// about 1 ms to check, so one of this size takes about as long as the switch.
const SMALL_BYTES: usize = 32 << 10;

impl WorkerSession {
    /// Receives the artifact that an attempt uploads, and stores it.
    pub(super) async fn receive_upload(&self, mut parts: Streaming<UploadPart>) -> Result<(), Status> {
        let first = with_part_timeout(parts.message()).await??.and_then(|part| part.part);
        let Some(upload_part::Part::Header(header)) = first else {
            return Err(invalid("an upload must start with a header"));
        };
        let attempt = AttemptId(header.attempt);
        let registered = self.attempt(header.attempt)?;
        check_upload(&registered, attempt, &header)?;
        let mut upload = self.open_upload(&registered, attempt, &header)?;
        let blob = receive_blob(parts, header.length, &mut upload).await?;
        self.shared.counters.on_received(blob.stored_bytes());
        let (shared, name, scope) = (self.shared.clone(), header.name, attempt_scope(attempt));
        let end = move |shared: &SharedState| {
            // The attempt may have been discarded meanwhile. Nothing is awaited between the storing and this code,
            // because the future around both is dropped when the connection ends.
            if !shared.attempts().contains_key(&attempt) {
                shared.store.remove_scope(scope);
            }
            // The store counts the blob now.
            drop(upload);
        };
        let is_small = blob.len() <= SMALL_BYTES as u64;
        let in_memory = if is_small { shared.store.put_in_memory(scope, &name, blob) } else { Ok(Some(blob)) };
        let kept = match in_memory {
            Ok(Some(blob)) => {
                let put = move || {
                    let kept = shared.store.put(scope, name, blob);
                    end(&shared);
                    kept
                };
                tokio::task::spawn_blocking(put).await.expect("storing an artifact does not panic")
            }
            done => {
                end(&shared);
                done.map(drop)
            }
        };
        match kept {
            Ok(()) => Ok(()),
            Err(error @ StoreError::Full { .. }) => {
                // The store is full for every worker, so a retry on another worker would fail as well.
                registered.running_try.fail(ProofFailure::Machine(error.to_string()));
                Err(Status::resource_exhausted(one_line(&error.to_string())))
            }
            Err(error) => Err(invalid(one_line(&error.to_string()))),
        }
    }

    /// Opens an upload, if the attempt, its proof and its worker are within their quotas with it.
    fn open_upload(
        &self,
        registered: &RegisteredAttempt,
        attempt: AttemptId,
        header: &UploadHeader,
    ) -> Result<OpenUpload, Status> {
        let shared = &self.shared;
        shared.uploads.open(self.session_id, attempt, |others: OtherUploads| {
            // The dispatcher may accept or discard artifacts of the attempt at any time.
            let stored = shared.store.describe_scope(attempt_scope(attempt), &header.name);
            // An artifact that is uploaded again after a reconnect counts once.
            let is_repeated = stored.named.is_some_and(|named| named.len == header.length);
            let announced = if is_repeated { 0 } else { header.length };
            let limits = shared.store.limits();
            let room = limits.memory_bytes.saturating_add(limits.disk_bytes);
            let max_worker_bytes = (room / WORKER_STORE_DIVISOR).max(MIN_WORKER_BYTES);
            // A proof or a worker never has more bytes than the whole store. The exact numbers take a lock of the
            // store for each registered attempt, so they are only counted if the whole store has more than the limit.
            let usage = shared.store.usage();
            let max_proof_bytes = MAX_PROOF_BYTES.saturating_sub(announced);
            let max_unaccepted_bytes = max_worker_bytes.saturating_sub(others.session_bytes);
            let unaccepted =
                bound_or_exact(usage.bytes(), max_unaccepted_bytes, || unaccepted_bytes(shared, registered));
            let quotas = UploadQuotas {
                artifacts: stored.others + others.attempt_uploads,
                attempt_bytes: stored.content_bytes + others.attempt_bytes,
                max_attempt_bytes: registered.rights.upload_bytes,
                proof_bytes: bound_or_exact(usage.content_bytes, max_proof_bytes, || self.proof_bytes(registered)),
                worker_bytes: unaccepted + others.session_bytes,
                max_worker_bytes,
            };
            quotas.check(announced).map_err(Status::resource_exhausted)?;
            Ok(announced)
        })
    }

    /// Returns the uncompressed bytes of all artifacts of the attempt's proof, with the uploads of all its attempts.
    fn proof_bytes(&self, registered: &RegisteredAttempt) -> u64 {
        let store = &self.shared.store;
        let attempts = self.shared.attempts();
        let of_try = attempts.iter().filter(|(_, other)| other.running_try.id == registered.running_try.id);
        let uploaded: u64 = of_try.map(|(attempt, _)| store.scope_content_bytes(attempt_scope(*attempt))).sum();
        store.scope_content_bytes(try_scope(registered.running_try.id)) + uploaded
    }
}

/// Returns the stored bytes of the uploads of the worker that got `registered`: of all its attempts, also of those that
/// it got in earlier sessions. Accepted uploads belong to their proof.
fn unaccepted_bytes(shared: &SharedState, registered: &RegisteredAttempt) -> u64 {
    let attempts = shared.attempts();
    let own = attempts.iter().filter(|(_, other)| other.worker_id == registered.worker_id);
    own.map(|(attempt, _)| shared.store.scope_stats(attempt_scope(*attempt)).bytes).sum()
}

/// Returns the status for a request that is not valid.
fn invalid(text: impl Display) -> Status {
    Status::invalid_argument(text.to_string())
}

/// Returns `bound`, an upper bound of a number, if it is within `limit`. Otherwise returns the exact number.
fn bound_or_exact(bound: u64, limit: u64, exact: impl FnOnce() -> u64) -> u64 {
    if bound <= limit { bound } else { exact() }
}

/// What an attempt, its proof and its worker have uploaded, and how much they may upload.
struct UploadQuotas {
    artifacts: usize,
    /// Uncompressed.
    attempt_bytes: u64,
    max_attempt_bytes: u64,
    /// Uncompressed. May be an upper bound that is within the limit.
    proof_bytes: u64,
    /// Compressed, without what was accepted. May be an upper bound that is within the limit.
    worker_bytes: u64,
    max_worker_bytes: u64,
}

impl UploadQuotas {
    /// Checks whether the attempt may upload an artifact with `bytes` uncompressed bytes.
    fn check(&self, bytes: u64) -> Result<(), String> {
        if self.artifacts >= MessageLimits::UPLOADS {
            return Err(format!("the attempt may upload at most {} artifacts", MessageLimits::UPLOADS));
        }
        let exceeds = |used: u64, limit: u64| used.saturating_add(bytes) > limit;
        if exceeds(self.attempt_bytes, self.max_attempt_bytes) {
            let limit = self.max_attempt_bytes;
            return Err(format!("an attempt of this task may upload at most {limit} bytes before compression"));
        }
        if exceeds(self.proof_bytes, MAX_PROOF_BYTES) {
            return Err(format!("the proof may have at most {MAX_PROOF_BYTES} bytes of artifacts before compression"));
        }
        if self.worker_bytes > self.max_worker_bytes {
            let limit = self.max_worker_bytes;
            return Err(format!("the worker may have at most {limit} bytes of uploads that are not accepted yet"));
        }
        Ok(())
    }
}

/// Checks that an attempt uploads either an output that it was asked for, or an artifact that it made for its marker.
/// Any other name belongs to another task. Also checks the length, and that the name is safe in error texts and logs.
fn check_upload(registered: &RegisteredAttempt, attempt: AttemptId, header: &UploadHeader) -> Result<(), Status> {
    let asked = registered.outputs.find(&header.name);
    let is_made = || {
        let makers = [Some(attempt), registered.resumes].into_iter().flatten();
        registered.outputs.event_list.is_some()
            && makers.map(made_prefix).any(|prefix| header.name.starts_with(&prefix))
    };
    if header.name.len() > MessageLimits::NAME_BYTES || asked.is_none() && !is_made() {
        return Err(invalid("the artifact does not belong to this attempt"));
    }
    if !header.name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(invalid("the name of the artifact contains other characters than printable ASCII"));
    }
    let max_bytes = match asked {
        Some(TaskOutput::Result) => MessageLimits::RESULT_BYTES,
        Some(TaskOutput::EventList) | None => MessageLimits::ARTIFACT_BYTES,
    };
    if header.length > max_bytes {
        return Err(invalid(format!("the artifact has {} bytes, and at most {max_bytes} are allowed", header.length)));
    }
    Ok(())
}

/// Returns true if `part` takes little time to check. A chunk is decompressed to at most the length that it claims.
fn is_small(part: &UploadPart) -> bool {
    match &part.part {
        Some(upload_part::Part::Chunk(chunk)) => {
            chunk.decoded_length as usize <= SMALL_BYTES && chunk.content.len() <= SMALL_BYTES
        }
        Some(upload_part::Part::Header(_) | upload_part::Part::End(_)) | None => true,
    }
}

/// Checks the next part of `artifact`, and returns the artifact with it. Parts that are not small are checked on a
/// thread that may block.
async fn push_part(mut artifact: IncomingArtifact, part: UploadPart) -> Result<IncomingArtifact, UploadError> {
    let is_inline = is_small(&part);
    let push = move || {
        artifact.push(part)?;
        Ok::<_, UploadError>(artifact)
    };
    if is_inline {
        return push();
    }
    tokio::task::spawn_blocking(push).await.expect("assembling does not panic")
}

/// Receives the chunks of an upload. No thread waits for the next part.
async fn receive_blob(mut parts: Streaming<UploadPart>, length: u64, upload: &mut OpenUpload) -> Result<Blob, Status> {
    let mut artifact = IncomingArtifact::new(length);
    loop {
        // The stored bytes of a valid chunk are at most this many.
        let reserved = match artifact.next_chunk_bytes() {
            0 => 0,
            bytes => bytes + CHUNK_OVERHEAD_BYTES,
        };
        if reserved > 0 && timeout(MAX_ROOM_WAIT, upload.reserve(reserved)).await.is_err() {
            let seconds = MAX_ROOM_WAIT.as_secs();
            // The only error that tells the worker to try again: see `TransferError::is_temporary` of the worker.
            return Err(Status::aborted(format!("there was no memory for the upload for {seconds} s")));
        }
        let Some(part) = with_part_timeout(parts.message()).await?? else { break };
        let stored = match &part.part {
            Some(upload_part::Part::Chunk(chunk)) => chunk.content.len() as u64 + CHUNK_OVERHEAD_BYTES,
            _ => 0,
        };
        artifact = push_part(artifact, part).await.map_err(invalid)?;
        // The stored bytes of a chunk that was accepted are at most what was reserved.
        upload.release(reserved - stored);
    }
    artifact.finish().map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{test_state::TestState, workers::worker_address::WorkerAddress};
    use sp1d_artifacts::{DecodeError, Digest, Store};
    use sp1d_protocol::{
        Connection,
        wire::{Chunk, UploadEnd, upload_part::Part},
    };
    use sp1d_scheduler::SessionId;
    use std::thread;
    use tokio::sync::oneshot;

    /// Checks whether an upload of 10 bytes is refused, and that the error contains `part`.
    #[track_caller]
    fn check(change: impl FnOnce(&mut UploadQuotas), part: Option<&str>) {
        let mut quotas = UploadQuotas {
            artifacts: 0,
            attempt_bytes: 0,
            max_attempt_bytes: 100,
            proof_bytes: 0,
            worker_bytes: 0,
            max_worker_bytes: 100,
        };
        change(&mut quotas);
        match (quotas.check(10), part) {
            (Ok(()), None) => {}
            (Err(text), Some(part)) => assert!(text.contains(part), "{text:?} does not contain {part:?}"),
            (outcome, part) => panic!("{outcome:?}, expected {part:?}"),
        }
    }

    #[test]
    fn uploads_beyond_a_quota_are_refused() {
        check(|_| {}, None);
        check(|quotas| quotas.artifacts = MessageLimits::UPLOADS - 1, None);
        check(|quotas| quotas.artifacts = MessageLimits::UPLOADS, Some("1024 artifacts"));
        check(|quotas| quotas.attempt_bytes = 90, None);
        check(|quotas| quotas.attempt_bytes = 91, Some("at most 100 bytes before compression"));
        check(|quotas| quotas.proof_bytes = MAX_PROOF_BYTES - 10, None);
        check(|quotas| quotas.proof_bytes = MAX_PROOF_BYTES - 9, Some("the proof may have"));
        check(|quotas| quotas.proof_bytes = u64::MAX, Some("the proof may have"));
        check(|quotas| quotas.worker_bytes = 100, None);
        check(|quotas| quotas.worker_bytes = 101, Some("not accepted yet"));
    }

    /// Opens an upload of the result of attempt 1, which the store already has. Calls `change` while the upload waits
    /// to be checked against the quotas. Returns the bytes that the upload adds.
    fn added_bytes(state: &TestState, content: &[u8], change: impl FnOnce(&Store)) -> u64 {
        let store = &state.shared.store;
        store.put(attempt_scope(AttemptId(1)), "result", Blob::encode(content)).unwrap();
        let registered = state.register(1, 1, 7);
        let (_, closer) = Connection::new(tokio::io::empty());
        let session =
            WorkerSession::new(WorkerAddress::Local, None, closer, state.shared.clone(), oneshot::channel().0);
        let header = UploadHeader { attempt: 1, name: "result".to_owned(), length: content.len() as u64 };
        let (session, registered, header) = (&session, &registered, &header);
        let announced = || {
            let mut found = None;
            let refused = state.shared.uploads.open(SessionId(2), AttemptId(1), |others| {
                found = Some(others.attempt_bytes);
                Err::<u64, ()>(())
            });
            assert!(refused.is_err());
            found.unwrap()
        };
        thread::scope(|threads| {
            let mut opening = None;
            let first = state.shared.uploads.open(SessionId(2), AttemptId(2), |_| {
                opening = Some(threads.spawn(move || session.open_upload(registered, AttemptId(1), header)));
                // Long enough for the other thread to reach the lock that this closure holds.
                thread::sleep(Duration::from_millis(50));
                change(store);
                Ok::<u64, ()>(0)
            });
            let upload = opening.unwrap().join().expect("the upload is checked without a panic").unwrap();
            let added = announced();
            drop((first, upload));
            assert_eq!(announced(), 0);
            added
        })
    }

    #[tokio::test]
    async fn an_artifact_that_is_uploaded_again_adds_nothing_unless_it_was_discarded_meanwhile() {
        let state = TestState::new();
        assert_eq!(added_bytes(&state, b"content", |_| {}), 0);
        let discard = |store: &Store| store.remove_scope(attempt_scope(AttemptId(1)));
        assert_eq!(added_bytes(&state, b"content", discard), 7);
    }

    #[tokio::test]
    async fn a_worker_that_reconnects_gets_no_fresh_quota() {
        let state = TestState::new();
        let bytes_of = |attempt: u64| state.shared.store.scope_stats(attempt_scope(AttemptId(attempt))).bytes;
        // Worker 7 uploads in two sessions.
        for (attempt, session, worker) in [(1, 1, 7), (2, 2, 7), (3, 3, 8)] {
            state.register(attempt, session, worker);
            let scope = attempt_scope(AttemptId(attempt));
            state.shared.store.put(scope, "result", Blob::encode(b"content")).unwrap();
            assert!(bytes_of(attempt) > 0);
        }
        let latest = state.register(4, 2, 7);
        assert_eq!(unaccepted_bytes(&state.shared, &latest), bytes_of(1) + bytes_of(2));
    }

    /// Checks whether attempt 1 may upload an artifact named `name` for its marker.
    #[track_caller]
    fn check_made_name(name: &str, is_allowed: bool) {
        let mut registered = TestState::new().register(1, 1, 7);
        registered.outputs.event_list = Some("events".to_owned());
        let header = UploadHeader { attempt: 1, name: name.to_owned(), length: 1 };
        assert_eq!(check_upload(&registered, AttemptId(1), &header).is_ok(), is_allowed, "{name:?}");
    }

    #[tokio::test]
    async fn names_of_uploads_are_printable() {
        check_made_name("made-a1-0", true);
        check_made_name("made-a1-of shard 0", true);
        check_made_name("made-a2-0", false);
        check_made_name("made-a1-0\nhint: run this", false);
        check_made_name("made-a1-\u{1b}[2J", false);
        check_made_name("made-a1-\u{202e}", false);
    }

    fn chunk(zstd: bool, decoded_length: u64, content: Vec<u8>) -> Option<Part> {
        let decoded_length = u32::try_from(decoded_length).unwrap();
        Some(Part::Chunk(Chunk { zstd, decoded_length, content: content.into() }))
    }

    fn end(digest: &[u8]) -> Option<Part> {
        Some(Part::End(UploadEnd { digest: digest.to_vec().into() }))
    }

    /// Checks how an upload of `length` bytes with these parts ends.
    async fn check_parts(length: u64, parts: Vec<Option<Part>>, expected: Result<(), UploadError>) {
        let mut artifact = IncomingArtifact::new(length);
        for part in parts {
            match push_part(artifact, UploadPart { part }).await {
                Ok(next) => artifact = next,
                Err(error) => {
                    assert_eq!(Err(error), expected, "{length} bytes");
                    return;
                }
            }
        }
        assert_eq!(artifact.finish().map(drop), expected, "{length} bytes");
    }

    #[tokio::test]
    async fn small_and_large_uploads_are_refused_for_the_same_reasons() {
        for length in [100, SMALL_BYTES + 1] {
            let (content, len) = (vec![7_u8; length], length as u64);
            let digest = Digest::of(&content);
            let valid = || chunk(false, len, content.clone());
            assert_eq!(is_small(&UploadPart { part: valid() }), length == 100);
            check_parts(len, vec![valid(), end(digest.as_bytes())], Ok(())).await;
            let other = Digest::of(b"other");
            let differs = DecodeError::Digest { got: digest, expected: other };
            check_parts(len, vec![valid(), end(other.as_bytes())], Err(differs.into())).await;
            let damaged = || vec![0; length - 1];
            check_parts(len, vec![chunk(false, len, damaged())], Err(DecodeError::Corrupt.into())).await;
            check_parts(len, vec![chunk(true, len, damaged())], Err(DecodeError::Corrupt.into())).await;
            let partial = DecodeError::Partial { got: len - 1, expected: len };
            check_parts(len, vec![chunk(false, len - 1, damaged())], Err(partial.into())).await;
            let long = DecodeError::TooLong { got: len + 1, limit: len };
            check_parts(len, vec![chunk(false, len + 1, vec![0; length + 1])], Err(long.into())).await;
            let inflated = DecodeError::TooLong { got: len + 1, limit: len };
            check_parts(len, vec![chunk(true, len, vec![0; length + 1])], Err(inflated.into())).await;
            check_parts(len, vec![chunk(false, 0, Vec::new())], Err(DecodeError::Empty.into())).await;
            check_parts(len, vec![valid()], Err(UploadError::Early)).await;
            check_parts(len, vec![valid(), end(b"")], Err(UploadError::Digest)).await;
            check_parts(len, vec![None], Err(UploadError::Order)).await;
            check_parts(len, vec![Some(Part::Header(UploadHeader::default()))], Err(UploadError::Order)).await;
            let late = vec![valid(), end(digest.as_bytes()), valid()];
            check_parts(len, late, Err(UploadError::Order)).await;
        }
    }

    #[test]
    fn a_chunk_is_not_small_if_its_content_is_small_and_its_claim_is_not() {
        let at_most = SMALL_BYTES as u64;
        assert!(is_small(&UploadPart { part: chunk(true, at_most, vec![0; SMALL_BYTES]) }));
        assert!(!is_small(&UploadPart { part: chunk(true, at_most + 1, vec![0; 10]) }));
        assert!(!is_small(&UploadPart { part: chunk(true, 10, vec![0; SMALL_BYTES + 1]) }));
    }

    #[test]
    fn the_exact_number_counts_if_the_upper_bound_exceeds_the_limit() {
        assert_eq!(bound_or_exact(7, 7, || panic!("the bound is enough")), 7);
        assert_eq!(bound_or_exact(8, 7, || 3), 3);
        assert_eq!(bound_or_exact(9, 7, || 8), 8);
    }
}
