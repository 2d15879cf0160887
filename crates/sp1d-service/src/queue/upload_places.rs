//! What uploads may occupy at the same time. An upload takes its place before its first byte.

use super::{client_network::ClientNetwork, lock::lock, request::MAX_UPLOADS};
use crate::access::TenantName;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

sp1d_model::limits! {
    /// Longest wait for an upload place. Then the upload is refused with status 503.
    pub(super) const MAX_PLACE_WAIT: Duration = Duration::from_secs(30); Time by Client;
    /// Maximum number of uploads of one client at the same time, half of all places. Slow uploads of one client leave
    /// places for the others.
    const MAX_UPLOADS_PER_CLIENT: usize = 8; Count by Client;
    /// Maximum number of uploaded programs in memory at the same time for their check, and for their verifying key.
    pub(super) const MAX_PROGRAMS_IN_MEMORY: usize = 1; Count by Client;
}

/// Minimum age of a blob that garbage collection removes. A younger blob may belong to a request that is about to
/// arrive.
pub(super) const MIN_UNUSED_AGE: Duration = Duration::from_secs(60 * 60);

/// Time for which received bytes count as one sum.
const SUM_TIME: Duration = Duration::from_secs(60);

/// Bytes of uploads that were received and not accepted, by tenant. Their files stay until garbage collection removes
/// them. Each sum has the bytes of one minute.
#[derive(Debug, Default)]
pub(super) struct UnacceptedBytes(Mutex<BTreeMap<TenantName, VecDeque<(Instant, u64)>>>);

impl UnacceptedBytes {
    fn add(&self, tenant: &TenantName, bytes: u64) {
        let (mut all, now) = (lock(&self.0), Instant::now());
        let sums = all.entry(tenant.clone()).or_default();
        match sums.back_mut() {
            Some((since, sum)) if now.duration_since(*since) < SUM_TIME => *sum = sum.saturating_add(bytes),
            _ => sums.push_back((now, bytes)),
        }
    }

    /// An upload of `bytes` bytes was accepted.
    pub(super) fn accept(&self, tenant: &TenantName, bytes: u64) {
        let mut left = bytes;
        for (_, sum) in lock(&self.0).get_mut(tenant).into_iter().flatten().rev() {
            let accepted = left.min(*sum);
            *sum -= accepted;
            left -= accepted;
        }
    }

    /// Returns the bytes whose files may still be there.
    pub(super) fn of(&self, tenant: &TenantName) -> u64 {
        let (mut all, now) = (lock(&self.0), Instant::now());
        let Some(sums) = all.get_mut(tenant) else { return 0 };
        sums.retain(|(since, bytes)| *bytes > 0 && now.duration_since(*since) < MIN_UNUSED_AGE + SUM_TIME);
        let bytes = sums.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        if bytes == 0 {
            all.remove(tenant);
        }
        bytes
    }
}

/// The places of clients that are uploading, by client. Only clients with a place, or that wait for one.
type PlacesByClient = Mutex<BTreeMap<ClientNetwork, Arc<Semaphore>>>;

/// What uploads may occupy at the same time.
#[derive(Debug)]
pub(super) struct Uploads {
    places: Arc<Semaphore>,
    by_client: Arc<PlacesByClient>,
    pub(super) unaccepted: Arc<UnacceptedBytes>,
    /// Permits to hold a program in memory for its check.
    pub(super) checks: Arc<Semaphore>,
    /// Permits to hold a program in memory for its verifying key.
    pub(super) keys: Semaphore,
    /// Programs of tenants whose verifying key is being computed, or that wait for it.
    pub(super) without_key: Mutex<BTreeSet<(TenantName, String)>>,
    /// Notified when a program has left `without_key`.
    pub(super) key_tried: Notify,
}

impl Uploads {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_UPLOADS)),
            by_client: Arc::default(),
            unaccepted: Arc::default(),
            checks: Arc::new(Semaphore::new(MAX_PROGRAMS_IN_MEMORY)),
            keys: Semaphore::new(MAX_PROGRAMS_IN_MEMORY),
            without_key: Mutex::default(),
            key_tried: Notify::new(),
        }
    }

    /// Waits for a place until `deadline`. `None` if there was no place.
    pub(super) async fn place(&self, client: ClientNetwork, deadline: Instant) -> Option<UploadPlace> {
        let mine = {
            let mut by_client = lock(&self.by_client);
            by_client.entry(client).or_insert_with(|| Arc::new(Semaphore::new(MAX_UPLOADS_PER_CLIENT))).clone()
        };
        // Created before the waits, so that a dropped or failed wait also removes the client's entry.
        let by_client = self.by_client.clone();
        let mut place = UploadPlace { client, by_client, permits: Vec::new(), counts: None };
        for semaphore in [mine, self.places.clone()] {
            let permit = timeout_at(deadline, semaphore.acquire_owned()).await.ok()?;
            place.permits.push(permit.expect("the semaphore is never closed"));
        }
        Some(place)
    }
}

/// A place for one upload. Hold it until the upload is received and checked. The thread that writes the upload and the
/// check hold it too, because both continue after the client has left.
#[derive(Debug)]
pub(crate) struct UploadPlace {
    client: ClientNetwork,
    by_client: Arc<PlacesByClient>,
    permits: Vec<OwnedSemaphorePermit>,
    /// Where the received bytes count, and for which tenant.
    counts: Option<(TenantName, Arc<UnacceptedBytes>)>,
}

impl UploadPlace {
    /// Returns the place for an upload of `tenant`.
    pub(super) fn of_tenant(mut self, tenant: TenantName, unaccepted: Arc<UnacceptedBytes>) -> Self {
        self.counts = Some((tenant, unaccepted));
        self
    }

    /// A file of `bytes` bytes was received. It counts as not accepted until it is accepted, also if the client leaves.
    pub(crate) fn on_received(&self, bytes: u64) {
        if let Some((tenant, unaccepted)) = &self.counts {
            unaccepted.add(tenant, bytes);
        }
    }
}

#[cfg(test)]
impl UploadPlace {
    /// Returns a place that holds only `permit`.
    pub(crate) fn of_permit(permit: OwnedSemaphorePermit) -> Self {
        let client = std::net::IpAddr::from([10, 0, 0, 1]).into();
        Self { client, by_client: Arc::default(), permits: vec![permit], counts: None }
    }
}

impl Drop for UploadPlace {
    fn drop(&mut self) {
        self.permits.clear();
        let mut by_client = lock(&self.by_client);
        // If only the map refers to the semaphore, the client has no other place and waits for none.
        if by_client.get(&self.client).is_some_and(|places| Arc::strong_count(places) == 1) {
            by_client.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use tokio::time::advance;

    fn client(last: u8) -> ClientNetwork {
        IpAddr::from([10, 0, 0, last]).into()
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_cannot_take_all_upload_places() {
        let uploads = Uploads::new();
        let soon = || Instant::now() + Duration::from_secs(1);
        let mut held = Vec::new();
        for _ in 0..MAX_UPLOADS_PER_CLIENT {
            held.push(uploads.place(client(1), soon()).await.unwrap());
        }
        assert!(uploads.place(client(1), soon()).await.is_none());
        while held.len() < MAX_UPLOADS {
            held.push(uploads.place(client(2), soon()).await.unwrap());
        }
        assert!(uploads.place(client(3), soon()).await.is_none(), "all places are taken");
        held.pop();
        let third = uploads.place(client(3), soon()).await;
        assert!(third.is_some());
        drop((held, third));
        assert!(lock(&uploads.by_client).is_empty(), "a client without an upload takes no memory");
    }

    #[tokio::test(start_paused = true)]
    async fn received_bytes_count_until_they_are_accepted_or_their_file_is_gone() {
        let uploads = Uploads::new();
        let (one, other): (TenantName, TenantName) = ("one".parse().unwrap(), "other".parse().unwrap());
        let place = uploads.place(client(1), Instant::now()).await.unwrap();
        let place = place.of_tenant(one.clone(), uploads.unaccepted.clone());
        let unaccepted = || uploads.unaccepted.of(&one);
        assert_eq!(unaccepted(), 0);
        place.on_received(10);
        advance(SUM_TIME).await;
        place.on_received(5);
        assert_eq!((unaccepted(), uploads.unaccepted.of(&other)), (15, 0));
        // More than the last sum has.
        uploads.unaccepted.accept(&one, 7);
        assert_eq!(unaccepted(), 8);
        uploads.unaccepted.accept(&other, 7);
        advance(MIN_UNUSED_AGE - Duration::from_secs(1)).await;
        assert_eq!(unaccepted(), 8, "garbage collection may not yet have removed the file");
        advance(Duration::from_secs(1)).await;
        assert_eq!(unaccepted(), 0);
        assert!(lock(&uploads.unaccepted.0).is_empty(), "a tenant without such bytes takes no memory");
    }
}
