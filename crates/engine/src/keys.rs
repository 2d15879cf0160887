//! Verifying keys that are kept on disk, by the digest of their program.
//!
//! Computing a key takes seconds, up to half a minute for a large program. The files are as trusted as the program that
//! reads them: whoever may write to the folder may change what proofs are verified against. A file that was cut off or
//! changed by accident is noticed and ignored.

use crate::{identity::build_identity, program::ProgramSize};
use artifacts::Digest;
use serde::{Deserialize, Serialize};
use sp1_hypercube::SP1VerifyingKey;
use std::{
    env, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// What is known of a program that was set up.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KnownProgram {
    pub(crate) key: SP1VerifyingKey,
    pub(crate) size: ProgramSize,
}

/// A file has some hundreds of bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Keys that a folder may have; beyond, none is added.
const MAX_FILES: usize = 10_000;

/// Where keys are kept for a user: `sp1-distributed/keys` in `XDG_CACHE_HOME`, else in `~/.cache`. `None` if neither is
/// set.
#[must_use]
pub fn default_key_folder() -> Option<PathBuf> {
    let set = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("sp1-distributed").join("keys"))
}

/// A folder of keys. Without one, nothing is kept.
#[derive(Debug, Clone)]
pub(crate) struct KeyFolder(Option<PathBuf>);

impl KeyFolder {
    /// Keys of this version of SP1 are in a folder of their own.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        let build = build_identity();
        let version: String = format!("{}-{}-{}", build.sp1_version, build.circuit_version, build.features.join("-"))
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || ['.', '-'].contains(letter))
            .collect();
        Self(folder.map(|folder| folder.join(version)))
    }

    /// What is known of the program with this digest. Blocks for a moment.
    pub(crate) fn load(&self, program: Digest) -> Option<KnownProgram> {
        let path = self.0.as_ref()?.join(program.to_string());
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        let (content, check) = bytes.split_last_chunk::<32>()?;
        if checksum(program, content).as_bytes() != check {
            tracing::warn!(%program, "a verifying key on disk is damaged: it is computed again");
            return None;
        }
        bincode::deserialize(content).ok()
    }

    /// Keeps what is known of a program. Blocks for a moment.
    pub(crate) fn store(&self, program: Digest, known: &KnownProgram) {
        let Some(folder) = &self.0 else { return };
        if let Err(error) = store(folder, program, known) {
            tracing::warn!(folder = %folder.display(), %error, "a verifying key cannot be kept: it is computed again next time");
        }
    }
}

fn checksum(program: Digest, content: &[u8]) -> Digest {
    Digest::of(&[program.as_bytes().as_slice(), content].concat())
}

fn store(folder: &Path, program: Digest, known: &KnownProgram) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if fs::read_dir(folder)?.count() >= MAX_FILES {
        return Err(io::Error::other(format!("it has {MAX_FILES} keys already; empty it")));
    }
    let mut bytes = bincode::serialize(known).map_err(io::Error::other)?;
    bytes.extend(checksum(program, &bytes).as_bytes());
    // Two processes may write at the same time; each file is whole when it gets its name.
    let partial = folder.join(format!("{program}.{}.partial", std::process::id()));
    let mut file = fs::File::create(&partial)?;
    let written = file.write_all(&bytes).and_then(|()| fs::rename(&partial, folder.join(program.to_string())));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}
