//! Numbers of things, in words.

use std::fmt::Display;

/// Returns `count` and `noun`, which gets an `s` unless the count is 1: `1 worker`, `2 workers`.
#[must_use]
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    if count == N::from(1) { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_thing_is_in_the_singular() {
        for (count, expected) in [(0, "0 workers"), (1, "1 worker"), (2, "2 workers"), (11, "11 workers")] {
            assert_eq!(counted(count, "worker"), expected);
        }
        assert_eq!(counted(1_u64, "byte"), "1 byte");
        assert_eq!(counted(1_usize, "byte"), "1 byte");
        assert_eq!(counted(u32::MAX, "byte"), "4294967295 bytes");
    }
}
