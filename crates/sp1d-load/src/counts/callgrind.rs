//! Counts instructions with callgrind, a tool of valgrind.

use super::{counted_path::CountedPath, record::PathCount};
use anyhow::{Context, Result, bail, ensure};
use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Runs this program under callgrind.
pub(crate) struct Callgrind {
    /// This program.
    program: PathBuf,
    /// Where callgrind writes the profiles.
    folder: PathBuf,
}

impl Callgrind {
    /// Prepares the folder for the profiles, which is beside this program.
    ///
    /// # Errors
    /// Fails if the folder cannot be created.
    pub(crate) fn new() -> Result<Self> {
        let program = env::current_exe().context("cannot find the path of this program")?;
        let folder = program.with_file_name("profiles");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
        Ok(Self { program, folder })
    }

    /// Returns the profile of `path`, which `callgrind_annotate` shows.
    pub(crate) fn profile(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Counts the instructions of one repetition of `path`. The program runs twice, with a different number of
    /// repetitions, so that its start, the preparation of the path and its end do not count.
    ///
    /// # Errors
    /// Fails if valgrind is missing, or if the program fails.
    pub(crate) fn count(&self, path: CountedPath) -> Result<PathCount> {
        let repetitions = path.repetitions();
        let few = self.run(path, repetitions)?;
        let many = self.run(path, 2 * repetitions)?;
        let name = path.name();
        let more = many.checked_sub(few);
        let more = more.with_context(|| format!("{name}: more repetitions took fewer instructions: {many} < {few}"))?;
        Ok(PathCount { path: name.to_owned(), instructions: more / repetitions, tolerance: path.tolerance() })
    }

    /// Returns the instructions of the whole program.
    fn run(&self, path: CountedPath, repetitions: u64) -> Result<u64> {
        let (name, profile) = (path.name(), self.profile(path.name()));
        // The profile of an earlier run must not count as the one of this run.
        let _ = fs::remove_file(&profile);
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "-q"]).arg(format!("--callgrind-out-file={}", profile.display()));
        command.arg(&self.program).args(["counted", name, "--repetitions", &repetitions.to_string()]);
        let output = command
            .stdin(Stdio::null())
            .output()
            .context("cannot start valgrind\nhint: install it (Debian 12: apt-get install valgrind)")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("the path {name} failed under valgrind ({}): {}", output.status, text.trim());
        }
        let text = fs::read_to_string(&profile);
        let text = text.with_context(|| format!("cannot read the profile {}", profile.display()))?;
        let instructions = instructions_in(&text);
        instructions.with_context(|| format!("the profile {} contains no count", profile.display()))
    }
}

/// Returns the instructions in a profile of callgrind: the number of the line `totals: NUMBER`.
fn instructions_in(profile: &str) -> Option<u64> {
    profile.lines().rev().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
}

/// Returns the version of the compiler, as `rustc --version` prints it.
///
/// # Errors
/// Fails if the compiler does not start.
pub(crate) fn rustc_version() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("cannot start rustc")?;
    ensure!(output.status.success(), "`rustc --version` failed: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_its_count() {
        let profile = "# callgrind format\nevents: Ir\nsummary: 128549\n\nfn=(1) totals: 3\n16 3\ntotals: 128550\n";
        assert_eq!(instructions_in(profile), Some(128_550));
        assert_eq!(instructions_in("events: Ir\nsummary: 128549\n"), None);
        assert_eq!(instructions_in("totals: many\n"), None);
    }
}
