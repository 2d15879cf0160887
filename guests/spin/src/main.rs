//! Never ends, for cycle limits and cancellation.
//!
//! Reads `variant: u32`: 0 is one jump to itself, which touches no memory; 1 writes and reads a word of memory in each round. Any other
//! variant panics.

#![no_main]
sp1_zkvm::entrypoint!(main);

pub fn main() {
    let variant: u32 = sp1_zkvm::io::read();
    match variant {
        0 => jump_in_place(),
        1 => count_in_memory(),
        _ => panic!("no such variant: {variant}"),
    }
}

/// Not `std::hint::spin_loop`, which is a `pause` instruction on some targets: the zkVM has none.
#[expect(clippy::empty_loop, reason = "wasting cycles is the purpose")]
fn jump_in_place() -> ! {
    loop {}
}

fn count_in_memory() -> ! {
    let mut count = 0_u64;
    let word = &raw mut count;
    loop {
        // SAFETY: `word` points to `count`, which lives as long as the loop. Volatile, or the loop would be as empty as the other.
        unsafe { word.write_volatile(word.read_volatile().wrapping_add(1)) };
    }
}
