//! A byte stream that ends when it is told to, whoever holds it, and that begins with what was read of it already.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
pub(super) struct Leased<S> {
    inner: S,
    /// Read ahead, and given out first.
    first: Vec<u8>,
    /// Reading fails once it is done: whoever drives the connection always reads.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Leased<S> {
    /// `inner`, of which `first` was read already, until `end`.
    pub fn new(inner: S, first: Vec<u8>, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { inner, first, end: Box::pin(end) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Leased<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            // Not to be polled again.
            self.end = Box::pin(std::future::ready(()));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection's time is over")));
        }
        if !self.first.is_empty() {
            let length = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..length]);
            self.first.drain(..length);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Leased<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn what_was_read_comes_first_and_the_end_interrupts() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let end = CancellationToken::new();
        let mut leased = Leased::new(ours, b"abc".to_vec(), end.clone().cancelled_owned());
        theirs.write_all(b"de").await.expect("it is open");
        let mut read = [0; 5];
        leased.read_exact(&mut read[..2]).await.expect("read ahead");
        leased.read_exact(&mut read[2..]).await.expect("the rest");
        assert_eq!(&read, b"abcde");
        let waits = tokio::spawn(async move { (leased.read_u8().await, leased.read_u8().await) });
        end.cancel();
        let (once, again) = waits.await.expect("it does not panic");
        assert!(once.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionAborted) && again.is_err());
    }
}
