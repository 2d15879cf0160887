//! What clients of the interface for sp1-sdk send: bodies of calls, URLs of files, and compressed uploads.

use crate::harness::{FuzzMemory, FuzzTarget};
use prost::encoding::encode_varint;
use sp1d_service::fuzzing::{
    decompress_hosted_upload, hosted_file_url, opens_hosted_url, read_hosted_artifact, read_hosted_registration,
    read_hosted_request,
};

/// The interface for sp1-sdk. The first byte of an input selects a mode.
pub const HOSTED: FuzzTarget = FuzzTarget {
    name: "hosted",
    max_bytes: 16 << 10,
    // An element of a list takes 24 bytes for 2 encoded ones, in lists that grow by doubling. The decoder of uploads
    // has a buffer of 128 KiB, and the content has 64 KiB.
    memory: FuzzMemory { base_bytes: 2 << 20, per_byte: 256 },
    dictionary: &[
        b"sp1d-artifact:",
        VERSION.as_bytes(),
        b"\x28\xb5\x2f\xfd",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x22\x20",
        b"\x1a\x41",
        b"\x5a\x00",
    ],
    seeds,
    check,
};

/// Version of the circuits.
const VERSION: &str = "sp1-v6.1.0";

/// Time of all checks, in seconds since 1970.
const NOW: u64 = 1_800_000_000;

/// Longest time until a deadline: a year.
const MAX_SECONDS: u64 = 366 * 24 * 60 * 60;

/// Maximum length of the content of an upload. Inputs can exceed it.
const UPLOAD_BYTES: usize = 64 << 10;

/// Maximum length of the text of a refusal. The texts quote at most 80 characters of a client.
const REFUSAL_BYTES: usize = 1000;

/// Number of modes of [`check`].
const MODES: u8 = 10;

fn check(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % MODES {
        0 => check_request(rest),
        1 => check_body(rest),
        2 => check_registration(rest),
        3 => check_registration(&signed(rest)),
        4 => check_artifact(rest),
        5 => check_url(rest),
        6 => check_made_url(rest),
        7 => check_upload(rest, true),
        8 => check_upload(rest, false),
        _ => check_content(rest),
    }
}

#[track_caller]
fn check_refusal(text: &str) {
    assert!((1..=REFUSAL_BYTES).contains(&text.len()), "{text}");
}

#[track_caller]
fn check_signer(address: &str) {
    let digits = address.strip_prefix("0x").unwrap_or_default();
    assert!(digits.len() == 40 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{address}");
}

fn check_request(request: &[u8]) {
    match read_hosted_request(request, VERSION, NOW) {
        Ok(facts) => {
            check_signer(&facts.signer);
            assert_eq!(facts.program.len(), 66, "{}", facts.program);
            assert!((1..=MAX_SECONDS).contains(&facts.timeout_seconds));
            for limit in [facts.cycle_limit, facts.gas_limit] {
                assert!(limit.is_none_or(|limit| limit > 0 && i64::try_from(limit).is_ok()));
            }
        }
        Err(text) => check_refusal(&text),
    }
}

/// Checks a body with a signature. If it is accepted, checks that a field more is refused.
fn check_body(body: &[u8]) {
    let request = signed(body);
    check_request(&request);
    if read_hosted_request(&request, VERSION, NOW).is_ok() {
        let mut longer = body.to_vec();
        // Field 100, which does not exist.
        longer.extend([0xa0, 0x06, 0x01]);
        assert!(read_hosted_request(&signed(&longer), VERSION, NOW).is_err());
    }
}

fn check_registration(request: &[u8]) {
    match read_hosted_registration(request) {
        Ok((program, uri)) => assert!(program.len() == 66 && uri.starts_with("sp1d-artifact:"), "{program} {uri}"),
        Err(text) => check_refusal(&text),
    }
}

fn check_artifact(request: &[u8]) {
    match read_hosted_artifact(request) {
        Ok(signer) => check_signer(&signer),
        Err(text) => check_refusal(&text),
    }
}

/// Checks that only a text with the length of a URL permits anything.
fn check_url(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let length = hosted_file_url([0; 16], NOW).len();
    assert!(!opens_hosted_url(text, NOW) || text.len() == length, "{text}");
}

/// Checks that a URL permits something until it expires, and nothing after a change of one digit. The input has
/// the place and the new digit, and the id of the file.
fn check_made_url(input: &[u8]) {
    let Some((&[low, high, digit], rest)) = input.split_first_chunk::<3>() else { return };
    let Some((file, _)) = rest.split_first_chunk::<16>() else { return };
    let url = hosted_file_url(*file, NOW + 1);
    assert!(opens_hosted_url(&url, NOW));
    assert!(!opens_hosted_url(&url, NOW + 1), "the URL has expired");
    let place = usize::from(u16::from_le_bytes([low, high])) % url.len();
    assert!(!opens_hosted_url(&url[..place], NOW), "the URL was cut to {place} digits");
    let digits = url.chars().enumerate();
    let changed: String = digits.map(|(at, old)| if at == place { char::from(digit) } else { old }).collect();
    // Digits are read in upper and lower case.
    let is_same = changed.eq_ignore_ascii_case(&url);
    assert_eq!(opens_hosted_url(&changed, NOW), is_same, "digit {place} was changed");
}

fn check_upload(upload: &[u8], is_program: bool) {
    match decompress_hosted_upload(upload, is_program, UPLOAD_BYTES) {
        Ok(content) => assert!(content.len() <= UPLOAD_BYTES),
        Err(text) => check_refusal(&text),
    }
}

/// Checks that uploads of any content arrive unchanged, and that an upload that breaks off is refused. The input has
/// the place where it breaks off, and the content.
fn check_content(input: &[u8]) {
    let Some((place, content)) = input.split_first_chunk::<2>() else { return };
    for is_program in [true, false] {
        let upload = compressed(&if is_program { serialized(content) } else { content.to_vec() });
        let read = |upload: &[u8]| decompress_hosted_upload(upload, is_program, UPLOAD_BYTES);
        assert_eq!(read(&upload).as_deref(), Ok(content));
        let place = usize::from(u16::from_le_bytes(*place)) % upload.len();
        assert!(read(&upload[..place]).is_err(), "the upload was cut to {place} bytes");
    }
}

/// Appends the field `number` with these bytes to a message.
fn put_bytes(message: &mut Vec<u8>, number: u8, content: &[u8]) {
    message.push((number << 3) | 2);
    encode_varint(content.len() as u64, message);
    message.extend_from_slice(content);
}

/// Appends the field `number` with a number to a message.
fn put_number(message: &mut Vec<u8>, number: u8, value: u64) {
    message.push(number << 3);
    encode_varint(value, message);
}

/// Returns a signature that is valid for every message, each time of another signer. Both of its numbers are 1: that is
/// the coordinate of a point on the curve.
fn signature() -> [u8; 65] {
    let mut signature = [0; 65];
    (signature[31], signature[63], signature[64]) = (1, 1, 27);
    signature
}

/// Returns a request with this body.
fn signed(body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    put_number(&mut request, 1, 1);
    put_bytes(&mut request, 2, &signature());
    put_bytes(&mut request, 3, body);
    request
}

fn artifact() -> String {
    format!("sp1d-artifact:{}", "07".repeat(16))
}

/// Returns the body of a request for a proof, as sp1-sdk sends it. The fields of `auction` are encoded already.
fn request_body(mode: u64, cycle_limit: u64, gas_limit: u64, auction: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_number(&mut body, 1, 150);
    put_bytes(&mut body, 2, &[0x11; 32]);
    put_bytes(&mut body, 3, VERSION.as_bytes());
    put_number(&mut body, 4, mode);
    put_number(&mut body, 5, 1);
    put_bytes(&mut body, 6, artifact().as_bytes());
    put_number(&mut body, 7, NOW + 60);
    put_number(&mut body, 8, cycle_limit);
    put_number(&mut body, 9, gas_limit);
    body.extend_from_slice(auction);
    put_number(&mut body, 12, 1);
    body
}

/// Returns the body of the registration of a program.
fn registration_body() -> Vec<u8> {
    let mut body = Vec::new();
    put_number(&mut body, 1, 150);
    put_bytes(&mut body, 2, &[0x11; 32]);
    put_bytes(&mut body, 3, &[1; 200]);
    put_bytes(&mut body, 4, artifact().as_bytes());
    body
}

fn compressed(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).expect("compressing in memory does not fail")
}

/// Returns `program` with its length in front.
fn serialized(program: &[u8]) -> Vec<u8> {
    [(program.len() as u64).to_le_bytes().as_slice(), program].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |mode: u8, content: &[u8]| seeds.push([&[mode][..], content].concat());
    let endless = u64::MAX;
    for body in
        [request_body(1, endless, endless, &[]), request_body(4, 1000, 5000, &[]), request_body(9, 1, endless, &[])]
    {
        add(0, &signed(&body));
        add(1, &body);
    }
    let mut auction = Vec::new();
    put_number(&mut auction, 10, 30);
    put_bytes(&mut auction, 11, &[0x22; 20]);
    put_bytes(&mut auction, 11, &[0x33; 20]);
    add(1, &request_body(2, 1, endless, &auction));
    add(2, &signed(&registration_body()));
    add(3, &registration_body());
    let mut creation = Vec::new();
    put_bytes(&mut creation, 1, &signature());
    put_number(&mut creation, 2, 2);
    add(4, &creation);
    add(5, hosted_file_url([3; 16], NOW + 1).as_bytes());
    add(5, hosted_file_url([3; 16], NOW).as_bytes());
    add(6, &[[20, 0, b'0'].as_slice(), &[3; 16]].concat());
    let zeros = compressed(&vec![0; 2 * UPLOAD_BYTES]);
    for upload in [compressed(&serialized(b"\x7fELF")), compressed(b"short"), zeros, b"not zstd".to_vec()] {
        add(7, &upload);
        add(8, &upload);
    }
    add(9, b"\x09\x00content content content content");
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_reach_what_is_behind_the_signature() {
        let facts = read_hosted_request(&signed(&request_body(1, u64::MAX, 5000, &[])), VERSION, NOW).unwrap();
        assert_eq!((facts.timeout_seconds, facts.cycle_limit, facts.gas_limit), (60, None, Some(5000)));
        assert_eq!(read_hosted_registration(&signed(&registration_body())).unwrap().1, artifact());
        let mut creation = Vec::new();
        put_bytes(&mut creation, 1, &signature());
        read_hosted_artifact(&creation).unwrap();
    }
}
