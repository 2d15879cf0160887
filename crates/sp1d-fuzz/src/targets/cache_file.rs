//! A file of the service's result cache.

use crate::harness::{FuzzMemory, FuzzTarget};
use sp1d_artifacts::{Blob, Digest};
use sp1d_orchestrator::CachedResult;
use sp1d_service::fuzzing::{cached_result_file, read_cached_result};

/// A file of the result cache. The first byte of an input selects a mode.
pub const CACHE_FILE: FuzzTarget = FuzzTarget {
    name: "cache-file",
    max_bytes: 16 << 10,
    // Buffers of 1 MiB for the header, a stored chunk and a decoded chunk, which may have doubled.
    memory: FuzzMemory { base_bytes: 8 << 20, per_byte: 128 },
    dictionary: &[MAGIC, b"\x01\x00\x00\x00", b"#1", b"\x28\xb5\x2f\xfd"],
    seeds,
    check,
};

/// First bytes of each file.
const MAGIC: &[u8] = b"sp1memo3";

fn check(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 3 {
        0 => check_file(rest),
        1 => check_header(rest),
        _ => check_result(rest),
    }
}

/// Checks that a file that can be read is the file of what was read.
fn check_file(file: &[u8]) {
    if let Some(result) = read_cached_result(file) {
        assert_eq!(cached_result_file(&result), file);
    }
}

/// Reads a file with a header of any content. libFuzzer cannot find the digest of a header.
fn check_header(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    check_file(&with_header(&rest[..length], &rest[length..]));
}

fn with_header(header: &[u8], chunks: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).expect("an input is short").to_le_bytes();
    [MAGIC, &length, blake3::hash(header).as_bytes(), header, chunks].concat()
}

/// Checks that a result is read as it was written, and that a change of one byte is noticed. The input has the length
/// and the place of the changed byte, and the artifacts, each after its length.
fn check_result(input: &[u8]) {
    let Some((place, mut rest)) = input.split_first_chunk::<2>() else { return };
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (content, after) = after.split_at(usize::from(*length).min(after.len()));
        parts.push(content);
        rest = after;
    }
    let mut blobs = parts.into_iter().map(Blob::encode);
    let Some(output) = blobs.next() else { return };
    let event_uploads = blobs.zip(1..).map(|(blob, number)| (format!("#{number}"), blob)).collect();
    let mut file = cached_result_file(&CachedResult { input_digest: Digest::of(input), output, event_uploads });
    let read = read_cached_result(&file).expect("the file is whole");
    assert_eq!(cached_result_file(&read), file);
    let place = usize::from(u16::from_le_bytes(*place)) % file.len();
    file[place] ^= 1;
    // Some bits of compressed bytes have no meaning.
    if let Some(changed) = read_cached_result(&file) {
        assert_eq!(contents(changed), contents(read), "byte {place} was changed");
    }
    assert!(read_cached_result(&file[..place]).is_none(), "the file was cut to {place} bytes");
}

/// Returns the names and contents of all artifacts.
fn contents(CachedResult { output, event_uploads, .. }: CachedResult) -> Vec<(String, Vec<u8>)> {
    let parts = std::iter::once((String::new(), output)).chain(event_uploads);
    parts.map(|(name, blob)| (name, blob.decode().expect("the file was checked"))).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let zeros = vec![0; 3 << 20];
    let mut seeds = Vec::new();
    let cases: [&[&[u8]]; 3] = [&[b"output"], &[b"", b"", b"events"], &[&zeros, b"x"]];
    for parts in cases {
        let mut blobs = parts.iter().map(|content| Blob::encode(content));
        let output = blobs.next().expect("a result has an output");
        let event_uploads = blobs.zip(1..).map(|(blob, number)| (format!("#{number}"), blob)).collect();
        let file = cached_result_file(&CachedResult { input_digest: Digest::of(b"input"), output, event_uploads });
        seeds.push([&[0][..], &file].concat());
        // The length of the header follows the magic, and its digest of 32 bytes comes before it.
        let body = &file[MAGIC.len() + 4 + 32..];
        let length: [u8; 2] = [file[MAGIC.len()], file[MAGIC.len() + 1]];
        seeds.push([&[1][..], &length, body].concat());
    }
    seeds.push(b"\x02\x20\x00\x06output\x00\x03abc".to_vec());
    seeds
}
