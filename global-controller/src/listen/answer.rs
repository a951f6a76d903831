//! Bodies of answers on their way out, in pieces that a slow reader can be measured by.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Largest piece that a connection takes at once; what it has taken is out of sight.
const PIECE_BYTES: usize = 16 * 1024;

/// How an answer's body and its reader get on: one of them waits for the other.
#[derive(Debug, Default)]
pub struct Pace(AtomicU32);

impl Pace {
    /// Pieces offered so far if the reader is waited for; `None` while the body itself has nothing to offer.
    pub fn offered(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&count| count > 0)
    }

    fn offer(&self) {
        // One task offers and waits, so that nothing comes between; zero is left out.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1).max(1), Ordering::Relaxed);
    }

    fn wait_for_body(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A body in pieces that tells its pace.
#[derive(Debug)]
pub struct Paced {
    body: Body,
    /// Taken from the body, not yet offered.
    rest: Bytes,
    pace: Option<Arc<Pace>>,
}

impl Paced {
    /// From now on the reader is waited for.
    pub fn new(body: Body, pace: Option<Arc<Pace>>) -> Self {
        if let Some(pace) = &pace {
            pace.offer();
        }
        Self { body, rest: Bytes::new(), pace }
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            if let (Poll::Pending, Some(pace)) = (&polled, &self.pace) {
                pace.wait_for_body();
            }
            match ready!(polled).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        if let Some(pace) = &self.pace {
            pace.offer();
        }
        let count = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        let mut whole = SizeHint::new();
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole.set_lower(hint.lower() + rest);
        whole
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn large_bodies_leave_in_pieces_and_say_who_is_waited_for() {
        let pace = Arc::new(Pace::default());
        assert_eq!(pace.offered(), None);
        let mut body = Paced::new(Body::from(vec![7; PIECE_BYTES * 2 + 1]), Some(pace.clone()));
        assert_eq!((pace.offered(), body.size_hint().exact()), (Some(1), Some(PIECE_BYTES as u64 * 2 + 1)));
        let mut lengths = Vec::new();
        while let Some(frame) = body.frame().await {
            lengths.push(frame.expect("no error").into_data().expect("data").len());
            assert_eq!(pace.offered(), Some(u32::try_from(lengths.len()).expect("few") + 1));
        }
        assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, 1]);
        let quiet = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>());
        let mut quiet = Paced::new(quiet, Some(pace.clone()));
        assert!(futures_util::FutureExt::now_or_never(quiet.frame()).is_none());
        assert_eq!(pace.offered(), None, "it is the body that is waited for");
    }
}
