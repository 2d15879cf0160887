//! Which certificates are revoked.
//!
//! The file has one entry on each line: the name of a peer, which revokes all its certificates, or the SHA-256
//! fingerprint of one certificate. Lines that start with `#` and empty lines are comments.

use crate::{
    error::KeysError,
    files,
    peer::{Fingerprint, PeerIdentity, PeerName},
};
use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// The revoked certificates.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    names: BTreeSet<PeerName>,
    certificates: BTreeSet<Fingerprint>,
}

impl Revocations {
    /// Reads the file at `path`. A missing file revokes nothing.
    pub(crate) fn read(path: &Path) -> Result<Self, KeysError> {
        let text = match files::read(path) {
            Ok(text) => text,
            Err(KeysError::File { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Self::parse(&text).map_err(|line| KeysError::Content {
            path: path.to_owned(),
            reason: format!("line {line} is neither the name of a peer nor a SHA-256 fingerprint"),
        })
    }

    /// Parses the list. Fails with the number of the first wrong line.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut list = Self::default();
        for (at, line) in text.lines().enumerate() {
            let entry = line.trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            // Names have at most 63 characters, and a fingerprint has 64 digits.
            if let Some(fingerprint) = Fingerprint::parse(entry) {
                list.certificates.insert(fingerprint);
            } else {
                list.names.insert(entry.parse().map_err(|_| at + 1)?);
            }
        }
        Ok(list)
    }

    pub(crate) fn contains(&self, peer: &PeerIdentity, fingerprint: Fingerprint) -> bool {
        self.names.contains(&peer.name) || self.certificates.contains(&fingerprint)
    }
}

/// The revocation list in use. Handshakes and open connections share it, and it is replaced apart from the keys.
#[derive(Debug)]
pub(crate) struct SharedRevocations(Mutex<Arc<Revocations>>);

impl SharedRevocations {
    pub(crate) fn new(list: Revocations) -> Self {
        Self(Mutex::new(Arc::new(list)))
    }

    pub(crate) fn get(&self) -> Arc<Revocations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, list: Revocations) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
    }
}

/// Adds the peer `name` to the revocation list in `folder`. All machines that trust the folder's authority need the
/// changed list. Waits while another process changes the list.
///
/// # Errors
/// If the list cannot be read or written, or is malformed.
pub fn revoke(folder: &Path, name: &PeerName) -> Result<(), KeysError> {
    let path = folder.join("revoked");
    let _lock = files::lock_folder(folder)?;
    let list = Revocations::read(&path)?;
    if list.names.contains(name) {
        return Ok(());
    }
    let mut text = if path.exists() { files::read(&path)? } else { String::new() };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(name.as_str());
    text.push('\n');
    files::replace_list(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[track_caller]
    fn check(text: &str, expected: Result<(usize, usize), usize>) {
        let found = Revocations::parse(text).map(|list| (list.names.len(), list.certificates.len()));
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn lines_are_names_and_fingerprints() {
        check("", Ok((0, 0)));
        check("# stolen\n\n w-7 \nw-8\nw-7\n", Ok((2, 0)));
        check(&"0f".repeat(32), Ok((0, 1)));
        check(&vec!["0F"; 32].join(":"), Ok((0, 1)));
    }

    #[test]
    fn a_wrong_line_is_not_ignored() {
        check("w-7\nW 8\n", Err(2));
        check(&"0g".repeat(32), Err(1));
    }

    #[test]
    fn names_that_are_revoked_at_the_same_time_are_all_on_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let names: Vec<PeerName> = (0..8).map(|number| format!("w-{number}").parse().unwrap()).collect();
        thread::scope(|scope| {
            for name in &names {
                scope.spawn(move || revoke(path, name).unwrap());
            }
        });
        let list = Revocations::read(&path.join("revoked")).unwrap();
        assert_eq!(list.names, names.into_iter().collect::<BTreeSet<_>>());
    }

    #[test]
    fn a_revoked_name_stays_on_the_list_once() {
        let folder = tempfile::tempdir().unwrap();
        let name: PeerName = "w-7".parse().unwrap();
        for _ in 0..2 {
            revoke(folder.path(), &name).unwrap();
        }
        assert_eq!(files::read(&folder.path().join("revoked")).unwrap(), "w-7\n");
    }
}
