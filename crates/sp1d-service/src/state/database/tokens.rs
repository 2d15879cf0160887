//! The table of tokens.

use super::{
    connection::{Database, set_counter},
    error::Result,
};
use crate::access::{ApiTokenDigest, TenantName, TokenRoles};
use rusqlite::{OptionalExtension, Row, params, types::Type};
use sp1d_model::Moment;
use std::{error::Error, str::FromStr};

/// Counter that is 1 if the service requires tokens. It stays when the last token is revoked: a service that loses its
/// tokens must not become open to all.
const REQUIRED: &str = "tokens_required";

/// What the database has of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredToken {
    pub(crate) name: String,
    /// The public part of the token, in hexadecimal digits.
    pub(crate) id: String,
    pub(crate) digest: ApiTokenDigest,
    pub(crate) tenant: TenantName,
    pub(crate) roles: TokenRoles,
    pub(crate) created: Moment,
    pub(crate) expires: Moment,
}

fn parsed<T: FromStr<Err: Error + Send + Sync + 'static>>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    let text: String = row.get(name)?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn token_of(row: &Row<'_>) -> rusqlite::Result<StoredToken> {
    Ok(StoredToken {
        name: row.get("name")?,
        id: row.get("id")?,
        digest: ApiTokenDigest(row.get("digest")?),
        tenant: parsed(row, "tenant")?,
        roles: parsed(row, "roles")?,
        created: Moment(row.get("created")?),
        expires: Moment(row.get("expires")?),
    })
}

impl Database {
    /// Adds a token. From now on, the service requires tokens. Returns false, and changes nothing, if a token has this
    /// name.
    pub(crate) fn add_token(&self, new: &StoredToken) -> Result<bool> {
        let insert = "INSERT INTO tokens (name, id, digest, tenant, roles, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO NOTHING";
        self.write(|transaction| {
            let values = params![
                new.name,
                new.id,
                new.digest.0.as_slice(),
                new.tenant.as_str(),
                new.roles.to_string(),
                new.created.0,
                new.expires.0,
            ];
            let is_new = transaction.execute(insert, values)? == 1;
            if is_new {
                set_counter(transaction, REQUIRED, 1)?;
            }
            Ok(is_new)
        })
    }

    /// Returns all tokens, ordered by their names.
    pub(crate) fn tokens(&self) -> Result<Vec<StoredToken>> {
        self.read(|connection| {
            let mut select = connection.prepare("SELECT * FROM tokens ORDER BY name")?;
            Ok(select.query_map([], token_of)?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Returns the token with this id.
    pub(crate) fn token(&self, id: &str) -> Result<Option<StoredToken>> {
        let select = "SELECT * FROM tokens WHERE id = ?1";
        self.read(|connection| Ok(connection.query_row(select, [id], token_of).optional()?))
    }

    /// Removes the token `name`, and returns its tenant. `None` if the token does not exist.
    pub(crate) fn remove_token(&self, name: &str) -> Result<Option<String>> {
        let delete = "DELETE FROM tokens WHERE name = ?1 RETURNING tenant";
        self.write(|transaction| transaction.query_row(delete, [name], |row| row.get(0)).optional())
    }

    /// Removes all tokens, after which the service requires none.
    pub(crate) fn end_tokens(&self) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM tokens", [])?;
            set_counter(transaction, REQUIRED, 0)
        })
    }

    /// Returns true if a token was ever added since [`Database::end_tokens`].
    pub(crate) fn requires_tokens(&self) -> Result<bool> {
        let select = "SELECT EXISTS (SELECT 1 FROM counters WHERE name = ?1 AND value > 0)";
        self.read(|connection| Ok(connection.query_row(select, [REQUIRED], |row| row.get(0))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, id: &str) -> StoredToken {
        StoredToken {
            name: name.to_owned(),
            id: id.to_owned(),
            digest: ApiTokenDigest([7; 32]),
            tenant: "team".parse().unwrap(),
            roles: "read,submit".parse().unwrap(),
            created: Moment(1),
            expires: Moment(2),
        }
    }

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("service.db"), true).unwrap();
        (folder, database)
    }

    #[test]
    fn token_is_found_by_its_id_until_it_is_removed() {
        let (_folder, database) = database();
        let one = token("one", "01");
        assert!(database.add_token(&one).unwrap());
        assert!(!database.add_token(&token("one", "02")).unwrap(), "a token has this name");
        assert!(database.add_token(&token("another", "03")).unwrap());
        assert_eq!(database.token("01").unwrap(), Some(one.clone()));
        assert_eq!(database.token("02").unwrap(), None);
        assert_eq!(database.tokens().unwrap(), [token("another", "03"), one]);
        assert_eq!(database.remove_token("one").unwrap().as_deref(), Some("team"));
        assert_eq!(database.remove_token("one").unwrap(), None);
        assert_eq!(database.token("01").unwrap(), None);
    }

    #[test]
    fn tokens_stay_required_when_the_last_one_is_removed() {
        let (folder, database) = database();
        assert!(!database.requires_tokens().unwrap());
        database.add_token(&token("one", "01")).unwrap();
        database.remove_token("one").unwrap();
        drop(database);
        let database = Database::open(&folder.path().join("service.db"), false).unwrap();
        assert!(database.requires_tokens().unwrap());
        database.add_token(&token("one", "01")).unwrap();
        database.end_tokens().unwrap();
        assert!(!database.requires_tokens().unwrap() && database.tokens().unwrap().is_empty());
    }

    #[test]
    fn another_process_can_add_a_token_while_the_service_runs() {
        let (folder, database) = database();
        let beside = Database::open_beside(&folder.path().join("service.db")).unwrap();
        beside.add_token(&token("one", "01")).unwrap();
        assert!(database.requires_tokens().unwrap() && database.token("01").unwrap().is_some());
        beside.remove_token("one").unwrap();
        assert_eq!(database.token("01").unwrap(), None);
    }
}
