//! The certificate of the port that gives out identities.

use crate::{
    authority::{Issuance, KeyAuthority},
    error::KeysError,
    load::enrollment_config,
    peer::{ENROLLMENT_NAME, PeerIdentity, PeerRole},
};
use rustls::ServerConfig;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How many days a certificate of the port is valid.
const VALID_DAYS: u32 = 365;

/// The age at which a new certificate replaces the old one. The port works for longer than a certificate is valid.
const RENEWAL_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The certificate of the port. It is renewed while the port is open.
pub(crate) struct PortCertificate(Mutex<Made>);

/// A certificate, and when it was made.
struct Made {
    config: Arc<ServerConfig>,
    /// Seconds since 1970.
    at: u64,
}

impl Made {
    fn new(authority: &KeyAuthority, now: u64) -> Result<Self, KeysError> {
        let name = ENROLLMENT_NAME.parse().expect("a plain word");
        let own = PeerIdentity { role: PeerRole::Orchestrator, name, group: None, trusted: false };
        let text = authority.sign(Issuance { identity: own, hosts: Vec::new(), days: VALID_DAYS })?;
        Ok(Self { config: enrollment_config(&text, authority.folder())?, at: now })
    }

    /// Returns true if the certificate is old, or if the clock was set back: then it may not be valid yet.
    fn is_due(&self, now: u64) -> bool {
        now.checked_sub(self.at).is_none_or(|age| age >= RENEWAL_AGE.as_secs())
    }
}

impl PortCertificate {
    /// Makes the first certificate. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub(crate) fn new(authority: &KeyAuthority, now: u64) -> Result<Self, KeysError> {
        Ok(Self(Mutex::new(Made::new(authority, now)?)))
    }

    /// Returns the configuration of the port with the certificate, which is renewed first if it is old. `now` is in
    /// seconds since 1970.
    ///
    /// # Errors
    /// If the certificate cannot be renewed.
    pub(crate) fn config(&self, authority: &KeyAuthority, now: u64) -> Result<Arc<ServerConfig>, KeysError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_due(now) {
            *made = Made::new(authority, now)?;
        }
        Ok(made.config.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_renewed_each_day_and_if_the_clock_was_set_back() {
        let folder = tempfile::tempdir().unwrap();
        KeyAuthority::init(folder.path(), Vec::new(), 1).unwrap();
        let authority = KeyAuthority::open(folder.path()).unwrap();
        let (start, day) = (1_000_000, RENEWAL_AGE.as_secs());
        let certificate = PortCertificate::new(&authority, start).unwrap();
        let mut last = certificate.config(&authority, start).unwrap();
        for (now, is_renewed) in [
            (start + day - 1, false),
            (start + day, true),
            (start + 2 * day - 1, false),
            (start + 400 * day, true),
            (start, true),
        ] {
            let config = certificate.config(&authority, now).unwrap();
            assert_eq!(!Arc::ptr_eq(&config, &last), is_renewed, "{now}");
            last = config;
        }
    }
}
