//! The contract's error body for requests that hyper refuses by itself, with an empty answer (seed 003, "HTTP/3 Errors").
//!
//! A byte stream between hyper and TLS. In: what the client sends, watched by [`Framing`]; what hyper writes. Out: the same, but that a
//! request which must not be parsed ends in a byte that no parser takes, and an answer that did not come from our service is ours all the same.
//! Once the connection has become a WebSocket nothing is watched.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Framing, Refusal};
use crate::http::ErrorCode;

/// No head may hold it anywhere (RFC 9110 section 5.5, RFC 9112 section 3).
const POISON: &[u8] = b"\0";
const HEAD_START: &[u8] = b"HTTP/1.1 ";
/// How the answer begins with which a connection becomes a WebSocket (RFC 6455 section 4.2.2).
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// Longest head that hyper writes by itself: a status line and three short fields.
const FOREIGN_HEAD_BYTES_MAX: usize = 200;
/// The fields of such a head; answers of our service carry more.
const FOREIGN_FIELDS: [&str; 3] = ["connection", "content-length", "date"];

const MALFORMED: &str = "the request is not HTTP/1.1: a request line, then header fields of printable characters, then an empty line";
const HEAD_TOO_LARGE: &str = "the request's head is over the limit";
const TARGET_TOO_LONG: &str = "the request's target is over the limit";

/// See the module.
#[derive(Debug)]
pub struct Words<S> {
    inner: S,
    framing: Framing,
    /// Why nothing more is passed on.
    refusal: Option<Refusal>,
    /// Our answer, and how much of it is written.
    answer: Vec<u8>,
    written: usize,
    /// What goes to and fro is no HTTP any more.
    has_switched: bool,
}

impl<S> Words<S> {
    /// Around `inner`, which is at its start.
    pub fn new(inner: S) -> Self {
        Self { inner, framing: Framing::default(), refusal: None, answer: Vec::new(), written: 0, has_switched: false }
    }

    /// Whether a request's head has begun and not ended.
    pub fn is_in_head(&self) -> bool {
        self.framing.is_in_head()
    }

    /// Whether an answer of ours took the place of one of hyper's.
    pub fn has_refused(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Answers by itself, with the next write or flush. hyper must be done.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.answer = answer(refusal.status, refusal.message);
    }

    /// What it was made around.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncWrite + Unpin> Words<S> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.answer.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.answer[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Words<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.refusal.is_some() {
            // The end, as far as hyper shall know.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if self.has_switched {
            return Poll::Ready(Ok(()));
        }
        if let Err((at, refusal)) = self.framing.take(&buf.filled()[before..]) {
            self.refusal = Some(refusal);
            buf.set_filled(before + at);
            buf.put_slice(POISON);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Words<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        if self.has_switched {
            return Pin::new(&mut self.inner).poll_write(cx, buf);
        }
        if buf.starts_with(SWITCHING) {
            self.has_switched = true;
            return Pin::new(&mut self.inner).poll_write(cx, buf);
        }
        let Some((at, status)) = foreign_head(buf) else { return Pin::new(&mut self.inner).poll_write(cx, buf) };
        if at > 0 {
            return Pin::new(&mut self.inner).poll_write(cx, &buf[..at]);
        }
        self.answer = match self.refusal {
            Some(refusal) => answer(refusal.status, refusal.message),
            None if status == 431 => answer(status, HEAD_TOO_LARGE),
            None if status == 414 => answer(status, TARGET_TOO_LONG),
            None => answer(status, MALFORMED),
        };
        // It is written by now or by the flush to come.
        match self.poll_answer(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Where in `written` an empty refusal of hyper's own begins, and its status. hyper writes nothing behind it.
fn foreign_head(written: &[u8]) -> Option<(usize, u16)> {
    if !written.ends_with(HEAD_END) {
        return None;
    }
    let start = written.len().saturating_sub(FOREIGN_HEAD_BYTES_MAX);
    let at = start + written[start..].windows(HEAD_START.len()).rposition(|window| window == HEAD_START)?;
    let text = std::str::from_utf8(&written[at..written.len() - HEAD_END.len()]).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.get(HEAD_START.len()..)?.get(..3)?.parse().ok()?;
    let is_empty = text.contains("\r\ncontent-length: 0");
    let is_foreign = lines.all(|line| line.split_once(": ").is_some_and(|(name, _)| FOREIGN_FIELDS.contains(&name)));
    (matches!(status, 400 | 414 | 431) && is_empty && is_foreign).then_some((at, status))
}

/// The label of a refusal.
fn refusal_label(status: u16) -> &'static str {
    match status {
        408 => "slow",
        414 => "target_too_long",
        431 => "head_too_large",
        505 => "version",
        _ => "malformed",
    }
}

fn answer(status: u16, message: &str) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let code = ErrorCode::InvalidRequest.parts().0;
    let body = json!({"error": {"code": code, "message": message, "details": {}}}).to_string();
    let request_id = common::random::uuid();
    tracing::info!(%request_id, status, message, protocol = "h1", "a request was refused before it was one");
    common::door::count_refusal("http", refusal_label(status));
    let labels = [("route", "none"), ("status", "4xx"), ("protocol", "h1")];
    metrics::counter!("dark_tower_http_requests_total", &labels).increment(1);
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {request_id}\r\n\
         x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}",
        body.len(),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_of_hypers_own_are_told_apart() {
        let check = |written: &str, expected: Option<(usize, u16)>| assert_eq!(foreign_head(written.as_bytes()), expected, "{written}");
        let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        check(refusal, Some((0, 400)));
        check(&format!("the end of a body{refusal}"), Some((17, 400)));
        check("HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n", Some((0, 431)));
        check("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", None);
        check("HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n", None);
        check("HTTP/1.1 100 Continue\r\n\r\n", None);
        check("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n", None);
        check(&refusal[..refusal.len() - 1], None);
        check("\r\n\r\n", None);
    }
}
