//! Who may do what: tokens, their roles and their tenants. It decides, and knows neither HTTP nor the database.

mod caller;
mod quota;
mod role;
mod tenant;
mod token;
mod turn;

pub(crate) use caller::{Caller, TenantScope};
pub(crate) use quota::QuotaExceeded;
pub use quota::TenantQuota;
pub use role::{InvalidTokenRole, TokenRole, TokenRoles};
pub use tenant::{InvalidTenantName, TenantName};
pub(crate) use token::ApiTokenDigest;
pub use token::{ApiToken, ApiTokenName, InvalidApiToken, InvalidApiTokenName};
pub(crate) use turn::{WaitingTenant, next_tenant};
