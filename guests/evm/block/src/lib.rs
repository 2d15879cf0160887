//! A block of Ethereum transactions, executed by revm on an in-memory state.
//!
//! The guest `evm` executes the block in the zkVM. A test can execute the same block natively and compare the results, so this crate
//! does not depend on `sp1-zkvm`.
//!
//! The state at the start has [`ACCOUNTS`] accounts with ether and tokens, a token contract and a store contract. Transactions
//! alternate: transactions 0, 2, 4 … transfer tokens, and transactions 1, 3, 5 … call the store contract. The seed decides addresses,
//! senders, recipients, amounts and slots. The block leaves out two parts of Ethereum: it recovers no sender from a signature, and
//! its state root is a plain digest of the state instead of the root of Ethereum's trie.
//!
//! No result depends on the order of a hash map. That order differs between native runs.

mod assembler;
mod contracts;
mod random;
mod state;

use revm::{
    Context, ExecuteCommitEvm, MainBuilder, MainContext,
    context::{BlockEnv, TxEnv},
    primitives::{Bytes, TxKind, U256, hardfork::SpecId},
};

use random::Random;
use state::{Database, Genesis};

/// Accounts that send and receive.
pub const ACCOUNTS: usize = 64;

/// Slots of the store contract that calls write to. This bounds the state of a long block, and so the cost of its digest.
pub const STORE_SLOTS: u64 = 1024;

/// Slots that one call of the store contract writes.
pub const SLOTS_PER_CALL: u64 = 16;

/// A transfer uses about 34,000 gas and a store call at most 377,000.
const GAS_LIMIT: u64 = 1_000_000;

/// In wei. The beneficiary receives the part above the base fee, so the state root depends on the gas used.
const GAS_PRICE: u128 = 2_000_000_000;
const BASE_FEE: u64 = 1_000_000_000;

/// The input of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInput {
    /// Number of transactions.
    pub transactions: u32,
    /// Decides addresses, senders, recipients, amounts and slots.
    pub seed: u64,
}

/// The result of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockResult {
    /// Digest of the state after the last transaction.
    pub state_root: [u8; 32],
    /// Gas used by all transactions, after refunds.
    pub gas_used: u64,
    /// Number of transactions, as in the input.
    pub transactions: u32,
}

/// Executes the block of `input`.
///
/// # Panics
///
/// Panics if a transaction is invalid or does not succeed.
pub fn execute(input: BlockInput) -> BlockResult {
    let (database, gas_used) = run(input);
    BlockResult { state_root: state::root(&database).0, gas_used, transactions: input.transactions }
}

/// Executes the block; returns the state after it and the gas used.
fn run(input: BlockInput) -> (Database, u64) {
    let Genesis { accounts, mut database } = Genesis::new(input.seed);

    let block =
        BlockEnv { number: U256::ONE, beneficiary: state::BENEFICIARY, basefee: BASE_FEE, ..BlockEnv::default() };
    let mut evm = Context::mainnet()
        // The default of revm changes with its releases.
        .modify_cfg_chained(|config| config.set_spec_and_mainnet_gas_params(SpecId::OSAKA))
        .with_block(block)
        .with_db(&mut database)
        .build_mainnet();

    let mut random = Random::new(input.seed);
    let mut nonces = [0_u64; ACCOUNTS];
    let mut gas_used = 0;
    for index in 0..input.transactions {
        let sender = random.index(ACCOUNTS);
        let (contract, call) = if index.is_multiple_of(2) {
            let recipient = accounts[random.index(ACCOUNTS)];
            let amount = U256::from(1 + random.below(1_000_000));
            (state::TOKEN, contracts::transfer_call(recipient, amount))
        } else {
            let first_slot = random.below(STORE_SLOTS / SLOTS_PER_CALL) * SLOTS_PER_CALL;
            (state::STORE, contracts::store_call(first_slot, SLOTS_PER_CALL))
        };

        let transaction = TxEnv::builder()
            .caller(accounts[sender])
            .nonce(nonces[sender])
            .kind(TxKind::Call(contract))
            .data(Bytes::from(call))
            .gas_limit(GAS_LIMIT)
            .gas_price(GAS_PRICE)
            .build()
            .expect("a legacy transaction has no field that could be missing");
        nonces[sender] += 1;

        let result = evm
            .transact_commit(transaction)
            .unwrap_or_else(|error| panic!("transaction {index} is invalid: {error:?}"));
        assert!(result.is_success(), "transaction {index} failed: {result:?}");
        gas_used += result.tx_gas_used();
    }
    drop(evm);

    (database, gas_used)
}

#[cfg(test)]
mod tests {
    use revm::primitives::{B256, b256};

    use super::*;

    /// The expected values come from a second implementation of the block, in Python. It shares only the contracts' assembly with this
    /// crate: Keccak, the EVM's instructions, gas and refunds, and the digest are its own.
    #[test]
    fn results_match_an_independent_model() {
        for (transactions, seed, state_root, gas_used) in [
            (0, 7, b256!("0xa1db1905465c3a22da5b170e293c4403c4652f8f820fb818c76da28a8362d603"), 0),
            (1, 7, b256!("0x17fa7d6cd1b56eeed712407990ac1bb88d75d6a0c5950a3599cdc6746b14f79b"), 33_601),
            (2, 7, b256!("0x53682ed5e1ab70657d67bf46b608e4f984009252242413a9558bdfba591f7db1"), 410_190),
            (100, 8, b256!("0x16270ae5c98ef8bf5167e49e967ffd9b8716cbe3986754c0286bf8800f8d5dd6"), 16_131_552),
            // 7 of the transfers have one account as sender and recipient.
            (1000, 7, b256!("0x7b63c5a711547583c2a4169b73901604db4567c2c94cd903d5afb29746aa3eb4"), 85_749_788),
        ] {
            let expected = BlockResult { state_root: state_root.0, gas_used, transactions };
            assert_eq!(
                execute(BlockInput { transactions, seed }),
                expected,
                "{transactions} transactions, seed {seed}"
            );
        }
    }

    #[test]
    fn transfers_keep_the_supply_of_tokens() {
        let (database, _) = run(BlockInput { transactions: 200, seed: 1 });

        let balances = database.cache.accounts[&state::TOKEN].storage.values();
        let supply = balances.fold(U256::ZERO, |sum, balance| sum + *balance);
        assert_eq!(supply, U256::from(ACCOUNTS) * U256::from(state::TOKENS));
    }

    #[test]
    fn a_store_call_hashes_each_slot_of_its_range() {
        let (database, _) = run(BlockInput { transactions: 2, seed: 1 });

        let slots = &database.cache.accounts[&state::STORE].storage;
        assert_eq!(slots.len() as u64, SLOTS_PER_CALL);
        for (slot, value) in slots {
            assert_eq!(*value, contracts::hash_words(B256::ZERO, B256::from(slot.to_be_bytes::<32>())), "slot {slot}");
        }
    }
}
