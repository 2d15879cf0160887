//! Who may ask for proofs: a file with addresses.

use super::address::RequesterAddress;
use crate::{
    access::TenantName,
    queue::{FileWatcher, Service},
};
use sp1d_model::hint;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

sp1d_model::limits! {
    /// Maximum length of the file with the signers.
    const MAX_SIGNERS_BYTES: u64 = 1 << 20; Bytes by Client;
}

/// Word at the end of a line whose signer gets only trusted workers.
const TRUSTED_ONLY: &str = "trusted-only";

/// No tenant of the file may have a name with one of these parts. Otherwise, a misspelled [`TRUSTED_ONLY`], or another
/// word for it, would be the name of a tenant, and all workers would get the inputs of the signer.
const NO_TENANT: [&str; 3] = ["trust", "only", "private"];

/// What applies to the requests of a signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignerTerms {
    /// The tenant that owns the proofs.
    pub(super) tenant: TenantName,
    /// Whether only trusted workers get tasks of the proofs.
    pub(super) trusted_only: bool,
}

/// Who may ask for proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SignerRule {
    /// All addresses, with the same terms. The file must contain the word `any`.
    Any(SignerTerms),
    /// Only these addresses, each with its terms.
    Listed(BTreeMap<RequesterAddress, SignerTerms>),
}

impl SignerRule {
    /// Returns all signers with their terms, for people.
    fn all(&self) -> Vec<(String, &SignerTerms)> {
        match self {
            Self::Any(terms) => vec![("any".to_owned(), terms)],
            Self::Listed(listed) => listed.iter().map(|(address, terms)| (address.to_string(), terms)).collect(),
        }
    }

    /// Logs the terms of each signer, so that the operator can see who gets which workers.
    fn log(&self) {
        for (signer, SignerTerms { tenant, trusted_only }) in self.all() {
            tracing::info!(%signer, %tenant, trusted_only, "signer may ask for proofs");
        }
    }
}

/// Why a file with signers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SignersError {
    /// The file cannot be read.
    #[error("cannot read the signers in {}: {reason}\nhint: write the addresses that may ask for proofs into this file, one on each line", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        reason: io::Error,
    },
    /// A line is neither an address nor `any`, each with or without a tenant and `trusted-only`.
    #[error("line {line} of {} is not valid: `{text}`\nhint: write one address on each line, as 0x and 40 hexadecimal digits, or only `any`; after a space, a tenant may follow, whose name does not contain `trust`, `only` or `private`, and then the word `trusted-only`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// Start of the line.
        text: String,
    },
    /// The file has an address twice, with different tenants, or once without `trusted-only`.
    #[error("line {line} of {} has an address of an earlier line, but another tenant or another choice of workers\nhint: remove one of the lines", path.display())]
    Contradictory {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// The file has addresses and the word `any`.
    #[error("{} has addresses and the word `any`\nhint: remove one of them", path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a line: an address or `any`, then a tenant or none, and then `trusted-only` or nothing, with white space
/// between them. The address is `None` for `any`.
fn parse_line(line: &str) -> Option<(Option<RequesterAddress>, SignerTerms)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (words, trusted_only) = match words.split_last() {
        Some((&TRUSTED_ONLY, before)) => (before, true),
        _ => (&words[..], false),
    };
    let (signer, tenant) = match *words {
        [signer] => (signer, TenantName::default()),
        [signer, tenant] if !NO_TENANT.iter().any(|part| tenant.contains(part)) => (signer, tenant.parse().ok()?),
        _ => return None,
    };
    let address = if signer == "any" { None } else { Some(signer.parse().ok()?) };
    Some((address, SignerTerms { tenant, trusted_only }))
}

/// Reads the lines of a file with signers. Empty lines, and text after `#`, are ignored.
fn parse(text: &str, path: &Path) -> Result<SignerRule, SignersError> {
    let (mut any, mut listed) = (None, BTreeMap::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Some((address, terms)) = parse_line(line) else {
            let text = line.chars().take(60).collect();
            return Err(SignersError::Malformed { path: path.to_owned(), line: number + 1, text });
        };
        let before = match address {
            Some(address) => listed.insert(address, terms.clone()),
            None => any.replace(terms.clone()),
        };
        if before.is_some_and(|before| before != terms) {
            return Err(SignersError::Contradictory { path: path.to_owned(), line: number + 1 });
        }
    }
    match (any, listed.is_empty()) {
        (Some(terms), true) => Ok(SignerRule::Any(terms)),
        (Some(_), false) => Err(SignersError::Ambiguous { path: path.to_owned() }),
        (None, _) => Ok(SignerRule::Listed(listed)),
    }
}

fn read(path: &Path) -> Result<SignerRule, SignersError> {
    let unreadable = |reason: io::Error| SignersError::Unreadable { path: path.to_owned(), reason };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MAX_SIGNERS_BYTES + 1).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > MAX_SIGNERS_BYTES {
        let reason = io::Error::other(format!("the file is longer than {MAX_SIGNERS_BYTES} bytes"));
        return Err(unreadable(reason));
    }
    parse(&text, path)
}

/// The addresses that may ask for proofs. Clones refer to the same addresses.
#[derive(Debug, Clone)]
pub struct HostedSigners {
    path: PathBuf,
    rule: Arc<Mutex<SignerRule>>,
}

impl HostedSigners {
    /// Reads the file at `path`, and logs the terms of each signer. Blocks.
    ///
    /// # Errors
    /// If the file cannot be read, or if a line is not an address.
    pub fn read(path: PathBuf) -> Result<Self, SignersError> {
        let rule = read(&path)?;
        rule.log();
        Ok(Self { path, rule: Arc::new(Mutex::new(rule)) })
    }

    fn lock(&self) -> MutexGuard<'_, SignerRule> {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what applies to requests of `address`. `None` if the address may not ask for proofs.
    pub(super) fn terms_of(&self, address: RequesterAddress) -> Option<SignerTerms> {
        match &*self.lock() {
            SignerRule::Any(terms) => Some(terms.clone()),
            SignerRule::Listed(listed) => listed.get(&address).cloned(),
        }
    }

    /// Returns the tenant of all addresses. `None` if they have different tenants, or if the file lists no address.
    pub(super) fn only_tenant(&self) -> Option<TenantName> {
        match &*self.lock() {
            SignerRule::Any(terms) => Some(terms.tenant.clone()),
            SignerRule::Listed(listed) => {
                let first = &listed.values().next()?.tenant;
                listed.values().all(|terms| terms.tenant == *first).then(|| first.clone())
            }
        }
    }

    /// Reads the file again after each change, and whenever `again` is notified; changes take effect within 4 s.
    /// While the file cannot be read, its last valid content stays in effect. Returns when the service shuts down.
    pub async fn follow(self, service: Service, again: &Notify) {
        let _task = service.watch_background_task("the watcher of the signers");
        let mut watcher = FileWatcher::new(&self.path, again);
        while watcher.must_read(service.stopping()).await {
            let path = self.path.clone();
            let found = tokio::task::spawn_blocking(move || read(&path)).await.expect("reading does not panic");
            match found {
                Ok(rule) => {
                    let is_new = *self.lock() != rule;
                    if is_new {
                        tracing::info!(path = %self.path.display(), "signers read again");
                        rule.log();
                        *self.lock() = rule;
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    let error = hint::without(&text);
                    tracing::warn!(%error, "cannot read the signers; the last valid file stays in effect");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf";
    const OTHER: &str = "0x2b5ad5c4795c026514f8317c7a215e218dccd6cf";

    /// Checks which of the two addresses may ask, or a part of the error.
    #[track_caller]
    fn check(text: &str, expected: Result<(bool, bool), &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signers");
        std::fs::write(&path, text).unwrap();
        match (HostedSigners::read(path), expected) {
            (Ok(signers), Ok(expected)) => {
                let allow = |address: &str| signers.terms_of(address.parse().unwrap()).is_some();
                assert_eq!((allow(ONE), allow(OTHER)), expected, "{text}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn only_listed_addresses_or_any_may_ask() {
        check("", Ok((false, false)));
        check(&format!("# team\n\n {} # build server\n", ONE.to_uppercase().replace("0X", "0x")), Ok((true, false)));
        check(&format!("{ONE}\n{OTHER}"), Ok((true, true)));
        check("any\n", Ok((true, true)));
        check(&format!("any\n{ONE}"), Err("remove one of them"));
        check(&format!("{ONE}\nANY"), Err("line 2"));
        check("*", Err("40 hexadecimal digits"));
    }

    /// Checks the tenants of the two addresses, and the only tenant.
    #[track_caller]
    fn check_tenants(text: &str, expected: [Option<&str>; 3]) {
        let path = Path::new("signers");
        let signers = HostedSigners { path: path.to_owned(), rule: Arc::new(Mutex::new(parse(text, path).unwrap())) };
        let tenant = |address: &str| signers.terms_of(address.parse().unwrap()).map(|terms| terms.tenant);
        let found =
            [tenant(ONE), tenant(OTHER), signers.only_tenant()].map(|tenant| tenant.map(|name| name.to_string()));
        assert_eq!(found.each_ref().map(Option::as_deref), expected, "{text}");
    }

    #[test]
    fn each_address_has_its_tenant() {
        check_tenants("", [None; 3]);
        check_tenants("any", [Some("default"); 3]);
        check_tenants("any team-a", [Some("team-a"); 3]);
        check_tenants(ONE, [Some("default"), None, Some("default")]);
        check_tenants(&format!("{ONE}\tteam-a # comment\n{OTHER} team-b"), [Some("team-a"), Some("team-b"), None]);
        check_tenants(&format!("{ONE} a\n{OTHER} a\n{ONE} a"), [Some("a"); 3]);
        check(&format!("{ONE} a\n{ONE} b"), Err("line 2"));
        check(&format!("{ONE} Team"), Err("line 1"));
        check(&format!("{ONE} a b"), Err("line 1"));
    }

    /// Checks the terms of a line: the tenant, and whether the proofs are only for trusted workers. `None` if the line
    /// is not valid.
    #[track_caller]
    fn check_terms(line: &str, expected: Option<(&str, bool)>) {
        let found = parse_line(line).map(|(_, terms)| (terms.tenant.to_string(), terms.trusted_only));
        let found = found.as_ref().map(|(tenant, trusted_only)| (tenant.as_str(), *trusted_only));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn the_last_word_of_a_line_can_ask_for_trusted_workers() {
        check_terms(ONE, Some(("default", false)));
        check_terms(&format!("{ONE} trusted-only"), Some(("default", true)));
        check_terms(&format!("{ONE} team-a\t trusted-only"), Some(("team-a", true)));
        check_terms("any trusted-only", Some(("default", true)));
        check_terms("any team-a trusted-only", Some(("team-a", true)));
        check(&format!("{ONE} a\n{ONE} a trusted-only"), Err("line 2"));
        check(&format!("{ONE} trusted-only\n{OTHER}"), Ok((true, true)));
    }

    #[test]
    fn a_misspelled_choice_of_workers_is_not_a_tenant() {
        let words = [
            "trusted",
            "trusted_only",
            "trust-only",
            "truste-only",
            "rusted-only",
            "only-trusted",
            "private",
            "a trust-only",
            "trusted-only a",
            "trusted-only trusted-only",
        ];
        for words in words {
            check_terms(&format!("{ONE} {words}"), None);
            check_terms(&format!("any {words}"), None);
        }
        for line in ["trusted-only", "trusted-only a", ""] {
            check_terms(line, None);
        }
    }

    /// Checks the signers of a file with their terms, as they are logged.
    #[track_caller]
    fn check_all(text: &str, expected: &[(&str, &str, bool)]) {
        let rule = parse(text, Path::new("signers")).unwrap();
        let found: Vec<_> = rule.all().into_iter().map(|(signer, terms)| (signer, terms.clone())).collect();
        let terms = |(signer, tenant, trusted_only): &(&str, &str, bool)| {
            ((*signer).to_owned(), SignerTerms { tenant: tenant.parse().unwrap(), trusted_only: *trusted_only })
        };
        assert_eq!(found, expected.iter().map(terms).collect::<Vec<_>>(), "{text}");
    }

    #[test]
    fn the_terms_of_each_signer_are_listed() {
        check_all("", &[]);
        check_all("any team-a trusted-only", &[("any", "team-a", true)]);
        let lines = format!("{ONE} team-a trusted-only\n{OTHER}");
        check_all(&lines, &[(OTHER, "default", false), (ONE, "team-a", true)]);
    }

    #[test]
    fn missing_and_too_long_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let error = HostedSigners::read(folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("one on each line"), "{error}");
        check(&"#".repeat(1 << 21), Err("longer than 1048576 bytes"));
    }
}
