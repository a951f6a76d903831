//! A client's socket that falls silent: from then on nothing of it reaches anybody, no farewell either, as when a phone loses its power.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use client::Dialer;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

/// A client's own socket.
#[derive(Debug)]
pub struct Socket {
    /// Dials by it.
    pub dialer: Dialer,
    endpoint: quinn::Endpoint,
    is_silent: Arc<AtomicBool>,
}

impl Socket {
    /// Any free port of loopback. Needs a tokio runtime.
    pub fn bind() -> io::Result<Self> {
        let is_silent = Arc::new(AtomicBool::new(false));
        let inner = TokioRuntime.wrap_udp_socket(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)?;
        let socket = Arc::new(MutableSocket { inner, is_silent: is_silent.clone() });
        let endpoint = quinn::Endpoint::new_with_abstract_socket(quinn::EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        Ok(Self { dialer: Dialer::from_endpoint(endpoint.clone()), endpoint, is_silent })
    }

    /// Nothing leaves it from now on.
    pub fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::Release);
    }

    /// Ends every QUIC connection at once, whatever is said on them.
    pub fn close(&self) {
        self.endpoint.close(quinn::VarInt::from_u32(0), b"");
    }
}

struct MutableSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    is_silent: Arc<AtomicBool>,
}

impl fmt::Debug for MutableSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutableSocket").field("is_silent", &self.is_silent).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for MutableSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // What is lost on the way was sent all the same.
        if self.is_silent.load(Ordering::Acquire) { Ok(()) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(&self, cx: &mut Context<'_>, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
