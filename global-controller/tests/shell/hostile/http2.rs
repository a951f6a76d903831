//! HTTP/2 frames by hand (RFC 9113), with header blocks that a library would not write.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Bystander, PATIENCE, SHORT, dial};
use crate::world::{Answer, World};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
/// `SETTINGS_INITIAL_WINDOW_SIZE` is zero.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

/// A frame of the server's.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The first four bytes from `at`.
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

struct Http2(TlsStream<TcpStream>);

impl Http2 {
    async fn start(world: &World, settings: &[u8]) -> Self {
        let mut this = Self(dial(world, b"h2").await);
        this.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("written");
        this.send(SETTINGS, 0, 0, settings).await.expect("written");
        this
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await
    }

    async fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) -> std::io::Result<()> {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields)).await
    }

    /// The next frame; `None`: the connection has ended.
    async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..9].try_into().expect("four bytes"));
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        tokio::time::timeout(PATIENCE, read).await.expect("in time")
    }

    /// The next frame that `pick` takes.
    async fn until(&mut self, pick: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if pick(&frame) {
                return Some(frame);
            }
        }
    }

    /// Asks on a fresh stream and is served.
    async fn is_served(&mut self, stream: u32) {
        self.ask(stream, &GOOD).await.expect("written");
        let head = self.until(|frame| frame.stream == stream).await.expect("the connection lives");
        assert_eq!((head.kind, head.payload[0]), (HEADERS, STATUS_200), "{head:?}");
    }
}

/// `:status: 200` of HPACK's static table.
const STATUS_200: u8 = 0x88;
const GOOD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/healthz")];

/// A header block of literals without indexing (RFC 7541 section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|&length| length < 127).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A malformed request is an error of its stream (RFC 9113 section 8.1.1), and no other stream's.
#[tokio::test]
async fn a_malformed_request_ends_its_stream_alone() {
    let world = World::start(|_| {}).await;
    let bystander = Bystander::of(&world);
    let mut http2 = Http2::start(&world, &[]).await;
    let with = |field: (&'static str, &'static str)| [&GOOD[..], &[field]].concat();
    let bad = [with((":path", "/again")), with(("connection", "close")), GOOD[..3].to_vec(), [&[("x", "1")][..], &GOOD].concat()];
    let mut stream = 1;
    for fields in bad {
        http2.ask(stream, &fields).await.expect("written");
        let end = http2.until(|frame| frame.stream == stream).await.unwrap_or_else(|| panic!("{fields:?} ended the connection"));
        assert_eq!((end.kind, end.number(0)), (RST_STREAM, PROTOCOL_ERROR), "{fields:?}: {end:?}");
        http2.is_served(stream + 2).await;
        stream += 4;
    }
    bystander.was_served().await;
}

/// Names that no field can have are found while the block is unpacked: there the library ends the connection, as it may (RFC 9113 section 5.4),
/// and says so. No other connection notices.
#[tokio::test]
async fn an_impossible_name_ends_its_connection_alone() {
    let world = World::start(|_| {}).await;
    let bystander = Bystander::of(&world);
    for name in ["X-Upper", ":unknown"] {
        let mut http2 = Http2::start(&world, &[]).await;
        http2.is_served(1).await;
        http2.ask(3, &[&GOOD[..], &[(name, "1")]].concat()).await.expect("written");
        let goaway = http2.until(|frame| frame.kind == GOAWAY).await.expect("it says why");
        assert_ne!(goaway.number(4), 0, "{name}");
        assert!(http2.until(|frame| frame.stream == 3).await.is_none(), "{name}: it has ended");
    }
    bystander.was_served().await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_answered_in_words() {
    let world = World::start(|_| {}).await;
    let answer = Answer::of(world.http.get(world.url("/healthz")).header("x", "x".repeat(40_000))).await;
    assert_eq!(answer.refusal(), "431 INVALID_REQUEST: the request's head is over the limit of 32768 bytes");
    let answer = Answer::of((0..101).fold(world.http.get(world.url("/healthz")), |request, n| request.header(format!("x-{n}"), "1"))).await;
    assert_eq!(answer.refusal(), "431 INVALID_REQUEST: the request has more than 100 header fields");
}

/// Requests that are taken back at once are work for nothing (CVE-2023-44487).
#[tokio::test]
async fn a_flood_of_resets_ends_its_connection() {
    let world = World::start(|_| {}).await;
    let bystander = Bystander::of(&world);
    let mut http2 = Http2::start(&world, &[]).await;
    for n in 0..5_000 {
        let stream = 2 * n + 1;
        if http2.ask(stream, &GOOD).await.is_err() || http2.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await.is_err() {
            break;
        }
    }
    let goaway = http2.until(|frame| frame.kind == GOAWAY).await.expect("it says why");
    assert_eq!(goaway.number(4), ENHANCE_YOUR_CALM);
    bystander.was_served().await;
}

/// A connection that does nothing for anybody is ended: after the handshake, after the preface, and however often it pings.
#[tokio::test]
async fn the_idle_are_let_go() {
    let world = World::start(|config| {
        config.limits.read_timeout = SHORT;
        config.limits.write_timeout = SHORT;
    })
    .await;
    let bystander = Bystander::of(&world);
    let mut silent = Http2(dial(&world, b"h2").await);
    assert!(silent.until(|_| false).await.is_none(), "it has ended");
    let mut pinging = Http2::start(&world, &[]).await;
    pinging.is_served(1).await;
    let pings = async {
        while pinging.send(PING, 0, 0, &[0; 8]).await.is_ok() {
            if pinging.until(|frame| frame.kind == PING && frame.flags == 1).await.is_none() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, pings).await.expect("it is ended");
    bystander.was_served().await;
}

/// An answer that its reader does not take is given up, and only that one.
#[tokio::test]
async fn who_does_not_read_loses_that_answer() {
    let world = World::start(|config| config.limits.write_timeout = SHORT).await;
    let mut http2 = Http2::start(&world, &NO_WINDOW).await;
    http2.ask(1, &GOOD).await.expect("written");
    let end = http2.until(|frame| frame.stream == 1 && frame.kind != HEADERS).await.expect("the connection lives");
    assert_eq!(end.kind, RST_STREAM, "{end:?}");
    http2.ask(3, &GOOD).await.expect("written");
    http2.send(WINDOW_UPDATE, 0, 3, &100_u32.to_be_bytes()).await.expect("written");
    let data = http2.until(|frame| frame.stream == 3 && frame.kind != HEADERS).await.expect("the connection lives");
    assert_eq!((data.kind, data.payload.as_slice()), (DATA, &b"ok\n"[..]));
}
