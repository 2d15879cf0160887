//! Names of the copies of the database in an archive.

use super::position::ArchivePosition;
use crate::state::is_digest;
use sp1d_model::Moment;
use std::{fmt, str::FromStr};

/// Folder of the copies in the archive.
pub(super) const DATABASES: &str = "databases";

/// Describes a copy of the database. Its text form is the name of its file in the archive. Copies are ordered by their
/// position.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CopyName {
    pub(super) position: ArchivePosition,
    /// When the copy was made.
    pub(super) at: Moment,
    /// BLAKE3 digest of the compressed file.
    pub(super) digest: String,
}

impl fmt::Display for CopyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position: ArchivePosition { generation, sequence }, at, digest } = self;
        write!(f, "{DATABASES}/{:013}-{generation:06}-{sequence:09}-{digest}.zst", at.0)
    }
}

impl FromStr for CopyName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix(DATABASES).and_then(|rest| rest.strip_prefix('/')).ok_or(())?;
        let mut parts = rest.strip_suffix(".zst").ok_or(())?.splitn(4, '-');
        let mut next = || parts.next().ok_or(());
        let at = Moment(next()?.parse::<i64>().map_err(drop)?);
        let generation = next()?.parse::<u64>().map_err(drop)?;
        let sequence = next()?.parse::<u64>().map_err(drop)?;
        let digest = next()?.to_owned();
        let name = Self { position: ArchivePosition { generation, sequence }, at, digest };
        // No other text may become part of a path, and each copy has one name.
        if !is_digest(&name.digest) || name.to_string() != text {
            return Err(());
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_names_of_copies() {
        let digest = "0a".repeat(32);
        let position = ArchivePosition { generation: 3, sequence: 12 };
        let name = CopyName { position, at: Moment(1_790_000_000_123), digest: digest.clone() };
        let text = name.to_string();
        assert_eq!(text, format!("databases/1790000000123-000003-000000012-{digest}.zst"));
        assert_eq!(text.parse::<CopyName>(), Ok(name));
        let others = [
            format!("databases/../1790000000123-000003-000000012-{digest}.zst"),
            format!("databases/1790000000123-3-000000012-{digest}.zst"),
            format!("databases/1790000000123-000003-000000012-{digest}"),
            format!("databases/+790000000123-000003-000000012-{digest}.zst"),
            "databases/1790000000123-000003-000000012-../x.zst".to_owned(),
            String::new(),
        ];
        for other in others {
            assert_eq!(other.parse::<CopyName>(), Err(()), "{other}");
        }
    }
}
