//! quinn's streams as h3 wants them, with what a server that strangers reach needs besides: a bound on what h3 collects, a reset instead of an
//! empty answer, and a way to wait until the last answers have arrived.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::stream::{self, BoxStream, StreamExt};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, VarInt, WriteError};

use super::frames::Frames;

/// Read at once: a small request whole, a large body in packets.
const READ_BYTES: usize = 4 * 1024;
/// A frame about the connection: SETTINGS are the longest, with a dozen pairs at most.
const CONTROL_FRAME_BYTES_MAX: u64 = 4 * 1024;

type Opened = Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>;

/// A connection.
pub struct Connection {
    inner: quinn::Connection,
    requests: BoxStream<'static, Opened>,
    unidirectional: BoxStream<'static, Result<quinn::RecvStream, ConnectionError>>,
    opener: Opener,
    answers: Answers,
    frame_bytes_max: u64,
}

impl Connection {
    /// Of `inner`; a frame of a request other than DATA may have `frame_bytes_max`.
    pub fn new(inner: quinn::Connection, answers: Answers, frame_bytes_max: u64) -> Self {
        let accept = |connection: quinn::Connection| async { Some((connection.accept_bi().await, connection)) };
        let accept_unidirectional = |connection: quinn::Connection| async { Some((connection.accept_uni().await, connection)) };
        Self {
            requests: stream::unfold(inner.clone(), accept).boxed(),
            unidirectional: stream::unfold(inner.clone(), accept_unidirectional).boxed(),
            opener: Opener::new(inner.clone(), answers.clone()),
            inner,
            answers,
            frame_bytes_max,
        }
    }
}

/// The streams of a connection's last answers, kept until more are finished than could be unacknowledged.
#[derive(Clone, Debug)]
pub struct Answers {
    finished: Arc<Mutex<VecDeque<quinn::SendStream>>>,
    kept_max: usize,
}

impl Answers {
    /// Of a connection with at most `streams_max` streams open at once: a stream that is not acknowledged counts as open.
    pub fn new(streams_max: u32) -> Self {
        Self { finished: Arc::default(), kept_max: usize::try_from(streams_max).unwrap_or(usize::MAX) }
    }

    /// Waits until the client has what was answered, or is gone.
    pub async fn arrived(&self) {
        let streams = std::mem::take(&mut *self.finished());
        for stream in streams {
            // A stream that the client stopped, and a connection that ended, have nothing on their way either.
            let _ = stream.stopped().await;
        }
    }

    fn finished(&self) -> MutexGuard<'_, VecDeque<quinn::SendStream>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, stream: quinn::SendStream) {
        let oldest = {
            let mut finished = self.finished();
            finished.push_back(stream);
            if finished.len() > self.kept_max { finished.pop_front() } else { None }
        };
        // It takes the connection's own lock.
        drop(oldest);
    }
}

impl quic::Connection<Bytes> for Connection {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let accepted = ready!(self.unidirectional.poll_next_unpin(cx)).expect("unfold never ends");
        let frames = Frames::of_unidirectional(CONTROL_FRAME_BYTES_MAX);
        let connection = self.inner.clone();
        Poll::Ready(accepted.map(|inner| RecvStream { inner, frames, of: Some(connection), is_refused: false }).map_err(connection_error))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, ConnectionErrorIncoming>> {
        let accepted = ready!(self.requests.poll_next_unpin(cx)).expect("unfold never ends");
        let (send, recv) = accepted.map_err(connection_error)?;
        Poll::Ready(Ok(BidiStream {
            send: SendStream::new(send, self.answers.clone()),
            recv: RecvStream { inner: recv, frames: Frames::of_request(self.frame_bytes_max), of: None, is_refused: false },
        }))
    }

    fn opener(&self) -> Opener {
        Opener::new(self.inner.clone(), self.answers.clone())
    }
}

impl quic::OpenStreams<Bytes> for Connection {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        close(&self.inner, code, reason);
    }
}

/// Ends a connection with a code of HTTP/3 (RFC 9114 section 8.1).
pub fn close(connection: &quinn::Connection, code: Code, reason: &[u8]) {
    connection.close(varint(code.value()), reason);
}

/// Opens streams of ours: of a server these are the control stream and those of QPACK.
pub struct Opener {
    inner: quinn::Connection,
    opening: BoxStream<'static, Result<quinn::SendStream, ConnectionError>>,
    answers: Answers,
}

impl Opener {
    fn new(inner: quinn::Connection, answers: Answers) -> Self {
        let open = |connection: quinn::Connection| async { Some((connection.open_uni().await, connection)) };
        Self { opening: stream::unfold(inner.clone(), open).boxed(), inner, answers }
    }
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, _cx: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        // RFC 9114 section 6.1.
        let connection_error = ConnectionErrorIncoming::InternalError("a server opens no bidirectional streams".to_owned());
        Poll::Ready(Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error }))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        let opened = ready!(self.opening.poll_next_unpin(cx)).expect("unfold never ends");
        Poll::Ready(opened.map(|stream| SendStream::new(stream, self.answers.clone())).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        close(&self.inner, code, reason);
    }
}

/// A request's stream, until it is split.
pub struct BidiStream {
    send: SendStream,
    recv: RecvStream,
}

impl quic::BidiStream<Bytes> for BidiStream {
    type SendStream = SendStream;
    type RecvStream = RecvStream;

    fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}

impl quic::RecvStream for BidiStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let polled = self.recv.poll_data(cx);
        if let Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code })) = &polled
            && self.recv.is_refused
        {
            quic::SendStream::reset(&mut self.send, *error_code);
        }
        polled
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl quic::SendStream<Bytes> for BidiStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

/// The receiving half of a request's stream, or a unidirectional stream of the client's.
pub struct RecvStream {
    inner: quinn::RecvStream,
    frames: Frames,
    /// What ends when a frame is too long; `None`: this stream alone.
    of: Option<quinn::Connection>,
    /// A frame was too long.
    is_refused: bool,
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let mut bytes = [0; READ_BYTES];
        let count = ready!(self.inner.poll_read(cx, &mut bytes)).map_err(read_error)?;
        if count == 0 {
            return Poll::Ready(Ok(None));
        }
        if self.frames.take(&bytes[..count]).is_err() {
            let error_code = Code::H3_EXCESSIVE_LOAD.value();
            self.is_refused = true;
            self.stop_sending(error_code);
            if let Some(connection) = &self.of {
                close(connection, Code::H3_EXCESSIVE_LOAD, b"a frame on the control stream is too long");
            }
            return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code }));
        }
        Poll::Ready(Ok(Some(Bytes::copy_from_slice(&bytes[..count]))))
    }

    fn stop_sending(&mut self, error_code: u64) {
        // Of a stream that has ended nothing is sent any more.
        let _ = self.inner.stop(varint(error_code));
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.inner.id())
    }
}

/// The sending half of a request's stream, or a unidirectional stream of ours.
pub struct SendStream {
    id: quinn::StreamId,
    /// `None` once it is finished.
    inner: Option<quinn::SendStream>,
    writing: Option<WriteBuf<Bytes>>,
    has_written: bool,
    answers: Answers,
}

impl SendStream {
    fn new(inner: quinn::SendStream, answers: Answers) -> Self {
        Self { id: inner.id(), inner: Some(inner), writing: None, has_written: false, answers }
    }
}

impl quic::SendStream<Bytes> for SendStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        let Some(data) = &mut self.writing else { return Poll::Ready(Ok(())) };
        let Some(stream) = &mut self.inner else { return Poll::Ready(Err(write_error(WriteError::ClosedStream))) };
        while data.has_remaining() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, data.chunk())).map_err(write_error)?;
            self.has_written = true;
            data.advance(count);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            let connection_error = ConnectionErrorIncoming::InternalError("data was sent before the stream was ready".to_owned());
            return Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error });
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        let Some(mut stream) = self.inner.take() else { return Poll::Ready(Ok(())) };
        if let Err(error) = stream.finish() {
            return Poll::Ready(Err(StreamErrorIncoming::Unknown(Box::new(error))));
        }
        self.answers.keep(stream);
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, reset_code: u64) {
        if let Some(mut stream) = self.inner.take() {
            // A stream that was reset already needs nothing more.
            let _ = stream.reset(varint(reset_code));
        }
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.id)
    }
}

impl Drop for SendStream {
    /// quinn finishes a stream that is dropped: to the client that is an answer without a head. A request that got none was incomplete.
    fn drop(&mut self) {
        if !self.has_written {
            quic::SendStream::reset(self, Code::H3_REQUEST_INCOMPLETE.value());
        }
    }
}

fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(VarInt::from(id))).expect("QUIC's stream ids are varints")
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into() },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn lost(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
}

fn read_error(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        ReadError::ConnectionLost(error) => lost(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

fn write_error(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into_inner() },
        WriteError::ConnectionLost(error) => lost(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
