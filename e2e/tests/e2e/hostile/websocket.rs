//! Tricks with WebSocket and the HTTP below it.

use std::time::Duration;

use anyhow::{bail, ensure};
use common_core::Code;
use e2e::ground::{Ground, REFUSAL_LIMIT, refused_within, scale};
use e2e::in_process::{InProcess, Options};
use e2e::raw::{self, RawWebSocket, foreign_address, opcode, websocket_frame};
use e2e::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const INVALID: u16 = Code::InvalidRequest.websocket();
const RATE_LIMITED: u16 = Code::RateLimited.websocket();
const UNAVAILABLE: u16 = Code::Unavailable.websocket();
/// How long silence may last by default, and a busy machine besides.
const SILENCE_LIMIT: Duration = Duration::from_secs(3 + 2);
/// Compressed (RFC 7692 section 6): a reserved bit where nothing was negotiated.
const COMPRESSED: u8 = 0x40;

/// A deflate block of zeros: a kilobyte of it stands for a megabyte.
fn bomb() -> Vec<u8> {
    // A fixed Huffman block of matches of 258 bytes at distance 1, which no correct reader comes to.
    [vec![0x4b, 0x04], vec![0xff; 60_000]].concat()
}

/// Frames that are against RFC 6455, or against our dialect, end the session with a code within a second; before a join and after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_against_the_rules_end_the_session() -> anyhow::Result<()> {
    let ground = Ground::start("WebSocket frames").await?;
    let (address, server) = (foreign_address(1), ground.signaling_address()?);
    let masked = |first: u8, payload: &[u8], length: u64| websocket_frame(first, payload, length);
    let unmasked = [&[opcode::BINARY, 3][..], b"abc"].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an unmasked frame", unmasked),
        ("a compressed bomb that nobody agreed to", masked(opcode::BINARY | COMPRESSED, &bomb(), bomb().len() as u64)),
        ("a continuation of nothing", masked(opcode::CONTINUATION, b"abc", 3)),
        ("text", masked(opcode::TEXT, b"{}", 2)),
        ("text that is none", masked(opcode::TEXT, &[0xff, 0xfe], 2)),
        ("a frame of 2^62 bytes", masked(opcode::BINARY, &[], 1 << 62)),
        ("a frame of 2^64 - 1 bytes", masked(opcode::BINARY, &[], u64::MAX)),
        ("a frame of a gibibyte", masked(opcode::BINARY, &[0; 1000], 1 << 30)),
        ("a message just over the limit", masked(opcode::BINARY, &vec![0; 64 * 1024 + 1], 64 * 1024 + 1)),
        ("an empty message", masked(opcode::BINARY, &[], 0)),
        ("an unknown opcode", masked(0x83, b"abc", 3)),
        ("an unknown control opcode", masked(0x8b, b"abc", 3)),
        ("a ping of 126 bytes", masked(opcode::PING, &[0; 126], 126)),
        ("a ping in fragments", masked(opcode::PING & 0x7f, b"abc", 3)),
        ("a message inside a message", [masked(opcode::BINARY & 0x7f, b"abc", 3), masked(opcode::BINARY, b"abc", 3)].concat()),
    ];
    for has_joined in [false, true] {
        for (what, bytes) in &cases {
            let mut socket = RawWebSocket::open(address, server, "").await?;
            if has_joined {
                socket.join(&ground.invite("Mallory").await?).await?;
            }
            let code = refused_within(REFUSAL_LIMIT, what, async {
                // What is too long by its length alone may be refused before all of it is written.
                let _ = socket.stream.write_all(bytes).await;
                let _ = socket.stream.flush().await;
                Ok(socket.close_code().await)
            })
            .await?;
            ensure!(code == Some(INVALID), "{what} (joined: {has_joined}): closed with {code:?}");
        }
    }
    ground.settled().await?;
    Ok(())
}

/// What never ends is ended: fragments, pings, frames and requests that are half there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_ends_is_ended() -> anyhow::Result<()> {
    let ground = Ground::start("WebSocket without end").await?;
    let (address, server) = (foreign_address(1), ground.signaling_address()?);

    // Never negotiated, however nicely asked.
    let lines = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let socket = RawWebSocket::open(address, server, lines).await?;
    ensure!(socket.head.starts_with("HTTP/1.1 101") && !socket.head.to_lowercase().contains("extensions"), "{}", socket.head);

    // Fragments: of a kilobyte until they are too many, and empty ones until they have been silence for too long.
    let mut socket = RawWebSocket::open(address, server, "").await?;
    socket.send(opcode::BINARY & 0x7f, &[0; 1024]).await?;
    refused_within(REFUSAL_LIMIT, "fragments without end", async {
        while socket.send(0, &[0; 1024]).await.is_ok() {}
        Ok(())
    })
    .await?;
    let mut empty = RawWebSocket::open(address, server, "").await?;
    let mut half = RawWebSocket::open(address, server, "").await?;
    // After a join they count as silence, which is shorter than the time for a first message.
    empty.join(&ground.invite("Mallory").await?).await?;
    half.join(&ground.invite("Mallory").await?).await?;
    let waiting = tokio::spawn(async move {
        half.stream.write_all(&websocket_frame(opcode::BINARY, &[0; 10], 1000)).await?;
        within(SILENCE_LIMIT, "the end of a half frame", async { Ok(half.close_code().await) }).await
    });
    let fragments = tokio::spawn(async move {
        empty.send(opcode::BINARY & 0x7f, &[]).await?;
        let pace = if scale().of(true, false) { Duration::from_millis(1) } else { Duration::from_micros(100) };
        let mut ticks = tokio::time::interval(pace);
        let mut count = 0_u64;
        within(SILENCE_LIMIT, "empty fragments without end", async {
            while empty.send(0, &[]).await.is_ok() {
                count += 1;
                ticks.tick().await;
            }
            Ok(count)
        })
        .await
    });

    // Pings as fast as they go.
    let mut socket = RawWebSocket::open(address, server, "").await?;
    socket.join(&ground.invite("Mallory").await?).await?;
    let (mut from, mut to) = tokio::io::split(socket.stream);
    let pings = scale().of(10_000, 100_000);
    let flood = tokio::spawn(async move {
        let ping = websocket_frame(opcode::PING, &[0; 125], 125);
        for sent in 0..pings {
            if to.write_all(&ping).await.is_err() {
                return sent;
            }
        }
        pings
    });
    let mut heard = Vec::new();
    refused_within(REFUSAL_LIMIT, "pings without end", async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            heard.extend_from_slice(&buffer[..count]);
        }
        Ok(())
    })
    .await?;
    let close = [&[opcode::CLOSE][..]].concat();
    ensure!(heard.windows(4).any(|it| it[0] == close[0] && it[2..] == RATE_LIMITED.to_be_bytes()), "no close with {RATE_LIMITED}");
    drop(from);
    eprintln!("{} pings were sent before the end", flood.await?);

    // 8 MiB of head, and a head that does not come to its end.
    let mut stream = raw::tls(address, server).await?;
    refused_within(REFUSAL_LIMIT, "a head of 8 MiB", async {
        let _ = stream.write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX: ").await;
        let filler = [b'x'; 16 * 1024];
        for _ in 0..512 {
            if stream.write_all(&filler).await.is_err() {
                return Ok(());
            }
        }
        bail!("all of it was taken")
    })
    .await?;
    let mut slow = raw::tls(address, server).await?;
    slow.write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n").await?;
    within(Duration::from_secs(5 + 2), "the end of half a head", async { Ok(slow.read(&mut [0; 1024]).await.unwrap_or(0)) }).await?;
    // A request that is no upgrade is answered, and that is all.
    let mut plain = raw::tls(address, server).await?;
    plain.write_all(b"GET /elsewhere HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    refused_within(REFUSAL_LIMIT, "another path", async {
        // The end of a connection may come without TLS' own.
        let _ = plain.read_to_end(&mut answer).await;
        ensure!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
        Ok(())
    })
    .await?;

    let code = waiting.await??;
    ensure!(code == Some(UNAVAILABLE), "a half frame: {code:?}");
    eprintln!("{} empty fragments were sent before the end", fragments.await??);
    ground.settled().await?;
    Ok(())
}

/// Pages of other origins open no session on either transport; ours, and clients that are no pages, do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_are_refused() -> anyhow::Result<()> {
    let cluster = InProcess::start(Options { origins: vec!["https://meet.example".to_owned()], ..Options::default() }).await?;
    let meeting = cluster.api.create_meeting().await?.meeting_id;
    let invitation = cluster.api.invite(&meeting, "Mallory").await?;
    let (address, server) = (foreign_address(1), cluster.controller_address());
    let url: reqwest::Url = invitation.meeting_controller_url.parse()?;
    let endpoint = raw::endpoint(address)?;
    let status = |origin: Option<&'static str>| {
        let (endpoint, url) = (endpoint.clone(), url.clone());
        async move {
            let mut request = web_transport_quinn::proto::ConnectRequest::new(url);
            if let Some(origin) = origin {
                request = request.with_header(web_transport_quinn::http::header::ORIGIN, origin.parse()?);
            }
            let session = web_transport_quinn::Session::connect(raw::connect(&endpoint, server).await?, request).await;
            anyhow::Ok(session.is_ok())
        }
    };
    for (origin, is_allowed) in [
        (None, true),
        (Some("https://meet.example"), true),
        (Some("https://meet.example.evil"), false),
        (Some("https://MEET.example"), false),
        (Some("http://meet.example"), false),
        (Some("null"), false),
        (Some(""), false),
    ] {
        let opened = refused_within(REFUSAL_LIMIT, "a page's WebTransport", status(origin)).await?;
        ensure!(opened == is_allowed, "WebTransport from {origin:?}: {opened}");
        let line = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let head = refused_within(REFUSAL_LIMIT, "a page's WebSocket", RawWebSocket::open(address, server, &line)).await?.head;
        let expected = if is_allowed { "HTTP/1.1 101" } else { "HTTP/1.1 403" };
        ensure!(head.starts_with(expected), "WebSocket from {origin:?}: {head}");
    }
    cluster.stop().await;
    Ok(())
}
