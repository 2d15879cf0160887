//! Ends long responses when their token is revoked.

use crate::queue::{CallerOutcome, Service};
use std::time::Duration;
use tokio::time::sleep;

/// Interval at which the token of an open event stream is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Waits until the `token` of a request is no longer accepted: it was revoked or has expired, or it is missing and the
/// service gets its first token.
pub(in crate::api) async fn until_refused(service: Service, token: Option<String>) {
    loop {
        sleep(CHECK_INTERVAL).await;
        // After an error of the database, the next check decides.
        if let Ok(CallerOutcome::Missing | CallerOutcome::Refused) = service.caller(token.clone()).await {
            return;
        }
    }
}
