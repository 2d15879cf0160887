//! Writes what libFuzzer needs of a target: seeds, dictionary and options.

use super::target::FuzzTarget;
use std::{fmt::Write, fs, io, path::Path};

/// Writes the seeds of `target` to `folder/seeds`, its dictionary to `folder/dictionary`, and its options for libFuzzer
/// to `folder/options`.
pub(super) fn write_corpus(target: &FuzzTarget, folder: &Path) -> io::Result<()> {
    let seeds = folder.join("seeds");
    // A seed of an earlier version would otherwise stay.
    if seeds.exists() {
        fs::remove_dir_all(&seeds)?;
    }
    fs::create_dir_all(&seeds)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(seeds.join(number.to_string()), seed)?;
    }
    fs::write(folder.join("dictionary"), dictionary(target.dictionary))?;
    fs::write(folder.join("options"), format!("-max_len={}\n", target.max_bytes))
}

/// Returns the words in libFuzzer's format. libFuzzer refuses an empty file, so a comment comes first.
fn dictionary(words: &[&[u8]]) -> String {
    let mut text = "# Words that are likely to reach new code.\n".to_owned();
    for word in words {
        text.push('"');
        for byte in *word {
            write!(text, "\\x{byte:02x}").expect("writing to a string does not fail");
        }
        text.push_str("\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::target::FuzzMemory;

    const TWO_SEEDS: FuzzTarget = FuzzTarget {
        name: "two-seeds",
        max_bytes: 7,
        memory: FuzzMemory { base_bytes: 0, per_byte: 0 },
        dictionary: &[],
        seeds: || vec![b"one".to_vec(), b"two".to_vec()],
        check: |_| {},
    };

    #[test]
    fn every_byte_of_a_word_is_escaped() {
        let text = dictionary(&[b"a\"\\\0", &[255]]);
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), ["\"\\x61\\x22\\x5c\\x00\"", "\"\\xff\""]);
    }

    #[test]
    fn old_seeds_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            write_corpus(&TWO_SEEDS, folder.path()).unwrap();
            let seeds = fs::read_dir(folder.path().join("seeds")).unwrap().count();
            assert_eq!(seeds, 2);
            fs::write(folder.path().join("seeds/old"), "old").unwrap();
        }
        assert_eq!(fs::read_to_string(folder.path().join("options")).unwrap(), "-max_len=7\n");
    }
}
