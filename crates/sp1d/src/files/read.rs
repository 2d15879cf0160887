//! Files that the user names.

use crate::exit::CliError;
use anyhow::Result;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// Where programs are after a build.
const PROGRAM_HINT: &str = "name the file of the program: `cargo prove build` writes it to \
                            target/elf-compilation/riscv64im-succinct-zkvm-elf/release/NAME, and `guests/build.sh` \
                            prints its path";

/// Returns the content of a file that the user named. `what` describes the file in the error message.
pub(crate) fn read_file(path: &Path, what: &str) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| cannot_read(path, what, error).into())
}

/// Returns the content of a program file, which is not checked.
pub(crate) fn read_program_file(path: &Path) -> Result<Vec<u8>> {
    let what = "the program";
    if path.is_dir() {
        let text = format!("cannot read {what} {}: it is a folder\nhint: {PROGRAM_HINT}", path.display());
        return Err(CliError::usage(text).into());
    }
    read_file(path, what)
}

/// Like [`read_file`], but with at most `max` bytes. The path `-` is standard input.
pub(crate) fn read_bounded(path: &Path, what: &str, max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(max + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| cannot_read(path, what, error))?;
    if bytes.len() as u64 > max {
        return Err(cannot_read(path, what, format!("it has more than {max} bytes")).into());
    }
    Ok(bytes)
}

/// Returns the content of a program file. Checks only that it is an ELF file: the service checks the rest.
pub(crate) fn read_elf(path: &Path) -> Result<Vec<u8>> {
    let program = read_program_file(path)?;
    if program.starts_with(b"\x7fELF") {
        return Ok(program);
    }
    let text = format!(
        "cannot use the program {}: it is not an ELF file\nhint: build the program with `cargo prove build` or \
         `guests/build.sh`, and use the file that it names",
        path.display()
    );
    Err(CliError::usage(text).into())
}

fn cannot_read(path: &Path, what: &str, reason: impl std::fmt::Display) -> CliError {
    if path.is_dir() {
        return CliError::usage(format!(
            "cannot read {what} {}: it is a folder\nhint: name a file in this folder",
            path.display()
        ));
    }
    CliError::usage(format!("cannot read {what} {}: {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_its_bound_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [7; 10]).unwrap();
        assert_eq!(read_bounded(file.path(), "the key", 10).unwrap(), [7; 10]);
        let text = read_bounded(file.path(), "the key", 9).unwrap_err().to_string();
        assert!(text.contains("the key") && text.contains("more than 9 bytes"), "{text}");
    }

    #[test]
    fn only_elf_files_are_programs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"\x7fELF...").unwrap();
        assert!(read_elf(file.path()).is_ok());
        fs::write(file.path(), "[]").unwrap();
        let text = read_elf(file.path()).unwrap_err().to_string();
        for part in ["cannot use the program", "not an ELF file", "`guests/build.sh`"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }

    #[test]
    fn a_folder_is_reported_with_the_file_to_name() {
        let folder = tempfile::tempdir().unwrap();
        let check = |outcome: Result<Vec<u8>>, parts: &[&str]| {
            let text = outcome.unwrap_err().to_string();
            for part in parts {
                assert!(text.contains(part), "no {part:?} in {text}");
            }
        };
        let path = folder.path();
        check(read_elf(path), &["cannot read the program", "it is a folder", "\nhint: ", "release/NAME", "build.sh"]);
        check(read_program_file(path), &["it is a folder", "release/NAME"]);
        check(read_file(path, "the input"), &["cannot read the input", "it is a folder\nhint: name a file"]);
        check(read_bounded(path, "the proof", 10), &["cannot read the proof", "it is a folder\nhint: name a file"]);
    }
}
