//! The state before a block, and the digest of the state after it.

use revm::{
    database::{CacheDB, EmptyDB},
    primitives::{Address, B256, StorageKeyMap, StorageValue, U256, keccak256},
    state::AccountInfo,
};

use crate::{ACCOUNTS, contracts};

/// All state is in memory: the `EmptyDB` below the cache has no accounts.
pub(crate) type Database = CacheDB<EmptyDB>;

pub(crate) const TOKEN: Address = Address::repeat_byte(0x11);
pub(crate) const STORE: Address = Address::repeat_byte(0x22);
pub(crate) const BENEFICIARY: Address = Address::repeat_byte(0x33);

/// A million ether, in wei. The fees of 2^32 transactions are less, shared by all senders.
const ETHER: u128 = 1_000_000_000_000_000_000_000_000;

/// Tokens of each account. No block can transfer more.
pub(crate) const TOKENS: u128 = 1 << 100;

/// The state before a block.
pub(crate) struct Genesis {
    pub(crate) accounts: [Address; ACCOUNTS],
    pub(crate) database: Database,
}

impl Genesis {
    pub(crate) fn new(seed: u64) -> Self {
        let accounts = std::array::from_fn(|index| account(seed, index as u64));

        let mut database = Database::default();
        database.insert_account_info(TOKEN, AccountInfo::from_bytecode(contracts::token()));
        database.insert_account_info(STORE, AccountInfo::from_bytecode(contracts::store()));
        for account in accounts {
            database.insert_account_info(account, AccountInfo::from_balance(U256::from(ETHER)));
            database
                .insert_account_storage(TOKEN, contracts::balance_slot(account), U256::from(TOKENS))
                .expect("`EmptyDB` has no errors");
        }
        Self { accounts, database }
    }
}

fn account(seed: u64, index: u64) -> Address {
    Address::from_word(keccak256([seed.to_be_bytes(), index.to_be_bytes()].concat()))
}

/// A digest of the state, to compare two states. It is not Ethereum's state root, and it proves nothing about a single account.
///
/// Keccak-256 over all accounts that are not empty, in the order of their addresses. Each account is its address, nonce (8 bytes),
/// balance, code hash and storage root (32 bytes each). Numbers are big-endian.
pub(crate) fn root(database: &Database) -> B256 {
    let mut accounts: Vec<_> = database.cache.accounts.iter().filter(|(_, account)| !account.info.is_empty()).collect();
    accounts.sort_unstable_by_key(|(address, _)| **address);

    let mut encoded = Vec::new();
    for (address, account) in accounts {
        encoded.extend_from_slice(address.as_slice());
        encoded.extend_from_slice(&account.info.nonce.to_be_bytes());
        encoded.extend_from_slice(&account.info.balance.to_be_bytes::<32>());
        encoded.extend_from_slice(account.info.code_hash.as_slice());
        encoded.extend_from_slice(storage_root(&account.storage).as_slice());
    }
    keccak256(encoded)
}

/// Keccak-256 over all slots and their values, in the order of the slots. Slots with value 0 are left out: revm also keeps slots that
/// were only read.
fn storage_root(storage: &StorageKeyMap<StorageValue>) -> B256 {
    let mut slots: Vec<_> = storage.iter().filter(|(_, value)| !value.is_zero()).collect();
    slots.sort_unstable_by_key(|(slot, _)| **slot);

    let mut encoded = Vec::with_capacity(64 * slots.len());
    for (slot, value) in slots {
        encoded.extend_from_slice(&slot.to_be_bytes::<32>());
        encoded.extend_from_slice(&value.to_be_bytes::<32>());
    }
    keccak256(encoded)
}
