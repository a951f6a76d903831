//! One WebTransport session by either of two stacks that were written apart: web-transport-quinn, which the servers use
//! too, and wtransport, which knows nothing of them.

use std::pin::Pin;

use anyhow::{Context, ensure};
use common_core::Code;
use tokio::io::{AsyncRead, AsyncWrite};
use web_transport_quinn::{SessionError, WebTransportError};

/// Bytes from the other end.
pub type Reader = Pin<Box<dyn AsyncRead + Send + Sync>>;
/// Bytes to the other end.
pub type Writer = Pin<Box<dyn AsyncWrite + Send + Sync>>;

/// Whose code a client runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// The crate the servers are made with; it tells close codes.
    WebTransportQuinn,
    /// A strict and independent peer; it pins certificates by the rules of browsers.
    Wtransport,
}

/// A session that stands.
#[derive(Clone)]
pub enum Session {
    /// See [`Stack::WebTransportQuinn`].
    WebTransportQuinn(Box<web_transport_quinn::Session>),
    /// See [`Stack::Wtransport`]; the endpoint lives as long as its connection.
    Wtransport(std::sync::Arc<(wtransport::Connection, wtransport::Endpoint<wtransport::endpoint::endpoint_side::Client>)>),
}

impl Session {
    /// Dials `url`, believing only certificates with one of `hashes` (SHA-256).
    pub async fn dial(stack: Stack, url: &str, hashes: &[Vec<u8>]) -> anyhow::Result<Self> {
        ensure!(!hashes.is_empty(), "{url} came without a certificate hash, and there is no public authority on loopback");
        match stack {
            Stack::WebTransportQuinn => {
                let client = web_transport_quinn::ClientBuilder::new().with_server_certificate_hashes(hashes.to_vec())?;
                let url: reqwest::Url = url.parse()?;
                let session = client.connect(url.clone()).await.with_context(|| format!("cannot open a session at {url}"))?;
                Ok(Self::WebTransportQuinn(Box::new(session)))
            }
            Stack::Wtransport => {
                let digests = hashes.iter().map(|hash| {
                    let hash: [u8; 32] = hash.as_slice().try_into().context("a SHA-256 has 32 bytes")?;
                    Ok(wtransport::tls::Sha256Digest::new(hash))
                });
                let digests = digests.collect::<anyhow::Result<Vec<_>>>()?;
                let config = wtransport::ClientConfig::builder()
                    .with_bind_address((std::net::Ipv4Addr::LOCALHOST, 0).into())
                    .with_server_certificate_hashes(digests)
                    .build();
                let endpoint = wtransport::Endpoint::client(config)?;
                let connection = endpoint.connect(url).await.with_context(|| format!("cannot open a session at {url}"))?;
                Ok(Self::Wtransport(std::sync::Arc::new((connection, endpoint))))
            }
        }
    }

    /// Opens a bidirectional stream.
    pub async fn open_bi(&self) -> anyhow::Result<(Writer, Reader)> {
        match self {
            Self::WebTransportQuinn(session) => {
                let (send, receive) = session.open_bi().await?;
                Ok((Box::pin(send), Box::pin(receive)))
            }
            Self::Wtransport(session) => {
                let (send, receive) = session.0.open_bi().await?.await?;
                Ok((Box::pin(send), Box::pin(receive)))
            }
        }
    }

    /// Opens a unidirectional stream.
    pub async fn open_uni(&self) -> anyhow::Result<Writer> {
        match self {
            Self::WebTransportQuinn(session) => Ok(Box::pin(session.open_uni().await?)),
            Self::Wtransport(session) => Ok(Box::pin(session.0.open_uni().await?.await?)),
        }
    }

    /// The server's next unidirectional stream.
    pub async fn accept_uni(&self) -> anyhow::Result<Reader> {
        match self {
            Self::WebTransportQuinn(session) => Ok(Box::pin(session.accept_uni().await?)),
            Self::Wtransport(session) => Ok(Box::pin(session.0.accept_uni().await?)),
        }
    }

    /// Waits until the server has closed the session, and says with which code. Only web-transport-quinn tells.
    pub async fn close_code(&self) -> anyhow::Result<Code> {
        let Self::WebTransportQuinn(session) = self else { anyhow::bail!("wtransport does not tell close codes") };
        match session.closed().await {
            SessionError::WebTransportError(WebTransportError::Closed(number, reason)) => {
                Code::from_number(number).with_context(|| format!("the close code {number} ({reason}) is not in the contract"))
            }
            other => anyhow::bail!("the session did not end with a code: {other}"),
        }
    }

    /// The session of web-transport-quinn, for what only that stack tells.
    pub fn web_transport_quinn(&self) -> anyhow::Result<&web_transport_quinn::Session> {
        match self {
            Self::WebTransportQuinn(session) => Ok(session),
            Self::Wtransport(_) => anyhow::bail!("a session of web-transport-quinn is needed"),
        }
    }

    /// Ends the session in order.
    pub fn close(&self) {
        match self {
            Self::WebTransportQuinn(session) => session.close(Code::Normal.number(), b"bye"),
            Self::Wtransport(session) => session.0.close(wtransport::VarInt::from_u32(0), b"bye"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::door::{DoorConfig, DoorKeeper};
    use common::tls::Certificate;
    use common::webtransport::{ALPN, Accepted, Listener, OriginPolicy};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::within;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// Says on a stream of its own what it reads on the first of the client's, and closes when that ends.
    async fn repeat(Accepted { session, ticket: _ticket, .. }: Accepted) {
        let (_, mut from) = session.accept_bi().await.expect("the client opens a stream");
        let mut to = session.open_uni().await.expect("the client allows streams");
        tokio::io::copy(&mut from, &mut to).await.expect("the client ends its stream");
        to.finish().expect("it is open");
        from.read_to_end(0).await.expect("it has ended");
        to.stopped().await.expect("the client reads to the end");
        common::webtransport::close(&session, Code::Moved, "over");
    }

    fn serve(stop: &CancellationToken) -> (String, Vec<u8>) {
        common::tls::install_crypto_provider();
        let certificate = Certificate::self_signed(&["127.0.0.1".into()]).expect("a certificate");
        let limits = common::quic::TransportLimits::SIGNALING;
        let config = common::quic::server_config(&certificate.clone().into(), &[ALPN], limits.transport()).expect("a configuration");
        let endpoint = common::quic::server_endpoint("127.0.0.1:0".parse().expect("an address"), config).expect("a free port");
        let url = format!("https://{}/repeat", endpoint.local_addr().expect("it is bound"));
        let keeper = DoorKeeper::new(DoorConfig::default());
        let listener = Listener { endpoint, path: "/repeat", origins: OriginPolicy::Any, keeper, door: "wt" };
        tokio::spawn(listener.accept(stop.clone(), TaskTracker::new(), repeat));
        (url, certificate.sha256().to_vec())
    }

    /// Both stacks pin the certificate, open and take streams, and the one that can tells the close code.
    #[tokio::test]
    async fn both_stacks_speak_with_our_listener() {
        let stop = CancellationToken::new();
        let (url, hash) = serve(&stop);
        for stack in [Stack::WebTransportQuinn, Stack::Wtransport] {
            assert!(Session::dial(stack, &url, &[vec![0; 32]]).await.is_err(), "{stack:?} believes any certificate");
            let exchange = within(PATIENCE, "an exchange", async {
                let session = Session::dial(stack, &url, std::slice::from_ref(&hash)).await?;
                let (mut to, _from) = session.open_bi().await?;
                to.write_all(b"hello").await?;
                to.shutdown().await?;
                let mut answer = Vec::new();
                session.accept_uni().await?.read_to_end(&mut answer).await?;
                ensure!(answer == b"hello", "{answer:?}");
                if stack == Stack::WebTransportQuinn {
                    ensure!(session.close_code().await? == Code::Moved, "another close code");
                }
                Ok(())
            });
            exchange.await.unwrap_or_else(|error| panic!("{stack:?}: {error:#}"));
        }
        stop.cancel();
    }
}
