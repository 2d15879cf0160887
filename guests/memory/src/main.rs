//! Touches much memory with few instructions, for the limits on memory of the executor and the workers.
//!
//! Reads `megabytes: u32`; commits the sum (`u64`) of one word from each 4 KiB page. Page `p`, from 0, holds `p + 1`, so the sum is
//! `pages * (pages + 1) / 2` with 256 pages to a megabyte (2^20 bytes).

#![no_main]
sp1_zkvm::entrypoint!(main);

use std::hint::black_box;

const WORDS_PER_PAGE: usize = 4096 / size_of::<u64>();
const PAGES_PER_MEGABYTE: usize = (1 << 20) / 4096;

pub fn main() {
    let megabytes: u32 = sp1_zkvm::io::read();
    let pages = megabytes as usize * PAGES_PER_MEGABYTE;

    // Not zeroed: that would write every word, and hundreds of cycles would go into a page.
    let mut memory = Box::<[u64]>::new_uninit_slice(pages * WORDS_PER_PAGE);
    for (page, words) in memory.chunks_exact_mut(WORDS_PER_PAGE).enumerate() {
        words[0].write(page as u64 + 1);
    }

    // The optimiser could carry the sum along and leave the memory untouched.
    let memory = black_box(memory);

    let sum: u64 = memory
        .chunks_exact(WORDS_PER_PAGE)
        // SAFETY: the loop above wrote the first word of every page.
        .map(|words| unsafe { words[0].assume_init() })
        .sum();
    sp1_zkvm::io::commit(&sum);
}
