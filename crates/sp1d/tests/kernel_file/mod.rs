//! Programs on a machine of which the kernel reports something else.

use std::{ffi::OsStr, fs, process::Command};
use tempfile::TempDir;

/// A file of the kernel, and the content that a program finds in it.
pub(crate) struct KernelFile {
    path: &'static str,
    content: TempDir,
}

impl KernelFile {
    /// The description of this machine's processor, without AVX2.
    #[cfg(target_feature = "avx2")]
    pub(crate) fn without_avx2() -> Self {
        let path = "/proc/cpuinfo";
        Self::with(path, &fs::read_to_string(path).unwrap().replace(" avx2", ""))
    }

    /// The memory of a machine with 1 GB, too little to load a prover.
    pub(crate) fn of_a_small_machine() -> Self {
        Self::with("/proc/meminfo", "MemTotal: 1000000 kB\nMemFree: 900000 kB\nMemAvailable: 900000 kB\n")
    }

    fn with(path: &'static str, text: &str) -> Self {
        let content = tempfile::tempdir().unwrap();
        fs::write(content.path().join("file"), text).unwrap();
        Self { path, content }
    }

    /// Returns a command that runs `program` with this file, in a mount namespace of its own.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mount = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]);
        command.arg(self.content.path().join("file")).arg(self.path).arg(program);
        command
    }
}
