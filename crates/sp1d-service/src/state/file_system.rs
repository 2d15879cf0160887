//! Which file systems are safe for the database.
//!
//! SQLite's write-ahead log has an index in memory that all processes share through a file. The file systems of
//! networks do not keep such memory the same on two machines, and some do not keep locks either. See
//! <https://www.sqlite.org/wal.html> and <https://www.sqlite.org/howtocorrupt.html>, section 2.1.

use std::path::Path;

/// A file system that is not only on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileSystemRisk {
    /// The kind of the file system, with an article.
    pub(super) kind: &'static str,
    /// True if the database can be damaged although only one machine uses it. False if it is safe for one machine.
    pub(super) damages: bool,
}

/// Returns the risk of the file system with the folder `path`; `None` if it has none, or if the system call fails.
pub(super) fn risk_of(path: &Path) -> Option<FileSystemRisk> {
    let described = rustix::fs::statfs(path).ok()?;
    // The kernel's numbers have 32 bits; the field has more on some processors, and a sign on others.
    judge(described.f_type as u32)
}

/// Judges the file system whose number is `magic`. See statfs(2).
const fn judge(magic: u32) -> Option<FileSystemRisk> {
    let (kind, damages) = match magic {
        0x6969 => ("NFS", true),
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => ("an SMB share", true),
        0x5346_414F | 0x6B41_4653 => ("AFS", true),
        0x7375_7245 => ("Coda", true),
        0x564C => ("NCP", true),
        0x00C3_6400 => ("CephFS", false),
        0x0BD0_0BD0 => ("Lustre", false),
        0x4750_4653 => ("GPFS", false),
        0x0116_1970 => ("GFS2", false),
        0x7461_636F => ("OCFS2", false),
        0x0102_1997 => ("9p", false),
        0x6573_5546 => ("a FUSE file system", false),
        _ => return None,
    };
    Some(FileSystemRisk { kind, damages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(magic: u32, expected: Option<(&'static str, bool)>) {
        assert_eq!(judge(magic), expected.map(|(kind, damages)| FileSystemRisk { kind, damages }), "{magic:x}");
    }

    #[test]
    fn local_file_systems_are_safe_and_network_file_systems_are_not() {
        // ext4, XFS, Btrfs, tmpfs, overlayfs, ZFS.
        for magic in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1] {
            check(magic, None);
        }
        check(0x6969, Some(("NFS", true)));
        check(0xFF53_4D42, Some(("an SMB share", true)));
        check(0xFE53_4D42, Some(("an SMB share", true)));
        check(0x00C3_6400, Some(("CephFS", false)));
        check(0x6573_5546, Some(("a FUSE file system", false)));
    }

    #[test]
    fn the_memory_file_system_of_the_kernel_has_no_risk() {
        assert_eq!(risk_of(Path::new("/proc/self")), None);
        assert_eq!(risk_of(Path::new("/dev/shm")), None);
    }
}
