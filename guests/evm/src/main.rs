//! Executes a block of Ethereum transactions with revm: token transfers, and calls that write much storage. Of all guests this one is
//! closest to the programs that users prove. It is large, uses hash maps and the allocator heavily, and hashes with the Keccak
//! precompile.
//!
//! Reads `transactions: u32`, then `seed: u64`; commits the state root (32 bytes), the gas used (`u64`) and `transactions` (`u32`). The
//! crate `evm-block` contains the block. It also runs natively, so a test can compare the two results.

#![no_main]
sp1_zkvm::entrypoint!(main);

#[cfg(target_os = "zkvm")]
mod keccak;

use evm_block::BlockInput;

pub fn main() {
    let transactions: u32 = sp1_zkvm::io::read();
    let seed: u64 = sp1_zkvm::io::read();

    let result = evm_block::execute(BlockInput { transactions, seed });

    sp1_zkvm::io::commit_slice(&result.state_root);
    sp1_zkvm::io::commit(&result.gas_used);
    sp1_zkvm::io::commit(&result.transactions);
}
