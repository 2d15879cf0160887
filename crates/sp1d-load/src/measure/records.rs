//! Contents of artifacts.

use sp1d_testing::record;

/// Size of the result of a shard, as that of a real shard proof.
pub(crate) const RESULT_BYTES: usize = 1_500_000;

/// Returns a record that does not compress.
pub(crate) fn random_record(bytes: usize) -> Vec<u8> {
    record(1, bytes)
}

/// Returns a record that shrinks three to four times, as those of real programs do: words of 64 bits with small
/// values.
pub(crate) fn shrinking_record(bytes: usize) -> Vec<u8> {
    let values = random_record(bytes / 4 + 2);
    let mut content = Vec::with_capacity(bytes + 8);
    for value in values.chunks_exact(2) {
        content.extend_from_slice(value);
        content.extend_from_slice(&[0; 6]);
    }
    content.resize(bytes, 0);
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_artifacts::Blob;

    #[test]
    fn one_kind_of_record_shrinks_and_the_other_does_not() {
        let ratio = |content: Vec<u8>| {
            assert_eq!(content.len(), 1 << 20);
            (1 << 20) as f64 / Blob::encode(&content).stored_bytes() as f64
        };
        assert!(ratio(random_record(1 << 20)) < 1.01);
        let shrunk = ratio(shrinking_record(1 << 20));
        assert!((2.0..5.0).contains(&shrunk), "{shrunk}");
    }
}
