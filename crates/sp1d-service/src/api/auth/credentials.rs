//! Reads the token of a request.

use axum::http::{HeaderMap, header};

/// Name of the cookie with the token of a browser.
pub(super) const COOKIE: &str = "sp1d_token";

/// Returns the token of a request: that of the header `Authorization`, or else that of the page's cookie.
pub(in crate::api) fn token_in(headers: &HeaderMap) -> Option<String> {
    bearer(headers).or_else(|| cookie(headers)).map(ToOwned::to_owned)
}

/// Returns the token of `Authorization: Bearer TOKEN`. Other schemes are meant for a proxy.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, value)| *name == COOKIE && !value.is_empty()).map(|(_, value)| value).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: Option<&str>) {
        let map = headers.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        assert_eq!(token_in(&map.collect()).as_deref(), expected, "{headers:?}");
    }

    #[test]
    fn token_is_in_the_authorization_or_in_the_cookie() {
        check(&[], None);
        check(&[("authorization", "Bearer t")], Some("t"));
        check(&[("authorization", "bearer  t ")], Some("t"));
        check(&[("authorization", "Basic dTpw")], None);
        check(&[("authorization", "t")], None);
        check(&[("cookie", "a=b; sp1d_token=t; c=d")], Some("t"));
        check(&[("cookie", "xsp1d_token=t")], None);
        check(&[("cookie", "sp1d_token=")], None);
        check(&[("authorization", "Bearer t"), ("cookie", "sp1d_token=u")], Some("t"));
        // A proxy checks the password of a browser, and the service its token.
        check(&[("authorization", "Basic dTpw"), ("cookie", "sp1d_token=u")], Some("u"));
    }
}
