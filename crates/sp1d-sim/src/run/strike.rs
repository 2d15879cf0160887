//! What each fault does when it strikes.

use super::world::World;
use crate::{
    cluster::{Direction, ToOrchestrator, WorldEvent},
    invariant::Violation,
    scenario::{InjectedFault, MachineId, PlannedFault},
};
use sp1d_scheduler::{FailureKind, Timestamp};

impl World {
    /// Lets a fault strike. It is counted only if it had an effect.
    pub(crate) fn strike(&mut self, PlannedFault { machine: id, fault, .. }: PlannedFault) -> Result<(), Violation> {
        if !self.net.unsafe_phase {
            return Ok(());
        }
        let is_up = self.machines[id.0].is_up(self.net.now);
        let of_the_orchestrator = matches!(fault, InjectedFault::OrchestratorFreeze { .. });
        if (is_up || of_the_orchestrator) && self.strike_at(id, fault)? {
            self.net.count(fault.name());
            let session = self.machines[id.0].session;
            self.net.note(|| format!("machine {} (now {session:?}): {fault:?}", id.0));
        }
        Ok(())
    }

    /// Returns false if the fault has no target.
    fn strike_at(&mut self, id: MachineId, fault: InjectedFault) -> Result<bool, Violation> {
        let Self { parameters, plan, net, machines, driver, .. } = self;
        let machine = &mut machines[id.0];
        let (now, session) = (net.now, machine.session);
        match fault {
            InjectedFault::Crash { silent, away } => {
                machine.crash(net);
                if let Some(session) = session.filter(|_| !silent) {
                    net.report(id, session, ToOrchestrator::Closed);
                }
                if let Some(away) = away {
                    net.after(away, WorldEvent::PowerOn { machine: id });
                }
            }
            InjectedFault::Disconnect { away, loses } => {
                let Some(session) = session else { return Ok(false) };
                if loses {
                    driver.lose_messages(session);
                }
                machine.leave(away, net);
                net.report(id, session, ToOrchestrator::Closed);
            }
            InjectedFault::Freeze { lasts } => machine.freeze(lasts, now),
            InjectedFault::Partition { up, down, lasts } => {
                if up {
                    net.link(id).block(Direction::ToOrchestrator, now + lasts);
                }
                if down {
                    net.link(id).block(Direction::ToWorker, now + lasts);
                    if let Some(session) = session {
                        net.after(parameters.config.lease_ttl, WorldEvent::GiveUp { machine: id, session });
                    }
                }
            }
            InjectedFault::SlowLink { lasts } => net.link(id).slow_down(now + lasts),
            InjectedFault::Slow { factor, lasts } => machine.slow_down(factor, now + lasts, now),
            InjectedFault::Hang => machine.hang(),
            InjectedFault::Lie { lie, lasts } => machine.ills.lies = Some((now + lasts, lie)),
            InjectedFault::Rename { away, lie, lasts } => {
                machine.crash(net);
                machine.rename();
                machine.ills.lies = Some((now + away + lasts, lie));
                if let Some(session) = session {
                    net.report(id, session, ToOrchestrator::Closed);
                }
                net.after(away, WorldEvent::PowerOn { machine: id });
            }
            InjectedFault::FailAll { lasts } => machine.ills.fails_until = now + lasts,
            InjectedFault::CrashLoop { lasts } => machine.ills.dies_until = now + lasts,
            InjectedFault::ProverDies { lasts } => machine.ills.prover_dies_until = now + lasts,
            InjectedFault::StartsNothing { lasts } => machine.ills.starts_nothing_until = now + lasts,
            InjectedFault::NoMarkers { lasts } => machine.ills.mute_until = now + lasts,
            InjectedFault::WrongMarkers { lasts } => machine.ills.wrong_markers_until = now + lasts,
            InjectedFault::Drain { lasts } => {
                let Some(session) = session.filter(|_| driver.frozen_until <= now) else { return Ok(false) };
                net.after(lasts, WorldEvent::Resume(session));
                return driver.drain(session, plan, net);
            }
            InjectedFault::OrchestratorFreeze { lasts, noticed } => {
                if driver.frozen_until > now {
                    return Ok(false);
                }
                driver.frozen_until = now + lasts;
                let silence = parameters.config.lease_ttl;
                if noticed {
                    self.let_workers_notice(now + silence);
                }
            }
            InjectedFault::Claim => {
                let (Some(session), Some(attempt)) = (session, driver.any_attempt(net)) else { return Ok(false) };
                let claims = [
                    ToOrchestrator::Started(attempt),
                    ToOrchestrator::Marker { attempt, claims: None },
                    ToOrchestrator::Failed { attempt, kind: FailureKind::Engine, text: "a false claim" },
                    ToOrchestrator::Reported { attempt, value: None },
                ];
                let claim = claims[net.dice.index(claims.len())].clone();
                net.report(id, session, claim);
            }
        }
        Ok(true)
    }

    /// Workers that have received nothing until about `at` end their sessions, unless a message arrives before that.
    fn let_workers_notice(&mut self, at: Timestamp) {
        for machine in &self.machines {
            if let Some(session) = machine.session {
                let jitter = self.net.dice.ms(0..=1000);
                self.net.at(at + jitter, WorldEvent::GiveUp { machine: machine.id, session });
            }
        }
    }
}
