//! Checks whether SP1's executor can run on this machine. The executor runs each program in a child process. It unpacks
//! the executable of that process into the temporary folder and shares memory with it through `/dev/shm`.

use super::{helper, shared_memory::SharedMemorySize};
use rustix::{
    fs::{Access, StatVfsMountFlags, access, statvfs},
    process::geteuid,
};
use std::{
    env,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Why the executor cannot run on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The temporary folder is not writable.
    #[error(
        "the executor cannot write to the temporary folder {}: {reason}\n\
         hint: set `TMPDIR` to a writable folder",
        path.display()
    )]
    Unwritable {
        /// The temporary folder.
        path: PathBuf,
        /// The error message of the operating system.
        reason: String,
    },
    /// The temporary folder is on a file system that is mounted `noexec`.
    #[error(
        "the temporary folder {} is mounted noexec, and the executor has to start a program from it\n\
         hint: set `TMPDIR` to a folder on another file system",
        path.display()
    )]
    NoExec {
        /// The temporary folder.
        path: PathBuf,
    },
    /// A folder that must be private is not.
    #[error(
        "cannot trust the temporary folder {}: {reason}\n\
         hint: remove this folder, or set `TMPDIR` to another one",
        path.display()
    )]
    Untrusted {
        /// The folder.
        path: PathBuf,
        /// What is wrong with the folder.
        reason: String,
    },
    /// A program of another user has the name of the executor's helper program, so SP1 would run it.
    #[error(
        "the executor would run {}, which belongs to another user\n\
         hint: set `TMPDIR` to a folder of your own",
        path.display()
    )]
    Foreign {
        /// Path of the other user's program.
        path: PathBuf,
    },
    /// Shared memory at `/dev/shm` cannot be used. The text is the error message of the operating system.
    #[error("the executor cannot use shared memory at /dev/shm: {0}\nhint: mount a tmpfs at /dev/shm")]
    NoSharedMemory(String),
    /// `/dev/shm` has too little free space.
    #[error(
        "the executor needs at least {} MB of shared memory, and several GB for large programs; \
         /dev/shm has {free_mb} MB free\n\
         hint: enlarge it with `mount -o remount,size=6G /dev/shm`, or start the container with `--shm-size=6g`",
        MIN_SHARED_BYTES >> 20
    )]
    LittleSharedMemory {
        /// Free space in MiB.
        free_mb: u64,
    },
}

/// Shared memory that the smallest program uses. This is checked in advance because the kernel kills the process that
/// touches memory when `/dev/shm` is full.
const MIN_SHARED_BYTES: u64 = 32 << 20;

/// Checks that the temporary folder and `/dev/shm` are usable, and that an execution can start now.
///
/// # Errors
/// Fails with the first requirement that is not met. The message says what to do.
pub fn check_executor_host() -> Result<(), MachineError> {
    check_executor_folders()?;
    let free = free_bytes(Path::new("/dev/shm")).map_err(no_shared_memory)?;
    if free < MIN_SHARED_BYTES {
        return Err(MachineError::LittleSharedMemory { free_mb: free >> 20 });
    }
    Ok(())
}

/// Checks that the temporary folder and `/dev/shm` are usable. Every execution needs both. It waits for shared memory
/// that other executions use now.
///
/// # Errors
/// Fails with the first requirement that is not met. The message says what to do.
pub(crate) fn check_executor_folders() -> Result<(), MachineError> {
    let folder = env::temp_dir();
    if let Err(error) = helper::restore_folder(&folder) {
        tracing::debug!(%error, folder = %folder.display(), "cannot create the temporary folder again");
    }
    check_temporary_folder(&folder)?;
    access("/dev/shm", Access::WRITE_OK | Access::EXEC_OK).map_err(no_shared_memory)
}

/// Checks that programs can be written to the folder `path` and started from it.
///
/// # Errors
/// Fails with the first requirement that is not met. The message says what to do.
pub fn check_temporary_folder(path: &Path) -> Result<(), MachineError> {
    let unwritable =
        |reason: rustix::io::Errno| MachineError::Unwritable { path: path.to_owned(), reason: reason.to_string() };
    access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(unwritable)?;
    let mount = statvfs(path).map_err(unwritable)?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(MachineError::NoExec { path: path.to_owned() });
    }
    // SP1 runs any file that has the name of its helper program.
    for entry in path.read_dir().into_iter().flatten().flatten() {
        let foreign = |owner: u32| owner != 0 && owner != geteuid().as_raw();
        let owner = entry.metadata().map_or(0, |found| found.uid());
        if entry.file_name().to_string_lossy().starts_with(helper::NAME_START) && foreign(owner) {
            return Err(MachineError::Foreign { path: entry.path() });
        }
    }
    Ok(())
}

/// Returns the free shared memory in MiB if a large program could exhaust it, else `None`. A large program uses five
/// trace chunks of 256 MiB each, or two of 2 GiB each if gas is estimated, and its own memory.
pub(super) fn little_shared_memory() -> Option<u64> {
    const COMFORTABLE_BYTES: u64 = 5 << 30;
    let free = free_bytes(Path::new("/dev/shm")).ok()?;
    (free < COMFORTABLE_BYTES).then_some(free >> 20)
}

/// Returns the size of the shared memory. Returns `None` if it cannot be read.
pub(super) fn shared_memory_size() -> Option<SharedMemorySize> {
    let mount = statvfs(Path::new("/dev/shm")).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(mount.f_frsize);
    Some(SharedMemorySize { total_bytes: bytes(mount.f_blocks), free_bytes: bytes(mount.f_bavail) })
}

fn free_bytes(path: &Path) -> rustix::io::Result<u64> {
    let mount = statvfs(path)?;
    Ok(mount.f_bavail.saturating_mul(mount.f_frsize))
}

fn no_shared_memory(reason: rustix::io::Errno) -> MachineError {
    MachineError::NoSharedMemory(reason.to_string())
}
