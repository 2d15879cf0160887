//! The format of a file of the result cache:
//!
//! ```text
//!   MAGIC
//!   length of the header: u32, blake3 digest of the header, header:
//!       blake3 digest of the input of the proof, count of parts: u32, then for each part:
//!           name length: u32, name, blake3 digest of the content, content length: u64, count of chunks: u32
//!   the chunks of all parts, each: encoding: u8, decoded length: u32, stored length: u32, stored bytes
//! ```
//!
//! The first part is the result of the task and has an empty name. The other parts are the artifacts that the task
//! uploaded for its marker. Numbers are little-endian. Chunks are written and read one at a time, in the compressed
//! form in which the worker has sent them. A reader decodes each chunk only to compare the digests.

use sp1d_artifacts::{Assembler, Blob, CHUNK_BYTES, Chunk, Digest, Encoding};
use sp1d_orchestrator::CachedResult;
use std::io::{self, Read, Write};

/// First bytes of each file: an older name of the result cache, and the version of the format. A changed file format
/// must use different bytes.
const MAGIC: &[u8; 8] = b"sp1memo3";

/// Maximum length of a header. A task delivers far fewer artifacts than fit.
const MAX_HEADER_BYTES: u32 = 1 << 20;

/// Length of what precedes a chunk.
const CHUNK_HEAD_BYTES: usize = 9;

/// Length of what precedes the header: `MAGIC`, the header's length and its digest.
const PREFIX_BYTES: usize = MAGIC.len() + 4 + blake3::OUT_LEN;

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a task delivers few parts, and their names and chunks are short")
}

fn parts(result: &CachedResult) -> impl Iterator<Item = (&str, &Blob)> {
    let uploads = result.event_uploads.iter().map(|(name, content)| (name.as_str(), content));
    std::iter::once(("", &result.output)).chain(uploads)
}

fn header(result: &CachedResult) -> Vec<u8> {
    let mut header = result.input_digest.as_bytes().to_vec();
    header.extend(length(parts(result).count()).to_le_bytes());
    for (name, content) in parts(result) {
        header.extend(length(name.len()).to_le_bytes());
        header.extend(name.as_bytes());
        header.extend(content.digest().as_bytes());
        header.extend(content.len().to_le_bytes());
        header.extend(length(content.chunks().len()).to_le_bytes());
    }
    header
}

/// Returns the length of the file of `result`. `None` if the result has too many artifacts for a file.
pub(super) fn file_bytes(result: &CachedResult) -> Option<u64> {
    let header = header(result).len();
    let chunks: usize = parts(result).map(|(_, content)| content.chunks().len()).sum();
    let stored: u64 = parts(result).map(|(_, content)| content.stored_bytes()).sum();
    let fixed = PREFIX_BYTES + header + chunks * CHUNK_HEAD_BYTES;
    (header <= MAX_HEADER_BYTES as usize).then(|| stored + fixed as u64)
}

/// Writes `result` to `file`.
pub(crate) fn write(result: &CachedResult, file: &mut impl Write) -> io::Result<()> {
    let header = header(result);
    file.write_all(MAGIC)?;
    file.write_all(&length(header.len()).to_le_bytes())?;
    file.write_all(blake3::hash(&header).as_bytes())?;
    file.write_all(&header)?;
    for chunk in parts(result).flat_map(|(_, content)| content.chunks()) {
        let encoding = match chunk.encoding {
            Encoding::Raw => 0_u8,
            Encoding::Zstd => 1,
        };
        file.write_all(&[encoding])?;
        file.write_all(&chunk.decoded_len.to_le_bytes())?;
        file.write_all(&length(chunk.bytes.len()).to_le_bytes())?;
        file.write_all(&chunk.bytes)?;
    }
    Ok(())
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

fn take_u32(from: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(from, 4)?.try_into().ok()?))
}

/// What a header says about one part.
struct PartHeader {
    name: String,
    digest: Digest,
    bytes: u64,
    chunks: u32,
}

fn part_header(header: &mut &[u8]) -> Option<PartHeader> {
    let name_length = take_u32(header)?;
    let name = String::from_utf8(take(header, name_length as usize)?.to_vec()).ok()?;
    let digest = Digest::from_slice(take(header, blake3::OUT_LEN)?)?;
    let bytes = u64::from_le_bytes(take(header, 8)?.try_into().ok()?);
    Some(PartHeader { name, digest, bytes, chunks: take_u32(header)? })
}

/// Reads exactly `length` bytes.
fn read_bytes(file: &mut impl Read, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn read_chunk(file: &mut impl Read) -> Option<Chunk> {
    let head = read_bytes(file, CHUNK_HEAD_BYTES)?;
    let mut rest = &head[1..];
    let encoding = match head[0] {
        0 => Encoding::Raw,
        1 => Encoding::Zstd,
        _ => return None,
    };
    let (decoded_len, stored) = (take_u32(&mut rest)?, take_u32(&mut rest)? as usize);
    if stored > CHUNK_BYTES {
        return None;
    }
    Some(Chunk { encoding, decoded_len, bytes: read_bytes(file, stored)?.into() })
}

fn read_part(part: &PartHeader, file: &mut impl Read) -> Option<Blob> {
    let mut assembler = Assembler::new(part.bytes);
    for _ in 0..part.chunks {
        assembler.push(read_chunk(file)?).ok()?;
    }
    assembler.finish(part.digest).ok()
}

/// Reads the digest of the input for which the result in `file` was made. `None` if the file is not one of this format.
pub(super) fn read_input(file: &mut impl Read) -> Option<Digest> {
    let prefix = read_bytes(file, PREFIX_BYTES)?;
    if !prefix.starts_with(MAGIC) {
        return None;
    }
    Digest::from_slice(&read_bytes(file, blake3::OUT_LEN)?)
}

/// Reads a result. `None` if the file is incomplete, too long or damaged.
pub(crate) fn read(file: &mut impl Read) -> Option<CachedResult> {
    if read_bytes(file, MAGIC.len())? != MAGIC {
        return None;
    }
    let length = take_u32(&mut &*read_bytes(file, 4)?)?;
    if length > MAX_HEADER_BYTES {
        return None;
    }
    let digest = read_bytes(file, blake3::OUT_LEN)?;
    let header = read_bytes(file, length as usize)?;
    if blake3::hash(&header).as_bytes()[..] != digest[..] {
        return None;
    }
    let mut rest = &*header;
    let input_digest = Digest::from_slice(take(&mut rest, blake3::OUT_LEN)?)?;
    let count = take_u32(&mut rest)?;
    // The header is intact, so the number of its parts is right and small.
    let headers = (0..count).map(|_| part_header(&mut rest)).collect::<Option<Vec<PartHeader>>>()?;
    let mut parts = Vec::new();
    for part in headers {
        let content = read_part(&part, file)?;
        parts.push((part.name, content));
    }
    let is_whole = rest.is_empty() && file.read(&mut [0]).is_ok_and(|read| read == 0);
    let mut parts = parts.into_iter();
    let (_, output) = parts.next().filter(|(name, _)| is_whole && name.is_empty())?;
    Some(CachedResult { input_digest, output, event_uploads: parts.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(contents: &[&[u8]]) -> CachedResult {
        let mut blobs = contents.iter().map(|content| Blob::encode(content));
        let output = blobs.next().unwrap();
        CachedResult {
            input_digest: Digest::of(b"input"),
            output,
            event_uploads: blobs.zip(1..).map(|(blob, number)| (format!("#{number}"), blob)).collect(),
        }
    }

    fn written(result: &CachedResult) -> Vec<u8> {
        let mut file = Vec::new();
        write(result, &mut file).unwrap();
        assert_eq!(file_bytes(result), Some(file.len() as u64));
        file
    }

    fn contents(result: CachedResult) -> Vec<(String, Vec<u8>)> {
        let CachedResult { output, event_uploads, .. } = result;
        let parts = std::iter::once((String::new(), output)).chain(event_uploads);
        parts.map(|(name, content)| (name, content.decode().unwrap())).collect()
    }

    #[test]
    fn written_result_is_read_back() {
        let long = vec![7; 3 * CHUNK_BYTES + 1];
        let cases: [&[&[u8]]; 3] = [&[b"output"], &[b"", b"", b"events"], &[&long, b"x"]];
        for parts in cases {
            let whole = result(parts);
            let file = written(&whole);
            assert_eq!(read_input(&mut &*file), Some(whole.input_digest));
            let read = read(&mut &*file).unwrap();
            assert_eq!(read.input_digest, whole.input_digest);
            assert_eq!(contents(read), contents(whole));
        }
    }

    #[test]
    fn changed_or_cut_off_file_is_refused() {
        let whole = written(&result(&[b"output", b"events"]));
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert!(read(&mut &*other).is_none(), "byte {at}");
            assert!(read(&mut &whole[..at]).is_none(), "the first {at} bytes");
        }
        assert!(read(&mut &*[&*whole, b"x"].concat()).is_none());
    }

    #[test]
    fn result_with_a_name_is_refused() {
        let file = written(&result(&[b"output"]));
        // The digest of the input and the count of parts, then one part.
        let start = blake3::OUT_LEN + 4;
        let (header, chunks) = file[PREFIX_BYTES..].split_at(start + 4 + blake3::OUT_LEN + 8 + 4);
        let named = [&header[..start], &1_u32.to_le_bytes(), b"x", &header[start + 4..]].concat();
        let with_header = |header: &[u8]| {
            let digest = blake3::hash(header);
            [&MAGIC[..], &length(header.len()).to_le_bytes(), digest.as_bytes(), header, chunks].concat()
        };
        assert!(read(&mut &*with_header(header)).is_some());
        assert!(read(&mut &*with_header(&named)).is_none());
    }

    /// Counts the largest number of bytes that are read at a time.
    struct Counted<'a> {
        rest: &'a [u8],
        largest: usize,
    }

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.largest = self.largest.max(buffer.len());
            self.rest.read(buffer)
        }
    }

    #[test]
    fn file_is_read_chunk_by_chunk_and_stays_compressed() {
        let zeros = vec![0; 64 * CHUNK_BYTES];
        let file = written(&result(&[&zeros]));
        let mut counted = Counted { rest: &file, largest: 0 };
        let read = read(&mut counted).unwrap();
        assert!(counted.largest < 1000, "{}", counted.largest);
        assert_eq!((read.output.len(), read.output.stored_bytes() < 100_000), (zeros.len() as u64, true));
    }
}
