//! Keys of an orchestrator and of a worker.

use sp1d_identity::{Issuance, KeyAuthority, PeerIdentity, PeerRole, TlsIdentity};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

/// Days for which the keys are valid. With fewer, processes warn that their certificates expire soon.
const DAYS: u32 = 30;

/// A private authority in a temporary folder, with an identity for an orchestrator and one for a worker. All workers
/// may share the identity. The files are removed when it is dropped.
pub struct FakeKeys {
    _folder: TempDir,
    orchestrator: PathBuf,
    worker: PathBuf,
}

impl FakeKeys {
    /// Makes new keys.
    ///
    /// # Panics
    /// Panics if a file cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let orchestrator = KeyAuthority::init(folder.path(), Vec::new(), DAYS).expect("the folder is new");
        let authority = KeyAuthority::open(folder.path()).expect("the authority was just made");
        let name = "fake".parse().expect("the name is valid");
        let identity = PeerIdentity { role: PeerRole::Worker, name, group: None, trusted: false };
        let issued = authority.issue(Issuance { identity, hosts: Vec::new(), days: DAYS });
        Self { orchestrator, worker: issued.expect("the name is free"), _folder: folder }
    }

    /// Returns the file with the identity of the orchestrator.
    #[must_use]
    pub fn orchestrator_file(&self) -> &Path {
        &self.orchestrator
    }

    /// Returns the file with the identity of the worker.
    #[must_use]
    pub fn worker_file(&self) -> &Path {
        &self.worker
    }

    /// Returns the identity of the orchestrator.
    ///
    /// # Panics
    /// Panics if its file cannot be read.
    #[must_use]
    pub fn orchestrator(&self) -> Arc<TlsIdentity> {
        load(&self.orchestrator, PeerRole::Orchestrator)
    }

    /// Returns the identity of the worker.
    ///
    /// # Panics
    /// Panics if its file cannot be read.
    #[must_use]
    pub fn worker(&self) -> Arc<TlsIdentity> {
        load(&self.worker, PeerRole::Worker)
    }
}

impl Default for FakeKeys {
    fn default() -> Self {
        Self::new()
    }
}

fn load(path: &Path, role: PeerRole) -> Arc<TlsIdentity> {
    TlsIdentity::load(path, role).expect("the keys are valid")
}
