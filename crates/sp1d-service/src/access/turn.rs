//! Which tenant's proof starts next.

/// A tenant with queued proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingTenant {
    pub(crate) name: String,
    /// Number of its running proofs.
    pub(crate) running: u64,
    /// Maximum number of its running proofs; `None` for no maximum.
    pub(crate) parallel_proofs: Option<u64>,
    /// When its last proof started, in milliseconds since 1970; `None` if none has started.
    pub(crate) last_start: Option<i64>,
}

/// Returns the tenant whose proof starts next: of those that may run another proof, the tenant with the fewest running
/// proofs, and among these the one that has waited for the longest time since its last start. Tenants take turns like
/// this whatever the priorities of their proofs are: a priority orders only the proofs of one tenant.
pub(crate) fn next_tenant(waiting: &[WaitingTenant]) -> Option<&WaitingTenant> {
    let may_run = |tenant: &&WaitingTenant| tenant.parallel_proofs.is_none_or(|max| tenant.running < max);
    waiting.iter().filter(may_run).min_by(|one, other| rank(one).cmp(&rank(other)))
}

/// The tenant with the lowest rank is next. A name decides only between tenants that have never run a proof.
fn rank(tenant: &WaitingTenant) -> (u64, Option<i64>, &str) {
    (tenant.running, tenant.last_start, &tenant.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which tenant is next. Each row has the name, the running proofs, their maximum and the last start.
    #[track_caller]
    fn check(waiting: &[(&str, u64, Option<u64>, Option<i64>)], expected: Option<&str>) {
        let waiting: Vec<_> = waiting
            .iter()
            .map(|&(name, running, parallel_proofs, last_start)| WaitingTenant {
                name: name.to_owned(),
                running,
                parallel_proofs,
                last_start,
            })
            .collect();
        assert_eq!(next_tenant(&waiting).map(|tenant| tenant.name.as_str()), expected, "{waiting:?}");
    }

    #[test]
    fn fewest_running_proofs_come_first_then_the_longest_wait() {
        check(&[], None);
        check(&[("a", 5, None, Some(1))], Some("a"));
        check(&[("a", 1, None, Some(1)), ("b", 0, None, Some(9))], Some("b"));
        check(&[("a", 1, None, Some(9)), ("b", 1, None, Some(1))], Some("b"));
        check(&[("a", 0, None, Some(1)), ("b", 0, None, None)], Some("b"));
        check(&[("b", 0, None, None), ("a", 0, None, None)], Some("a"));
    }

    #[test]
    fn a_tenant_at_its_maximum_waits_and_delays_no_other() {
        check(&[("a", 1, Some(1), None)], None);
        check(&[("a", 0, Some(0), None)], None);
        check(&[("a", 1, Some(1), None), ("b", 7, None, Some(1))], Some("b"));
        check(&[("a", 1, Some(2), None), ("b", 7, None, Some(1))], Some("a"));
    }
}
