//! A proof request as a form (`multipart/form-data`), as the HTTP interface takes it.

use super::runtime::block_on;
use crate::harness::{FuzzMemory, FuzzTarget};
use sp1d_model::NewProof;
use sp1d_service::fuzzing::{FormContent, read_form};

/// A form. The first byte of an input selects a mode, and the second the length of the pieces in which the body
/// arrives.
pub const FORM: FuzzTarget = FuzzTarget {
    name: "form",
    // The maximum length of a part's head. The head of a longer input may be refused in some pieces and not in others.
    max_bytes: 16 << 10,
    // The header of a part takes about 100 bytes for a few encoded ones.
    memory: FuzzMemory { base_bytes: 2 << 20, per_byte: 256 },
    dictionary: &[
        b"--sp1d-boundary",
        b"\r\n--sp1d-boundary\r\n",
        b"\r\n--sp1d-boundary--\r\n",
        b"content-disposition: form-data; name=\"request\"\r\n\r\n",
        b"content-disposition: form-data; name=\"program\"\r\n\r\n",
        b"content-disposition: form-data; name=\"stdin\"\r\n\r\n",
        b"; filename=\"a\"",
        b"content-type: application/octet-stream\r\n",
        b"{\"mode\":\"core\",\"priority\":1}",
        b"\r\n\r\n",
    ],
    seeds,
    check,
};

const CONTENT_TYPE: &[u8] = b"multipart/form-data; boundary=sp1d-boundary";

/// Maximum length of the JSON request.
const REQUEST_BYTES: usize = 4 << 10;

/// Maximum length of the uploads. Inputs can exceed it.
const UPLOAD_BYTES: u64 = 8 << 10;

fn check(input: &[u8]) {
    let Some((&[mode, piece], rest)) = input.split_first_chunk::<2>() else { return };
    let piece = usize::from(piece).max(1);
    match mode % 3 {
        0 => check_pieces(CONTENT_TYPE, rest, piece),
        1 => {
            // The content type is the first line.
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            check_pieces(&rest[..end], rest.get(end + 1..).unwrap_or_default(), piece);
        }
        _ => check_data(rest, piece),
    }
}

fn read(content_type: &[u8], body: &[u8], piece: usize) -> Result<FormContent, String> {
    let pieces = body.chunks(piece).map(<[u8]>::to_vec).collect();
    block_on(read_form(content_type, pieces, REQUEST_BYTES, UPLOAD_BYTES))
}

/// Checks that the pieces in which a body arrives do not matter.
fn check_pieces(content_type: &[u8], body: &[u8], piece: usize) {
    let whole = read(content_type, body, body.len().max(1));
    let in_pieces = read(content_type, body, piece);
    assert_eq!(in_pieces.as_ref().ok(), whole.as_ref().ok(), "{in_pieces:?}\n{whole:?}");
    if let Ok(content) = whole {
        let uploads = content.program.map_or(0, |data| data.len()) + content.input.map_or(0, |data| data.len());
        assert!(uploads <= body.len());
    }
}

/// Checks that uploads of any data arrive unchanged.
fn check_data(data: &[u8], piece: usize) {
    // The data must not end a part, and the form must be within its limits.
    let ends_part = |window: &[u8]| window.starts_with(b"\n--sp1d") || window.starts_with(b"--sp1d");
    if data.len() as u64 > UPLOAD_BYTES || (0..data.len()).any(|at| ends_part(&data[at..])) {
        return;
    }
    let (program, stdin) = data.split_at(data.len() / 3);
    let body = form(&NewProof::default(), program, stdin);
    let expected = FormContent {
        request: Some(NewProof::default()),
        program: Some(program.to_vec()),
        input: Some(stdin.to_vec()),
    };
    assert_eq!(read(CONTENT_TYPE, &body, piece), Ok(expected));
}

/// Returns the body of a form with all parts.
fn form(request: &NewProof, program: &[u8], stdin: &[u8]) -> Vec<u8> {
    let request = serde_json::to_vec(request).expect("a request can be serialized");
    let mut body = Vec::new();
    for (name, data) in [("request", request.as_slice()), ("program", program), ("stdin", stdin)] {
        let head = format!("--sp1d-boundary\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--sp1d-boundary--\r\n");
    body
}

fn seeds() -> Vec<Vec<u8>> {
    let request = NewProof {
        cycle_limit: Some(1_000_000),
        nonce: [1, 2, 3, 4],
        idempotency_key: Some("key".to_owned()),
        ..NewProof::default()
    };
    let whole = form(&request, b"\x7fELF", &[0; 24]);
    let mut seeds = Vec::new();
    for piece in [1, 7, 255] {
        seeds.push([&[0, piece][..], &whole].concat());
        seeds.push([&[1, piece][..], CONTENT_TYPE, b"\n", &whole].concat());
        seeds.push([&[2, piece][..], b"\r\n--\r\n----sp1\r\n\r\n", &[7; 300]].concat());
    }
    // Parts in another order, twice, without data, and of an unknown name.
    let part = |name: &str, data: &str| {
        format!("--sp1d-boundary\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n{data}\r\n")
    };
    let end = "--sp1d-boundary--\r\n";
    for parts in [
        part("program", "elf") + &part("request", "{}"),
        part("request", "{}") + &part("request", "{}"),
        part("request", "{\"mode\":\"groth16\"}") + &part("stdin", ""),
        part("other", "x"),
        String::new(),
    ] {
        seeds.push([&[0, 100][..], b"preamble\r\n", parts.as_bytes(), end.as_bytes()].concat());
        seeds.push([&[0, 100][..], parts.as_bytes()].concat());
    }
    seeds
}
