//! A form of which only a little is in memory while no part's data arrives. The parser of forms keeps everything until
//! it finds a boundary and the end of a part's head, and searches it again after each read.

use super::fault::BodyFault;
use axum::{
    BoxError,
    body::{Body, BodyDataStream},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, ready};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

sp1d_model::limits! {
    /// Maximum length of what comes before a part of a form: the preamble or the end of the part before it, the
    /// boundary, and the head of the part. The parser keeps it in memory.
    const MAX_PART_HEAD_BYTES: usize = 16 << 10; Bytes by Client;
    /// Maximum number of parts that count in the length of a form: the request, the program, the input, and what comes
    /// after them.
    const MAX_FORM_PARTS: usize = 4; Count by Client;
}

/// Says whether the parser searches for a part, and how many more bytes it may read for that.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct FormHeads(Arc<Mutex<Option<usize>>>);

impl FormHeads {
    fn set(&self, left: Option<usize>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }

    /// The parser is about to search for the next part.
    pub(in crate::api) fn search(&self) {
        self.set(Some(MAX_PART_HEAD_BYTES));
    }

    /// The parser has found a part, and reads its data.
    pub(in crate::api) fn found(&self) {
        self.set(None);
    }

    /// Takes up to `bytes` from what the parser may read, and returns how many. Returns 0 if nothing is left.
    fn take(&self, bytes: usize) -> usize {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => bytes,
            Some(left) => {
                let taken = bytes.min(*left);
                *left -= taken;
                taken
            }
        }
    }
}

/// The data of a form, in small pieces. After each piece, the parser looks at what it has before it gets the next one:
/// otherwise it would read as much as there is.
#[derive(Debug)]
pub(in crate::api) struct FormBody {
    parts: BodyDataStream,
    heads: FormHeads,
    /// The rest of the last part of the body.
    rest: Bytes,
    /// The last poll returned a piece.
    has_just_returned: bool,
    left: u64,
    limit: u64,
}

impl FormBody {
    /// Returns `body` with bounded heads. All its parts together have at most `data_bytes` bytes of data.
    pub(in crate::api) fn limit(body: Body, data_bytes: u64, heads: FormHeads) -> Body {
        let limit = data_bytes.saturating_add((MAX_FORM_PARTS * MAX_PART_HEAD_BYTES) as u64);
        let parts = body.into_data_stream();
        Body::from_stream(Self { parts, heads, rest: Bytes::new(), has_just_returned: false, left: limit, limit })
    }
}

impl Stream for FormBody {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_just_returned {
            self.has_just_returned = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.rest.is_empty() {
            match ready!(self.parts.poll_next_unpin(context)) {
                Some(Ok(part)) => self.rest = part,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
        // The rest of a long piece may be data: a head can be split between two reads of the connection.
        let length = self.heads.take(self.rest.len().min(MAX_PART_HEAD_BYTES));
        if length == 0 {
            return Poll::Ready(Some(Err(BodyFault::Head(MAX_PART_HEAD_BYTES).into())));
        }
        let piece = self.rest.split_to(length);
        match self.left.checked_sub(length as u64) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Some(Err(BodyFault::Form(self.limit).into()))),
        }
        self.has_just_returned = true;
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body::body_problem;
    use axum::{
        extract::{FromRequest, Multipart},
        http::{Request, header::CONTENT_TYPE},
    };
    use futures::stream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Parses a form that starts with `start` and continues with `data` for ever. Returns the names of its parts with
    /// the lengths of their data up to 1 MB, why it ends, and the bytes that were read from the client.
    async fn parsed(start: &str, data: &'static [u8]) -> (Vec<(String, usize)>, String, usize) {
        let read = Arc::new(AtomicUsize::new(0));
        let start = Bytes::from(start.to_owned());
        let (counted, data) = (read.clone(), stream::repeat(Bytes::from_static(data)));
        let body = stream::iter([start]).chain(data).map(move |part| {
            counted.fetch_add(part.len(), Ordering::Relaxed);
            Ok::<_, BoxError>(part)
        });
        let heads = FormHeads::default();
        let body = FormBody::limit(Body::from_stream(body), 1 << 30, heads.clone());
        let request = Request::builder().header(CONTENT_TYPE, "multipart/form-data; boundary=x").body(body).unwrap();
        let mut form = Multipart::from_request(request, &()).await.unwrap();
        let mut parts = Vec::new();
        let end = loop {
            heads.search();
            let mut field = match form.next_field().await {
                Ok(Some(field)) => field,
                Ok(None) => break "the end".to_owned(),
                Err(error) => {
                    let problem = serde_json::to_value(body_problem("cannot read the form", &error)).unwrap();
                    break problem["detail"].as_str().unwrap().to_owned();
                }
            };
            heads.found();
            let (name, mut length) = (field.name().unwrap_or_default().to_owned(), 0);
            while length < 1_000_000 {
                match field.chunk().await.unwrap() {
                    Some(part) => length += part.len(),
                    None => break,
                }
            }
            parts.push((name, length));
            if length >= 1_000_000 {
                break "enough".to_owned();
            }
        };
        (parts, end, read.load(Ordering::Relaxed))
    }

    const NO_PART: &str =
        "cannot read the form: no form part within 16384 bytes: the boundary or the end of the part's head is missing";

    #[tokio::test]
    async fn form_without_boundary_is_not_kept_in_memory() {
        let (parts, end, read) = parsed("", &[0; 1000]).await;
        assert_eq!((parts, end.as_str()), (Vec::new(), NO_PART));
        assert!(read <= 2 * MAX_PART_HEAD_BYTES, "{read}");
    }

    #[tokio::test]
    async fn part_whose_head_does_not_end_is_not_kept_in_memory() {
        let (parts, end, read) =
            parsed("--x\r\ncontent-disposition: form-data; name=\"program\"\r\nmore: ", b"a").await;
        assert_eq!((parts, end.as_str()), (Vec::new(), NO_PART));
        assert!(read <= 2 * MAX_PART_HEAD_BYTES, "{read}");
        // The same after a part that is complete.
        let first = "--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\none\r\n--x\r\nmore: ";
        let (parts, end, read) = parsed(first, b"a").await;
        assert_eq!((parts, end.as_str()), (vec![("a".to_owned(), 3)], NO_PART));
        assert!(read <= 3 * MAX_PART_HEAD_BYTES, "{read}");
    }

    #[tokio::test]
    async fn head_that_is_split_before_much_data_is_found() {
        let rest = [b"me=\"program\"\r\n\r\n".to_vec(), vec![7; 2 * MAX_PART_HEAD_BYTES]].concat();
        let (parts, end, _) = parsed("--x\r\ncontent-disposition: form-data; na", rest.leak()).await;
        assert_eq!((parts.len(), parts[0].0.as_str(), end.as_str()), (1, "program", "enough"));
    }

    #[tokio::test]
    async fn data_of_a_part_is_passed_on_as_it_arrives() {
        let start = "preamble\r\n--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\none\r\n--x\r\ncontent-disposition: form-data; name=\"program\"\r\n\r\n";
        let (parts, end, read) = parsed(start, &[7; 40_000]).await;
        assert_eq!((parts.len(), parts[0].clone(), end.as_str()), (2, ("a".to_owned(), 3), "enough"));
        assert!(read <= 1_000_000 + 100_000, "{read}");
    }
}
