//! A private certificate authority in a folder, and the identities that it issues.

use crate::{
    error::KeysError,
    files,
    peer::{ENROLLMENT_NAME, Fingerprint, PeerIdentity, PeerName, PeerRole, hosts_of},
    pem_problem::pem_problem,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use time::OffsetDateTime;

/// The name of every private authority. Certificates of two authorities differ by their keys.
const AUTHORITY_NAME: &str = "sp1d private authority";

/// The identity that `init` makes for the orchestrator.
const ORCHESTRATOR: &str = "orchestrator";

/// How long an authority is valid: ten years. A new one needs new keys on all machines.
const AUTHORITY_DAYS: u32 = 3650;

/// Certificates are valid from an hour ago, because the clocks of machines differ.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// The names under which clients reach an orchestrator on the same machine.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What to issue.
#[derive(Debug, Clone)]
pub struct Issuance {
    /// Who the certificate is for.
    pub identity: PeerIdentity,
    /// The host names and IP addresses under which HTTPS clients reach the machine.
    pub hosts: Vec<String>,
    /// How many days it is valid.
    pub days: u32,
}

/// A private certificate authority in a folder.
pub struct KeyAuthority {
    folder: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl KeyAuthority {
    /// Creates an authority in `folder`, and an identity for an orchestrator that clients reach under the names
    /// `hosts`. Returns the file of the identity.
    ///
    /// # Errors
    /// If one of the files exists or cannot be written, or if a host name is invalid.
    pub fn init(folder: &Path, hosts: Vec<String>, days: u32) -> Result<PathBuf, KeysError> {
        files::create_folder(folder)?;
        let (key_file, certificate_file) = files_of(folder);
        for file in [&key_file, &certificate_file, &identity_file(folder, ORCHESTRATOR)] {
            if file.exists() {
                return Err(KeysError::Exists(file.clone()));
            }
        }
        let key = KeyPair::generate()?;
        let (not_before, not_after) = validity(AUTHORITY_DAYS)?;
        let mut params = authority_params();
        (params.not_before, params.not_after) = (not_before, not_after);
        let certificate = params.self_signed(&key)?.pem();
        files::write_new(&certificate_file, &certificate)?;
        files::write_new(&key_file, &key.serialize_pem())?;
        let authority = Self { folder: folder.to_owned(), certificate, issuer: Issuer::new(authority_params(), key) };
        let name = ORCHESTRATOR.parse().expect("a plain word");
        let identity = PeerIdentity { role: PeerRole::Orchestrator, name, group: None, trusted: false };
        authority.issue(Issuance { identity, hosts, days })
    }

    /// Opens the authority in `folder`.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn open(folder: &Path) -> Result<Self, KeysError> {
        let (key_file, certificate_file) = files_of(folder);
        let certificate = files::read(&certificate_file)?;
        let text = files::read(&key_file)?;
        let key = KeyPair::from_pem(&text).map_err(|error| {
            let reason = match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
                Ok(_) => error.to_string(),
                Err(error) => pem_problem("private key", &text, &error),
            };
            KeysError::Content { path: key_file, reason }
        })?;
        Ok(Self { folder: folder.to_owned(), certificate, issuer: Issuer::new(authority_params(), key) })
    }

    /// Writes a new identity: one file with its key, its certificate and the certificate of this authority. Returns the
    /// file.
    ///
    /// # Errors
    /// If the identity exists or cannot be written, or if its name is reserved or a host name is invalid.
    pub fn issue(&self, issuance: Issuance) -> Result<PathBuf, KeysError> {
        self.check_new(&issuance.identity.name)?;
        let path = identity_file(&self.folder, issuance.identity.name.as_str());
        files::write_new(&path, &self.sign(issuance)?)?;
        Ok(path)
    }

    /// Replaces the identity `name` in the folder by one with a new key, valid for `days` days from now. Role, group,
    /// trust and hosts stay. The old certificate stays valid until its end. Returns the file. If the machine has
    /// fetched its identity with a token, the file is new.
    ///
    /// # Errors
    /// If no identity of this name was issued, or if a file cannot be read or written.
    pub fn renew(&self, name: &PeerName, days: u32) -> Result<PathBuf, KeysError> {
        let path = identity_file(&self.folder, name.as_str());
        let (is_here, fetched) = (path.exists(), self.issued_file(name));
        let old = if is_here || !fetched.exists() { &path } else { &fetched };
        let content = |reason: String| KeysError::Content { path: old.clone(), reason };
        let text = files::read(old)?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| content(pem_problem("certificate", &text, &error)))?;
        let identity = PeerIdentity::of_certificate(&certificate).map_err(|error| content(error.to_string()))?;
        if identity.name != *name {
            return Err(content(format!("it belongs to the {identity}")));
        }
        let hosts = hosts_of(&certificate).ok_or_else(|| content("its names are malformed".to_owned()))?;
        let text = self.sign(Issuance { identity, hosts, days })?;
        if is_here {
            files::replace_key(&path, &text)?
        } else {
            files::write_new(&path, &text)?
        }
        Ok(path)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the fingerprint of the certificate of this authority.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, KeysError> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|error| {
            let reason = pem_problem("certificate", &self.certificate, &error);
            KeysError::Content { path: files_of(&self.folder).1, reason }
        })?;
        Ok(Fingerprint::of(&der))
    }

    /// Returns true if an identity of this name was issued from `folder`.
    #[must_use]
    pub fn has_issued(folder: &Path, name: &PeerName) -> bool {
        issued_files(folder, name).iter().any(|file| file.exists())
    }

    /// Fails if a machine of this name has an identity, or if the name is reserved.
    pub(crate) fn check_new(&self, name: &PeerName) -> Result<(), KeysError> {
        if name.as_str() == ENROLLMENT_NAME {
            return Err(KeysError::Reserved(name.clone()));
        }
        match issued_files(&self.folder, name).into_iter().find(|file| file.exists()) {
            Some(file) => Err(KeysError::Exists(file)),
            None => Ok(()),
        }
    }

    /// Notes that a machine has fetched the identity `text`: keeps its certificates, and not its key.
    pub(crate) fn note_issued(&self, name: &PeerName, text: &str) -> Result<(), KeysError> {
        let start = text.find("-----BEGIN CERTIFICATE").unwrap_or(text.len());
        files::write_new(&self.issued_file(name), &text[start..])
    }

    /// Returns the file of the certificate of a machine that has fetched its identity.
    pub(crate) fn issued_file(&self, name: &PeerName) -> PathBuf {
        let [_, fetched] = issued_files(&self.folder, name);
        fetched
    }

    /// Returns the content of the file of an identity.
    pub(crate) fn sign(&self, Issuance { identity, hosts, days }: Issuance) -> Result<String, KeysError> {
        let (not_before, not_after) = validity(days)?;
        self.sign_between(&identity, hosts, not_before, not_after)
    }

    fn sign_between(
        &self,
        identity: &PeerIdentity,
        mut hosts: Vec<String>,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<String, KeysError> {
        if identity.role == PeerRole::Orchestrator {
            for host in LOOPBACK_HOSTS.map(str::to_owned) {
                if !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        params.subject_alt_names.push(SanType::URI(identity.uri().try_into()?));
        params.distinguished_name = named(identity.name.as_str());
        (params.not_before, params.not_after) = (not_before, not_after);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A worker accepts connections or dials, and so does an orchestrator.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(format!("{}{}{}", key.serialize_pem(), certificate.pem(), self.certificate))
    }

    /// Writes an identity that is valid from `from` seconds before now to `to` seconds after now. For tests of other
    /// crates: a negative number is a time on the other side of now.
    ///
    /// # Errors
    /// As for [`KeyAuthority::issue`].
    #[doc(hidden)]
    pub fn issue_between(&self, identity: &PeerIdentity, from: i64, to: i64) -> Result<PathBuf, KeysError> {
        let now = since_epoch()?;
        let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| KeysError::Clock);
        let text =
            self.sign_between(identity, Vec::new(), at(now.saturating_sub(from))?, at(now.saturating_add(to))?)?;
        let path = identity_file(&self.folder, identity.name.as_str());
        files::write_new(&path, &text)?;
        Ok(path)
    }
}

/// Returns the parameters that all authorities share. The issuer of a certificate has only these and its key.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(AUTHORITY_NAME);
    // It issues no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Returns the files of the key and the certificate of the authority in `folder`.
fn files_of(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("ca.key"), folder.join("ca.crt"))
}

fn identity_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.pem"))
}

/// Returns the files of which one exists if the name was issued: an identity with its key, and the certificate of a
/// machine that has fetched its identity.
fn issued_files(folder: &Path, name: &PeerName) -> [PathBuf; 2] {
    [identity_file(folder, name.as_str()), folder.join(format!("{name}.crt"))]
}

fn since_epoch() -> Result<i64, KeysError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| KeysError::Clock)?;
    i64::try_from(since.as_secs()).map_err(|_| KeysError::Clock)
}

/// Returns the start and the end of a certificate that is issued now for `days` days.
fn validity(days: u32) -> Result<(OffsetDateTime, OffsetDateTime), KeysError> {
    let now = since_epoch()?;
    let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| KeysError::Clock);
    let backdated = i64::try_from(BACKDATED.as_secs()).expect("an hour");
    Ok((at(now.saturating_sub(backdated))?, at(now.saturating_add(i64::from(days) * 24 * 60 * 60))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn issue(authority: &KeyAuthority, name: &str, hosts: &[&str]) -> Result<PathBuf, KeysError> {
        let identity =
            PeerIdentity { role: PeerRole::Worker, name: name.parse().unwrap(), group: None, trusted: false };
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        authority.issue(Issuance { identity, hosts, days: 1 })
    }

    #[test]
    fn keys_are_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let made = KeyAuthority::init(folder.path(), Vec::new(), 1).unwrap();
        assert_eq!(made, folder.path().join("orchestrator.pem"));
        assert!(matches!(KeyAuthority::init(folder.path(), Vec::new(), 1), Err(KeysError::Exists(_))));
        let authority = KeyAuthority::open(folder.path()).unwrap();
        issue(&authority, "w", &[]).unwrap();
        assert!(matches!(issue(&authority, "w", &[]), Err(KeysError::Exists(_))));
        assert!(matches!(issue(&authority, ENROLLMENT_NAME, &[]), Err(KeysError::Reserved(_))));
    }

    #[test]
    fn an_invalid_host_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        KeyAuthority::init(folder.path(), vec!["prover.example.org".to_owned(), "10.0.0.1".to_owned()], 1).unwrap();
        let authority = KeyAuthority::open(folder.path()).unwrap();
        assert!(matches!(issue(&authority, "w", &["bücher.example"]), Err(KeysError::Generate(_))));
        assert!(!folder.path().join("w.pem").exists());
    }

    #[test]
    fn a_renewed_identity_keeps_role_group_and_hosts_and_gets_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["prover.example.org", "10.0.0.1", "2001:db8::1"].map(str::to_owned).to_vec();
        KeyAuthority::init(folder.path(), names.clone(), 1).unwrap();
        let authority = KeyAuthority::open(folder.path()).unwrap();
        let worker = PeerIdentity::parse("sp1d:worker:w:g:trusted").unwrap();
        authority.issue(Issuance { identity: worker, hosts: Vec::new(), days: 1 }).unwrap();
        let with_loopback = [names, LOOPBACK_HOSTS.map(str::to_owned).to_vec()].concat();
        for (name, uri, hosts) in [
            ("orchestrator", "sp1d:orchestrator:orchestrator", with_loopback),
            ("w", "sp1d:worker:w:g:trusted", Vec::new()),
        ] {
            let path = identity_file(folder.path(), name);
            let old = files::read(&path).unwrap();
            assert_eq!(authority.renew(&name.parse().unwrap(), 30).unwrap(), path);
            let new = files::read(&path).unwrap();
            let key = |text: &str| text.split("-----BEGIN CERTIFICATE").next().unwrap().to_owned();
            assert_ne!(key(&old), key(&new));
            let certificate = CertificateDer::from_pem_slice(new.as_bytes()).unwrap();
            assert_eq!(PeerIdentity::of_certificate(&certificate).unwrap().uri(), uri);
            assert_eq!(hosts_of(&certificate).unwrap(), hosts);
        }
        assert!(matches!(authority.renew(&"other".parse().unwrap(), 30), Err(KeysError::File { .. })));
    }
}
