//! The memory for uploads that are not in the store yet.
//!
//! An upload reserves memory for each chunk before it reads the chunk. All sessions share one budget. A session within
//! its share always gets memory, so a worker with many or large uploads delays only its own. The earliest upload of all
//! always gets memory. Otherwise uploads that all hold a part of their memory would wait for each other.

use crate::lock::lock;
use sp1d_scheduler::{AttemptId, SessionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Lower bound of the memory for uploads under way: usual results have one or two megabytes, so dozens of workers
    /// can upload at once.
    const MIN_BUDGET_BYTES: u64 = 64 << 20; Bytes by Worker;
    /// Lower bound of a session's share: one chunk for each of its streams. With so many sessions that their shares
    /// would be smaller, the uploads may exceed the budget.
    const MIN_SHARE_BYTES: u64 = 16 << 20; Bytes by Worker;
}

/// The uploads under way, and the memory that they hold. It knows neither times nor stored artifacts.
#[derive(Debug)]
pub(crate) struct UploadBudget {
    accounts: Mutex<UploadAccounts>,
    /// Notified when memory is released.
    released: Notify,
}

impl UploadBudget {
    /// Returns a budget of half of the store's memory. The store's own memory comes on top.
    pub(crate) fn new(store_memory_bytes: u64) -> Self {
        let limit = (store_memory_bytes / 2).max(MIN_BUDGET_BYTES);
        let accounts = UploadAccounts {
            limit,
            total: 0,
            next: 0,
            uploads: BTreeSet::new(),
            sessions: BTreeMap::new(),
            attempts: BTreeMap::new(),
        };
        Self { accounts: Mutex::new(accounts), released: Notify::new() }
    }

    /// Opens an upload. `check` gets the other uploads of the same attempt and session. It returns the number of
    /// uncompressed bytes that the upload adds, or refuses the upload. No upload is opened or ends meanwhile.
    pub(crate) fn open<E>(
        self: &Arc<Self>,
        session: SessionId,
        attempt: AttemptId,
        check: impl FnOnce(OtherUploads) -> Result<u64, E>,
    ) -> Result<OpenUpload, E> {
        let mut accounts = lock(&self.accounts);
        let announced = check(accounts.others(session, attempt))?;
        let number = accounts.open(session, attempt, announced);
        drop(accounts);
        Ok(OpenUpload { budget: self.clone(), number, session, attempt, announced, held: 0 })
    }
}

/// The other uploads under way of an attempt and of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherUploads {
    /// Number of uploads of the attempt.
    pub(crate) attempt_uploads: usize,
    /// Uncompressed bytes that they announced.
    pub(crate) attempt_bytes: u64,
    /// Bytes of memory that the uploads of the session hold.
    pub(crate) session_bytes: u64,
}

/// An upload under way. Dropping it releases its memory.
#[derive(Debug)]
pub(crate) struct OpenUpload {
    budget: Arc<UploadBudget>,
    number: u64,
    session: SessionId,
    attempt: AttemptId,
    announced: u64,
    held: u64,
}

impl OpenUpload {
    /// Reserves `bytes` more. Waits until there is room for them.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(crate) async fn reserve(&mut self, bytes: u64) {
        loop {
            // Created before the attempt to reserve, so that no release between the two is missed.
            let released = self.budget.released.notified();
            let is_reserved = lock(&self.budget.accounts).reserve(self, bytes);
            if is_reserved {
                break;
            }
            released.await;
        }
        self.held += bytes;
    }

    /// Releases `bytes` of the reserved memory.
    pub(crate) fn release(&mut self, bytes: u64) {
        self.held -= bytes;
        lock(&self.budget.accounts).release(self.session, bytes);
        self.budget.released.notify_waiters();
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        let mut accounts = lock(&self.budget.accounts);
        accounts.release(self.session, self.held);
        accounts.close(self);
        drop(accounts);
        self.budget.released.notify_waiters();
    }
}

/// How much of the budget each session and each attempt holds.
#[derive(Debug)]
struct UploadAccounts {
    limit: u64,
    /// The bytes that all sessions hold.
    total: u64,
    /// Number of the next upload.
    next: u64,
    /// The numbers of the uploads under way, in the order in which they were opened.
    uploads: BTreeSet<u64>,
    sessions: BTreeMap<SessionId, SessionUploads>,
    attempts: BTreeMap<AttemptId, AttemptUploads>,
}

#[derive(Debug, Default)]
struct SessionUploads {
    uploads: usize,
    /// Bytes of memory that they hold.
    held: u64,
}

#[derive(Debug, Default)]
struct AttemptUploads {
    uploads: usize,
    announced: u64,
}

impl UploadAccounts {
    fn others(&self, session: SessionId, attempt: AttemptId) -> OtherUploads {
        let of_attempt = self.attempts.get(&attempt);
        OtherUploads {
            attempt_uploads: of_attempt.map_or(0, |account| account.uploads),
            attempt_bytes: of_attempt.map_or(0, |account| account.announced),
            session_bytes: self.sessions.get(&session).map_or(0, |account| account.held),
        }
    }

    /// Returns the number of the upload.
    fn open(&mut self, session: SessionId, attempt: AttemptId, announced: u64) -> u64 {
        self.sessions.entry(session).or_default().uploads += 1;
        let of_attempt = self.attempts.entry(attempt).or_default();
        of_attempt.uploads += 1;
        of_attempt.announced += announced;
        let number = self.next;
        self.next += 1;
        self.uploads.insert(number);
        number
    }

    fn close(&mut self, &OpenUpload { number, session, attempt, announced, .. }: &OpenUpload) {
        self.uploads.remove(&number);
        if let Some(account) = self.sessions.get_mut(&session) {
            account.uploads -= 1;
            if account.uploads == 0 {
                self.sessions.remove(&session);
            }
        }
        if let Some(account) = self.attempts.get_mut(&attempt) {
            account.uploads -= 1;
            account.announced -= announced;
            if account.uploads == 0 {
                self.attempts.remove(&attempt);
            }
        }
    }

    /// Reserves `bytes` more for `upload`. Returns false if that exceeds the budget and the share of the session. The
    /// earliest upload, and one that holds all reserved memory, always get more.
    fn reserve(&mut self, upload: &OpenUpload, bytes: u64) -> bool {
        let share = (self.limit / self.sessions.len().max(1) as u64).max(MIN_SHARE_BYTES);
        let always = self.total == upload.held || self.uploads.first() == Some(&upload.number);
        let Some(account) = self.sessions.get_mut(&upload.session) else { return false };
        if !always && self.total + bytes > self.limit && account.held + bytes > share {
            return false;
        }
        self.total += bytes;
        account.held += bytes;
        true
    }

    fn release(&mut self, session: SessionId, bytes: u64) {
        if let Some(account) = self.sessions.get_mut(&session) {
            self.total -= bytes;
            account.held -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn open(budget: &Arc<UploadBudget>, session: u64, attempt: u64, announced: u64) -> OpenUpload {
        let accept = |_| Ok::<u64, ()>(announced);
        budget.open(SessionId(session), AttemptId(attempt), accept).unwrap()
    }

    /// Returns true if `upload` gets `bytes` at once.
    async fn gets(upload: &mut OpenUpload, bytes: u64) -> bool {
        tokio::select! {
            biased;
            () = upload.reserve(bytes) => true,
            () = tokio::task::yield_now() => false,
        }
    }

    #[tokio::test]
    async fn a_session_within_its_share_always_gets_memory() {
        let budget = Arc::new(UploadBudget::new(256 * MB));
        // The earliest upload would always get memory.
        let earliest = open(&budget, 2, 3, 0);
        let (mut greedy, mut modest) = (open(&budget, 1, 1, 0), open(&budget, 2, 2, 0));
        assert!(gets(&mut modest, MB).await);
        for _ in 0..127 {
            assert!(gets(&mut greedy, MB).await, "the budget is free");
        }
        assert!(!gets(&mut greedy, MB).await, "the budget is used up");
        for _ in 0..63 {
            assert!(gets(&mut modest, MB).await, "half of the budget is its share");
        }
        assert!(!gets(&mut modest, MB).await, "it has its share");
        drop(greedy);
        assert!(gets(&mut modest, MB).await);
        assert_eq!(lock(&budget.accounts).total, 65 * MB);
        drop((modest, earliest));
        let accounts = lock(&budget.accounts);
        assert_eq!((accounts.total, accounts.sessions.len(), accounts.attempts.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn an_upload_beyond_the_budget_continues_alone() {
        let budget = Arc::new(UploadBudget::new(0));
        let mut upload = open(&budget, 1, 1, 0);
        for _ in 0..100 {
            assert!(gets(&mut upload, MB).await);
        }
        let mut other = open(&budget, 1, 1, 0);
        assert!(!gets(&mut other, MB).await);
    }

    #[tokio::test]
    async fn uploads_that_all_hold_memory_do_not_wait_for_each_other() {
        let budget = Arc::new(UploadBudget::new(0));
        let (mut first, mut second) = (open(&budget, 1, 1, 0), open(&budget, 2, 2, 0));
        assert!(gets(&mut first, 32 * MB).await && gets(&mut second, 32 * MB).await);
        assert!(!gets(&mut second, MB).await, "the budget is used up");
        assert!(gets(&mut first, MB).await, "it is the earliest");
        drop(first);
        assert!(gets(&mut second, MB).await);
    }

    #[tokio::test]
    async fn an_upload_that_waits_continues_when_memory_is_released() {
        let budget = Arc::new(UploadBudget::new(0));
        let (mut first, mut second) = (open(&budget, 1, 1, 0), open(&budget, 1, 1, 0));
        assert!(gets(&mut first, 64 * MB).await);
        let waiting = tokio::spawn(async move { second.reserve(MB).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        first.release(MB);
        waiting.await.unwrap();
    }

    #[test]
    fn an_upload_sees_the_others_of_its_attempt_and_session() {
        let budget = Arc::new(UploadBudget::new(0));
        let _first = open(&budget, 1, 1, 5);
        let _second = open(&budget, 1, 2, 7);
        let refused = budget.open(SessionId(1), AttemptId(1), Err).unwrap_err();
        assert_eq!(refused, OtherUploads { attempt_uploads: 1, attempt_bytes: 5, session_bytes: 0 });
    }
}
