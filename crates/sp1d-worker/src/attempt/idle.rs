//! Gives memory back while the engine is idle.

use super::places::ProvingPlaces;
use crate::engine::ProvingEngine;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often the conditions are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the engine keeps its memory while it is idle. If there is another shard, it usually arrives much sooner.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Makes the engine release the memory that it keeps for the next attempt. This happens when no attempt has run for
/// `IDLE_TIMEOUT`, when another worker on this machine waits for memory, and at `end`.
pub(super) async fn release_memory_when_idle(
    engine: Arc<dyn ProvingEngine>,
    places: ProvingPlaces,
    end: CancellationToken,
) {
    let mut idle_since = None;
    let mut has_memory = false;
    loop {
        let ended = timeout(CHECK_INTERVAL, end.cancelled()).await.is_ok();
        if places.are_free() {
            let since: Instant = *idle_since.get_or_insert_with(Instant::now);
            if has_memory && (ended || since.elapsed() >= IDLE_TIMEOUT || places.reservations.others_wait()) {
                has_memory = false;
                let engine = engine.clone();
                let _ = tokio::task::spawn_blocking(move || engine.release_memory()).await;
            }
        } else {
            (idle_since, has_memory) = (None, true);
        }
        if ended {
            return;
        }
    }
}
