//! The public API's front: heads and frames before the libraries see them, bodies, and the words in paths, queries and headers.

use axum::http::{HeaderValue, Uri};
use global_controller::seams;
use serde_json::Value;

/// A body that is read is what another reader makes of it; one that is refused, the other refuses as well, but for a name that stands
/// twice.
pub fn json_body(data: &[u8]) {
    let other: Result<Value, _> = serde_json::from_slice(data);
    match (seams::json(data), other) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(ours, theirs);
            assert!(depth(&ours) <= 127, "deeper than is promised");
        }
        (Ok(ours), Err(error)) => panic!("{ours} was read, and another reader says {error}"),
        (Err(problem), Ok(_)) => assert!(problem.contains("stands twice"), "{problem}"),
        (Err(problem), Err(_)) => assert!(problem.len() < 2048, "a refusal repeats what was sent"),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(inner) => 1 + inner.iter().map(depth).max().unwrap_or(0),
        Value::Object(inner) => 1 + inner.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The watcher of HTTP/1.1 gives one verdict however the bytes arrive (in pieces of `first byte + 1`), and what it lets pass before a refusal
/// it lets pass alone.
pub fn http1_head(data: &[u8]) {
    let Some((cut, wire)) = data.split_first() else { return };
    let whole = seams::framing([wire]);
    assert_eq!(whole, seams::framing(wire.chunks(usize::from(*cut) + 1)));
    if let Err((passed, status)) = whole {
        assert!(passed < wire.len() && (400..=505).contains(&status));
        assert!(seams::framing([&wire[..passed]]).is_ok(), "what may pass is good by itself");
    }
}

/// The watcher of HTTP/3 frames says what a reader of the whole stream says.
pub fn http3_frames(data: &[u8]) {
    const BYTES_MAX: u64 = 1000;
    let [cut, wire @ ..] = data else { return };
    let is_request = cut & 1 == 0;
    let expected = !claims_too_much(wire, is_request, BYTES_MAX);
    assert_eq!(seams::frames(is_request, BYTES_MAX, [wire]), expected);
    assert_eq!(seams::frames(is_request, BYTES_MAX, wire.chunks(usize::from(*cut) + 1)), expected);
}

/// RFC 9114 section 7.1 and RFC 9000 section 16, read at leisure.
fn claims_too_much(wire: &[u8], is_request: bool, bytes_max: u64) -> bool {
    fn varint(wire: &mut &[u8]) -> Option<u64> {
        let bytes = 1_usize << (wire.first()? >> 6);
        let number = wire.get(..bytes)?.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        *wire = &wire[bytes..];
        Some(number & (u64::MAX >> (64 - 8 * bytes + 2)))
    }
    let mut rest = wire;
    if !is_request && varint(&mut rest) != Some(0) {
        return false;
    }
    loop {
        let Some(kind) = varint(&mut rest).filter(|kind| *kind != 0x41) else { return false };
        let Some(length) = varint(&mut rest) else { return false };
        if kind != 0 && length > bytes_max {
            return true;
        }
        let taken = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        rest = &rest[taken..];
    }
}

/// Words of a request, one line each: a URI with a query, a number, a meeting's name, an `Idempotency-Key` (what is left).
pub fn request_words(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    if let Ok(uri) = Uri::try_from(line()) {
        match seams::query(&uri) {
            Ok(values) => assert!(values.iter().flatten().all(|value| !value.is_empty() && !value.contains(char::REPLACEMENT_CHARACTER))),
            Err(words) => assert!(!words.chars().any(char::is_control), "{words:?}"),
        }
    }
    if let Ok(text) = std::str::from_utf8(line())
        && let Some(number) = seams::whole_number(text, 1, 200)
    {
        assert!((1..=200).contains(&number) && text.trim_start_matches('0') == number.to_string());
    }
    if let Ok(text) = std::str::from_utf8(line())
        && let Some(key) = seams::meeting_key(text)
    {
        assert!(text.eq_ignore_ascii_case(&key), "{text:?} is taken for {key}");
        assert_eq!(seams::meeting_key(&key).as_ref(), Some(&key), "as it is written it is found");
    }
    if let Ok(value) = HeaderValue::from_bytes(line())
        && let Ok(Some(key)) = seams::idempotency_key(std::slice::from_ref(&value))
    {
        assert!((1..=255).contains(&key.len()) && key.as_bytes() == value.as_bytes());
        assert!(key.bytes().all(|byte| byte.is_ascii_graphic()));
        let twice = [value.clone(), value.clone()];
        assert!(seams::idempotency_key(&twice).is_err(), "a key is given once");
    }
}

/// A webhook's URL leads outside by its own words, is what it is called by, and is as good where more is allowed.
pub fn webhook_target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let allowed = seams::webhook_target(text, true);
    if let Ok((url, is_outside)) = seams::webhook_target(text, false) {
        assert!(is_outside && url.starts_with("https://") && url.len() <= 2048 && !url.contains('#'), "{url}");
        assert!(!url.split('/').nth(2).is_some_and(|authority| authority.contains('@')), "{url}");
        assert_eq!(allowed, Ok((url.clone(), true)), "what is allowed to all is allowed to some");
        assert_eq!(seams::webhook_target(&url, false), Ok((url, true)), "it is its own spelling");
    }
}
