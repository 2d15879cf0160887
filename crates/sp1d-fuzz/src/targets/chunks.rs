//! The parts of an artifact that a worker uploads.

use crate::harness::{FuzzMemory, FuzzTarget};
use prost::Message;
use sp1d_artifacts::{Assembler, BlobReader, CHUNK_BYTES, Chunk, Digest, Encoder, Encoding};
use sp1d_protocol::{
    IncomingArtifact, MessageLimits, UploadError, chunk_from_wire, chunk_to_wire,
    wire::{UploadEnd, UploadHeader, UploadPart, upload_part::Part},
};
use std::io::Read;

/// An upload: its parts, each after its length.
pub const CHUNKS: FuzzTarget = FuzzTarget {
    name: "chunks",
    // Zeros compress to a thirty-thousandth: an input of this length can stand for hundreds of chunks.
    max_bytes: 16 << 10,
    // Decoded chunks of the artifact, of the comparison and of the reader, each in a buffer that may have doubled.
    memory: FuzzMemory { base_bytes: 16 << 20, per_byte: 64 },
    dictionary: &[b"\x28\xb5\x2f\xfd", b"\x80\x80\x40", b"\x1a\x03\x0a\x01r"],
    seeds,
    check,
};

/// A digest of this length stands for that of the chunks before it. libFuzzer cannot find a right digest.
const RIGHT_DIGEST: usize = 1;

fn check(mut input: &[u8]) {
    let Some(Part::Header(UploadHeader { length, .. })) = next_part(&mut input) else { return };
    if length > MessageLimits::ARTIFACT_BYTES {
        return;
    }
    let mut artifact = IncomingArtifact::new(length);
    // Decodes the same chunks on its own.
    let (mut decoder, mut content, mut hasher) = (Assembler::new(length), Vec::new(), blake3::Hasher::new());
    let mut ended = false;
    while let Some(mut part) = next_part(&mut input) {
        let wanted = artifact.next_chunk_bytes();
        assert!(wanted <= CHUNK_BYTES as u64);
        assert!(!ended || wanted == 0, "memory is reserved for a chunk that is not valid");
        let mut expected = if ended { Err(UploadError::Order) } else { Ok(()) };
        match &mut part {
            Part::Chunk(chunk) if !ended => {
                content.clear();
                expected =
                    decoder.decode_next(&chunk_from_wire(chunk.clone()), &mut content).map_err(UploadError::Content);
                hasher.update(&content);
                let stored = chunk.content.len() as u64;
                assert!(expected.is_err() || stored <= wanted, "more bytes than memory was reserved for");
            }
            Part::End(end) if !ended => {
                if end.digest.len() == RIGHT_DIGEST {
                    end.digest = hasher.finalize().as_bytes().to_vec().into();
                }
                if Digest::from_slice(&end.digest).is_none() {
                    expected = Err(UploadError::Digest);
                }
                ended = true;
            }
            Part::Header(_) => expected = Err(UploadError::Order),
            Part::Chunk(_) | Part::End(_) => {}
        }
        let outcome = artifact.push(UploadPart { part: Some(part) });
        assert_eq!(outcome, expected);
        if outcome.is_err() {
            return;
        }
    }
    let Ok(blob) = artifact.finish() else { return };
    assert_eq!((blob.len(), blob.digest()), (length, Digest::from(hasher.finalize())));
    assert!(blob.stored_bytes() <= length, "a chunk is longer than its content");
    let (mut reader, mut buffer, mut again) = (BlobReader::new(blob.clone()), vec![0; 64 << 10], blake3::Hasher::new());
    loop {
        match reader.read(&mut buffer).expect("the chunks were checked") {
            0 => break,
            read => again.update(&buffer[..read]),
        };
    }
    assert_eq!(Digest::from(again.finalize()), blob.digest());
}

/// Returns the next part; `None` at the end of the input, or where it is not a part.
fn next_part(input: &mut &[u8]) -> Option<Part> {
    UploadPart::decode_length_delimited(input).ok()?.part
}

/// Returns an upload of `chunks`, which announces `length` bytes.
fn upload(length: u64, chunks: impl IntoIterator<Item = Chunk>, digest: &[u8]) -> Vec<u8> {
    let header = Part::Header(UploadHeader { attempt: 7, name: "r".to_owned(), length });
    let end = Part::End(UploadEnd { digest: digest.to_vec().into() });
    let chunks = chunks.into_iter().map(|chunk| Part::Chunk(chunk_to_wire(chunk)));
    let parts = std::iter::once(header).chain(chunks).chain([end]);
    parts.flat_map(|part| UploadPart { part: Some(part) }.encode_length_delimited_to_vec()).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let short: Vec<u8> = (0..200_u32).map(|number| (number * number) as u8).collect();
    let long = vec![0; 2 * CHUNK_BYTES + 1000];
    let mut seeds = Vec::new();
    for content in [&b""[..], b"x", &short, &long[..1000], &long] {
        let mut encoder = Encoder::new(content);
        let chunks: Vec<Chunk> = encoder.by_ref().collect();
        let length = content.len() as u64;
        seeds.push(upload(length, chunks.clone(), &[0; RIGHT_DIGEST]));
        seeds.push(upload(length, chunks.clone(), encoder.digest().as_bytes()));
        seeds.push(upload(length + 1, chunks, &[0; RIGHT_DIGEST]));
    }
    // Chunks that no honest worker sends.
    let claims_more = Chunk { encoding: Encoding::Raw, decoded_len: 64 << 20, bytes: (&b"x"[..]).into() };
    seeds.push(upload(64 << 20, [claims_more], &[0; RIGHT_DIGEST]));
    let one_byte = Chunk { encoding: Encoding::Raw, decoded_len: 1, bytes: (&b"x"[..]).into() };
    seeds.push(upload(2, [one_byte.clone(), one_byte], &[0; RIGHT_DIGEST]));
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_whole_artifact() {
        let seed = &seeds()[0];
        let mut rest = seed.as_slice();
        assert!(matches!(next_part(&mut rest), Some(Part::Header(_))));
        assert!(matches!(next_part(&mut rest), Some(Part::End(_))));
        assert!(rest.is_empty());
    }
}
