//! The files of an archive in a bucket.

use super::{
    credentials::S3Credentials,
    respond::{describe, read_body, shown},
    settings::S3Settings,
};
use crate::archive::{
    deadlines::{MAX_SILENCE, upload_time},
    error::ArchiveError,
    limits::{MAX_ARCHIVED_FILES, MAX_ERROR_BYTES, MAX_LIST_BYTES, MAX_LIST_PAGES},
    place::ArchivePlace,
    revision::Revision,
};
use bytes::Bytes;
use futures::stream;
use reqwest::{
    Body, Certificate, Client, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    redirect::Policy,
};
use rusty_s3::{Bucket, Credentials, S3Action, actions::ListObjectsV2};
use std::{fs::File, time::Duration};
use tokio::io::AsyncReadExt;

/// How long the signature of a request is valid. Clocks may differ by some minutes.
const SIGNATURE_LIFE: Duration = Duration::from_secs(60 * 60);

/// Largest object of one request. See the documentation of PutObject.
const MAX_OBJECT_BYTES: u64 = 5 << 30;

/// Bytes of a file that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;

const KIND: &str = "application/octet-stream";

/// An archive in a bucket.
#[derive(Debug)]
pub(in crate::archive) struct S3Archive {
    place: ArchivePlace,
    bucket: Bucket,
    prefix: String,
    client: Client,
    credentials: S3Credentials,
}

/// Returns a body that sends the rest of `file`.
fn body_of(file: File) -> Body {
    let file = tokio::fs::File::from_std(file);
    Body::wrap_stream(stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await?;
        Ok::<_, std::io::Error>((!chunk.is_empty()).then(|| (Bytes::from(chunk), file)))
    }))
}

impl S3Archive {
    /// Sends no request yet.
    pub(in crate::archive) fn new(settings: S3Settings) -> Result<Self, ArchiveError> {
        let S3Settings { place, bucket, prefix, credentials, ca_file } = settings;
        // A redirect would send signed requests to another host.
        let mut builder =
            Client::builder().redirect(Policy::none()).connect_timeout(MAX_SILENCE).read_timeout(MAX_SILENCE);
        if let Some(path) = ca_file {
            let invalid = |reason: String| {
                ArchiveError::Settings(format!("{}, named by AWS_CA_BUNDLE: {reason}", path.display()))
            };
            let pem = std::fs::read(&path).map_err(|error| invalid(error.to_string()))?;
            for certificate in Certificate::from_pem_bundle(&pem).map_err(|error| invalid(shown(error)))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder.build().map_err(|error| ArchiveError::Settings(shown(error)))?;
        let credentials = S3Credentials::new(credentials).map_err(ArchiveError::Settings)?;
        Ok(Self { place, bucket, prefix, client, credentials })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn unavailable(&self, reason: String) -> ArchiveError {
        ArchiveError::Unavailable { place: self.place.clone(), reason }
    }

    async fn credentials(&self) -> Result<Credentials, ArchiveError> {
        self.credentials.current().await.map_err(|reason| self.unavailable(reason))
    }

    /// Sends a request and returns the response, whatever its status is.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ArchiveError> {
        request.send().await.map_err(|error| self.unavailable(shown(error)))
    }

    /// Returns the error of a response that is not a success.
    async fn refused(&self, mut response: Response) -> ArchiveError {
        // Without a body, the status says enough.
        let body = read_body(&mut response, MAX_ERROR_BYTES).await.unwrap_or_default();
        self.unavailable(describe(response.status(), &body))
    }

    async fn succeed(&self, request: RequestBuilder) -> Result<Response, ArchiveError> {
        let response = self.send(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    pub(in crate::archive) async fn put(&self, name: &str, file: File, bytes: u64) -> Result<(), ArchiveError> {
        if bytes > MAX_OBJECT_BYTES {
            return Err(self.unavailable(format!("{name} has {bytes} bytes, and S3 takes at most {MAX_OBJECT_BYTES}")));
        }
        let (key, credentials) = (self.key(name), self.credentials().await?);
        let url = self.bucket.put_object(Some(&credentials), &key).sign(SIGNATURE_LIFE);
        let request = self.client.put(url).header(CONTENT_TYPE, KIND).header(CONTENT_LENGTH, bytes);
        // Some stores refuse an empty body of unknown length.
        let request = if bytes == 0 { request.body(Bytes::new()) } else { request.body(body_of(file)) };
        self.succeed(request.timeout(upload_time(bytes))).await.map(drop)
    }

    pub(in crate::archive) async fn replace(
        &self,
        name: &str,
        content: Vec<u8>,
        expected: &Revision,
    ) -> Result<Revision, ArchiveError> {
        let (key, credentials) = (self.key(name), self.credentials().await?);
        let (header, value) = match expected {
            Revision::Absent => ("if-none-match", "*"),
            Revision::Tag(tag) => ("if-match", tag.as_str()),
        };
        let mut put = self.bucket.put_object(Some(&credentials), &key);
        put.headers_mut().insert(header, value);
        let request = self.client.put(put.sign(SIGNATURE_LIFE)).header(header, value).header(CONTENT_TYPE, KIND);
        let request = request.timeout(upload_time(content.len() as u64)).body(content);
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::PRECONDITION_FAILED => Err(ArchiveError::Replaced),
            // With `If-Match`, S3 responds with this status if the object was removed.
            StatusCode::NOT_FOUND if *expected != Revision::Absent => Err(ArchiveError::Replaced),
            status if status.is_success() => self.revision_of(&response),
            _ => Err(self.refused(response).await),
        }
    }

    fn revision_of(&self, response: &Response) -> Result<Revision, ArchiveError> {
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        let missing = || self.unavailable("the object store sent no ETag".to_owned());
        tag.map(|tag| Revision::Tag(tag.to_owned())).ok_or_else(missing)
    }

    pub(in crate::archive) async fn open_file(&self, name: &str) -> Result<Option<Response>, ArchiveError> {
        let (key, credentials) = (self.key(name), self.credentials().await?);
        let url = self.bucket.get_object(Some(&credentials), &key).sign(SIGNATURE_LIFE);
        let mut response = self.send(self.client.get(url)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            let body = read_body(&mut response, MAX_ERROR_BYTES).await.unwrap_or_default();
            let is_of_bucket = String::from_utf8_lossy(&body).contains("NoSuchBucket");
            return if is_of_bucket { Err(self.unavailable(describe(response.status(), &body))) } else { Ok(None) };
        }
        if response.status().is_success() { Ok(Some(response)) } else { Err(self.refused(response).await) }
    }

    pub(in crate::archive) async fn read(
        &self,
        name: &str,
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Revision)>, ArchiveError> {
        let Some(mut response) = self.open_file(name).await? else { return Ok(None) };
        let revision = self.revision_of(&response)?;
        let content = read_body(&mut response, limit).await.map_err(|reason| self.unavailable(reason))?;
        Ok(Some((content, revision)))
    }

    /// Returns the URL of a page of the names with `prefix`, after the page that ended with the token `continued`.
    fn list_url(&self, credentials: &Credentials, prefix: &str, continued: Option<&str>) -> Url {
        let mut list = self.bucket.list_objects_v2(Some(credentials));
        list.with_prefix(prefix);
        if let Some(token) = continued {
            list.with_continuation_token(token);
        }
        list.sign(SIGNATURE_LIFE)
    }

    pub(in crate::archive) async fn list(&self, folder: &str) -> Result<Vec<String>, ArchiveError> {
        let prefix = self.key(&format!("{folder}/"));
        let (mut names, mut continued) = (Vec::new(), None::<String>);
        for _ in 0..MAX_LIST_PAGES {
            let credentials = self.credentials().await?;
            let url = self.list_url(&credentials, &prefix, continued.as_deref());
            let mut response = self.succeed(self.client.get(url)).await?;
            let body = read_body(&mut response, MAX_LIST_BYTES).await.map_err(|reason| self.unavailable(reason))?;
            let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&body));
            let page = page.map_err(|_| self.unavailable("the list of objects is not valid".to_owned()))?;
            // Only names that start with the prefix: a response with others would be an error of the store.
            let found = page.contents.into_iter();
            names.extend(found.filter_map(|object| object.key.strip_prefix(&self.prefix).map(str::to_owned)));
            if names.len() as u64 > MAX_ARCHIVED_FILES {
                return Err(self.unavailable(format!("it has more than {MAX_ARCHIVED_FILES} files")));
            }
            // The same token again would lead to the same names.
            match page.next_continuation_token {
                Some(token) if continued.as_ref() != Some(&token) => continued = Some(token),
                _ => return Ok(names),
            }
        }
        Err(self.unavailable(format!("its list of objects does not end after {MAX_LIST_PAGES} responses")))
    }

    pub(in crate::archive) async fn remove(&self, name: &str) -> Result<(), ArchiveError> {
        let (key, credentials) = (self.key(name), self.credentials().await?);
        let url = self.bucket.delete_object(Some(&credentials), &key).sign(SIGNATURE_LIFE);
        let response = self.send(self.client.delete(url).timeout(upload_time(0))).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.refused(response).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::fake_bucket::{BucketFault, FakeBucket};

    #[tokio::test]
    async fn list_without_an_end_is_an_error() {
        let bucket = FakeBucket::start(BucketFault::ListsWithoutEnd).await;
        let settings = S3Settings::read(&bucket.place(), |name| bucket.variable(name)).unwrap();
        let listed = S3Archive::new(settings).unwrap().list("blobs").await;
        assert!(
            matches!(&listed, Err(ArchiveError::Unavailable { reason, .. }) if reason.contains("does not end")),
            "{listed:?}"
        );
    }
}
