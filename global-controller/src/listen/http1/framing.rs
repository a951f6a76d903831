//! Where the requests of an HTTP/1.1 connection begin and end (RFC 9112), watched beside the parser.
//!
//! In: bytes as they arrive. Out: the first byte that must not be parsed, and why, in words for the client. hyper accepts some shapes that
//! two programs can read in two ways, and refuses others without a word; here all of them end in one answer.
//!
//! After a chunked body nothing is looked at: the connection is closed behind the answer to it, so that no second request can hide there.

/// What is kept of a line: longer ones carry no field that matters here.
const LINE_BYTES_KEPT: usize = 512;
/// Digits of the longest content-length that is read; no body that long is taken anyway.
const LENGTH_DIGITS_MAX: usize = 18;

/// A request that is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong, and what would be right.
    pub message: &'static str,
}

const fn refusal(message: &'static str) -> Refusal {
    Refusal { status: 400, message }
}

/// A line that ends without its carriage return.
pub const BARE_LINE_FEED: Refusal = refusal("each line of the request's head must end with CR LF, not LF alone");
/// obs-fold of RFC 9112 section 5.2.
pub const FOLDED: Refusal = refusal("a header field must not go on in the next line");
const NO_REQUEST_LINE: Refusal = refusal("the first line must be a method, a target and HTTP/1.1, with one space between");
const NO_FIELD: Refusal = refusal("each header field must be a name, a colon and a value, with no space before the colon");
const BAD_LENGTH: Refusal = refusal("content-length must be one number, stated once");
const BAD_ENCODING: Refusal = refusal("transfer-encoding must be chunked, stated once, or left out");
const BOTH: Refusal = refusal("content-length and transfer-encoding must not come together: send one of the two");
const OLD_ENCODING: Refusal = refusal("HTTP/1.0 has no transfer-encoding: send content-length");
const VERSION: Refusal = Refusal { status: 505, message: "this connection speaks HTTP/1.1; HTTP/2 and HTTP/3 are chosen by ALPN" };

/// See the module.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    line: Vec<u8>,
    /// The line is longer than what is kept of it.
    is_cut: bool,
    head: Head,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// In a head, or between requests.
    #[default]
    Head,
    /// So many bytes of a body are still to come.
    Body(u64),
    /// In or behind a chunked body.
    Unwatched,
}

#[derive(Debug, Default)]
struct Head {
    has_request_line: bool,
    is_old: bool,
    length: Option<u64>,
    is_chunked: bool,
}

impl Framing {
    /// Takes `bytes`; all of them may be passed on, or those before the given index.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), (usize, Refusal)> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Unwatched => return Ok(()),
                State::Body(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += taken;
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::Head => {
                    let rest = &bytes[at..];
                    let end = rest.iter().position(|&byte| byte == b'\n');
                    self.keep(&rest[..end.unwrap_or(rest.len())]);
                    let Some(end) = end else { return Ok(()) };
                    self.end_line().map_err(|refusal| (at + end, refusal))?;
                    at += end + 1;
                }
            }
        }
        Ok(())
    }

    /// Whether a head has begun and not ended.
    pub fn is_in_head(&self) -> bool {
        self.state == State::Head && (self.head.has_request_line || !self.line.is_empty())
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_KEPT - self.line.len();
        self.is_cut |= piece.len() > room;
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end_line(&mut self) -> Result<(), Refusal> {
        let (line, is_cut) = (std::mem::take(&mut self.line), std::mem::take(&mut self.is_cut));
        // Of a cut line the end is not known; the parser judges it.
        let content = if is_cut { line.as_slice() } else { line.strip_suffix(b"\r").ok_or(BARE_LINE_FEED)? };
        if content.is_empty() {
            return self.end_head();
        }
        if !self.head.has_request_line {
            self.head.has_request_line = true;
            return if is_cut { Ok(()) } else { self.take_request_line(content) };
        }
        if matches!(content[0], b' ' | b'\t') {
            return Err(FOLDED);
        }
        let colon = content.iter().position(|&byte| byte == b':');
        let Some(colon) = colon.filter(|&colon| colon > 0 && !content[colon - 1].is_ascii_whitespace()) else {
            return if is_cut { Ok(()) } else { Err(NO_FIELD) };
        };
        self.take_field(&content[..colon], content[colon + 1..].trim_ascii(), is_cut)
    }

    fn take_request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let mut parts = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NO_REQUEST_LINE);
        };
        if method.is_empty() || target.is_empty() || !version.starts_with(b"HTTP/") {
            return Err(NO_REQUEST_LINE);
        }
        self.head.is_old = version == b"HTTP/1.0";
        if self.head.is_old || version == b"HTTP/1.1" { Ok(()) } else { Err(VERSION) }
    }

    fn take_field(&mut self, name: &[u8], value: &[u8], is_cut: bool) -> Result<(), Refusal> {
        if name.eq_ignore_ascii_case(b"content-length") {
            let is_number = !is_cut && value.len() <= LENGTH_DIGITS_MAX && value.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(value).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
            if self.head.length.is_some() || number.is_none() {
                return Err(BAD_LENGTH);
            }
            self.head.length = number;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.head.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(BAD_ENCODING);
            }
            self.head.is_chunked = true;
        }
        Ok(())
    }

    fn end_head(&mut self) -> Result<(), Refusal> {
        let head = std::mem::take(&mut self.head);
        self.state = match (head.is_chunked, head.length) {
            (true, Some(_)) => return Err(BOTH),
            (true, None) if head.is_old => return Err(OLD_ENCODING),
            (true, None) => State::Unwatched,
            (false, Some(length)) if length > 0 => State::Body(length),
            // Empty lines before a request are passed over (RFC 9112 section 2.2).
            _ => State::Head,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same verdict however the bytes are cut.
    fn check(text: &str, expected: Result<(), Refusal>) {
        for piece in [1, 2, 7, text.len()] {
            let mut framing = Framing::default();
            let said = text.as_bytes().chunks(piece).try_for_each(|bytes| framing.take(bytes)).map_err(|(_, refusal)| refusal);
            assert_eq!(said, expected, "{text:?} in pieces of {piece}");
        }
    }

    #[test]
    fn requests_follow_each_other() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n\n\n\nGET / HTTP/1.0\r\n\r\n", Ok(()));
        check("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nanything\n", Ok(()));
        check(&format!("GET /{} HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(9000), "b".repeat(9000)), Ok(()));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        check("GET / HTTP/1.1\nHost: a\r\n\r\n", Err(BARE_LINE_FEED));
        check("GET / HTTP/1.1\r\nHost: a\n\r\n", Err(BARE_LINE_FEED));
        check("GET / HTTP/1.1\r\nHost: a\r\n\n", Err(BARE_LINE_FEED));
        check("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Err(FOLDED));
        check("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(NO_FIELD));
        check("GET / HTTP/1.1\r\nHost\r\n\r\n", Err(NO_FIELD));
        check("GET  / HTTP/1.1\r\n", Err(NO_REQUEST_LINE));
        check("GET /\r\n", Err(NO_REQUEST_LINE));
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(VERSION));
        for field in ["content-length: 1\r\ncontent-length: 1", "content-length: 1, 1", "content-length: +1", "Content-Length:"] {
            check(&format!("POST / HTTP/1.1\r\n{field}\r\n\r\n"), Err(BAD_LENGTH));
        }
        for field in ["transfer-encoding: gzip", "transfer-encoding: chunked\r\ntransfer-encoding: chunked", "transfer-encoding: xchunked"]
        {
            check(&format!("POST / HTTP/1.1\r\n{field}\r\n\r\n"), Err(BAD_ENCODING));
        }
        for fields in ["content-length: 1\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 1"] {
            check(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n"), Err(BOTH));
        }
        check("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Err(OLD_ENCODING));
        // Also behind a body.
        check("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nxxGET / HTTP/1.1\n", Err(BARE_LINE_FEED));
    }

    #[test]
    fn says_how_much_may_pass() {
        assert_eq!(Framing::default().take(b"GET / HTTP/1.1\r\nHost: a\nx"), Err((23, BARE_LINE_FEED)));
        let mut framing = Framing::default();
        assert!(!framing.is_in_head());
        assert_eq!((framing.take(b"GET"), framing.is_in_head()), (Ok(()), true));
        assert_eq!((framing.take(b" / HTTP/1.1\r\n\r\n"), framing.is_in_head()), (Ok(()), false));
    }
}
