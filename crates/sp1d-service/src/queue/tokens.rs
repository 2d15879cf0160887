//! Who makes a request, by its token.

use super::{request::RequestError, service::Service};
use crate::{
    access::{ApiToken, Caller},
    state::AuditEntry,
};
use sp1d_model::Moment;

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallerOutcome {
    /// The caller, and when their token expires. The caller of a service without tokens has no token.
    Known { caller: Caller, expires: Option<Moment> },
    /// The request has no token, and the service requires one.
    Missing,
    /// The token is unknown, revoked, expired or not a token.
    Refused,
}

impl CallerOutcome {
    /// Returns the caller, if the service knows who it is.
    pub(crate) fn caller(self) -> Option<Caller> {
        match self {
            Self::Known { caller, .. } => Some(caller),
            Self::Missing | Self::Refused => None,
        }
    }
}

impl Service {
    /// Adds a line to the audit log.
    pub(crate) async fn record_audit(&self, entry: AuditEntry) {
        self.blocking(move |inner| inner.audit.append(entry)).await;
    }

    /// Returns true if the service refuses requests without a token.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn requires_tokens(&self) -> Result<bool, RequestError> {
        self.blocking(|inner| Ok(inner.settings.require_tokens || inner.database.requires_tokens()?)).await
    }

    /// Returns who makes a request with the token `text`. A service without tokens ignores it: it may be meant for a
    /// proxy. The database is read each time, so that a token is refused from the moment when it is revoked.
    pub(crate) async fn caller(&self, text: Option<String>) -> Result<CallerOutcome, RequestError> {
        self.blocking(move |inner| {
            if !inner.settings.require_tokens && !inner.database.requires_tokens()? {
                return Ok(CallerOutcome::Known { caller: Caller::of_open_service(), expires: None });
            }
            let Some(text) = text else { return Ok(CallerOutcome::Missing) };
            let Ok(token) = text.parse::<ApiToken>() else { return Ok(CallerOutcome::Refused) };
            let stored = inner.database.token(&token.id().to_string())?;
            let now = inner.clock.latest();
            let valid = stored.filter(|stored| stored.digest == token.digest() && now < stored.expires);
            Ok(match valid {
                Some(stored) => {
                    let caller = Caller { token: Some(stored.name), tenant: stored.tenant, roles: stored.roles };
                    CallerOutcome::Known { caller, expires: Some(stored.expires) }
                }
                None => CallerOutcome::Refused,
            })
        })
        .await
    }
}
