//! Quotas of tenants.

use sp1d_model::NewProof;
use std::time::Duration;

/// What a tenant may use. `None` means that only the limits of the service count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantQuota {
    /// Maximum number of queued proofs.
    pub max_queue: Option<u64>,
    /// Maximum number of proofs that run at the same time.
    pub parallel_proofs: Option<u64>,
    /// Maximum number of cycles of a program.
    pub max_cycles: Option<u64>,
    /// Maximum size of the tenant's programs, inputs and finished proofs together, in bytes.
    pub max_bytes: Option<u64>,
    /// Lowest priority of a proof.
    pub min_priority: Option<i32>,
    /// Highest priority of a proof.
    pub max_priority: Option<i32>,
    /// How long its proofs are kept after their end, instead of the time of the service.
    pub keep: Option<Duration>,
}

/// Why a quota does not permit a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuotaExceeded {
    /// The tenant has too many queued proofs.
    #[error("the tenant has {queued} queued proofs, and may have {max}")]
    Queued { queued: u64, max: u64 },
    /// The tenant's files are too large together.
    #[error("the tenant's programs, inputs and proofs would have {bytes} bytes together, and may have {max}")]
    Bytes { bytes: u64, max: u64 },
    /// The tenant's refused uploads are too large together.
    #[error(
        "the tenant's refused uploads have {bytes} bytes together, and may have {max}: their files are removed after an hour"
    )]
    Refused { bytes: u64, max: u64 },
    /// The tenant may not use this priority.
    #[error("the tenant may not use the priority {priority}: its range is {min} to {max}")]
    Priority { priority: i32, min: i32, max: i32 },
}

/// Range of priorities without a quota.
const PRIORITIES: (i32, i32) = (-100, 100);

impl TenantQuota {
    /// Checks whether the tenant may use the priority of `request`.
    pub(crate) fn check_priority(&self, request: &NewProof) -> Result<(), QuotaExceeded> {
        let (min, max) = (self.min_priority.unwrap_or(PRIORITIES.0), self.max_priority.unwrap_or(PRIORITIES.1));
        let priority = request.priority;
        if (min..=max).contains(&priority) { Ok(()) } else { Err(QuotaExceeded::Priority { priority, min, max }) }
    }

    /// Checks whether a tenant with `queued` queued proofs may queue another one.
    pub(crate) fn check_queued(&self, queued: u64) -> Result<(), QuotaExceeded> {
        match self.max_queue {
            Some(max) if queued >= max => Err(QuotaExceeded::Queued { queued, max }),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks whether a tenant whose files have `used` bytes may add a file of `more` bytes.
    pub(crate) fn check_bytes(&self, used: u64, more: u64) -> Result<(), QuotaExceeded> {
        let bytes = used.saturating_add(more);
        match self.max_bytes {
            Some(max) if bytes > max => Err(QuotaExceeded::Bytes { bytes, max }),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks whether a tenant may upload a file when the files of its refused uploads have `bytes` bytes. They may
    /// take as much of the disk as accepted files.
    pub(crate) fn check_refused(&self, bytes: u64) -> Result<(), QuotaExceeded> {
        match self.max_bytes {
            Some(max) if bytes > max => Err(QuotaExceeded::Refused { bytes, max }),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: TenantQuota = TenantQuota {
        max_queue: Some(2),
        parallel_proofs: None,
        max_cycles: None,
        max_bytes: Some(100),
        min_priority: None,
        max_priority: Some(0),
        keep: None,
    };

    #[test]
    fn quota_permits_up_to_its_maximum() {
        // Queued proofs before the request, and whether it is permitted.
        for (queued, expected) in [(0, true), (1, true), (2, false), (u64::MAX, false)] {
            assert_eq!(QUOTA.check_queued(queued).is_ok(), expected, "{queued}");
        }
        // Bytes of refused uploads, and whether a further upload is permitted.
        for (refused, expected) in [(0, true), (100, true), (101, false), (u64::MAX, false)] {
            assert_eq!(QUOTA.check_refused(refused).is_ok(), expected, "{refused}");
        }
        // Used bytes, further bytes, and whether they are permitted.
        for (used, more, expected) in [(0, 100, true), (99, 1, true), (99, 2, false), (u64::MAX, 1, false)] {
            assert_eq!(QUOTA.check_bytes(used, more).is_ok(), expected, "{used} {more}");
        }
    }

    #[test]
    fn priority_must_be_in_the_range() {
        // Priority, and whether it is permitted.
        for (priority, expected) in [(-100, true), (0, true), (1, false)] {
            let request = NewProof { priority, ..NewProof::default() };
            assert_eq!(QUOTA.check_priority(&request).is_ok(), expected, "{priority}");
        }
    }

    #[test]
    fn tenant_without_a_quota_has_only_the_limits_of_the_service() {
        let (none, request) = (TenantQuota::default(), NewProof { priority: 100, ..NewProof::default() });
        assert!(none.check_queued(u64::MAX).is_ok() && none.check_bytes(u64::MAX, u64::MAX).is_ok());
        assert!(none.check_priority(&request).is_ok() && none.check_refused(u64::MAX).is_ok());
    }
}
