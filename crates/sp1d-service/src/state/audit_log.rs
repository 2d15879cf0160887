//! The audit log: who did what, one JSON object on each line.

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::Serialize;
use sp1d_model::Moment;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

sp1d_model::limits! {
    /// Size of the audit log at which a new file starts.
    pub(crate) const MAX_AUDIT_BYTES: u64 = 16 << 20; Bytes by Client;
    /// Number of older files of the audit log that are kept.
    const MAX_OLD_AUDIT_FILES: usize = 4; Count by Client;
    /// Maximum length of a path and of a method in the audit log, in characters.
    const MAX_AUDIT_TEXT: usize = 200; Count by Client;
    /// Maximum number of refused requests of one token in the audit log within a minute.
    const MAX_AUDITED_REFUSALS: u32 = 20; Count by Client;
}

/// Name of the current file.
const NAME: &str = "audit.log";

/// A request in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AuditEntry {
    pub(crate) at: Moment,
    /// Name of the token, or who else has made the change.
    pub(crate) token: String,
    pub(crate) tenant: String,
    /// The client: an IPv4 address or a /64 network of IPv6 addresses. Behind a proxy, it is that of the proxy.
    pub(crate) from: Option<String>,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Id of the proof, program or input that the request has made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
    /// HTTP status of the response. `None` for a command, and if the client left before the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
}

impl AuditEntry {
    /// Returns the entry for a command on the machine of the service, which has changed `object`. No token has the name
    /// in the entry.
    pub(crate) fn of_command(at: Moment, command: &str, tenant: String, object: Option<String>) -> Self {
        let (token, method) = ("(machine)".to_owned(), "COMMAND".to_owned());
        Self { at, token, tenant, from: None, method, path: command.to_owned(), object, status: None }
    }
}

/// The audit log in a folder.
#[derive(Debug)]
pub(crate) struct AuditLog {
    folder: PathBuf,
    max_bytes: u64,
    /// Held while a line is written, so that the lines of this process do not mix.
    writing: Mutex<()>,
    /// The current minute, and how many requests of each token were refused in it.
    refusals: Mutex<(i64, BTreeMap<String, u32>)>,
    /// Whether the last write failed, so that a full disk is logged once.
    has_failed: AtomicBool,
}

impl AuditLog {
    /// Writes to the file `audit.log` in `folder`. Creates no file yet.
    pub(crate) fn new(folder: &Path, max_bytes: u64) -> Self {
        let (folder, has_failed) = (folder.to_owned(), AtomicBool::new(false));
        Self { folder, max_bytes, writing: Mutex::default(), refusals: Mutex::default(), has_failed }
    }

    /// Appends a line, except for the refused requests of a token that has many of them. Logs the first failure after a
    /// success: a request that was made cannot be undone. Blocks.
    pub(crate) fn append(&self, entry: AuditEntry) {
        if !self.is_recorded(&entry) {
            return;
        }
        let (method, path) = (shorten(&entry.method), shorten(&entry.path));
        let written = self.write(&AuditEntry { method, path, ..entry });
        let has_failed = written.is_err();
        if let Err(error) = written
            && !self.has_failed.load(Ordering::Relaxed)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot write the audit log");
        }
        self.has_failed.store(has_failed, Ordering::Relaxed);
    }

    /// Returns false for the refused requests of a token beyond the first ones of a minute. Otherwise, any token could
    /// push the lines of all others out of the log within seconds.
    fn is_recorded(&self, entry: &AuditEntry) -> bool {
        let is_refusal = entry.status.is_some_and(|status| (400..500).contains(&status));
        if !is_refusal {
            return true;
        }
        let minute = entry.at.0.div_euclid(60_000);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.0 != minute {
            *refusals = (minute, BTreeMap::new());
        }
        let count = refusals.1.entry(entry.token.clone()).or_default();
        *count = count.saturating_add(1);
        *count <= MAX_AUDITED_REFUSALS
    }

    fn write(&self, entry: &AuditEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_full(line.len()) {
            self.rotate(line.len())?;
        }
        // Opened for each line: an operator may move the file away.
        let mut file = File::options().create(true).append(true).mode(0o600).open(self.folder.join(NAME))?;
        self.give_to_owner(&file)?;
        file.write_all(&line)
    }

    /// Returns true if a further line of `bytes` bytes belongs into a new file.
    fn is_full(&self, bytes: usize) -> bool {
        let length = fs::metadata(self.folder.join(NAME)).map_or(0, |found| found.len());
        length > 0 && length.saturating_add(bytes as u64) > self.max_bytes
    }

    /// Gives a file that the superuser has created to the owner of the folder, who runs the service.
    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        let (owner, found) = (fs::metadata(&self.folder)?, file.metadata()?);
        if owner.uid() != found.uid() {
            fchown(file, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    }

    /// Renames the files, so that a new one starts for a line of `bytes` bytes. The oldest one is replaced. Commands
    /// write to the log too: if another process is renaming the files, or has just done it, this one does not.
    fn rotate(&self, bytes: usize) -> io::Result<()> {
        // The lock ends when the folder is closed.
        let folder = File::open(&self.folder)?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(()),
            locked => locked?,
        }
        if !self.is_full(bytes) {
            return Ok(());
        }
        let old = |number: usize| self.folder.join(format!("{NAME}.{number}"));
        for number in (1..MAX_OLD_AUDIT_FILES).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(self.folder.join(NAME), old(1))
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_AUDIT_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    fn entry(path: &str) -> AuditEntry {
        AuditEntry {
            at: Moment(0),
            token: "one".to_owned(),
            tenant: "team".to_owned(),
            from: Some("10.0.0.1".to_owned()),
            method: "POST".to_owned(),
            path: path.to_owned(),
            object: None,
            status: Some(201),
        }
    }

    #[test]
    fn each_request_is_one_line_that_only_the_owner_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::new(folder.path(), 10_000);
        log.append(entry("/a\nb"));
        log.append(entry(&"x".repeat(5000)));
        let path = folder.path().join(NAME);
        let content = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["path"], &lines[0]["token"]), (&json!("/a\nb"), &json!("one")));
        assert_eq!(lines[1]["path"].as_str().unwrap().len(), MAX_AUDIT_TEXT);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn command_has_no_client_and_no_status() {
        let entry = AuditEntry::of_command(Moment(0), "sp1d tokens revoke", "team".to_owned(), Some("ci".to_owned()));
        let expected = json!({
            "at": "1970-01-01T00:00:00.000Z", "token": "(machine)", "tenant": "team", "from": null,
            "method": "COMMAND", "path": "sp1d tokens revoke", "object": "ci"
        });
        assert_eq!(serde_json::to_value(entry).unwrap(), expected);
        assert!("(machine)".parse::<crate::access::ApiTokenName>().is_err(), "no token has this name");
    }

    #[test]
    fn old_files_are_kept_up_to_a_number() {
        let folder = tempfile::tempdir().unwrap();
        // Each line is longer than half of a file.
        let log = AuditLog::new(folder.path(), 200);
        for number in 0..9 {
            log.append(entry(&format!("/{number}")));
        }
        let of = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1 + MAX_OLD_AUDIT_FILES);
        assert!(of(NAME).contains("/8") && of("audit.log.1").contains("/7") && of("audit.log.4").contains("/4"));
    }

    #[test]
    fn files_are_renamed_once_if_a_command_and_the_service_find_them_full() {
        let folder = tempfile::tempdir().unwrap();
        let [service, command] = [AuditLog::new(folder.path(), 200), AuditLog::new(folder.path(), 200)];
        let names = || {
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort_unstable();
            names
        };
        service.append(entry("/first"));
        // Longer than the rest of the file.
        let bytes = 200;
        assert!(service.is_full(bytes) && command.is_full(bytes));
        let renaming = File::open(folder.path()).unwrap();
        flock(&renaming, FlockOperation::NonBlockingLockExclusive).unwrap();
        service.rotate(bytes).unwrap();
        assert_eq!(names(), [NAME], "another process is renaming the files");
        drop(renaming);
        for log in [&service, &command] {
            log.rotate(bytes).unwrap();
            assert_eq!(names(), ["audit.log.1"]);
        }
        command.append(entry("/second"));
        let of = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(of("audit.log.1").contains("/first") && of(NAME).contains("/second"));
    }

    #[test]
    fn refused_requests_of_one_token_do_not_fill_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::new(folder.path(), 1 << 20);
        let refused = |token: &str, at: i64| {
            let entry = AuditEntry { at: Moment(at), token: token.to_owned(), ..entry("/refused") };
            log.append(AuditEntry { status: Some(403), ..entry });
        };
        let count = |text: &str| {
            let content = fs::read_to_string(folder.path().join(NAME)).unwrap();
            content.lines().filter(|line| line.contains(text)).count()
        };
        let max = usize::try_from(MAX_AUDITED_REFUSALS).unwrap();
        for _ in 0..max + 10 {
            refused("one", 0);
        }
        assert_eq!(count("/refused"), max);
        // All other requests are recorded: a change, a failure of the service, and a request whose client has left.
        for status in [Some(201), Some(500), None] {
            log.append(AuditEntry { status, ..entry("/other") });
        }
        assert_eq!(count("/other"), 3);
        refused("two", 0);
        assert_eq!(count("/refused"), max + 1, "another token has its own count");
        refused("one", 60_000);
        assert_eq!(count("/refused"), max + 2, "the next minute has its own count");
    }
}
