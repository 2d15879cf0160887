//! Checks an input without decoding it as a whole.

use super::input_proofs::check_proof_form;
use crate::sp1_types::{InnerRecursionProof, InnerVerifyingKey};
use bincode::{BincodeRead, Options};
use serde::de::Visitor;
use sp1d_model::counted;
use sp1d_orchestrator::ProofFailure;
use std::{
    fmt::Display,
    io::{self, BufRead, BufReader, Read},
};

sp1d_model::limits! {
    /// Maximum number of values in an input. A decoded value takes about 50 bytes more than in the input, so the values
    /// of an input take at most 200 MB in addition to its length. Programs read few large values rather than many small
    /// ones, because each read costs cycles.
    const MAX_INPUT_VALUES: u64 = 1 << 22; Count by Program;
    /// Maximum size of an input proof with its verifying key. Compressed proofs have one or two megabytes.
    const MAX_INPUT_PROOF_BYTES: u64 = 64 << 20; Bytes by Program;
}

/// A proof that the program verifies, as an input contains it.
type InputProof = (InnerRecursionProof, InnerVerifyingKey);

fn invalid(reason: impl Display) -> ProofFailure {
    ProofFailure::Request(format!(
        "the stdin is not a serialized SP1Stdin: {reason}\nhint: pass the whole input, written with bincode 1 as \
         SP1's own tools do"
    ))
}

fn unreadable(error: io::Error) -> ProofFailure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("it ends too early"),
        _ => ProofFailure::Machine(format!("cannot read the stdin: {error}")),
    }
}

/// Reads a number as bincode 1 writes it.
fn read_number(stdin: &mut impl Read) -> Result<u64, ProofFailure> {
    let mut bytes = [0; 8];
    stdin.read_exact(&mut bytes).map_err(unreadable)?;
    Ok(u64::from_le_bytes(bytes))
}

fn skip(stdin: &mut impl BufRead, bytes: u64) -> Result<(), ProofFailure> {
    let skipped = io::copy(&mut stdin.take(bytes), &mut io::sink()).map_err(unreadable)?;
    if skipped == bytes { Ok(()) } else { Err(invalid("it ends too early")) }
}

/// Reads the bytes of a proof for bincode. bincode's own reader reserves the announced length of a text before it reads
/// the text. This one takes memory as the bytes arrive.
struct ProofReader<'a, R>(&'a mut R);

impl<R: Read> Read for ProofReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<'de, R: Read> BincodeRead<'de> for ProofReader<'_, R> {
    fn forward_read_str<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> bincode::Result<V::Value> {
        let text = String::from_utf8(self.get_byte_buffer(length)?);
        visitor.visit_string(text.map_err(|error| bincode::ErrorKind::InvalidUtf8Encoding(error.utf8_error()))?)
    }

    fn get_byte_buffer(&mut self, length: usize) -> bincode::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) } else { Ok(bytes) }
    }

    fn forward_read_bytes<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> bincode::Result<V::Value> {
        visitor.visit_byte_buf(self.get_byte_buffer(length)?)
    }
}

/// Checks that `stdin` reads an `SP1Stdin`, serialized with bincode 1, and nothing else, that its proofs have the right
/// form, and that decoding it takes little more memory than its length. Has one proof in memory at a time.
///
/// # Errors
/// [`ProofFailure::Request`] if the input is not valid or has too many values, and [`ProofFailure::Machine`] if it
/// cannot be read.
pub fn check_input(stdin: &mut dyn Read) -> Result<(), ProofFailure> {
    let mut stdin = BufReader::with_capacity(64 << 10, stdin);
    // An `SP1Stdin` has the fields `buffer`, `ptr` and `proofs`.
    let values = read_number(&mut stdin)?;
    if values > MAX_INPUT_VALUES {
        return Err(ProofFailure::Request(format!(
            "the stdin has {values} values, and at most {MAX_INPUT_VALUES} are allowed\n\
             hint: write many small values as one, for example as a vector"
        )));
    }
    for _ in 0..values {
        let bytes = read_number(&mut stdin)?;
        skip(&mut stdin, bytes)?;
    }
    read_number(&mut stdin)?;
    let proofs = read_number(&mut stdin)?;
    for at in 0..proofs {
        let decoder = bincode::DefaultOptions::new().with_fixint_encoding().with_limit(MAX_INPUT_PROOF_BYTES);
        let decoded = decoder.deserialize_from_custom(ProofReader(&mut stdin));
        let (proof, _): InputProof = decoded.map_err(|error: bincode::Error| match *error {
            bincode::ErrorKind::Io(error) => unreadable(error),
            error => invalid(error),
        })?;
        check_proof_form(at, &proof)?;
    }
    match io::copy(&mut stdin, &mut io::sink()).map_err(unreadable)? {
        0 => Ok(()),
        rest => Err(invalid(format!("{} too many at its end", counted(rest, "byte")))),
    }
}
