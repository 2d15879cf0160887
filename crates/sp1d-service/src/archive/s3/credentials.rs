//! Credentials for an object store, and their renewal.

use super::{
    respond::{describe, read_body, shown},
    settings::{ContainerToken, CredentialSource},
};
use crate::archive::limits::MAX_CREDENTIALS_BYTES;
use reqwest::{Client, RequestBuilder, Url};
use rusty_s3::Credentials;
use serde::Deserialize;
use sp1d_model::{Moment, hint::one_line};
use std::{path::Path, time::Duration};
use tokio::sync::Mutex;

/// Credentials that expire within this time are renewed.
const RENEWED_BEFORE_SECONDS: u64 = 5 * 60;

/// Pause after a failed renewal, while the present credentials are valid.
const RETRY_SECONDS: u64 = 60;

/// Time for a request to a container's agent or to the metadata of an instance. Both are on this machine or close to
/// it.
const MAX_RENEWAL: Duration = Duration::from_secs(5);

/// Time for a request to the service that gives out credentials for a role.
const MAX_ROLE_REQUEST: Duration = Duration::from_secs(30);

/// Name of our sessions in the logs of that service.
const SESSION_NAME: &str = "sp1d";

/// How long a token for the metadata of an instance is valid, in seconds.
const INSTANCE_TOKEN_SECONDS: &str = "300";

const INSTANCE_TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// A reply with credentials. Agents of containers and instances use the same form.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialReply {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: Moment,
}

/// Credentials that a request can use until a time.
#[derive(Debug, Clone)]
struct TemporaryCredentials {
    credentials: Credentials,
    expires: Moment,
    /// After a failed renewal: when the next one may start.
    retry_from: Option<Moment>,
}

impl TemporaryCredentials {
    /// Returns true if a request at `now` can use these credentials, and no renewal is due.
    fn are_current(&self, now: Moment) -> bool {
        let is_renewed_later = self.retry_from.is_some_and(|from| now < from);
        now < self.expires && (is_renewed_later || !is_expiring(self.expires, now))
    }
}

/// The credentials of an object store.
#[derive(Debug)]
pub(super) struct S3Credentials {
    source: CredentialSource,
    /// Uses no proxy: the hosts that reply are local.
    local: Client,
    /// Uses the proxy of the environment.
    remote: Client,
    current: Mutex<Option<TemporaryCredentials>>,
}

/// Returns true if credentials that expire at `expires` need to be renewed at `now`.
fn is_expiring(expires: Moment, now: Moment) -> bool {
    now.plus_seconds(RENEWED_BEFORE_SECONDS) >= expires
}

/// Reads a reply with credentials. The error contains nothing of the reply.
fn parse(reply: &[u8]) -> Result<TemporaryCredentials, String> {
    let reply: CredentialReply =
        serde_json::from_slice(reply).map_err(|_| "the reply with credentials is not valid".to_owned())?;
    let credentials = Credentials::new_with_token(reply.access_key_id, reply.secret_access_key, reply.token);
    Ok(TemporaryCredentials { credentials, expires: reply.expiration, retry_from: None })
}

/// Reads the reply to a request for a role, an XML document. The error contains nothing of the reply.
fn parse_assumed_role(reply: &[u8]) -> Result<TemporaryCredentials, String> {
    let text = String::from_utf8_lossy(reply);
    // The values have no characters that XML escapes.
    let value = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim().to_owned())
    };
    let parsed = || {
        let credentials =
            Credentials::new_with_token(value("AccessKeyId")?, value("SecretAccessKey")?, value("SessionToken")?);
        let expires = serde_json::from_value(value("Expiration")?.into()).ok()?;
        Some(TemporaryCredentials { credentials, expires, retry_from: None })
    };
    parsed().ok_or_else(|| "the reply with credentials is not valid".to_owned())
}

/// Reads a token from a file, which other programs replace from time to time.
async fn read_token(path: &Path) -> Result<String, String> {
    let read = tokio::fs::read_to_string(path).await;
    Ok(read.map_err(|error| format!("{}: {error}", path.display()))?.trim().to_owned())
}

impl S3Credentials {
    pub(super) fn new(source: CredentialSource) -> Result<Self, String> {
        let local = Client::builder().no_proxy().timeout(MAX_RENEWAL).build().map_err(shown)?;
        let remote = Client::builder().timeout(MAX_ROLE_REQUEST).build().map_err(shown)?;
        Ok(Self { source, local, remote, current: Mutex::new(None) })
    }

    /// Returns credentials that are valid for some minutes. If they cannot be renewed, returns the present ones until
    /// they expire.
    pub(super) async fn current(&self) -> Result<Credentials, String> {
        if let CredentialSource::Fixed(credentials) = &self.source {
            return Ok(credentials.clone());
        }
        let mut current = self.current.lock().await;
        if let Some(known) = &*current
            && known.are_current(Moment::now())
        {
            return Ok(known.credentials.clone());
        }
        let reason = match self.renew().await {
            Ok(renewed) => {
                let credentials = renewed.credentials.clone();
                *current = Some(renewed);
                return Ok(credentials);
            }
            Err(reason) => reason,
        };
        let now = Moment::now();
        match &mut *current {
            Some(known) if now < known.expires => {
                let (reason, expires) = (one_line(&reason), known.expires);
                tracing::warn!(%reason, %expires, "cannot renew the credentials of the object store; retrying in 60 s");
                known.retry_from = Some(now.plus_seconds(RETRY_SECONDS));
                Ok(known.credentials.clone())
            }
            _ => Err(format!(
                "cannot get credentials: {reason}\nhint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a profile"
            )),
        }
    }

    async fn renew(&self) -> Result<TemporaryCredentials, String> {
        match &self.source {
            CredentialSource::Fixed(_) => Err("credentials of the environment are not renewed".to_owned()),
            CredentialSource::Container { url, token } => {
                let mut request = self.local.get(url.clone());
                let token = match token {
                    ContainerToken::None => None,
                    ContainerToken::Text(token) => Some(token.clone()),
                    ContainerToken::File(path) => Some(read_token(path).await?),
                };
                if let Some(token) = token {
                    request = request.header("authorization", token);
                }
                parse(&fetch(request).await?)
            }
            CredentialSource::WebIdentity { url, role, token_file } => {
                // In the body and not in the URL, which proxies log.
                let token = read_token(token_file).await?;
                let form = [
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", role.as_str()),
                    ("RoleSessionName", SESSION_NAME),
                    ("WebIdentityToken", token.as_str()),
                ];
                parse_assumed_role(&fetch(self.remote.post(url.clone()).form(&form)).await?)
            }
            CredentialSource::Instance { url } => self.of_instance(url).await,
        }
    }

    /// Asks the metadata of the instance, in the second version of its protocol.
    async fn of_instance(&self, host: &Url) -> Result<TemporaryCredentials, String> {
        let at = |path: &str| host.join(path).map_err(|error| error.to_string());
        let request = self.local.put(at("/latest/api/token")?);
        let request = request.header("x-aws-ec2-metadata-token-ttl-seconds", INSTANCE_TOKEN_SECONDS);
        let token = fetch(request).await?;
        let get =
            async |path: &str| fetch(self.local.get(at(path)?).header(INSTANCE_TOKEN_HEADER, token.as_slice())).await;
        let folder = "/latest/meta-data/iam/security-credentials/";
        let roles = get(folder).await?;
        let role = String::from_utf8_lossy(&roles).lines().next().unwrap_or_default().trim().to_owned();
        if role.is_empty() {
            return Err("the instance has no profile".to_owned());
        }
        parse(&get(&format!("{folder}{role}")).await?)
    }
}

/// Sends a request and returns the body of a response that is a success.
async fn fetch(request: RequestBuilder) -> Result<Vec<u8>, String> {
    let mut response = request.send().await.map_err(shown)?;
    let status = response.status();
    if !status.is_success() {
        return Err(hintless(&describe(status, &[])));
    }
    read_body(&mut response, MAX_CREDENTIALS_BYTES).await
}

/// The hints of `describe` are about the bucket.
fn hintless(text: &str) -> String {
    sp1d_model::hint::without(text).replace("the object store", "its host")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// Serves one response for each of `bodies` and returns the first lines of the requests.
    async fn serve(listener: TcpListener, bodies: Vec<String>) -> Vec<String> {
        let mut lines = Vec::new();
        for body in bodies {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            lines.push(request.lines().next().unwrap_or_default().to_owned());
            let length = body.len();
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(response.as_bytes()).await.unwrap();
        }
        lines
    }

    fn reply(key: &str, expires: Moment) -> String {
        format!(r#"{{"AccessKeyId":"{key}","SecretAccessKey":"s","Token":"t","Expiration":"{expires}"}}"#)
    }

    #[tokio::test]
    async fn an_instance_sends_credentials_that_are_renewed_before_they_expire() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let soon = Moment::now().plus_seconds(RENEWED_BEFORE_SECONDS - 1);
        let later = Moment::now().plus_seconds(2 * RENEWED_BEFORE_SECONDS);
        let round = |key, expires| ["token".to_owned(), "role\n".to_owned(), reply(key, expires)];
        let bodies = [round("one", soon), round("two", later)].concat();
        let serving = tokio::spawn(serve(listener, bodies));
        let credentials = S3Credentials::new(CredentialSource::Instance { url }).unwrap();
        for key in ["one", "two", "two"] {
            assert_eq!(credentials.current().await.unwrap().key(), key);
        }
        let lines = serving.await.unwrap();
        assert_eq!(lines[0], "PUT /latest/api/token HTTP/1.1");
        assert_eq!(lines[2], "GET /latest/meta-data/iam/security-credentials/role HTTP/1.1");
    }

    /// Checks whether credentials that expire at `expires` are used although they cannot be renewed.
    async fn check_failed_renewal(expires: Moment, expected: Option<&str>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let bodies = vec!["token".to_owned(), "role\n".to_owned(), reply("one", expires)];
        let serving = tokio::spawn(serve(listener, bodies));
        let credentials = S3Credentials::new(CredentialSource::Instance { url }).unwrap();
        credentials.current().await.unwrap();
        // Closes the listener.
        serving.await.unwrap();
        for _ in 0..2 {
            let found = credentials.current().await.ok();
            assert_eq!(found.as_ref().map(Credentials::key), expected, "{expires}");
        }
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_renewed_are_used_until_they_expire() {
        check_failed_renewal(Moment::now().plus_seconds(RENEWED_BEFORE_SECONDS - 1), Some("one")).await;
        check_failed_renewal(Moment(0), None).await;
    }

    #[tokio::test]
    async fn a_web_identity_takes_its_role() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let token_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token_file.path(), "token\n").unwrap();
        let expires = Moment::now().plus_seconds(2 * RENEWED_BEFORE_SECONDS);
        let body = format!(
            "<R><Credentials><AccessKeyId>one</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>t</SessionToken><Expiration>{expires}</Expiration></Credentials></R>"
        );
        let serving = tokio::spawn(serve(listener, vec![body]));
        let (role, token_file) = ("arn:one".to_owned(), token_file.path().to_owned());
        let source = CredentialSource::WebIdentity { url, role, token_file };
        let credentials = S3Credentials::new(source).unwrap().current().await.unwrap();
        assert_eq!((credentials.key(), credentials.token()), ("one", Some("t")));
        assert_eq!(serving.await.unwrap(), ["POST / HTTP/1.1"]);
    }

    #[test]
    fn errors_contain_nothing_of_the_reply() {
        let error = parse(br#"{"SecretAccessKey":"hidden","Token":1}"#).unwrap_err();
        assert!(!error.contains("hidden"), "{error}");
        let error = parse_assumed_role(b"<SecretAccessKey>hidden</SecretAccessKey>").unwrap_err();
        assert!(!error.contains("hidden"), "{error}");
    }
}
