//! URLs that permit one thing for a limited time: to send one file, or to fetch one proof.
//!
//! Such a URL contains what it permits and a code that only this service can compute. The service therefore keeps
//! nothing for a URL that is never used, and URLs stay valid over a restart.

use super::address::{RequesterAddress, from_hex, to_hex};
use sp1d_model::ProofMode;
use std::time::Duration;

sp1d_model::limits! {
    /// Time in which a client can start to send a file, or fetch a proof, at the URL that it got. Files that no proof
    /// needs are kept for an hour.
    pub(super) const MAX_URL_PERMIT_AGE: Duration = Duration::from_secs(50 * 60); Time by Client;
}

/// Length of the code.
const CODE_BYTES: usize = 32;

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostedFileKind {
    Program,
    Stdin,
    PrivateStdin,
}

impl HostedFileKind {
    const ALL: [Self; 3] = [Self::Program, Self::Stdin, Self::PrivateStdin];

    /// Returns the name, as in the database.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Stdin => "stdin",
            Self::PrivateStdin => "private_stdin",
        }
    }
}

/// What a URL permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UrlPermit {
    /// To send the content of one file.
    Send { file: [u8; 16], kind: HostedFileKind, requester: RequesterAddress },
    /// To fetch the proof of one request.
    Fetch { request: [u8; 32] },
}

/// Why a URL permits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UrlPermitFault {
    /// This service did not make the URL.
    Unknown,
    /// The time of the URL has passed.
    Expired,
}

/// What makes two requests the same request.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestFacts<'a> {
    pub(super) requester: RequesterAddress,
    /// Hash of the program's verifying key.
    pub(super) program: &'a [u8; 32],
    /// Digest of the input.
    pub(super) input: &'a str,
    pub(super) mode: ProofMode,
    pub(super) deadline: u64,
    pub(super) cycle_limit: Option<u64>,
    pub(super) gas_limit: Option<u64>,
    /// Whether the client has marked its input as private.
    pub(super) private: bool,
}

/// Makes and checks URLs.
#[derive(Debug, Clone)]
pub(super) struct UrlPermitKey([u8; 32]);

impl UrlPermitKey {
    pub(super) const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Returns the secret part of a URL that is valid until `expires`, in seconds since 1970.
    pub(super) fn seal(&self, permit: &UrlPermit, expires: u64) -> String {
        let mut bytes = expires.to_be_bytes().to_vec();
        match permit {
            UrlPermit::Send { file, kind, requester } => {
                bytes.push(*kind as u8);
                bytes.extend(file);
                bytes.extend(requester.0);
            }
            UrlPermit::Fetch { request } => bytes.extend(request),
        }
        let code = blake3::keyed_hash(&self.0, &bytes);
        bytes.extend(code.as_bytes());
        to_hex(&bytes)
    }

    /// Returns what the URL with the secret part `text` permits at `now`.
    pub(super) fn open(&self, text: &str, now: u64) -> Result<UrlPermit, UrlPermitFault> {
        const SEND: usize = 8 + 1 + 16 + 20;
        const FETCH: usize = 8 + 32;
        let unknown = UrlPermitFault::Unknown;
        // The two kinds differ in their length, which is a part of what the code covers.
        let (expires, permit) = match text.len() / 2 {
            length if length == SEND + CODE_BYTES => {
                let bytes: [u8; SEND + CODE_BYTES] = from_hex(text).ok_or(unknown)?;
                let rest = self.checked(&bytes)?;
                let kind = HostedFileKind::ALL.into_iter().find(|kind| *kind as u8 == rest[8]).ok_or(unknown)?;
                let file = rest[9..25].try_into().expect("16 bytes");
                let requester = RequesterAddress(rest[25..SEND].try_into().expect("20 bytes"));
                (expiry(rest), UrlPermit::Send { file, kind, requester })
            }
            length if length == FETCH + CODE_BYTES => {
                let bytes: [u8; FETCH + CODE_BYTES] = from_hex(text).ok_or(unknown)?;
                let rest = self.checked(&bytes)?;
                (expiry(rest), UrlPermit::Fetch { request: rest[8..FETCH].try_into().expect("32 bytes") })
            }
            _ => return Err(unknown),
        };
        if now < expires { Ok(permit) } else { Err(UrlPermitFault::Expired) }
    }

    /// Returns the id of a request. Equal requests of one requester have the same id. Only this service can compute it.
    pub(super) fn request_id(&self, facts: &RequestFacts<'_>) -> [u8; 32] {
        let RequestFacts { requester, program, input, mode, deadline, cycle_limit, gas_limit, private } = *facts;
        let mut bytes = b"request".to_vec();
        bytes.extend(requester.0);
        bytes.extend(program);
        bytes.extend(deadline.to_be_bytes());
        bytes.extend(cycle_limit.unwrap_or(u64::MAX).to_be_bytes());
        // The digest has a fixed length, and no name of a mode contains a zero.
        bytes.extend(input.as_bytes());
        bytes.extend(mode.name().as_bytes());
        if let Some(limit) = gas_limit {
            bytes.push(0);
            bytes.extend(limit.to_be_bytes());
        }
        if private {
            bytes.push(1);
        }
        *blake3::keyed_hash(&self.0, &bytes).as_bytes()
    }

    /// Returns `bytes` without the code at their end, if the code is right.
    fn checked<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], UrlPermitFault> {
        let (rest, code) = bytes.split_at(bytes.len() - CODE_BYTES);
        let code = blake3::Hash::from_bytes(code.try_into().expect("32 bytes"));
        // The comparison of two hashes takes the same time for all values.
        if blake3::keyed_hash(&self.0, rest) == code { Ok(rest) } else { Err(UrlPermitFault::Unknown) }
    }
}

fn expiry(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(kind: HostedFileKind) -> UrlPermit {
        UrlPermit::Send { file: [3; 16], kind, requester: RequesterAddress([4; 20]) }
    }

    #[test]
    fn url_permits_what_it_was_made_for_until_it_expires() {
        let key = UrlPermitKey::new([1; 32]);
        let fetch = UrlPermit::Fetch { request: [5; 32] };
        let all = HostedFileKind::ALL.map(send).into_iter().chain([fetch]);
        for permit in all {
            let text = key.seal(&permit, 100);
            assert_eq!(key.open(&text, 99), Ok(permit));
            assert_eq!(key.open(&text, 100), Err(UrlPermitFault::Expired));
            assert_eq!(UrlPermitKey::new([2; 32]).open(&text, 99), Err(UrlPermitFault::Unknown));
        }
    }

    #[test]
    fn request_has_the_same_id_only_if_all_its_facts_are_the_same() {
        let key = UrlPermitKey::new([1; 32]);
        let input = "0a".repeat(32);
        let facts = RequestFacts {
            requester: RequesterAddress([4; 20]),
            program: &[5; 32],
            input: &input,
            mode: ProofMode::Core,
            deadline: 100,
            cycle_limit: None,
            gas_limit: None,
            private: false,
        };
        let other = [
            RequestFacts { requester: RequesterAddress([5; 20]), ..facts },
            RequestFacts { program: &[6; 32], ..facts },
            RequestFacts { input: &input.replace('a', "b"), ..facts },
            RequestFacts { mode: ProofMode::Compressed, ..facts },
            RequestFacts { deadline: 101, ..facts },
            RequestFacts { cycle_limit: Some(7), ..facts },
            RequestFacts { gas_limit: Some(7), ..facts },
            RequestFacts { gas_limit: Some(8), ..facts },
            RequestFacts { private: true, ..facts },
            RequestFacts { gas_limit: Some(7), private: true, ..facts },
        ];
        let ids: Vec<_> = other.iter().chain([&facts]).map(|facts| key.request_id(facts)).collect();
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id), "fact {at} does not count");
        }
        assert_eq!(Some(&key.request_id(&facts)), ids.last());
        assert_ne!(Some(&UrlPermitKey::new([2; 32]).request_id(&facts)), ids.last());
    }

    #[test]
    fn changed_url_permits_nothing() {
        let key = UrlPermitKey::new([1; 32]);
        let text = key.seal(&send(HostedFileKind::Stdin), 100);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key.open(&changed, 0), Err(UrlPermitFault::Unknown), "digit {at}");
        }
        for text in ["", "0", &text[2..], &format!("{text}00"), &"é".repeat(text.len() / 2)] {
            assert_eq!(key.open(text, 0), Err(UrlPermitFault::Unknown), "{text}");
        }
    }
}
