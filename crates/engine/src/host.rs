//! Can the executor run on this machine? It runs programs in a child process whose executable is unpacked into the
//! temporary folder and which shares memory through /dev/shm.

use rustix::{
    fs::{Access, StatVfsMountFlags, access, statvfs},
    process::geteuid,
};
use std::{
    env,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Why the executor cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The temporary folder cannot be written.
    #[error("the executor cannot write to the temporary folder {}: {reason}; set TMPDIR to a folder that can be written", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The temporary folder does not allow programs.
    #[error("the temporary folder {} is mounted noexec, and the executor starts a program from it; set TMPDIR to another folder", path.display())]
    NoExec {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else's program lies where the executor's helper is looked for.
    #[error("the executor would run {}, which belongs to another user; set TMPDIR to a folder of your own", path.display())]
    Foreign {
        /// The program.
        path: PathBuf,
    },
    /// There is no shared memory.
    #[error("the executor needs shared memory at /dev/shm, which cannot be used: {0}; mount a tmpfs there")]
    NoSharedMemory(String),
    /// There is too little of it.
    #[error(
        "the executor needs shared memory: /dev/shm has {free_mb} MB free, at least {} MB are needed and large programs need \
         some gigabytes; enlarge it (`mount -o remount,size=4G /dev/shm`, in containers --shm-size=4g)",
        LEAST_SHARED_BYTES >> 20
    )]
    LittleSharedMemory {
        /// Megabytes free.
        free_mb: u64,
    },
}

/// What the smallest program uses. Memory that turns out to be missing later kills the process that touches it, so look
/// first.
const LEAST_SHARED_BYTES: u64 = 32 << 20;

/// Checks what every execution needs.
///
/// # Errors
/// What is missing and the way out.
pub fn check_executor_host() -> Result<(), HostError> {
    check_temporary_folder(&env::temp_dir())?;
    check_shared_memory(Path::new("/dev/shm"))
}

/// Checks that programs can be written to the folder and started from it.
///
/// # Errors
/// What is missing and the way out.
pub fn check_temporary_folder(path: &Path) -> Result<(), HostError> {
    let unwritable =
        |reason: rustix::io::Errno| HostError::Unwritable { path: path.to_owned(), reason: reason.to_string() };
    access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(unwritable)?;
    let mount = statvfs(path).map_err(unwritable)?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(HostError::NoExec { path: path.to_owned() });
    }
    // SP1 runs whatever file of its helper's name it finds.
    for entry in path.read_dir().into_iter().flatten().flatten() {
        let foreign = |owner: u32| owner != 0 && owner != geteuid().as_raw();
        let owner = entry.metadata().map_or(0, |found| found.uid());
        if entry.file_name().to_string_lossy().starts_with("sp1-native-runner-bin-") && foreign(owner) {
            return Err(HostError::Foreign { path: entry.path() });
        }
    }
    Ok(())
}

/// Megabytes of shared memory that are free, when a large program can use up all of them: five trace chunks of a
/// quarter of a gigabyte, or two of two gigabytes where gas is estimated, and the program's own memory.
pub(crate) fn little_shared_memory() -> Option<u64> {
    const COMFORTABLE_BYTES: u64 = 5 << 30;
    let free = free_bytes(Path::new("/dev/shm")).ok()?;
    (free < COMFORTABLE_BYTES).then_some(free >> 20)
}

fn free_bytes(path: &Path) -> rustix::io::Result<u64> {
    let mount = statvfs(path)?;
    Ok(mount.f_bavail.saturating_mul(mount.f_frsize))
}

fn check_shared_memory(path: &Path) -> Result<(), HostError> {
    let missing = |reason: rustix::io::Errno| HostError::NoSharedMemory(reason.to_string());
    access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(missing)?;
    let free = free_bytes(path).map_err(missing)?;
    if free < LEAST_SHARED_BYTES {
        return Err(HostError::LittleSharedMemory { free_mb: free >> 20 });
    }
    Ok(())
}
