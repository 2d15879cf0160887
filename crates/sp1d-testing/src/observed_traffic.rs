//! The bytes that an observer of a network has seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Length of the pieces in which marks are searched. Frames and packets may split a longer mark.
const PIECE_BYTES: usize = 16;

/// Observed bytes, in parts: each direction of a connection, or each packet. All clones share the bytes.
#[derive(Debug, Clone, Default)]
pub struct ObservedTraffic(Arc<Mutex<Vec<Vec<u8>>>>);

impl ObservedTraffic {
    /// Returns true if a part contains `mark`, or any whole piece of 16 bytes of it.
    #[must_use]
    pub fn has_carried(&self, mark: &[u8]) -> bool {
        let pieces: Vec<&[u8]> =
            if mark.len() < PIECE_BYTES { vec![mark] } else { mark.chunks_exact(PIECE_BYTES).collect() };
        self.parts().iter().any(|part| pieces.iter().any(|piece| contains(part, piece)))
    }

    /// Returns how many bytes were observed.
    #[must_use]
    pub fn carried_bytes(&self) -> usize {
        self.parts().iter().map(Vec::len).sum()
    }

    /// Adds an empty part and returns its number.
    pub(crate) fn open_part(&self) -> usize {
        let mut parts = self.parts();
        parts.push(Vec::new());
        parts.len() - 1
    }

    /// Adds `bytes` to the end of a part.
    pub(crate) fn extend(&self, part: usize, bytes: &[u8]) {
        self.parts()[part].extend_from_slice(bytes);
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_whole_piece_of_a_mark_within_one_part_is_found() {
        let traffic = ObservedTraffic::default();
        for bytes in [b"a question from the ".as_slice(), b"client"] {
            let part = traffic.open_part();
            traffic.extend(part, bytes);
        }
        assert_eq!(traffic.carried_bytes(), 26);
        let check = |mark: &[u8], is_found| assert_eq!(traffic.has_carried(mark), is_found, "{mark:?}");
        check(b"question", true);
        check(b"a question from , and then something else", true);
        check(b"another question from here", false);
        // Two parts are not one text.
        check(b"the client", false);
    }
}
