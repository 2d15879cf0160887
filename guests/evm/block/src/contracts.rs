//! The two contracts of a block, in EVM assembly, and the calldata of their calls.
//!
//! The comment of a line shows the stack after it. The top of the stack is on the right.

use revm::{
    bytecode::{
        Bytecode,
        opcode::{
            ADD, CALLDATALOAD, CALLER, DUP1, DUP2, DUP3, DUP4, EQ, JUMPI, KECCAK256, LOG3, LT, MSTORE, PUSH0, RETURN,
            REVERT, SHR, SLOAD, SSTORE, STOP, SUB, SWAP1, SWAP2,
        },
    },
    primitives::{Address, B256, U256, keccak256},
};

use crate::assembler::Assembler;

const TRANSFER_SIGNATURE: &[u8] = b"transfer(address,uint256)";
const TRANSFER_EVENT: &[u8] = b"Transfer(address,address,uint256)";

/// An ERC-20 token's `transfer(address,uint256)`. Any other call reverts.
///
/// The balance of an account is in the slot [`balance_slot`], where Solidity puts it for a mapping in slot 0. The sum of two balances
/// does not overflow: the supply is less than 2^256.
pub(crate) fn token() -> Bytecode {
    Assembler::default()
        // Select the function by the first four bytes of calldata.
        .ops(&[PUSH0, CALLDATALOAD]) // word
        .push(&[0xe0]) // word 224
        .ops(&[SHR]) // selector
        .push(&selector(TRANSFER_SIGNATURE)) // selector transfer
        .ops(&[EQ]) // equal
        .push_label("transfer") // equal transfer
        .ops(&[JUMPI]) //
        .ops(&[PUSH0, PUSH0, REVERT])
        .label("transfer") //
        // The sender's balance. Memory: [0, 32) the account, [32, 64) the mapping's slot.
        .ops(&[CALLER, PUSH0, MSTORE]) //
        .ops(&[PUSH0]) // 0
        .push(&[0x20]) // 0 32
        .ops(&[MSTORE]) //
        .push(&[0x40]) // 64
        .ops(&[PUSH0, KECCAK256]) // from
        .ops(&[DUP1, SLOAD]) // from balance
        .push(&[0x24]) // from balance 36
        .ops(&[CALLDATALOAD]) // from balance amount
        .ops(&[DUP1, DUP3, LT]) // from balance amount (balance < amount)
        .push_label("insufficient") // from balance amount (balance < amount) insufficient
        .ops(&[JUMPI]) // from balance amount
        .ops(&[DUP1, SWAP2, SUB]) // from amount (balance - amount)
        .ops(&[SWAP1, SWAP2]) // amount (balance - amount) from
        .ops(&[SSTORE]) // amount
        // The recipient's balance. It is read after the sender's is written: the two may be one account.
        .push(&[0x04]) // amount 4
        .ops(&[CALLDATALOAD]) // amount recipient
        .ops(&[DUP1, PUSH0, MSTORE]) // amount recipient
        .push(&[0x40]) // amount recipient 64
        .ops(&[PUSH0, KECCAK256]) // amount recipient to
        .ops(&[DUP1, SLOAD]) // amount recipient to balance
        .ops(&[DUP4, ADD]) // amount recipient to (balance + amount)
        .ops(&[SWAP1, SSTORE]) // amount recipient
        // emit Transfer(caller, recipient, amount)
        .ops(&[SWAP1, PUSH0, MSTORE]) // recipient
        .ops(&[CALLER]) // recipient caller
        .push(keccak256(TRANSFER_EVENT).as_slice()) // recipient caller event
        .push(&[0x20]) // recipient caller event 32
        .ops(&[PUSH0, LOG3]) //
        // return true
        .push(&[0x01]) // 1
        .ops(&[PUSH0, MSTORE]) //
        .push(&[0x20]) // 32
        .ops(&[PUSH0, RETURN]) //
        .label("insufficient") // from balance amount
        .ops(&[PUSH0, PUSH0, REVERT])
        .assemble()
}

/// Replaces the value of each slot in a range with the hash of the value and the slot.
///
/// Calldata: the first slot and the number of slots, a word each. The number is at least 1.
pub(crate) fn store() -> Bytecode {
    Assembler::default()
        .push(&[0x20]) // 32
        .ops(&[CALLDATALOAD]) // left
        .ops(&[PUSH0, CALLDATALOAD]) // left slot
        .label("next") // left slot
        .ops(&[DUP1, SLOAD]) // left slot value
        .ops(&[PUSH0, MSTORE]) // left slot
        .ops(&[DUP1]) // left slot slot
        .push(&[0x20]) // left slot slot 32
        .ops(&[MSTORE]) // left slot
        .push(&[0x40]) // left slot 64
        .ops(&[PUSH0, KECCAK256]) // left slot hash
        .ops(&[DUP2, SSTORE]) // left slot
        .push(&[0x01]) // left slot 1
        .ops(&[ADD]) // left (slot + 1)
        .ops(&[SWAP1]) // (slot + 1) left
        .push(&[0x01]) // (slot + 1) left 1
        .ops(&[SWAP1, SUB]) // (slot + 1) (left - 1)
        .ops(&[SWAP1]) // (left - 1) (slot + 1)
        .ops(&[DUP2]) // (left - 1) (slot + 1) (left - 1)
        .push_label("next") // (left - 1) (slot + 1) (left - 1) next
        .ops(&[JUMPI]) // (left - 1) (slot + 1)
        .ops(&[STOP])
        .assemble()
}

/// The slot in which the token contract keeps the balance of `account`.
pub(crate) fn balance_slot(account: Address) -> U256 {
    hash_words(account.into_word(), B256::ZERO)
}

/// Keccak-256 of two words, as a number.
pub(crate) fn hash_words(first: B256, second: B256) -> U256 {
    U256::from_be_bytes(keccak256([first.0, second.0].concat()).0)
}

pub(crate) fn transfer_call(recipient: Address, amount: U256) -> Vec<u8> {
    let mut call = selector(TRANSFER_SIGNATURE).to_vec();
    call.extend_from_slice(recipient.into_word().as_slice());
    call.extend_from_slice(&amount.to_be_bytes::<32>());
    call
}

pub(crate) fn store_call(first_slot: u64, slots: u64) -> Vec<u8> {
    [U256::from(first_slot).to_be_bytes::<32>(), U256::from(slots).to_be_bytes::<32>()].concat()
}

fn selector(signature: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = keccak256(signature).0;
    [a, b, c, d]
}
