//! The state of a service that the view shows.

use anyhow::{Result, anyhow};
use serde::Serialize;
use sp1d_client::{Client, ClientError, Health, ProofState, ProofSummary, WorkersReport};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;

/// Maximum number of running proofs shown, and of queued proofs. The newest are shown.
const MAX_PROOFS: u32 = 100;

/// Maximum number of ended proofs shown. The last ones to end are shown.
const MAX_ENDED: u32 = 20;

/// Timeout of a query. After it, the view marks the shown state as old.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of a service at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct ServiceSnapshot {
    pub(super) health: Health,
    #[serde(flatten)]
    pub(super) workers: WorkersReport,
    /// Running proofs, queued proofs, and the proofs that ended last.
    pub(super) proofs: Vec<ProofSummary>,
}

impl ServiceSnapshot {
    pub(super) fn worker_ids(&self) -> Vec<String> {
        self.workers.workers.iter().map(|worker| worker.address.clone()).collect()
    }

    pub(super) fn proof_ids(&self) -> Vec<String> {
        self.proofs.iter().map(|proof| proof.id.clone()).collect()
    }
}

/// Asks the service for its state.
pub(super) async fn query(client: &Client) -> Result<ServiceSnapshot> {
    let snapshot = timeout(QUERY_TIMEOUT, async {
        let (health, workers) = tokio::try_join!(client.health(), client.workers())?;
        let mut proofs = BTreeMap::new();
        // Query the states in the order in which proofs pass through them, so that no proof is missed. If two responses
        // contain the same proof, the later one counts.
        for state in ProofState::ALL {
            let max = if state.is_final() { MAX_ENDED } else { MAX_PROOFS };
            let found = client.proofs(Some(state), max).await?;
            proofs.extend(found.into_iter().map(|proof| (proof.id.clone(), proof)));
        }
        Ok::<_, ClientError>(ServiceSnapshot { health, workers, proofs: arranged(proofs.into_values()) })
    });
    let silent = || anyhow!("the service at {} did not respond within {} s", client.url(), QUERY_TIMEOUT.as_secs());
    Ok(snapshot.await.map_err(|_| silent())??)
}

/// Why most of the waiting tasks of a proof wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MainWaitReason {
    /// Id of the proof.
    pub(super) proof: String,
    /// The reason with the number of tasks, as text. `None` if no task waits, or if the service did not respond.
    pub(super) text: Option<String>,
}

/// Asks the service for the main reason why tasks of `proof` wait.
pub(super) async fn query_main_reason(client: &Client, proof: String) -> MainWaitReason {
    // The failed queries for the snapshot show that the service does not respond.
    let response = timeout(QUERY_TIMEOUT, client.open_tasks(&proof, 0, 1)).await;
    let reasons = response.ok().and_then(Result::ok).unwrap_or_default().reasons;
    MainWaitReason { proof, text: reasons.first().map(ToString::to_string) }
}

/// Sorts proofs: running first, then queued in the order of their start, then ended with the latest first.
fn arranged(proofs: impl Iterator<Item = ProofSummary>) -> Vec<ProofSummary> {
    let place = |proof: &ProofSummary| match proof.state {
        ProofState::Running => (0, 0, proof.created.0),
        ProofState::Queued => (1, -proof.priority, proof.created.0),
        ProofState::Done | ProofState::Failed | ProofState::Cancelled => {
            (2, 0, proof.ended.map_or(0, |ended| -ended.0))
        }
    };
    let mut proofs: Vec<ProofSummary> = proofs.collect();
    proofs.sort_by_key(place);
    let others = proofs.iter().take_while(|proof| !proof.state.is_final()).count();
    proofs.truncate(others + MAX_ENDED as usize);
    proofs
}
