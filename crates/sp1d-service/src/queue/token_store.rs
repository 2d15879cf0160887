//! The tokens in a state folder, for the command that creates and revokes them, also while a service uses the folder.

use crate::{
    access::{ApiToken, ApiTokenName, TenantName, TenantQuota, TokenRoles},
    archive::RESTORING,
    state::{
        AuditEntry, AuditLog, Blobs, Database, DatabaseError, MAX_AUDIT_BYTES, StateError, StateFolder, StoredToken,
    },
};
use sp1d_model::Moment;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Maximum number of tokens in a state folder.
const MAX_TOKENS: usize = 10_000;

/// Name of the database in the state folder.
const DATABASE: &str = "service.db";

/// A token to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiToken {
    /// Name of the token, in the list of tokens and in the audit log.
    pub name: ApiTokenName,
    /// The tenant whose programs and proofs the token can use.
    pub tenant: TenantName,
    /// What the token permits.
    pub roles: TokenRoles,
    /// How long the token is valid.
    pub valid: Duration,
}

/// What is known of a token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSummary {
    /// Name of the token.
    pub name: String,
    /// The tenant whose programs and proofs the token can use.
    pub tenant: TenantName,
    /// What the token permits.
    pub roles: TokenRoles,
    /// When it was created.
    pub created: Moment,
    /// When it expires, or has expired.
    pub expires: Moment,
}

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    /// The folder has no database of a service.
    #[error("{} is not the state folder of a service: it has no database\nhint: check `--state`; `sp1d serve` and `sp1d tokens create` create the folder", .0.display())]
    NoState(PathBuf),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A token has this name.
    #[error(
        "the token {0} exists already\nhint: choose another name, or revoke it first with `sp1d tokens revoke {0}`"
    )]
    NameTaken(ApiTokenName),
    /// No token has this name.
    #[error("no token has the name {0}\nhint: list the tokens with `sp1d tokens list`")]
    Unknown(ApiTokenName),
    /// There are too many tokens.
    #[error("the state folder has {MAX_TOKENS} tokens, and can have no more\nhint: revoke tokens that are not used")]
    TooMany,
    /// The operating system gives no random bytes.
    #[error("cannot get random bytes from the operating system: {0}")]
    Random(getrandom::Error),
}

/// The tokens in a state folder.
pub struct TokenStore {
    database: Database,
    audit: AuditLog,
    /// Held if no service uses the folder, and the database had to be created or upgraded.
    _folder: Option<StateFolder>,
}

impl TokenStore {
    /// Opens the tokens in the state folder `state`, which a running service may be using. Upgrades the database of an
    /// older release, if no service uses the folder. Blocks.
    ///
    /// # Errors
    /// If the folder or its database cannot be used.
    pub fn open(state: &Path) -> Result<Self, TokenStoreError> {
        if !state.join(DATABASE).exists() {
            return Err(TokenStoreError::NoState(state.to_owned()));
        }
        Self::open_or_create(state)
    }

    /// Opens the tokens as [`TokenStore::open`] does, and creates the database of a new folder. So an operator can
    /// create tokens before the first start of the service. Blocks.
    ///
    /// # Errors
    /// If the folder or its database cannot be used.
    pub fn open_or_create(state: &Path) -> Result<Self, TokenStoreError> {
        let (file, audit) = (state.join(DATABASE), AuditLog::new(state, MAX_AUDIT_BYTES));
        match Database::open_beside(&file) {
            Ok(database) => Ok(Self { database, audit, _folder: None }),
            Err(DatabaseError::Missing { .. } | DatabaseError::Older { .. }) => {
                let folder = StateFolder::take(state)?;
                let is_new = Blobs::is_unused(&folder.join("blobs")) && !folder.join(RESTORING).exists();
                Ok(Self { database: Database::open(&file, is_new)?, audit, _folder: Some(folder) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a token. The service accepts it at once, and from now on accepts no request without a token.
    ///
    /// # Errors
    /// If a token has this name, or the database cannot be written.
    pub fn create(&self, new: &NewApiToken) -> Result<ApiToken, TokenStoreError> {
        if self.database.tokens()?.len() >= MAX_TOKENS {
            return Err(TokenStoreError::TooMany);
        }
        let token = ApiToken::new().map_err(TokenStoreError::Random)?;
        let now = Moment::now();
        let stored = StoredToken {
            name: new.name.to_string(),
            id: token.id().to_string(),
            digest: token.digest(),
            tenant: new.tenant.clone(),
            roles: new.roles.clone(),
            created: now,
            expires: now.plus_seconds(new.valid.as_secs()),
        };
        if !self.database.add_token(&stored)? {
            return Err(TokenStoreError::NameTaken(new.name.clone()));
        }
        self.record("sp1d tokens create", &stored.tenant.to_string(), Some(stored.name));
        Ok(token)
    }

    /// Adds a line to the audit log.
    fn record(&self, command: &str, tenant: &str, object: Option<String>) {
        self.audit.append(AuditEntry::of_command(Moment::now(), command, tenant.to_owned(), object));
    }

    /// Returns all tokens, ordered by their names.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list(&self) -> Result<Vec<TokenSummary>, TokenStoreError> {
        let summary = |StoredToken { name, tenant, roles, created, expires, .. }| TokenSummary {
            name,
            tenant,
            roles,
            created,
            expires,
        };
        Ok(self.database.tokens()?.into_iter().map(summary).collect())
    }

    /// Revokes the token `name`. The service refuses it from its next request on.
    ///
    /// # Errors
    /// If no token has this name, or the database cannot be written.
    pub fn revoke(&self, name: &ApiTokenName) -> Result<(), TokenStoreError> {
        let tenant = self.database.remove_token(&name.to_string())?;
        let tenant = tenant.ok_or_else(|| TokenStoreError::Unknown(name.clone()))?;
        self.record("sp1d tokens revoke", &tenant, Some(name.to_string()));
        Ok(())
    }

    /// Sets what `tenant` may use, in place of its earlier quota. It counts from the next request and the next start of
    /// a proof on. Blocks.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn set_quota(&self, tenant: &TenantName, quota: &TenantQuota) -> Result<(), TokenStoreError> {
        self.database.set_quota(tenant.as_str(), quota)?;
        self.record("sp1d tokens quota", tenant.as_str(), None);
        Ok(())
    }

    /// Returns the quotas that were set, ordered by the names of their tenants.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn quotas(&self) -> Result<Vec<(String, TenantQuota)>, TokenStoreError> {
        Ok(self.database.quotas()?)
    }

    /// Removes all tokens. The service then accepts requests without a token.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn remove_all(&self) -> Result<(), TokenStoreError> {
        self.database.end_tokens()?;
        self.record("sp1d tokens disable", "", None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> NewApiToken {
        NewApiToken {
            name: name.parse().unwrap(),
            tenant: "team".parse().unwrap(),
            roles: "read".parse().unwrap(),
            valid: Duration::from_secs(60),
        }
    }

    #[test]
    fn tokens_can_be_created_before_the_first_start_of_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        assert!(matches!(TokenStore::open(&state), Err(TokenStoreError::NoState(_))) && !state.exists());
        let made = TokenStore::open_or_create(&state).unwrap().create(&token("one")).unwrap();
        let store = TokenStore::open(&state).unwrap();
        let listed = store.list().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].name.as_str(), listed[0].roles.to_string()), ("one", "read".to_owned()));
        assert_eq!(listed[0].expires.0 - listed[0].created.0, 60_000);
        assert!(matches!(store.create(&token("one")), Err(TokenStoreError::NameTaken(_))));
        // Neither the secret nor a part of it is on disk.
        drop(store);
        let secret = made.to_string();
        let secret = &secret[secret.len() - 16..];
        for entry in std::fs::read_dir(&state).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            let content = std::fs::read(entry.path()).unwrap();
            assert!(!content.windows(secret.len()).any(|part| part == secret.as_bytes()), "{:?}", entry.path());
        }
    }

    #[test]
    fn unknown_token_cannot_be_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let store = TokenStore::open_or_create(&folder.path().join("state")).unwrap();
        let made = token("one");
        store.create(&made).unwrap();
        store.revoke(&made.name).unwrap();
        assert!(matches!(store.revoke(&made.name), Err(TokenStoreError::Unknown(_))));
        assert_eq!(store.list().unwrap(), []);
    }
}
