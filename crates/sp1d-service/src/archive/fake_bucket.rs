//! An object store for tests, with one fault.

use super::place::ArchivePlace;
use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header::ETAG},
    response::{IntoResponse, Response},
};
use std::{
    collections::BTreeMap,
    future::pending,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{net::TcpListener, sync::Notify};

/// What an object store does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BucketFault {
    /// It ignores the conditions in this header.
    Ignores(&'static str),
    /// Each response to a request for names is empty and says that more names follow.
    ListsWithoutEnd,
    /// The first write gets no response, and takes effect just before the second one.
    DelaysFirstWrite,
}

/// An object store with one bucket, which serves until its runtime ends. It supports conditional writes.
#[derive(Debug)]
pub(super) struct FakeBucket {
    fault: BucketFault,
    endpoint: String,
    /// Contents by path.
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// Number of lists that were sent.
    pages: AtomicU64,
    delayed: Mutex<DelayedWrite>,
    /// Notified when a write is delayed.
    pub(super) delaying: Notify,
}

/// How far the first write is.
#[derive(Debug, Default)]
enum DelayedWrite {
    #[default]
    Awaited,
    Received(String, HeaderMap, Bytes),
    Done,
}

impl FakeBucket {
    pub(super) async fn start(fault: BucketFault) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let bucket = Arc::new(Self {
            fault,
            endpoint,
            objects: Mutex::default(),
            pages: AtomicU64::default(),
            delayed: Mutex::default(),
            delaying: Notify::new(),
        });
        let router = Router::new().fallback(respond).with_state(bucket.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        bucket
    }

    /// Returns the place of an archive in this bucket.
    pub(super) fn place(&self) -> ArchivePlace {
        "s3://proofs".parse().unwrap()
    }

    /// Returns a variable of the environment for this object store.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        match name {
            "AWS_ENDPOINT_URL" => Some(self.endpoint.clone()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("key".to_owned()),
            _ => None,
        }
    }

    fn write(&self, path: String, headers: &HeaderMap, content: Bytes) -> Response {
        let mut objects = self.objects.lock().unwrap();
        let found = objects.get(&path).map(tag_of);
        let condition = |name: &'static str| {
            let value = headers.get(name).filter(|_| self.fault != BucketFault::Ignores(name))?;
            Some(value.to_str().unwrap())
        };
        let is_refused = condition("If-None-Match").is_some() && found.is_some()
            || condition("If-Match").is_some_and(|tag| found.as_deref() != Some(tag));
        if is_refused {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        let tag = tag_of(&content);
        objects.insert(path, content);
        [(ETAG, tag)].into_response()
    }

    /// Keeps the first write for later, if that is the fault. Returns true if it did.
    fn delays(&self, path: &str, headers: &HeaderMap, content: &Bytes) -> bool {
        if self.fault != BucketFault::DelaysFirstWrite {
            return false;
        }
        let mut delayed = self.delayed.lock().unwrap();
        match mem::replace(&mut *delayed, DelayedWrite::Done) {
            DelayedWrite::Awaited => {
                *delayed = DelayedWrite::Received(path.to_owned(), headers.clone(), content.clone());
                return true;
            }
            DelayedWrite::Received(path, headers, content) => drop(self.write(path, &headers, content)),
            DelayedWrite::Done => {}
        }
        false
    }

    fn read(&self, path: &str) -> Response {
        match self.objects.lock().unwrap().get(path) {
            Some(content) => ([(ETAG, tag_of(content))], content.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

fn tag_of(content: &Bytes) -> String {
    format!("\"{}\"", blake3::hash(content).to_hex())
}

async fn respond(State(bucket): State<Arc<FakeBucket>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let content = to_bytes(body, usize::MAX).await.unwrap();
    match head.method {
        Method::PUT if bucket.delays(&path, &head.headers, &content) => {
            bucket.delaying.notify_one();
            pending().await
        }
        Method::PUT => bucket.write(path, &head.headers, content),
        Method::GET if bucket.fault == BucketFault::ListsWithoutEnd => {
            let page = bucket.pages.fetch_add(1, Ordering::Relaxed);
            let truncated =
                format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{page}</NextContinuationToken>");
            format!(
                "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{truncated}</ListBucketResult>"
            )
            .into_response()
        }
        Method::GET => bucket.read(&path),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}
