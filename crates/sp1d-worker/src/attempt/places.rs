//! The places in the engine, where attempts prove. They are not the slots that the scheduler fills: an attempt in a
//! slot fetches its inputs first, and then waits for a place.

use super::gate::AttemptGate;
use crate::{engine::ProvingEngine, machine_memory::MemoryReservations};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places in the engine, granted in order of arrival, and what else an attempt needs to start. They outlive a
/// session, because its attempts may still run in the engine.
#[derive(Clone)]
pub(crate) struct ProvingPlaces {
    count: usize,
    pub(super) reservations: MemoryReservations,
    pub(super) gate: AttemptGate,
    free: Arc<Mutex<Vec<usize>>>,
    permits: Arc<Semaphore>,
}

/// A place that an attempt holds. It becomes free when this value is dropped.
pub(super) struct ProvingPlace {
    pub(super) number: usize,
    free: Arc<Mutex<Vec<usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl ProvingPlaces {
    pub(crate) fn new(engine: &Arc<dyn ProvingEngine>, reservations: MemoryReservations, gate: AttemptGate) -> Self {
        let count = engine.places().max(1);
        reservations.set_engine(engine);
        Self {
            count,
            reservations,
            gate,
            free: Arc::new(Mutex::new((0..count).rev().collect())),
            permits: Arc::new(Semaphore::new(count)),
        }
    }

    /// Returns true if no attempt holds a place.
    pub(super) fn are_free(&self) -> bool {
        self.permits.available_permits() == self.count
    }

    pub(super) async fn take(&self) -> ProvingPlace {
        let permit = self.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().expect("a permit grants a number");
        ProvingPlace { number, free: self.free.clone(), _permit: permit }
    }
}

impl Drop for ProvingPlace {
    fn drop(&mut self) {
        // The number must be free before the permit is. Fields are dropped after this body, so the permit follows.
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}
