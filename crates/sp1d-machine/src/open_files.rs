//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Maximum number of open files that [`raise_open_files`] asks for. More are of no use, and some programs take long to
/// start if the limit is huge, because they close all possible files.
const MAX_OPEN_FILES: u64 = 65_536;

/// Raises the number of files that this process may open as far as the system allows, up to 65,536. Most systems start
/// a process with 1024 and allow more. Child processes inherit the limit. Returns the number that applies now.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX);
    let wanted = maximum.unwrap_or(u64::MAX).min(MAX_OPEN_FILES);
    if current >= wanted {
        return current;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    if raised.is_ok() { wanted } else { current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_once() {
        let raised = raise_open_files();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), raised);
        assert_eq!(raise_open_files(), raised);
    }
}
