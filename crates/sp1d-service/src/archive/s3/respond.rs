//! Responses of an object store and of what sends credentials.

use reqwest::{Response, StatusCode};
use sp1d_model::clean_line;

/// Maximum number of characters of an error code that are shown.
const MAX_CODE_CHARACTERS: usize = 100;

/// Reads the body of a response, of at most `limit` bytes. The error has no URL, because a signed URL is a credential.
pub(super) async fn read_body(response: &mut Response, limit: u64) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(shown)? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(format!("the response has more than {limit} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns an error and its causes on one line, without the URL.
pub(super) fn shown(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    clean_line(&text, 4 * MAX_CODE_CHARACTERS)
}

/// Describes a refusal, with the code in the `body` of an error document of S3.
pub(super) fn describe(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map(|(code, _)| format!(" ({})", clean_line(code, MAX_CODE_CHARACTERS))).unwrap_or_default();
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "\nhint: check the credentials in the AWS_* variables or in the profile, and their rights on the bucket"
        }
        StatusCode::NOT_FOUND => "\nhint: check the name of the bucket",
        StatusCode::MOVED_PERMANENTLY | StatusCode::TEMPORARY_REDIRECT | StatusCode::BAD_REQUEST => {
            "\nhint: check AWS_REGION and AWS_ENDPOINT_URL"
        }
        _ => "",
    };
    format!("the object store responded with status {}{code}{hint}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: StatusCode, body: &str, parts: &[&str]) {
        let text = describe(status, body.as_bytes());
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }

    #[test]
    fn refusals_name_the_code_of_the_store_and_the_next_step() {
        let body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        check(StatusCode::FORBIDDEN, body, &["status 403 (AccessDenied)", "hint: check the credentials"]);
        check(StatusCode::NOT_FOUND, "<Code>NoSuchBucket</Code>", &["404 (NoSuchBucket)", "name of the bucket"]);
        check(StatusCode::SERVICE_UNAVAILABLE, "", &["status 503"]);
        check(StatusCode::FORBIDDEN, "<Code>\u{1b}]0;x</Code>", &["( ]0;x)"]);
    }
}
