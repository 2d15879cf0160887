//! Tests of blobs: round trips, and chunks that peers must not send.

use super::*;
use crate::Digest;
use bytes::Bytes;
use std::io::Read;

fn sample(len: usize, compressible: bool) -> Vec<u8> {
    let mut state = 1u64;
    (0..len)
        .map(|at| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if compressible { (at / 64) as u8 } else { (state >> 56) as u8 }
        })
        .collect()
}

fn check_round_trip(content: &[u8]) -> Blob {
    let blob = Blob::encode(content);
    let owned = Blob::encode_owned(content.to_vec());
    assert_eq!(owned.chunks(), blob.chunks(), "several threads make the same chunks");
    assert_eq!((owned.digest(), owned.len()), (blob.digest(), blob.len()));
    assert_eq!(blob.len(), content.len() as u64);
    assert_eq!(blob.digest(), Digest::of(content));
    let mut assembler = Assembler::new(blob.len());
    for chunk in blob.chunks() {
        assembler.push(chunk.clone()).unwrap();
    }
    assert_eq!(assembler.finish(blob.digest()).unwrap().decode().unwrap(), content);
    assert_eq!(blob.clone().decode().unwrap(), content, "a shared blob can be decoded, too");
    blob
}

#[test]
fn decoding_returns_the_encoded_bytes() {
    for len in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17, 9 * CHUNK_BYTES + 17] {
        check_round_trip(&sample(len, true));
        check_round_trip(&sample(len, false));
    }
}

#[test]
fn incompressible_chunks_are_stored_raw() {
    let noise = check_round_trip(&sample(CHUNK_BYTES, false));
    assert_eq!(noise.chunks()[0].encoding, Encoding::Raw);
    let regular = check_round_trip(&sample(CHUNK_BYTES, true));
    assert_eq!(regular.chunks()[0].encoding, Encoding::Zstd);
    assert!(regular.stored_bytes() < CHUNK_BYTES as u64 / 4);
}

#[test]
fn mixed_content_does_not_keep_the_whole_content() {
    let mut mixed = sample(5 * CHUNK_BYTES, false);
    mixed[CHUNK_BYTES..2 * CHUNK_BYTES].fill(0);
    check_round_trip(&mixed);
    let check = |content: Vec<u8>, keeps: bool| {
        let all = content.as_ptr_range();
        let blob = Blob::encode_owned(content);
        assert_eq!(all.contains(&blob.chunks()[2].bytes.as_ptr()), keeps);
    };
    let mut roomy = Vec::with_capacity(10 * CHUNK_BYTES);
    roomy.extend_from_slice(&sample(5 * CHUNK_BYTES, false));
    check(roomy, false);
    check(sample(5 * CHUNK_BYTES, false), true);
    check(mixed, false);
}

fn check_refused(digest: Digest, len: u64, chunks: &[Chunk], expected: &DecodeError) {
    let assemble = |check: bool| {
        let mut assembler = Assembler::new(len);
        for chunk in chunks {
            if check { assembler.push(chunk.clone())? } else { assembler.push_unchecked(chunk.clone())? }
        }
        if check { assembler.finish(digest) } else { assembler.finish_unchecked(digest) }?.decode()
    };
    assert_eq!(&assemble(true).unwrap_err(), expected);
    assert_eq!(&assemble(false).unwrap_err(), expected, "decoding detects the fault of an unchecked chunk");
}

#[test]
fn invalid_chunks_are_rejected() {
    let content = sample(1000, true);
    let blob = Blob::encode(&content);
    let good = blob.chunks()[0].clone();
    let other = Digest::of(b"other");
    check_refused(
        other,
        1000,
        std::slice::from_ref(&good),
        &DecodeError::Digest { got: blob.digest(), expected: other },
    );
    check_refused(blob.digest(), 1000, &[], &DecodeError::TooShort { got: 0, expected: 1000 });
    check_refused(blob.digest(), 999, std::slice::from_ref(&good), &DecodeError::TooLong { got: 1000, limit: 999 });
    let empty = Chunk { encoding: Encoding::Raw, decoded_len: 0, bytes: Bytes::new() };
    check_refused(blob.digest(), 1000, &[empty], &DecodeError::Empty);
    let padded = Chunk { encoding: Encoding::Zstd, decoded_len: 1000, bytes: vec![0; 1001].into() };
    check_refused(blob.digest(), 1000, &[padded], &DecodeError::TooLong { got: 1001, limit: 1000 });
    let garbage = Chunk { bytes: Bytes::from_static(b"not zstd"), ..good.clone() };
    check_refused(blob.digest(), 1000, &[garbage], &DecodeError::Corrupt);
    let short = Chunk { encoding: Encoding::Raw, decoded_len: 1000, bytes: Bytes::from_static(b"short") };
    check_refused(blob.digest(), 1000, &[short], &DecodeError::Corrupt);
}

#[test]
fn only_the_last_chunk_may_be_short() {
    let one_byte = Chunk { encoding: Encoding::Raw, decoded_len: 1, bytes: Bytes::from_static(b"x") };
    let (long, short) = (CHUNK_BYTES as u64 + 1, 1000);
    check_refused(
        Digest::of(b""),
        short,
        std::slice::from_ref(&one_byte),
        &DecodeError::Partial { got: 1, expected: short },
    );
    let expected = CHUNK_BYTES as u64;
    check_refused(Digest::of(b""), long, std::slice::from_ref(&one_byte), &DecodeError::Partial { got: 1, expected });
    let whole = Chunk { decoded_len: CHUNK_BYTES as u32, bytes: vec![b'x'; CHUNK_BYTES].into(), ..one_byte.clone() };
    let mut assembler = Assembler::new(long);
    assert_eq!(assembler.next_chunk_bytes(), expected);
    assembler.push(whole).unwrap();
    assert_eq!(assembler.next_chunk_bytes(), 1);
    assembler.push(one_byte).unwrap();
    assert_eq!(assembler.next_chunk_bytes(), 0);
    assert!(assembler.finish(Digest::of(&vec![b'x'; CHUNK_BYTES + 1])).is_ok());
}

#[test]
fn a_reader_decodes_one_chunk_at_a_time() {
    for len in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 17] {
        let content = sample(len, true);
        let mut read = Vec::new();
        BlobReader::new(Blob::encode(&content)).read_to_end(&mut read).unwrap();
        assert!(read == content, "{len} bytes");
    }
    let bad = Chunk { encoding: Encoding::Zstd, decoded_len: 5, bytes: Bytes::from_static(b"bad") };
    let mut assembler = Assembler::new(5);
    assembler.push_unchecked(bad).unwrap();
    let blob = assembler.finish_unchecked(Digest::of(b"")).unwrap();
    assert!(BlobReader::new(blob).read(&mut [0; 5]).is_err());
}

#[test]
fn a_decompression_bomb_is_not_expanded() {
    let bomb = zstd::bulk::compress(&vec![0u8; 64 << 20], 1).unwrap();
    let chunk = Chunk { encoding: Encoding::Zstd, decoded_len: CHUNK_BYTES as u32, bytes: bomb.into() };
    check_refused(Digest::of(b""), CHUNK_BYTES as u64, &[chunk], &DecodeError::Corrupt);
    let honest_about_it = Chunk { encoding: Encoding::Raw, decoded_len: 64 << 20, bytes: Bytes::new() };
    let limit = CHUNK_BYTES as u64;
    check_refused(Digest::of(b""), 1 << 30, &[honest_about_it], &DecodeError::TooLong { got: 64 << 20, limit });
}
