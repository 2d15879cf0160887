//! Explains why a proof is in the queue. This module performs no I/O.
//!
//! The service does not show all reasons: neither the quotas of tenants, nor which proof runs alone after a crash, nor
//! the proofs of other tenants to a client that is not an administrator. So this explanation says only what can delay
//! the proof.

use sp1d_client::{Health, ProofState, ProofSummary};
use sp1d_model::counted;
use std::cmp::Ordering;

/// Maximum number of queued proofs that are examined, the newest: the largest page of the service.
pub(super) const MAX_EXAMINED_PROOFS: u32 = 1000;

/// Explains why `proof` is in the queue, one sentence per line. `queued` are the newest queued proofs.
pub(super) fn explain_queue(proof: &ProofSummary, queued: &[ProofSummary], health: &Health) -> Vec<String> {
    let before = queued.iter().filter(|other| may_start_before(other, proof)).count();
    let (id, priority, before) = (&proof.id, proof.priority, counted(before, "queued proof"));
    let mut first = format!(
        "proof {id} is queued with priority {priority}: at most {before} of its tenant can start before it (tenants \
         and requesters take turns)"
    );
    if queued.len() >= MAX_EXAMINED_PROOFS as usize {
        first.push_str(&format!(", counted among the newest {MAX_EXAMINED_PROOFS} queued proofs only"));
    }
    let running = health.proofs.get(ProofState::Running.name()).copied().unwrap_or(0);
    let (places, shown) = (counted(health.parallel_proofs, "proof"), counted(running, "running proof"));
    let mut sentences = vec![first, format!("the service runs at most {places} at the same time; you see {shown}")];
    if running < health.parallel_proofs as u64 {
        sentences.push(
            "hint: a proof also waits while its tenant runs as many proofs as its quota permits (`sp1d tokens quotas`), \
             while a proof runs alone after a crash of the service, and while proofs run that you cannot see"
                .to_owned(),
        );
    }
    sentences
}

/// Returns true if `other` has the tenant of `proof` and may start before it.
fn may_start_before(other: &ProofSummary, proof: &ProofSummary) -> bool {
    let is_next = match other.priority.cmp(&proof.priority) {
        Ordering::Greater => true,
        // Requesters take turns, and one requester's oldest proof starts first.
        Ordering::Equal => other.requester != proof.requester || other.created <= proof.created,
        Ordering::Less => false,
    };
    // A proof that has started before may be suspected of a crash. Suspects start first, whatever their priority is.
    let may_be_suspect = other.starts > 0;
    other.tenant == proof.tenant && other.id != proof.id && (is_next || may_be_suspect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sp1d_client::Moment;

    /// Returns the proof with priority 0 that was created `second` seconds after the explained one.
    fn proof(id: &str, second: i64) -> ProofSummary {
        let mut proof: ProofSummary = serde_json::from_value(json!({
            "id": id, "tenant": "a", "program": "", "input": "", "mode": "core", "state": "queued", "priority": 0,
            "nonce": [0, 0, 0, 0], "created": "2026-01-01T00:00:10Z", "starts": 0,
            "tasks": {"known": 0, "done": 0, "cached": 0}, "workers": []
        }))
        .unwrap();
        proof.created = Moment(proof.created.0 + second * 1000);
        proof
    }

    /// Checks the explanation of proof `p` with these other proofs in the queue, when `running` of at most two proofs
    /// run.
    #[track_caller]
    fn check(others: Vec<ProofSummary>, running: u64, expected: &[&str]) {
        let explained = proof("p", 0);
        let mut health = Health { parallel_proofs: 2, ..Health::default() };
        health.proofs.insert("running".to_owned(), running);
        let queued: Vec<_> = others.into_iter().chain([explained.clone()]).collect();
        assert_eq!(explain_queue(&explained, &queued, &health), expected);
    }

    const FULL: &str = "the service runs at most 2 proofs at the same time; you see 2 running proofs";

    #[test]
    fn only_proofs_of_the_tenant_that_may_start_earlier_are_counted() {
        let first = |before: &str| {
            format!(
                "proof p is queued with priority 0: at most {before} of its tenant can start before it (tenants and \
                 requesters take turns)"
            )
        };
        let one = |change: fn(&mut ProofSummary), second: i64, expected: &str| {
            let mut other = proof("o", second);
            change(&mut other);
            check(vec![other], 2, &[&first(expected), FULL]);
        };
        check(vec![], 2, &[&first("0 queued proofs"), FULL]);
        one(|_| {}, 1, "0 queued proofs");
        one(|_| {}, 0, "1 queued proof");
        one(|_| {}, -1, "1 queued proof");
        one(|other| other.priority = 1, 1, "1 queued proof");
        one(|other| other.priority = -1, -1, "0 queued proofs");
        // Another requester may have its turn first.
        one(|other| other.requester = Some("0x1".to_owned()), 1, "1 queued proof");
        // It may be suspected of a crash.
        one(|other| (other.priority, other.starts) = (-1, 1), 1, "1 queued proof");
        // Tenants take turns whatever the priorities are.
        one(|other| (other.priority, other.tenant) = (1, "b".to_owned()), -1, "0 queued proofs");
    }

    #[test]
    fn a_proof_that_does_not_take_a_free_place_shows_what_can_be_the_reason() {
        check(
            vec![],
            1,
            &[
                "proof p is queued with priority 0: at most 0 queued proofs of its tenant can start before it (tenants \
                 and requesters take turns)",
                "the service runs at most 2 proofs at the same time; you see 1 running proof",
                "hint: a proof also waits while its tenant runs as many proofs as its quota permits (`sp1d tokens \
                 quotas`), while a proof runs alone after a crash of the service, and while proofs run that you cannot \
                 see",
            ],
        );
    }

    #[test]
    fn older_proofs_than_those_on_the_page_are_not_counted() {
        let others = (1..i64::from(MAX_EXAMINED_PROOFS)).map(|at| proof(&at.to_string(), at)).collect();
        let first = "proof p is queued with priority 0: at most 0 queued proofs of its tenant can start before it \
                     (tenants and requesters take turns), counted among the newest 1000 queued proofs only";
        check(others, 2, &[first, FULL]);
    }
}
