//! Settings of an object store from the usual `AWS_*` variables.

use crate::archive::place::ArchivePlace;
use reqwest::Url;
use rusty_s3::{Bucket, Credentials, UrlStyle};
use std::path::PathBuf;

/// Region without a setting: that of stores that have no regions.
const DEFAULT_REGION: &str = "us-east-1";

/// Address of the credentials of a container's task. See the documentation of Amazon ECS.
const CONTAINER_HOST: &str = "http://169.254.170.2";

/// Address of the metadata of an EC2 instance.
const INSTANCE_HOST: &str = "http://169.254.169.254";

/// Where the credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CredentialSource {
    /// Variables of the environment. They do not change.
    Fixed(Credentials),
    /// A container's agent, for example of Amazon ECS or of EKS Pod Identity.
    Container { url: Url, token: ContainerToken },
    /// A role that the token of a web identity may take, for example that of a Kubernetes service account.
    WebIdentity { url: Url, role: String, token_file: PathBuf },
    /// The profile of an EC2 instance.
    Instance { url: Url },
}

/// The token that a container's agent asks for.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum ContainerToken {
    None,
    Text(String),
    /// A file that is read for each request, because its content changes.
    File(PathBuf),
}

impl std::fmt::Debug for ContainerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text(secret)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// Settings of an object store.
#[derive(Debug)]
pub(in crate::archive) struct S3Settings {
    pub(super) place: ArchivePlace,
    pub(super) bucket: Bucket,
    /// What all names start with: empty, or with a slash at its end.
    pub(super) prefix: String,
    pub(super) credentials: CredentialSource,
    /// File with further certificates to trust.
    pub(super) ca_file: Option<PathBuf>,
}

impl S3Settings {
    /// Reads the settings of the bucket of `place` with `variable`, which returns variables of the environment. The
    /// error does not contain their values.
    pub(in crate::archive) fn read(
        place: &ArchivePlace,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let ArchivePlace::Bucket { bucket: name, prefix } = place else {
            return Err("the archive is not a bucket".to_owned());
        };
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let given = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let credentials = credential_source(&variable, &region)?;
        let endpoint = given.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let variable_of_endpoint = if given.is_some() { "AWS_ENDPOINT_URL" } else { "AWS_REGION" };
        let invalid = || format!("the value of {variable_of_endpoint} is not valid");
        // Other stores rarely have a host name for each bucket, and a certificate for `*.amazonaws.com` does not cover
        // names with a dot.
        let style = if given.is_some() || name.contains('.') { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = Bucket::new(endpoint.parse().map_err(|_| invalid())?, style, name.clone(), region);
        Ok(Self {
            place: place.clone(),
            bucket: bucket.map_err(|_| invalid())?,
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            credentials,
            ca_file: variable("AWS_CA_BUNDLE").map(PathBuf::from),
        })
    }
}

/// Chooses the source of the credentials: the environment, a web identity, a container's agent, or the instance.
fn credential_source(variable: &impl Fn(&str) -> Option<String>, region: &str) -> Result<CredentialSource, String> {
    match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(secret)) => {
            let fixed = match variable("AWS_SESSION_TOKEN") {
                Some(token) => Credentials::new_with_token(key, secret, token),
                None => Credentials::new(key, secret),
            };
            return Ok(CredentialSource::Fixed(fixed));
        }
        (None, None) => {}
        _ => return Err("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set\nhint: set both".to_owned()),
    }
    if let (Some(token_file), Some(role)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
        let given = variable("AWS_ENDPOINT_URL_STS");
        let url = given.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
        let url = url.parse().map_err(|_| "the value of AWS_ENDPOINT_URL_STS or AWS_REGION is not valid".to_owned())?;
        return Ok(CredentialSource::WebIdentity { url, role, token_file: token_file.into() });
    }
    let full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    if let Some(url) = relative.map(|path| format!("{CONTAINER_HOST}{path}")).or(full) {
        let url = url.parse().map_err(|_| "the URL of the container's credentials is not valid".to_owned())?;
        let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(path) => ContainerToken::File(path.into()),
            None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map_or(ContainerToken::None, ContainerToken::Text),
        };
        return Ok(CredentialSource::Container { url, token });
    }
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let text = "no credentials are set\nhint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        return Err(text.to_owned());
    }
    let host = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE_HOST.to_owned());
    let url = host.parse().map_err(|_| "the value of AWS_EC2_METADATA_SERVICE_ENDPOINT is not valid".to_owned())?;
    Ok(CredentialSource::Instance { url })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: &str, variables: &[(&str, &str)]) -> Result<S3Settings, String> {
        let of = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        S3Settings::read(&place.parse().unwrap(), of)
    }

    /// Checks the URL of an object with an empty name.
    #[track_caller]
    fn check_url(place: &str, variables: &[(&str, &str)], expected: &str) {
        let settings = read(place, &[variables, &KEYS].concat()).unwrap();
        assert_eq!(settings.bucket.object_url(&settings.prefix).as_str(), expected);
    }

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    #[test]
    fn the_url_follows_the_endpoint_and_the_region() {
        check_url("s3://proofs/team", &[], "https://proofs.s3.us-east-1.amazonaws.com/team/");
        check_url("s3://proofs", &[("AWS_REGION", "eu-west-1")], "https://proofs.s3.eu-west-1.amazonaws.com/");
        check_url("s3://a.proofs", &[("AWS_DEFAULT_REGION", "x")], "https://s3.x.amazonaws.com/a.proofs/");
        let endpoint = ("AWS_ENDPOINT_URL", "http://store:9000");
        check_url("s3://proofs/one", &[endpoint], "http://store:9000/proofs/one/");
        let own = ("AWS_ENDPOINT_URL_S3", "https://s3.example.org");
        check_url("s3://proofs", &[endpoint, own, ("AWS_REGION", " ")], "https://s3.example.org/proofs/");
        assert!(
            read("s3://proofs", &[("AWS_ENDPOINT_URL", "secret"), KEYS[0], KEYS[1]])
                .is_err_and(|text| { text.contains("AWS_ENDPOINT_URL") && !text.contains("secret") })
        );
    }

    #[test]
    fn credentials_come_from_the_environment_an_identity_the_container_or_the_instance() {
        let source = |variables: &[(&str, &str)]| read("s3://proofs", variables).map(|settings| settings.credentials);
        assert_eq!(source(&KEYS), Ok(CredentialSource::Fixed(Credentials::new("key", "secret"))));
        assert!(source(&KEYS[..1]).is_err_and(|text| text.contains("set both")));
        let identity =
            [("AWS_WEB_IDENTITY_TOKEN_FILE", "/run/token"), ("AWS_ROLE_ARN", "arn:one"), ("AWS_REGION", "x")];
        let url = "https://sts.x.amazonaws.com".parse().unwrap();
        let (role, token_file) = ("arn:one".to_owned(), "/run/token".into());
        assert_eq!(source(&identity), Ok(CredentialSource::WebIdentity { url, role, token_file }));
        let relative = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1");
        let url = "http://169.254.170.2/v2/credentials/1".parse().unwrap();
        assert_eq!(source(&[relative]), Ok(CredentialSource::Container { url, token: ContainerToken::None }));
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
        let file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/run/token");
        let url = full.1.parse().unwrap();
        let token = ContainerToken::File("/run/token".into());
        assert_eq!(source(&[full, file]), Ok(CredentialSource::Container { url, token }));
        let url = "http://169.254.169.254".parse().unwrap();
        assert_eq!(source(&[]), Ok(CredentialSource::Instance { url }));
        assert!(source(&[("AWS_EC2_METADATA_DISABLED", "true")]).is_err_and(|text| text.contains("no credentials")));
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = format!("{:?}", read("s3://proofs", &KEYS).unwrap());
        assert!(!text.contains("secret"), "{text}");
        assert!(!format!("{:?}", ContainerToken::Text("abc".to_owned())).contains("abc"));
    }
}
