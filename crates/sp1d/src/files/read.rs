//! Files that the user names.

use crate::exit::CliError;
use anyhow::Result;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// Returns the content of a file that the user named. `what` describes the file in the error message.
pub(crate) fn read_file(path: &Path, what: &str) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| cannot_read(path, what, error).into())
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
    let program = read_file(path, "the program")?;
    if program.starts_with(b"\x7fELF") {
        return Ok(program);
    }
    let text = format!(
        "cannot prove the program {}: it is not an ELF file\nhint: build the program with `cargo prove build` and use \
         the file that it names",
        path.display()
    );
    Err(CliError::usage(text).into())
}

fn cannot_read(path: &Path, what: &str, reason: impl std::fmt::Display) -> CliError {
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
        assert!(text.contains("not an ELF file"), "{text}");
    }
}
