//! Keeps SP1's helper program in the temporary folder.
//!
//! SP1 writes the helper once per process, and never looks again whether it is still there. But cleaners remove files
//! from temporary folders that were not changed for some days, typically ten. So this module keeps the content of the
//! helper that an execution has used, as an open file, and writes it again. An execution can end before its process is
//! seen. Then all helpers in the folder are kept.

use rustix::{
    fs::{Mode, OFlags, mkdir},
    io::Errno,
    process::geteuid,
};
use sp1d_orchestrator::ProofFailure;
use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, Seek},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// How the names of the helpers of all SP1 versions start.
pub(super) const NAME_START: &str = "sp1-native-runner-bin-";

/// Most helpers that are kept.
const MAX_HELPERS: usize = 16;

/// The helpers that this process may use. Empty until the first execution.
static HELPERS: Mutex<Vec<HelperProgram>> = Mutex::new(Vec::new());

/// What the kernel appends to the path of a file that was removed.
const DELETED: &str = " (deleted)";

/// A program file, and its content.
#[derive(Debug)]
struct HelperProgram {
    path: PathBuf,
    /// The content stays available when the file is removed.
    content: File,
}

impl HelperProgram {
    /// Returns the program that the process `id` runs, or `None` if that is unknown.
    fn of(id: i32) -> Option<Self> {
        let link = format!("/proc/{id}/exe");
        let path = fs::read_link(&link).ok()?;
        let content = File::open(&link).ok()?;
        let path = path.to_str()?;
        Some(Self { path: path.strip_suffix(DELETED).unwrap_or(path).into(), content })
    }

    /// Returns the program in the file `path`, or `None` if another user may have placed the file.
    fn in_file(path: PathBuf) -> Option<Self> {
        // Neither follow a link nor wait for the writer of a pipe: other users may have placed them.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let content = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(&path).ok()?;
        let found = content.metadata().ok()?;
        (found.is_file() && is_trusted(&found)).then_some(Self { path, content })
    }

    /// Writes the program again if its file is gone. Returns true if it was.
    ///
    /// Fails if another user may have placed the file, or can replace it. After a cleaner has removed the file and its
    /// folder, other users can create both.
    fn restore(&self) -> io::Result<bool> {
        if let Some(folder) = self.path.parent() {
            restore_folder(folder)?;
            if is_private(folder) {
                check_private(folder)?;
            }
        }
        match fs::symlink_metadata(&self.path) {
            Ok(found) if is_trusted(&found) || self.is_same(&found)? => return Ok(false),
            Ok(_) => return Err(io::Error::other("the file belongs to another user")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut written = self.path.clone().into_os_string();
        written.push(format!(".tmp.{}", std::process::id()));
        let written = PathBuf::from(written);
        // A file of an earlier try would have unknown content.
        let _ = fs::remove_file(&written);
        let mut file = File::options().write(true).create_new(true).mode(0o755).open(&written)?;
        let mut content = &self.content;
        let outcome = content.rewind().and_then(|()| io::copy(&mut content, &mut file));
        // The kernel does not run a file that is open for writing.
        drop(file);
        let outcome = outcome.and_then(|_| fs::rename(&written, &self.path));
        if outcome.is_err() {
            let _ = fs::remove_file(&written);
        }
        outcome.map(|()| true)
    }

    /// Returns true if `found` is the file that an earlier execution has run.
    fn is_same(&self, found: &Metadata) -> io::Result<bool> {
        let content = self.content.metadata()?;
        Ok((content.dev(), content.ino()) == (found.dev(), found.ino()))
    }
}

/// Remembers the helper that `child` runs, if none is known.
pub(super) fn remember(child: i32) {
    let mut helpers = HELPERS.lock().unwrap_or_else(PoisonError::into_inner);
    if helpers.is_empty() {
        helpers.extend(HelperProgram::of(child));
    }
}

/// Remembers the helpers in `folder`, if none is known. The name does not say which of them this process runs.
pub(super) fn remember_in(folder: &Path) {
    let mut helpers = HELPERS.lock().unwrap_or_else(PoisonError::into_inner);
    if helpers.is_empty() {
        *helpers = helpers_in(folder);
    }
}

fn helpers_in(folder: &Path) -> Vec<HelperProgram> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = files.filter(|file| is_helper(&file.file_name()));
    named.filter_map(|file| HelperProgram::in_file(file.path())).take(MAX_HELPERS).collect()
}

/// Returns true if `name` is that of a helper. SP1 writes a helper under another name first, with `.tmp.` in it.
fn is_helper(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(NAME_START) && !name.contains(".tmp."))
}

/// Writes the helpers of this process again if they are gone. Fails if no execution can use them safely.
pub(super) fn restore() -> Result<(), ProofFailure> {
    for helper in &*HELPERS.lock().unwrap_or_else(PoisonError::into_inner) {
        let path = helper.path.display();
        match helper.restore() {
            Ok(false) => {}
            Ok(true) => tracing::warn!(%path, "the executor's program was removed, and is written again"),
            // The next try may find the file, or space for it.
            Err(error) => {
                return Err(ProofFailure::Interrupted(format!(
                    "this machine cannot use the program of the executor at {path}: {error}\n\
                     hint: let `TMPDIR` name a folder that only this user can write to"
                )));
            }
        }
    }
    Ok(())
}

/// Creates `folder` again if it is this user's private temporary folder, and was removed.
pub(super) fn restore_folder(folder: &Path) -> io::Result<()> {
    if !is_private(folder) || folder.exists() {
        return Ok(());
    }
    match mkdir(folder, Mode::RWXU) {
        // Another process of this user may have created it meanwhile.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if `folder` has the name of this user's private temporary folder.
fn is_private(folder: &Path) -> bool {
    folder.ends_with(format!("sp1d-{}", geteuid().as_raw()))
}

fn check_private(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() && is_trusted(&found) && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::other("other users can write to its folder"))
}

/// Returns true if `found` belongs to this user or to root.
fn is_trusted(found: &Metadata) -> bool {
    found.uid() == geteuid().as_raw() || found.uid() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::Permissions,
        os::unix::fs::{PermissionsExt, symlink},
        process::{Command, Stdio},
        sync::MutexGuard,
    };

    /// Held by each test. A program cannot start while a process that another test forks has its file open for writing.
    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a copy of a program in `folder`, and returns what is known of it.
    fn helper_in(folder: &Path) -> HelperProgram {
        let program = folder.join("helper");
        fs::copy("/bin/cat", &program).unwrap();
        let mut process = Command::new(&program).stdin(Stdio::piped()).spawn().unwrap();
        let helper = HelperProgram::of(process.id().try_into().unwrap()).unwrap();
        drop(process.stdin.take());
        process.wait().unwrap();
        assert_eq!(helper.path, program);
        helper
    }

    fn check_runs(helper: &HelperProgram) {
        assert!(Command::new(&helper.path).stdin(Stdio::null()).status().unwrap().success());
    }

    #[test]
    fn a_removed_helper_is_written_again() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let helper = helper_in(folder.path());
        assert!(!helper.restore().unwrap());
        for _ in 0..2 {
            fs::remove_file(&helper.path).unwrap();
            assert!(helper.restore().unwrap());
            check_runs(&helper);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a file was left behind");
    }

    #[test]
    fn helpers_are_found_without_a_process() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "b.tmp.7"].map(|end| format!("{NAME_START}{end}")) {
            fs::copy("/bin/cat", folder.path().join(name)).unwrap();
        }
        fs::copy("/bin/cat", folder.path().join("another")).unwrap();
        // Neither waited for nor read.
        let pipe = folder.path().join(format!("{NAME_START}pipe"));
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        // What a link points to may belong to another program.
        symlink("/bin/cat", folder.path().join(format!("{NAME_START}link"))).unwrap();
        let mut helpers = helpers_in(folder.path());
        helpers.sort_by(|one, other| one.path.cmp(&other.path));
        let paths: Vec<&PathBuf> = helpers.iter().map(|helper| &helper.path).collect();
        let expected = ["a", "b"].map(|end| folder.path().join(format!("{NAME_START}{end}")));
        assert_eq!(paths, expected.iter().collect::<Vec<_>>());
        for helper in &helpers {
            fs::remove_file(&helper.path).unwrap();
            assert!(helper.restore().unwrap());
            check_runs(helper);
        }
        assert!(helpers_in(&folder.path().join("missing")).is_empty());
    }

    #[test]
    fn a_removed_private_folder_is_created_again() {
        let _alone = alone();
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join(format!("sp1d-{}", geteuid().as_raw()));
        fs::create_dir(&folder).unwrap();
        let helper = helper_in(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert!(helper.restore().unwrap());
        check_runs(&helper);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_not_used() {
        let _alone = alone();
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join(format!("sp1d-{}", geteuid().as_raw()));
        fs::create_dir(&folder).unwrap();
        let helper = helper_in(&folder);
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        helper.restore().unwrap_err();
        fs::remove_file(&helper.path).unwrap();
        helper.restore().unwrap_err();
        assert!(!helper.path.exists(), "the program was written");
        // A link to a folder of the user.
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::remove_dir(&folder).unwrap();
        symlink(&other, &folder).unwrap();
        helper.restore().unwrap_err();
    }

    #[test]
    fn another_folder_is_not_created() {
        let _alone = alone();
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("other");
        fs::create_dir(&folder).unwrap();
        let helper = helper_in(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert!(helper.restore().is_err());
    }
}
