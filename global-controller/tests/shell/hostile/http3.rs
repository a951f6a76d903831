//! HTTP/3 frames by hand (RFC 9114), on QUIC streams that a library would not open.

use quinn::{ReadError, ReadToEndError, VarInt};
use reqwest::StatusCode;

use super::{Bystander, PATIENCE, SHORT, code_of};
use crate::http3::{Http3, dial};
use crate::world::World;

const H3_EXCESSIVE_LOAD: u64 = 0x107;
const H3_REQUEST_CANCELLED: u32 = 0x10c;
const H3_REQUEST_INCOMPLETE: u64 = 0x10d;
const H3_MESSAGE_ERROR: u64 = 0x10e;
const H3_FRAME_UNEXPECTED: u64 = 0x105;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// A length of a gigabyte, as a varint of eight bytes.
const GIGABYTE: [u8; 8] = [0xc0, 0, 0, 0, 0x40, 0, 0, 0];
const GOOD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/healthz")];

/// A HEADERS frame of literals (RFC 9204 section 4.5.6).
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0, 0];
    for (name, value) in fields {
        let length = u8::try_from(name.len()).expect("short");
        // Three bits of the first byte, then the rest.
        if length < 7 {
            block.push(0x20 | length)
        } else {
            block.extend([0x27, length - 7])
        }
        block.extend(name.as_bytes());
        block.push(u8::try_from(value.len()).ok().filter(|&length| length < 127).expect("short"));
        block.extend(value.as_bytes());
    }
    let length = u16::try_from(block.len()).expect("short") | 0x4000;
    [&[HEADERS][..], &length.to_be_bytes(), &block].concat()
}

/// What becomes of a stream with these bytes: the answer's bytes, or the code that it was reset with.
async fn exchange(connection: &quinn::Connection, bytes: &[u8]) -> Result<Vec<u8>, u64> {
    let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
    // It may be stopped before it has taken everything.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    match tokio::time::timeout(PATIENCE, receive.read_to_end(10_000)).await.expect("in time") {
        Ok(bytes) => Ok(bytes),
        Err(ReadToEndError::Read(ReadError::Reset(code))) => Err(code.into_inner()),
        Err(ReadToEndError::Read(ReadError::ConnectionLost(error))) => Err(code_of(&error)),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_malformed_request_ends_its_stream_alone() {
    let world = World::start(|config| config.limits.read_timeout = SHORT).await;
    let bystander = Bystander::of(&world);
    let mut http3 = Http3::connect(&world).await;
    let with = |field: (&'static str, &'static str)| headers(&[&GOOD[..], &[field]].concat());
    for bad in [with(("X-Upper", "1")), with((":unknown", "1")), with(("host", "elsewhere")), headers(&GOOD[1..]), with(("x", "a\nb"))] {
        assert_eq!(exchange(&http3.connection, &bad).await, Err(H3_MESSAGE_ERROR), "{}", String::from_utf8_lossy(&bad));
    }
    // Found by ourselves, these are answered.
    let came = exchange(&http3.connection, &with(("connection", "close"))).await.expect("an answer");
    assert!(String::from_utf8_lossy(&came).contains("has no place in a request over HTTP/2 or HTTP/3"), "{came:?}");
    assert_eq!(exchange(&http3.connection, &[]).await, Err(H3_REQUEST_INCOMPLETE));
    // Half a frame, and silence.
    let (mut half, mut receive) = http3.connection.open_bi().await.expect("a stream");
    half.write_all(&[HEADERS, 0x20, 0]).await.expect("written");
    let end = tokio::time::timeout(PATIENCE, receive.read_to_end(10)).await.expect("in time");
    assert!(matches!(&end, Err(ReadToEndError::Read(ReadError::Reset(code))) if code.into_inner() == H3_REQUEST_INCOMPLETE), "{end:?}");
    assert_eq!(http3.send("GET", "/healthz", None).await.text, "ok\n");
    bystander.was_served().await;
}

/// What the library would collect whole is refused by its first bytes, before there is anything to hold.
#[tokio::test]
async fn frames_that_claim_too_much_are_not_collected() {
    let world = World::start(|_| {}).await;
    let bystander = Bystander::of(&world);
    let mut http3 = Http3::connect(&world).await;
    for kind in [HEADERS, 0x21] {
        let claim = [&[kind][..], &GIGABYTE, &[0; 4096]].concat();
        assert_eq!(exchange(&http3.connection, &claim).await, Err(H3_EXCESSIVE_LOAD), "frame type {kind}");
    }
    assert_eq!(http3.send("GET", "/healthz", None).await.text, "ok\n");
    // Data may be long: it is read as it comes, by whoever wants it.
    let long = [headers(&GOOD), vec![DATA], GIGABYTE.to_vec(), vec![0; 4096]].concat();
    let (mut send, mut receive) = http3.connection.open_bi().await.expect("a stream");
    send.write_all(&long).await.expect("written");
    assert!(tokio::time::timeout(PATIENCE, receive.read_to_end(10_000)).await.expect("in time").is_ok());
    // On the control stream it is the connection that cannot go on.
    let raw = dial(&world).await;
    let mut control = raw.connection.open_uni().await.expect("a stream");
    control.write_all(&[&[0, SETTINGS][..], &GIGABYTE].concat()).await.expect("written");
    let closed = tokio::time::timeout(PATIENCE, raw.connection.closed()).await.expect("in time");
    assert_eq!(code_of(&closed), H3_EXCESSIVE_LOAD);
    bystander.was_served().await;
}

/// Frames in an order that the protocol forbids end the connection (RFC 9114 section 4.1), and no other one.
#[tokio::test]
async fn an_error_of_a_connection_ends_that_one() {
    let world = World::start(|_| {}).await;
    let bystander = Bystander::of(&world);
    let raw = dial(&world).await;
    assert_eq!(exchange(&raw.connection, &[DATA, 0]).await, Err(H3_FRAME_UNEXPECTED));
    bystander.was_served().await;
}

/// Streams that are opened and taken back, over and over.
#[tokio::test]
async fn a_flood_of_resets_ends_its_connection() {
    let world = World::start(|_| {}).await;
    let bystander = Bystander::of(&world);
    let raw = dial(&world).await;
    let flood = async {
        loop {
            let Ok((mut send, mut receive)) = raw.connection.open_bi().await else { return };
            let _ = send.write_all(&[HEADERS]).await;
            let _ = send.reset(VarInt::from_u32(H3_REQUEST_CANCELLED));
            let _ = receive.stop(VarInt::from_u32(H3_REQUEST_CANCELLED));
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("the connection ends");
    assert_eq!(code_of(&raw.connection.closed().await), H3_EXCESSIVE_LOAD);
    bystander.was_served().await;
}

#[tokio::test]
async fn heads_and_bodies_are_what_they_say() {
    let world = World::start(|config| config.allow_anonymous_create = true).await;
    let mut http3 = Http3::connect(&world).await;
    let long = format!("/healthz?{}", "x".repeat(40_000));
    let expected = "431 INVALID_REQUEST: the request's head is over the limit of 32768 bytes";
    assert_eq!(http3.send("GET", &long, None).await.refusal(), expected);
    let post =
        [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/api/v1/meetings"), ("content-length", "9")];
    let body = [&headers(&post)[..], &[DATA, 2], b"{}"].concat();
    let came = exchange(&http3.connection, &body).await.expect("an answer");
    assert!(String::from_utf8_lossy(&came).contains("the body broke off"), "{came:?}");
    let head = http3.send("HEAD", "/nowhere", None).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::NOT_FOUND, ""));
}

/// A connection that is kept alive and does nothing is ended, in order.
#[tokio::test]
async fn the_idle_are_let_go() {
    let world = World::start(|config| config.limits.read_timeout = SHORT).await;
    let mut http3 = Http3::connect(&world).await;
    assert_eq!(http3.send("GET", "/healthz", None).await.text, "ok\n");
    let closed = tokio::time::timeout(PATIENCE, http3.connection.closed()).await.expect("it is ended");
    assert_eq!(code_of(&closed), 0x100, "H3_NO_ERROR");
}

/// An answer that was given arrives, also when the process ends in between and the client reads it late.
#[tokio::test]
async fn a_stop_truncates_nothing() {
    let world = World::start(|_| {}).await;
    let whole = world.get("/api/v1/openapi.json", None).await.text;
    let http3 = Http3::connect(&world).await;
    let path = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/api/v1/openapi.json")];
    let (mut send, mut receive) = http3.connection.open_bi().await.expect("a stream");
    send.write_all(&headers(&path)).await.expect("written");
    send.finish().expect("finished");
    let mut first = [0; 100];
    receive.read_exact(&mut first).await.expect("the answer begins");
    let (rest, ()) = tokio::join!(receive.read_to_end(10_000_000), world.global_controller.stop());
    let rest = rest.expect("the whole answer");
    assert!(rest.len() + first.len() >= whole.len(), "{} of {} bytes", rest.len() + first.len(), whole.len());
    // A frame without meaning may follow (RFC 9114 section 7.2.8).
    let end = &whole.as_bytes()[whole.len() - 100..];
    assert!(rest.windows(end.len()).any(|window| window == end), "its end is there");
}
