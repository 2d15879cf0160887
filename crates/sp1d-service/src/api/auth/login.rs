//! The login of the status page: a cookie with the token, which scripts cannot read.

use super::{
    caller::CurrentCaller,
    credentials::{COOKIE, token_in},
};
use crate::{
    api::problem::Problem,
    queue::{CallerOutcome, Service},
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Whether the port of the service uses HTTPS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpsPort(pub(in crate::api) bool);

/// Who makes the request.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoginSummary {
    /// Name of the token. `null` if the service needs no token.
    token: Option<String>,
    /// Tenant of the token.
    tenant: String,
    /// Roles of the token, separated by commas.
    roles: String,
}

/// Returns the name, the tenant and the roles of the token of the request.
#[utoipa::path(
    get,
    operation_id = "get_session",
    path = "/v1/session",
    tag = "service",
    responses(
        (status = 200, description = "The token.", body = LoginSummary),
        (status = 401, description = "The service needs a token.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn current_login(CurrentCaller(caller): CurrentCaller) -> Json<LoginSummary> {
    Json(LoginSummary { token: caller.token, tenant: caller.tenant.to_string(), roles: caller.roles.to_string() })
}

/// Keeps the token of the request, from the header `Authorization` or else from the cookie, in a cookie of the browser
/// until the token expires. Scripts cannot read the cookie, and the browser sends it only with requests of the
/// service's own pages.
#[utoipa::path(
    post,
    operation_id = "login",
    path = "/v1/login",
    tag = "service",
    responses(
        (status = 204, description = "The browser has the cookie, or the service needs no token."),
        (status = 401, description = "The token is not valid.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token does not have the role `read`.", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn login(
    State(service): State<Service>,
    Extension(port): Extension<HttpsPort>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let token = token_in(&headers);
    let CallerOutcome::Known { expires: Some(expires), .. } = service.caller(token.clone()).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let seconds = expires.0.saturating_sub(service.now().0) / 1000;
    let is_https = port.0 || headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    Ok(with_cookie(&cookie(&token.unwrap_or_default(), seconds, is_https)))
}

/// Removes the cookie of [`login`] from the browser. The token stays valid.
#[utoipa::path(
    post,
    operation_id = "logout",
    path = "/v1/logout",
    tag = "service",
    responses((status = 204, description = "The browser has no cookie of the service."))
)]
pub(crate) async fn logout(Extension(port): Extension<HttpsPort>) -> Response {
    with_cookie(&cookie("", 0, port.0))
}

fn with_cookie(cookie: &str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let value = HeaderValue::from_str(cookie);
    // A valid token has only letters, digits and underscores.
    response.headers_mut().insert(header::SET_COOKIE, value.expect("the cookie has only visible characters"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns the cookie for a token that is valid for `seconds`. Without a path, the browser sends the cookie only to
/// paths beside this one, below a prefix of a proxy too.
fn cookie(token: &str, seconds: i64, is_https: bool) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Max-Age={}{secure}", seconds.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_is_for_this_site_only_and_hidden_from_scripts() {
        assert_eq!(cookie("t", 60, false), "sp1d_token=t; HttpOnly; SameSite=Strict; Max-Age=60");
        assert_eq!(cookie("t", 60, true), "sp1d_token=t; HttpOnly; SameSite=Strict; Max-Age=60; Secure");
        assert_eq!(cookie("", -1, false), "sp1d_token=; HttpOnly; SameSite=Strict; Max-Age=0");
    }
}
