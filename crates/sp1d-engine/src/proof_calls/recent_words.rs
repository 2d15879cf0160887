//! Remembers the memory words that a program used last.

/// Number of remembered words, a power of two. They take 1.5 MB. The arguments of a call were written just before it.
const WORDS: usize = 1 << 16;

/// Bytes of a word.
const BYTES: u64 = 8;

/// The words that a program loaded or stored last, by address. A word may be forgotten as soon as another one is noted.
pub(crate) struct RecentWords(Box<[Option<(u64, u64)>]>);

impl RecentWords {
    pub(crate) fn new() -> Self {
        Self(vec![None; WORDS].into_boxed_slice())
    }

    fn slot(address: u64) -> usize {
        (address / BYTES) as usize % WORDS
    }

    /// Notes the word that contains the byte at `address`.
    pub(crate) fn note(&mut self, address: u64, word: u64) {
        self.0[Self::slot(address)] = Some((address / BYTES, word));
    }

    fn word(&self, address: u64) -> Option<u64> {
        self.0[Self::slot(address)].filter(|(at, _)| *at == address / BYTES).map(|(_, word)| word)
    }

    /// Returns the 32 bytes at `address`. Returns `None` if one of their words is not remembered, or if `address` is
    /// not the address of a word.
    pub(crate) fn bytes(&self, address: u64) -> Option<[u8; 32]> {
        if !address.is_multiple_of(BYTES) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, part) in (0..).zip(bytes.as_chunks_mut::<8>().0) {
            *part = self.word(address.checked_add(at * BYTES)?)?.to_le_bytes();
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_each_word_is_returned() {
        let mut words = RecentWords::new();
        for (at, word) in [(0, 9), (8, 2), (16, 3), (24, 4), (3, 1)] {
            words.note(4096 + at, word);
        }
        let expected: Vec<u8> = [1_u64, 2, 3, 4].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(words.bytes(4096).map(Vec::from), Some(expected));
    }

    #[test]
    fn missing_forgotten_and_unaligned_words_are_not_returned() {
        let mut words = RecentWords::new();
        (0..4).for_each(|at| words.note(at * 8, at));
        assert!(words.bytes(0).is_some());
        assert_eq!(words.bytes(8), None, "the fifth word was never noted");
        assert_eq!(words.bytes(4), None, "the address is not the address of a word");
        assert_eq!(words.bytes(u64::MAX - 7), None, "the bytes end beyond the address space");
        words.note(WORDS as u64 * 8, 7);
        assert_eq!(words.bytes(0), None, "another word took the place");
    }
}
