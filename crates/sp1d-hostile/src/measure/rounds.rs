//! Measures one attack: proofs without it and beside it, in alternation.

use super::{
    plan::BenchPlan,
    report::{AttackRow, PhaseFigures},
};
use crate::{
    attack::{Attack, AttackCounts, AttackTarget, client_hello},
    honest::{HonestFault, HonestMonitor, HonestRequester},
    pool::{MeasuredPool, PeakMemory},
};
use anyhow::Result;
use bytes::Bytes;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, time::sleep};
use tokio_util::task::AbortOnDropHandle;

/// Time after an attack in which its connections end.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// Honest peers, and what they have seen.
struct HonestSide {
    requester: HonestRequester,
    monitor: HonestMonitor,
}

impl HonestSide {
    /// Requests proofs, four at a time, for at least this time. With no time, requests four proofs.
    async fn prove_for(&self, time: Duration, figures: &mut PhaseFigures) {
        let start = Instant::now();
        loop {
            for outcome in self.requester.prove().await {
                figures.proofs += 1;
                match outcome {
                    Ok(seconds) => figures.seconds.push(seconds),
                    Err(HonestFault::Lost(text)) => figures.lost.push(text),
                    Err(HonestFault::Refused(text)) => figures.refused.push(text),
                }
            }
            if start.elapsed() >= time {
                break;
            }
        }
        let seen = self.monitor.take();
        figures.longest_silence = figures.longest_silence.max(seen.longest_silence);
        figures.refused.extend(seen.refusals);
    }
}

/// Measures `attack` against processes of its own. The attacker runs on the runtime `attackers`.
///
/// # Errors
/// Fails if the processes cannot be started or measured. A high cost of the attack is not an error.
pub(crate) async fn measure(attack: &'static Attack, plan: &BenchPlan, attackers: &Handle) -> Result<AttackRow> {
    let mut pool = MeasuredPool::start(attack.is_secure).await?;
    let honest = HonestSide {
        requester: HonestRequester::new(pool.url(), plan.shards()),
        monitor: HonestMonitor::start(&pool)?,
    };
    // The first proofs are slower: all parties open their connections, and the processes get their memory.
    HonestRequester::new(pool.url(), 1).prove().await;
    let before = pool.peaks();
    let counts = Arc::new(AttackCounts::default());
    let hello = match &pool.keys {
        Some(keys) => client_hello(&keys.worker()).await?,
        None => Bytes::new(),
    };
    let target = AttackTarget {
        worker_port: pool.worker_port,
        join_port: pool.join_port,
        http_port: pool.http_port,
        hosted_port: pool.hosted_port,
        health_port: pool.health_port,
        hello,
        addresses: attack.addresses,
        counts: counts.clone(),
    };
    let (rounds, time) = plan.rounds_of(attack);
    // As many proofs without the attack, however many rounds it has.
    let calm_batches = plan.rounds / rounds;
    let (mut calm, mut attacked, mut growths) = (PhaseFigures::default(), PhaseFigures::default(), Vec::new());
    let (mut log_bytes, mut attack_time) = (0, Duration::ZERO);
    // How much the peaks grow beside the attack, in all rounds.
    let mut grown = PeakMemory { service_bytes: 0, worker_bytes: 0 };
    for _ in 0..rounds {
        let (mut without, mut beside) = (PhaseFigures::default(), PhaseFigures::default());
        for _ in 0..calm_batches {
            honest.prove_for(Duration::ZERO, &mut without).await;
        }
        let (log_before, peaks_before, start) = (pool.service.log_bytes(), pool.peaks(), Instant::now());
        let running = AbortOnDropHandle::new(attackers.spawn(attack.run(target.clone())));
        honest.prove_for(time, &mut beside).await;
        attack_time += start.elapsed();
        running.abort();
        // Aborted, so the result says nothing. Afterwards the connections of the attacker are closed.
        let _ = running.await;
        log_bytes += pool.service.log_bytes() - log_before;
        let peaks = pool.peaks();
        grown.service_bytes += peaks.service_bytes.saturating_sub(peaks_before.service_bytes);
        grown.worker_bytes += peaks.worker_bytes.saturating_sub(peaks_before.worker_bytes);
        growths.extend(growth(&without, &beside));
        calm.add(without);
        attacked.add(beside);
        if pool.ended().is_some() {
            break;
        }
        sleep(SETTLE_TIME).await;
    }
    let mut violations = counts.violations();
    violations.extend(pool.ended());
    if pool.service.log().contains('\u{1b}') {
        violations.push("the log of the service contains escape characters".to_owned());
    }
    let peaks = pool.peaks();
    let mut row = AttackRow {
        name: attack.name,
        party: attack.party.name(),
        about: attack.about,
        acts: counts.acts(),
        acts_per_second: counts.acts() as f64 / attack_time.as_secs_f64(),
        refusals: counts.refusals(),
        last_refusal: counts.last_refusal(),
        without: calm.summary(),
        beside: attacked.summary(),
        growth: sp1d_figures::FigureSpread::of(growths.into_iter()),
        service_bytes_before: before.service_bytes,
        service_peak_bytes: peaks.service_bytes,
        worker_peak_bytes: peaks.worker_bytes,
        service_growth_bytes: grown.service_bytes,
        worker_growth_bytes: grown.worker_bytes,
        log_bytes,
        misses: Vec::new(),
    };
    row.judge(attack.party, plan.compares_times, violations);
    Ok(row)
}

/// Returns how much longer a proof takes in the median, as a fraction. `None` if no proof was made.
fn growth(without: &PhaseFigures, beside: &PhaseFigures) -> Option<f64> {
    Some(beside.spread()?.median / without.spread()?.median - 1.0)
}
