//! The names of programs in SP1's prover network.

use super::address::to_hex;

/// Bits of each of the eight words of a verifying key's hash.
const WORD_BITS: usize = 31;

/// Hash of a program's verifying key, as the client sends it: eight words below 2^31, each in four bytes, the highest
/// byte first. People compare the same words without the unused bits, as one number of 248 bits (`sp1d vkey`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProgramHash([u8; 32]);

impl ProgramHash {
    /// Returns `None` if `bytes` are not the hash of a verifying key.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 32] = bytes.try_into().ok()?;
        let is_word = |word: &[u8]| word[0] < 0x80;
        bytes.chunks_exact(4).all(is_word).then_some(Self(bytes))
    }

    /// Returns the bytes as the client sends them.
    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the hash in the form that people compare.
    pub(super) fn key(&self) -> String {
        let mut packed = [0_u8; 32];
        // The 248 bits fill the last 31 bytes.
        let mut position = 8;
        for word in self.0.chunks_exact(4) {
            for bit in 1..=WORD_BITS {
                if (word[bit / 8] >> (7 - bit % 8)) & 1 == 1 {
                    packed[position / 8] |= 0x80 >> (position % 8);
                }
                position += 1;
            }
        }
        format!("0x{}", to_hex(&packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(words: [u32; 8]) -> Option<ProgramHash> {
        ProgramHash::new(&words.map(u32::to_be_bytes).concat())
    }

    #[test]
    fn words_are_packed_without_their_unused_bits() {
        assert_eq!(hash([0, 0, 0, 0, 0, 0, 0, 1]).unwrap().key(), format!("0x{}1", "0".repeat(63)));
        // 2^31, because the word before the last counts 2^31.
        assert_eq!(hash([0, 0, 0, 0, 0, 0, 1, 0]).unwrap().key(), format!("0x{}80000000", "0".repeat(56)));
        let most = hash([0x7fff_ffff; 8]).unwrap().key();
        assert_eq!(most, format!("0x00{}", "f".repeat(62)));
        // Computed with Python: sum(word << (31 * (7 - i))).
        let words = [0x0123_4567, 0x1abc_def0, 0x7000_0001, 3, 0x5555_5555, 0x2aaa_aaaa, 0, 0x7654_3210];
        assert_eq!(hash(words).unwrap().key(), "0x0002468ace6af37bc3800000080000003aaaaaaaaaaaaaaa8000000076543210");
    }

    #[test]
    fn words_above_31_bits_and_other_lengths_are_refused() {
        assert_eq!(hash([0x8000_0000, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(ProgramHash::new(&[0; 31]), None);
        assert_eq!(ProgramHash::new(&[0; 33]), None);
        assert_eq!(hash([5; 8]).unwrap().bytes()[3], 5);
    }
}
