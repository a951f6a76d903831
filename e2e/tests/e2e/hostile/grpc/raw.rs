//! TLS and HTTP/2 by hand: what no library would send.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use common::tls::{NodeIdentity, NodeKind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113 section 6.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// What every server takes (RFC 9113 section 4.2).
const FRAME_BYTES: usize = 16 * 1024;

/// With what somebody comes.
pub enum Shown<'a> {
    /// No certificate.
    Nothing,
    /// One.
    Certificate(&'a NodeIdentity),
    /// A good one, by TLS 1.2.
    OldTls(&'a NodeIdentity),
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "no certificate",
            Self::Certificate(_) => "a certificate that is not good here",
            Self::OldTls(_) => "TLS 1.2",
        })
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The server ended it.
    ByServer,
    /// It answered.
    Answered,
}

/// Believes anybody: it is not the server that is tried here.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn dial(port: SocketAddr, shown: &Shown<'_>) -> anyhow::Result<std::io::Result<TlsStream<TcpStream>>> {
    let versions: &[&rustls::SupportedProtocolVersion] = if matches!(shown, Shown::OldTls(_)) { &[&TLS12] } else { &[&TLS13] };
    let config = ClientConfig::builder_with_protocol_versions(versions).dangerous().with_custom_certificate_verifier(Arc::new(Credulous));
    let mut config = match shown {
        Shown::Nothing => config.with_no_client_auth(),
        Shown::Certificate(identity) | Shown::OldTls(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
            config.with_client_auth_cert(identity.chain()?, key)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(NodeKind::GlobalController.certificate_name())?;
    let stream = TcpStream::connect(port).await?;
    stream.set_nodelay(true)?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await)
}

/// Shakes hands, begins HTTP/2, and says what became of it.
pub async fn shake(port: SocketAddr, shown: &Shown<'_>) -> anyhow::Result<Closed> {
    // In TLS 1.3 a client is done before the server has looked at its certificate.
    let Ok(mut stream) = dial(port, shown).await? else { return Ok(Closed::ByServer) };
    if stream.write_all(PREFACE).await.is_err() {
        return Ok(Closed::ByServer);
    }
    let mut answer = [0; 64];
    match stream.read(&mut answer).await {
        Ok(0) | Err(_) => Ok(Closed::ByServer),
        Ok(_) => Ok(Closed::Answered),
    }
}

/// Says `bytes` without TLS, and waits until the server has ended it.
pub async fn says(port: SocketAddr, bytes: &[u8]) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(port).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    // An alert may come before the end; a reset is an end.
    let _ = stream.read_to_end(&mut answer).await;
    ensure!(answer.len() < 64 && answer.first().is_none_or(|first| *first == 0x15), "it was answered: {answer:?}");
    Ok(())
}

/// A connection of a node, beyond the preface.
pub struct Http2 {
    stream: TlsStream<TcpStream>,
}

/// A frame as it came.
struct Frame {
    kind: u8,
    stream: u32,
}

impl Http2 {
    /// As `node`.
    pub async fn open(port: SocketAddr, node: &NodeIdentity) -> anyhow::Result<Self> {
        let mut stream = dial(port, &Shown::Certificate(node)).await?.context("a node is let in")?;
        stream.write_all(PREFACE).await?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        let mut it = Self { stream };
        let first = it.next().await?.context("it is let in")?;
        ensure!(first.kind == SETTINGS, "it begins with frame {}", first.kind);
        Ok(it)
    }

    /// `None`: it is over.
    async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        let mut head = [0; 9];
        if self.stream.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if self.stream.read_exact(&mut payload).await.is_err() {
            return Ok(None);
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7FFF_FFFF;
        Ok(Some(Frame { kind: head[3], stream }))
    }

    /// Until it is over; whether the server has said GOAWAY before.
    pub async fn until_over(mut self) -> anyhow::Result<bool> {
        let mut is_announced = false;
        while let Some(frame) = self.next().await? {
            is_announced |= frame.kind == GO_AWAY;
        }
        Ok(is_announced)
    }

    /// Until the server says GOAWAY or ends it, or ends the stream 1 alone.
    async fn until_refused(&mut self) -> anyhow::Result<()> {
        while let Some(frame) = self.next().await? {
            if frame.kind == GO_AWAY || (frame.stream == 1 && [RST_STREAM, HEADERS].contains(&frame.kind)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A whole head of so many bytes; an answer such as 431 is a refusal.
    pub async fn head_of(&mut self, bytes: usize) -> anyhow::Result<()> {
        let mut block = request();
        while block.len() < bytes {
            block.extend(field(b"x-bomb", &[b'a'; 4096]));
        }
        let mut parts = block.chunks(FRAME_BYTES).peekable();
        let mut kind = HEADERS;
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
            if self.stream.write_all(&frame(kind, flags, 1, part)).await.is_err() {
                return Ok(());
            }
            kind = CONTINUATION;
        }
        self.until_refused().await
    }

    /// A head that goes on and on (CVE-2024-27316).
    pub async fn endless_head(&mut self) -> anyhow::Result<()> {
        let mut kind = HEADERS;
        let part = field(b"x-bomb", &[b'a'; 4096]).repeat(3);
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let writing = async {
            while writer.write_all(&frame(kind, 0, 1, &part)).await.is_ok() {
                kind = CONTINUATION;
            }
        };
        let reading = async {
            let mut rest = Vec::new();
            // However it ends.
            let _ = reader.read_to_end(&mut rest).await;
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
        Ok(())
    }

    /// Opens streams and resets each at once, until the server has had enough or there were `most`; how many there were.
    pub async fn rapid_resets(&mut self, most: u32) -> anyhow::Result<u32> {
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let mut done = 0;
        let writing = async {
            while done < most {
                let id = 1 + 2 * done;
                let both = [frame(HEADERS, END_HEADERS, id, &request()), frame(RST_STREAM, 0, id, &8u32.to_be_bytes())].concat();
                if writer.write_all(&both).await.is_err() {
                    break;
                }
                done += 1;
            }
            // Whether the server ends it is the reader's to see.
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut rest = Vec::new();
            // However it ends.
            let _ = reader.read_to_end(&mut rest).await;
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
        Ok(done)
    }

    /// Opens `wanted` streams whose requests never end; how many of them the server did not refuse. It may also end it all.
    pub async fn open_streams(&mut self, wanted: u32) -> anyhow::Result<u32> {
        for number in 0..wanted {
            if self.stream.write_all(&frame(HEADERS, END_HEADERS, 1 + 2 * number, &request())).await.is_err() {
                return Ok(0);
            }
        }
        let mut refused = std::collections::BTreeSet::new();
        while let Some(frame) = self.next().await? {
            match frame.kind {
                GO_AWAY => return Ok(0),
                RST_STREAM => drop(refused.insert(frame.stream)),
                _ => {}
            }
            // The last stream is over the limit for certain.
            if frame.stream == 2 * wanted - 1 {
                return Ok(wanted - u32::try_from(refused.len())?);
            }
        }
        Ok(0)
    }

    /// The head of a frame of so many bytes.
    pub async fn frame_of(&mut self, bytes: u32) -> anyhow::Result<()> {
        let [_, a, b, c] = bytes.to_be_bytes();
        self.stream.write_all(&[a, b, c, HEADERS, END_HEADERS, 0, 0, 0, 1]).await?;
        self.until_refused().await
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A literal field that is not indexed (RFC 7541 section 6.2.2), of a name and a value without Huffman coding.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        // A 7-bit prefix integer (section 5.1).
        match text.len() {
            length @ 0..127 => out.push(length as u8),
            length => {
                out.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    out.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                out.push(rest as u8);
            }
        }
        out.extend(text);
    }
    out
}

/// The head of a call that every port knows or refuses in words.
fn request() -> Vec<u8> {
    // :method POST and :scheme https are 3 and 7 of the static table (RFC 7541 appendix A).
    let mut block = vec![0x83, 0x87];
    for (name, value) in [
        (&b":path"[..], &b"/darktower.cluster.v1.ClusterRegistry/Heartbeat"[..]),
        (b":authority", b"node"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ] {
        block.extend(field(name, value));
    }
    block
}
