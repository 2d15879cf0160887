//! Stores verifying keys on disk, by the digest of their program.
//!
//! Computing a key takes seconds, and up to half a minute for a large program. The files must be as trusted as the
//! program that reads them: a user with write access to the folder can change the keys that proofs are verified
//! against. Files that were truncated or changed by accident are detected and ignored.

use crate::{identity::build_identity, program::ProgramShape};
use serde::{Deserialize, Serialize};
use sp1_hypercube::SP1VerifyingKey;
use sp1d_artifacts::Digest;
use std::{
    env, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// What setting up a program has computed: its verifying key and its shape.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KnownProgram {
    pub(super) key: SP1VerifyingKey,
    pub(super) shape: ProgramShape,
}

/// Largest key file that is read. A real file has some hundreds of bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Most files in a folder. A full folder takes no further keys.
const MAX_FILES: usize = 10_000;

/// Returns the user's default folder for keys: `sp1-distributed/keys` in `XDG_CACHE_HOME`, or in `~/.cache` if that is
/// not set. Returns `None` if `HOME` is not set either.
#[must_use]
pub fn default_key_folder() -> Option<PathBuf> {
    let set = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("sp1-distributed").join("keys"))
}

/// A folder of verifying keys. With `None`, no key is stored.
#[derive(Debug, Clone)]
pub(super) struct KeyFolder(Option<PathBuf>);

impl KeyFolder {
    /// Uses the subfolder of `folder` for this version of SP1, so that versions do not share keys.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        let build = build_identity();
        let version: String = format!("{}-{}-{}", build.sp1_version, build.circuit_version, build.features.join("-"))
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || ['.', '-'].contains(letter))
            .collect();
        Self(folder.map(|folder| folder.join(version)))
    }

    /// Returns the stored key and shape of the program with this digest. Blocks for a moment.
    pub(super) fn load(&self, program: Digest) -> Option<KnownProgram> {
        let path = self.0.as_ref()?.join(program.to_string());
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        let (content, check) = bytes.split_last_chunk::<32>()?;
        if checksum(program, content).as_bytes() != check {
            tracing::warn!(%program, "stored verifying key is damaged, computing it again");
            return None;
        }
        bincode::deserialize(content).ok()
    }

    /// Stores the key and shape of a program. Logs a warning if that fails. Blocks for a moment.
    pub(super) fn store(&self, program: Digest, known: &KnownProgram) {
        let Some(folder) = &self.0 else { return };
        if let Err(error) = store(folder, program, known) {
            tracing::warn!(folder = %folder.display(), %error, "cannot store a verifying key");
        }
    }
}

fn checksum(program: Digest, content: &[u8]) -> Digest {
    Digest::of(&[program.as_bytes().as_slice(), content].concat())
}

fn store(folder: &Path, program: Digest, known: &KnownProgram) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if fs::read_dir(folder)?.count() >= MAX_FILES {
        return Err(io::Error::other(format!("the folder already has {MAX_FILES} keys: empty it")));
    }
    let mut bytes = bincode::serialize(known).map_err(io::Error::other)?;
    bytes.extend(checksum(program, &bytes).as_bytes());
    // Two processes may store the same key at the same time. A file gets its final name only after it is complete.
    let partial = folder.join(format!("{program}.{}.partial", std::process::id()));
    let mut file = fs::File::create(&partial)?;
    let written = file.write_all(&bytes).and_then(|()| fs::rename(&partial, folder.join(program.to_string())));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}
