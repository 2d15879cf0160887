//! Where an archive is.

use std::{fmt, path::PathBuf, str::FromStr};

/// Maximum length of the prefix in a bucket. Names in S3 have at most 1024 bytes, and ours add less than 200.
const MAX_PREFIX_BYTES: usize = 512;

/// A text does not name the place of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the place of the archive is not valid: {0}\nhint: use `s3://BUCKET/PREFIX` or a folder")]
pub struct InvalidArchivePlace(&'static str);

/// Where an archive is: `s3://BUCKET/PREFIX`, or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchivePlace {
    /// A folder.
    Folder(PathBuf),
    /// A part of a bucket in an S3-compatible object store.
    Bucket {
        /// The name of the bucket.
        bucket: String,
        /// What all names start with, without a slash at its end. May be empty.
        prefix: String,
    },
}

impl FromStr for ArchivePlace {
    type Err = InvalidArchivePlace;

    /// The errors do not contain the text: it could contain credentials.
    fn from_str(text: &str) -> Result<Self, InvalidArchivePlace> {
        let Some(rest) = text.strip_prefix("s3://") else {
            if text.is_empty() {
                return Err(InvalidArchivePlace("the place is empty"));
            }
            if text.contains("://") {
                return Err(InvalidArchivePlace("only s3:// URLs and folders are supported"));
            }
            return Ok(Self::Folder(text.into()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let ends_well = !bucket.starts_with(['.', '-']) && !bucket.ends_with(['.', '-']);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(is_of_name) || !ends_well {
            return Err(InvalidArchivePlace("the name of the bucket is not valid"));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
        if prefix.len() > MAX_PREFIX_BYTES || !(prefix.is_empty() || prefix.split('/').all(is_part)) {
            return Err(InvalidArchivePlace("the prefix in the bucket is not valid"));
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for ArchivePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks how `text` is read: its display form, or a part of the error.
    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<ArchivePlace>(), expected) {
            (Ok(place), Ok(shown)) => {
                assert_eq!(place.to_string(), shown, "{text}");
                assert_eq!(shown.parse::<ArchivePlace>().unwrap(), place, "{text}");
            }
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part) && !error.contains("secret"), "{text}: {error}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn a_place_is_a_bucket_or_a_folder() {
        check("s3://proofs", Ok("s3://proofs"));
        check("s3://proofs/", Ok("s3://proofs"));
        check("s3://proofs/team/one/", Ok("s3://proofs/team/one"));
        check("/mnt/archive", Ok("/mnt/archive"));
        check("archive", Ok("archive"));
        check("", Err("empty"));
        check("https://secret@example.org/", Err("only s3://"));
        check("s3://", Err("name of the bucket"));
        check("s3://key:secret@proofs/one", Err("name of the bucket"));
        check("s3://Proofs", Err("name of the bucket"));
        check("s3://-proofs", Err("name of the bucket"));
        check("s3://proofs/a//b", Err("prefix"));
        check("s3://proofs/../secret", Err("prefix"));
    }
}
