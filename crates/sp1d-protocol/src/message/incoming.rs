//! The parts of an artifact that a worker uploads, in the order in which they must arrive.

use super::transfer::chunk_from_wire;
use crate::wire::{UploadPart, upload_part::Part};
use sp1d_artifacts::{Assembler, Blob, DecodeError, Digest};

/// Why an upload is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// The content differs from the announcement.
    #[error(transparent)]
    Content(#[from] DecodeError),
    /// A part is empty, a second header, or arrived after the end.
    #[error("the parts of the artifact arrived in the wrong order")]
    Order,
    /// The end has an invalid digest.
    #[error("the upload ends with an invalid digest")]
    Digest,
    /// The upload has no end.
    #[error("the upload ended early")]
    Early,
}

/// An artifact whose header has arrived, and whose other parts arrive one by one: its chunks, then its end.
#[derive(Debug)]
pub struct IncomingArtifact {
    assembler: Assembler,
    /// Set by the end.
    digest: Option<Digest>,
}

impl IncomingArtifact {
    /// Returns an artifact of `length` uncompressed bytes, as its header announces.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self { assembler: Assembler::new(length), digest: None }
    }

    /// Returns the number of uncompressed bytes in the next chunk; 0 if no further chunk is valid. The stored bytes of
    /// a valid chunk are never more.
    #[must_use]
    pub fn next_chunk_bytes(&self) -> u64 {
        if self.digest.is_some() { 0 } else { self.assembler.next_chunk_bytes() }
    }

    /// Checks the next part and keeps its content compressed. Takes about 1 ms for a chunk.
    ///
    /// # Errors
    /// Fails if the part is not valid here.
    pub fn push(&mut self, part: UploadPart) -> Result<(), UploadError> {
        match part.part {
            _ if self.digest.is_some() => Err(UploadError::Order),
            Some(Part::Chunk(chunk)) => Ok(self.assembler.push(chunk_from_wire(chunk))?),
            Some(Part::End(end)) => {
                self.digest = Some(Digest::from_slice(&end.digest).ok_or(UploadError::Digest)?);
                Ok(())
            }
            Some(Part::Header(_)) | None => Err(UploadError::Order),
        }
    }

    /// Returns the artifact after its last part.
    ///
    /// # Errors
    /// Fails if parts are missing, or if the content does not have the digest in the end.
    pub fn finish(self) -> Result<Blob, UploadError> {
        let digest = self.digest.ok_or(UploadError::Early)?;
        Ok(self.assembler.finish(digest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Chunk, UploadEnd, UploadHeader};

    fn chunk(content: &'static [u8]) -> Part {
        let decoded_length = u32::try_from(content.len()).unwrap();
        Part::Chunk(Chunk { zstd: false, decoded_length, content: content.into() })
    }

    fn end(digest: &[u8]) -> Part {
        Part::End(UploadEnd { digest: digest.to_vec().into() })
    }

    /// Checks how an upload of 2 bytes with these parts ends.
    #[track_caller]
    fn check(parts: Vec<Option<Part>>, expected: Result<&[u8], UploadError>) {
        let mut artifact = IncomingArtifact::new(2);
        let pushed = parts.into_iter().try_for_each(|part| artifact.push(UploadPart { part }));
        let content = pushed.and_then(|()| artifact.finish()).map(|blob| blob.decode().unwrap());
        assert_eq!(content, expected.map(<[u8]>::to_vec));
    }

    #[test]
    fn chunks_and_then_an_end_make_an_artifact() {
        let digest = *Digest::of(b"ab").as_bytes();
        check(vec![Some(chunk(b"ab")), Some(end(&digest))], Ok(b"ab"));
        let other = *Digest::of(b"cd").as_bytes();
        let wrong = DecodeError::Digest { got: Digest::of(b"ab"), expected: Digest::of(b"cd") };
        check(vec![Some(chunk(b"ab")), Some(end(&other))], Err(wrong.into()));
        check(vec![Some(end(&digest))], Err(DecodeError::TooShort { got: 0, expected: 2 }.into()));
    }

    #[test]
    fn parts_in_another_order_are_refused() {
        let digest = *Digest::of(b"ab").as_bytes();
        check(vec![Some(chunk(b"ab"))], Err(UploadError::Early));
        check(vec![None], Err(UploadError::Order));
        check(vec![Some(Part::Header(UploadHeader::default()))], Err(UploadError::Order));
        for late in [chunk(b"ab"), end(&digest)] {
            check(vec![Some(chunk(b"ab")), Some(end(&digest)), Some(late)], Err(UploadError::Order));
        }
    }

    #[test]
    fn an_end_with_an_invalid_digest_ends_the_upload() {
        check(vec![Some(end(b"")), Some(end(b""))], Err(UploadError::Digest));
        check(vec![Some(chunk(b"ab")), Some(end(&[0; 33]))], Err(UploadError::Digest));
    }

    #[test]
    fn no_chunk_is_valid_after_the_end() {
        let mut artifact = IncomingArtifact::new(2);
        assert_eq!(artifact.next_chunk_bytes(), 2);
        artifact.push(UploadPart { part: Some(end(&[0; 32])) }).unwrap();
        assert_eq!(artifact.next_chunk_bytes(), 0);
    }
}
