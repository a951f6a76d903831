//! Bytes that are not HTTP/1.1, or can be read in two ways, or come too slowly.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Bystander, PATIENCE, SHORT, dial};
use crate::world::{Answer, World};

/// What comes until the server closes, after `bytes` were sent.
async fn exchange(world: &World, bytes: &[u8]) -> String {
    let mut stream = dial(world, b"http/1.1").await;
    // It may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    match tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it closes") {
        Ok(_) => {}
        Err(error) => assert!(matches!(error.kind(), ErrorKind::UnexpectedEof), "{error} after {}", String::from_utf8_lossy(&answer)),
    }
    String::from_utf8(answer).expect("text")
}

/// The answers in `text`, bodies by their length.
fn answers(mut text: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text.split_once("\r\n\r\n").expect("a whole head");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).expect("a status");
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(": ").expect("a field")) {
            headers.append(name.parse::<reqwest::header::HeaderName>().expect("a name"), value.parse().expect("a value"));
        }
        let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        let (body, after) = rest.split_at(length);
        answers.push(Answer { status, headers, text: body.to_owned() });
        text = after;
    }
    answers
}

async fn world() -> World {
    World::start(|config| {
        config.allow_anonymous_create = true;
        config.limits.read_timeout = SHORT;
    })
    .await
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_words() {
    let world = world().await;
    let bystander = Bystander::of(&world);
    let over = |bytes: usize| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(bytes));
    let both = "400 INVALID_REQUEST: content-length and transfer-encoding must not come together: send one of the two";
    let post = "POST /api/v1/meetings HTTP/1.1\r\nhost: a\r\n";
    for (bytes, expected) in [
        (
            "\x16\x03\x01\x02\r\n\r\n".to_owned(),
            "400 INVALID_REQUEST: the first line must be a method, a target and HTTP/1.1, with one space between",
        ),
        (
            "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            "400 INVALID_REQUEST: the request is not HTTP/1.1: a request line, then header fields of printable characters, then an empty line",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\x01\r\n\r\n".to_owned(),
            "400 INVALID_REQUEST: the request is not HTTP/1.1: a request line, then header fields of printable characters, then an empty line",
        ),
        (
            "GET / HTTP/3.0\r\nhost: a\r\n\r\n".to_owned(),
            "505 INVALID_REQUEST: this connection speaks HTTP/1.1; HTTP/2 and HTTP/3 are chosen by ALPN",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            "505 INVALID_REQUEST: this connection speaks HTTP/1.1; HTTP/2 and HTTP/3 are chosen by ALPN",
        ),
        (
            "GET / HTTP/1.1\nhost: a\n\n".to_owned(),
            "400 INVALID_REQUEST: each line of the request's head must end with CR LF, not LF alone",
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n".to_owned(), "400 INVALID_REQUEST: a header field must not go on in the next line"),
        (format!("{post}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), both),
        (format!("{post}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n"), both),
        (
            format!("{post}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"),
            "400 INVALID_REQUEST: content-length must be one number, stated once",
        ),
        (over(40_000), "431 INVALID_REQUEST: the request's head is over the limit of 32768 bytes"),
        (over(300_000), "431 INVALID_REQUEST: the request's head is over the limit"),
    ] {
        let came = exchange(&world, bytes.as_bytes()).await;
        let [answer] = &answers(&came)[..] else { panic!("{bytes:.80}: {came}") };
        assert_eq!(answer.refusal(), expected, "{bytes:.80}");
        assert!(!answer.header("x-request-id").is_empty(), "{bytes:.80}");
    }
    bystander.was_served().await;
}

/// The hidden second request of a smuggler is never answered.
#[tokio::test]
async fn nothing_is_smuggled() {
    let world = world().await;
    let hidden = "GET /api/v1/hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    for carrier in [
        format!("POST /nowhere HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("POST /nowhere HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("GET /nowhere HTTP/1.1\r\nhost: a\r\nx: y\n\r\n{hidden}"),
    ] {
        let came = exchange(&world, carrier.as_bytes()).await;
        assert_eq!(answers(&came).len(), 1, "{carrier}: {came}");
        assert!(came.contains("connection: close"), "{carrier}: {came}");
    }
    // What is no trick is answered in its order, up to what is one.
    let came = exchange(&world, format!("{hidden}{hidden}GET / HTTP/1.1\nx\r\n\r\n").as_bytes()).await;
    let statuses: Vec<u16> = answers(&came).iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [404, 404, 400], "{came}");
}

/// Rare, and right: they are answered like any other request.
#[tokio::test]
async fn rare_requests_are_served() {
    let world = world().await;
    let ask = |text: &str| text.replace('|', "\r\n") + "\r\n\r\n";
    let check = async |request: &str, expected: &str, body: &str| {
        let came = exchange(&world, ask(request).as_bytes()).await;
        let last = answers(&came).pop().expect("an answer");
        assert_eq!(last.status.as_u16().to_string(), expected, "{request}: {came}");
        assert!(last.text.contains(body), "{request}: {came}");
    };
    check("GET /healthz HTTP/1.0", "200", "ok").await;
    check("GET http://a/healthz HTTP/1.1|host: b|connection: close", "200", "ok").await;
    check("GET /healthz HTTP/1.1|host: a|connection: close, upgrade|upgrade: websocket", "200", "ok").await;
    check("OPTIONS * HTTP/1.1|host: a|connection: close", "200", "").await;
    check("TRACE /healthz HTTP/1.1|host: a|connection: close", "405", "this path does not take this method").await;
    check("CONNECT a:443 HTTP/1.1|host: a:443|connection: close", "405", "this server does not take CONNECT").await;
    check("GET /healthz HTTP/1.1|connection: close", "400", "a request over HTTP/1.1 must have a Host field").await;
    check("GET /healthz HTTP/1.1|host: a|host: b|connection: close", "400", "exactly one Host field").await;
    check("POST /api/v1/meetings HTTP/1.1|host: a|expect: a miracle|connection: close", "417", "100-continue").await;
    let came = exchange(&world, ask("HEAD /nowhere HTTP/1.1|host: a|connection: close").as_bytes()).await;
    assert!(came.starts_with("HTTP/1.1 404 ") && came.ends_with("\r\n\r\n"), "no body for HEAD: {came}");
    let post = "POST /api/v1/meetings HTTP/1.1|host: a|content-type: application/json|connection: close|";
    let came = exchange(&world, (ask(&format!("{post}expect: 100-continue|content-length: 1")) + "7").as_bytes()).await;
    assert!(came.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 "), "{came}");
    let came = exchange(&world, (ask(&format!("{post}transfer-encoding: chunked")) + "no chunk\r\n").as_bytes()).await;
    assert_eq!(answers(&came)[0].refusal(), "400 INVALID_REQUEST: the body broke off");
}

/// Who says nothing is let go; who says half a request is told why; who sends half a body, too.
#[tokio::test]
async fn the_slow_are_let_go() {
    let world = world().await;
    let bystander = Bystander::of(&world);
    assert_eq!(exchange(&world, b"").await, "");
    let came = exchange(&world, b"GET / HTTP/1.1\r\nhost: a\r\nx-").await;
    assert_eq!(answers(&came)[0].refusal(), "408 INVALID_REQUEST: the request's head did not arrive in time");
    let post = b"POST /api/v1/meetings HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{";
    assert_eq!(answers(&exchange(&world, post).await)[0].refusal(), "408 INVALID_REQUEST: the body did not arrive in time");
    bystander.was_served().await;
}

/// Who asks on and on without reading is cut off once the answers have filled every buffer between.
#[tokio::test]
async fn who_does_not_read_is_let_go() {
    let world = World::start(|config| config.limits.write_timeout = SHORT).await;
    let bystander = Bystander::of(&world);
    let mut stream = dial(&world, b"http/1.1").await;
    let asking = async { while stream.write_all(b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n").await.is_ok() {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("the connection is ended");
    bystander.was_served().await;
}
