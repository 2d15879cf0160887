//! Restores a state folder from an archive.
//!
//! The database comes last, by renaming: an interrupted restore leaves a folder that no service starts with, and can be
//! repeated.

use super::{
    archiver::blob_name,
    copy_name::{CopyName, DATABASES},
    error::ArchiveError,
    limits::{MAX_DATABASE_BYTES, MAX_MANIFEST_BYTES},
    manifest::{ArchiveManifest, MANIFEST},
    place::ArchivePlace,
    record::ArchiveRecord,
    store::ArchiveStore,
};
use crate::state::{
    Blobs, Database, DiskSpace, ServiceClock, StateFolder, create_private_folder, is_digest, replace_durably,
    sync_folder,
};
use sp1d_model::Moment;
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of the file that marks a state folder whose restore is not complete.
pub(crate) const RESTORING: &str = "restoring";

/// Subfolder for the database until all other files are complete.
const UNFINISHED: &str = "restoring-database";

/// Entries of a folder that counts as empty: its lock, and what file systems create themselves.
const IGNORED: [&str; 2] = ["lock", "lost+found"];

/// What to restore.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The archive.
    pub place: ArchivePlace,
    /// The state folder, which must be empty or missing.
    pub state: PathBuf,
    /// Name of the copy, as [`archived_copies`] returns it; `None` for the latest one.
    pub copy: Option<String>,
    /// Whether to restore although files are missing in the archive.
    pub incomplete: bool,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Name of the copy.
    pub copy: String,
    /// When the copy was made.
    pub at: Moment,
    /// Number of restored programs, inputs and proofs.
    pub files: usize,
    /// Number of those that the archive lacks.
    pub missing: usize,
}

fn local(path: &Path) -> impl Fn(io::Error) -> ArchiveError + use<> {
    let path = path.to_owned();
    move |reason| ArchiveError::Local { path: path.clone(), reason }
}

/// Returns the names of the copies of the database in an archive, and when they were made, the oldest first.
/// `variable` returns variables of the environment, which have the settings of an object store.
///
/// # Errors
/// If the archive cannot be read.
pub async fn archived_copies(
    place: &ArchivePlace,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, Moment)>, ArchiveError> {
    let found = ArchiveStore::open(place, variable)?.list(DATABASES).await?;
    let mut copies: Vec<CopyName> = found.iter().filter_map(|name| name.parse().ok()).collect();
    copies.sort_unstable();
    Ok(copies.into_iter().map(|copy| (copy.to_string(), copy.at)).collect())
}

/// Restores a state folder. Everything is compared with its digest. Blocks on disk access.
///
/// # Errors
/// If the folder is not empty, or if the archive cannot be read, is damaged, or is incomplete.
pub async fn restore(
    request: &RestoreRequest,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Restored, ArchiveError> {
    let RestoreRequest { place, state, .. } = request;
    let store = ArchiveStore::open(place, variable)?;
    let manifest = read_manifest(&store, place).await?;
    let name = request.copy.clone().or_else(|| manifest.database.clone());
    let name = name.ok_or_else(|| ArchiveError::Empty { place: place.clone() })?;
    let invalid =
        |()| ArchiveError::Damaged { name: name.clone(), reason: "is not a valid copy of a database".to_owned() };
    let copy: CopyName = name.parse().map_err(invalid)?;
    let folder = StateFolder::take(state)?;
    check_empty(folder.path())?;
    replace_durably(folder.path(), RESTORING, &[]).map_err(local(state))?;
    let unfinished = folder.join(UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(local(&unfinished))?;
    }
    create_private_folder(&unfinished).map_err(local(&unfinished))?;
    let database = unfinished.join("service.db");
    fetch_database(&store, &name, &copy.digest, &unfinished, &database).await?;
    // Checks that the file is a database of a release that this one supports. Its connections end here.
    let needed = Database::open(&database, false)?.needed_blobs()?;
    let clock = Arc::new(ServiceClock::start(None));
    let blobs = Blobs::open(folder.join("blobs"), clock, DiskSpace::new(state.clone(), 0))?;
    let (mut files, mut missing) = (0, Vec::new());
    for digest in needed.iter().filter(|digest| is_digest(digest)) {
        if blobs.is_intact(digest) || fetch_blob(&store, &blobs, digest).await? {
            files += 1;
        } else {
            missing.push(digest);
        }
    }
    if let (Some(example), false) = (missing.first(), request.incomplete) {
        return Err(ArchiveError::Incomplete { count: missing.len(), example: blob_name(example) });
    }
    // The folder continues the archive where it is now, also if an older copy was restored.
    let record = ArchiveRecord { owner: manifest.owner, position: manifest.position };
    record.store(folder.path()).map_err(local(state))?;
    fs::rename(&database, folder.join("service.db")).map_err(local(&database))?;
    sync_folder(folder.path()).map_err(local(state))?;
    fs::remove_dir_all(&unfinished).map_err(local(&unfinished))?;
    fs::remove_file(folder.join(RESTORING)).map_err(local(state))?;
    Ok(Restored { copy: name, at: copy.at, files, missing: missing.len() })
}

async fn read_manifest(store: &ArchiveStore, place: &ArchivePlace) -> Result<ArchiveManifest, ArchiveError> {
    let found = store.read(MANIFEST, MAX_MANIFEST_BYTES).await?;
    let (content, _) = found.ok_or_else(|| ArchiveError::Empty { place: place.clone() })?;
    let damaged = |reason| ArchiveError::Damaged { name: MANIFEST.to_owned(), reason };
    ArchiveManifest::decode(&content).map_err(damaged)
}

/// Checks that `folder` is empty, or has only the files of an interrupted restore.
fn check_empty(folder: &Path) -> Result<(), ArchiveError> {
    let not_empty = || ArchiveError::NotEmpty { path: folder.to_owned() };
    if folder.join("service.db").exists() {
        return Err(not_empty());
    }
    if folder.join(RESTORING).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(local(folder))? {
        let name = entry.map_err(local(folder))?.file_name();
        if !IGNORED.iter().any(|ignored| name.as_os_str() == *ignored) {
            return Err(not_empty());
        }
    }
    Ok(())
}

/// Writes the copy `name`, whose file has this `digest`, to the file `database`, with a file in `folder` meanwhile.
async fn fetch_database(
    store: &ArchiveStore,
    name: &str,
    digest: &str,
    folder: &Path,
    database: &Path,
) -> Result<(), ArchiveError> {
    let damaged = |reason: String| ArchiveError::Damaged { name: name.to_owned(), reason };
    let packed = folder.join("service.db.zst");
    let mut reader = store.open_file(name).await?.ok_or_else(|| damaged("is missing".to_owned()))?;
    let mut file = File::create_new(&packed).map_err(local(&packed))?;
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0_u64);
    while let Some(chunk) = reader.next_chunk().await.map_err(damaged)? {
        bytes += chunk.len() as u64;
        if bytes > MAX_DATABASE_BYTES {
            return Err(damaged(format!("has more than {MAX_DATABASE_BYTES} bytes")));
        }
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(local(&packed))?;
    }
    if hasher.finalize().to_hex().as_str() != digest {
        return Err(damaged("does not match its digest".to_owned()));
    }
    let mut plain = File::create_new(database).map_err(local(database))?;
    let decoder = File::open(&packed).and_then(zstd::stream::Decoder::new).map_err(local(&packed))?;
    // The digest matches, so only a writer of the archive could have packed more.
    let unpacked = io::copy(&mut decoder.take(MAX_DATABASE_BYTES + 1), &mut plain).map_err(local(database))?;
    if unpacked > MAX_DATABASE_BYTES {
        return Err(damaged(format!("has more than {MAX_DATABASE_BYTES} bytes")));
    }
    plain.sync_all().map_err(local(database))?;
    fs::remove_file(&packed).map_err(local(&packed))
}

/// Stores a blob of the archive. Returns false if the archive lacks it.
async fn fetch_blob(store: &ArchiveStore, blobs: &Blobs, digest: &str) -> Result<bool, ArchiveError> {
    let name = blob_name(digest);
    let damaged = |reason: String| ArchiveError::Damaged { name: name.clone(), reason };
    let Some(mut reader) = store.open_file(&name).await? else { return Ok(false) };
    // The disk limits the length.
    let mut writer = blobs.writer(u64::MAX, None)?;
    while let Some(chunk) = reader.next_chunk().await.map_err(damaged)? {
        writer.write(&chunk)?;
    }
    let stored = writer.finish()?;
    if stored.digest != digest {
        blobs.remove_if(&stored.digest, |_| true);
        return Err(damaged("does not match its digest".to_owned()));
    }
    Ok(true)
}
