//! The last line before a log: secrets that can be told by their shape, taken out of a finished line.
//!
//! In: a line. Out: the same without them, or nothing where none is in it. Never the first defence: types that print as stars ([`crate::Secret`])
//! and [`super::caps`] are; what is found here has got past both, and is counted.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// What was taken out stands as `[redacted SHAPE]`.
pub const MARK: &str = "[redacted ";

/// A token shorter than this opens nothing of ours; texts that only begin like one stay.
const TOKEN_CHARS_MIN: usize = 16;
/// Credentials of an `Authorization` field may be shorter: two names and a colon in base64.
const CREDENTIAL_CHARS_MIN: usize = 8;
/// As numbers with commas between, so many characters make [`TOKEN_CHARS_MIN`] bytes at least.
const NUMBERS_CHARS_MIN: usize = 3 * TOKEN_CHARS_MIN;

/// What a secret is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A JSON Web Token: access and join tokens, and those of others.
    Jwt,
    /// [`crate::random::token`]: client secrets, resume tokens, connection tokens.
    Token,
    /// Signs webhook calls (Standard Webhooks).
    WebhookSecret,
    /// A private key in PEM.
    PrivateKey,
    /// The password of a URL, such as a database's.
    Password,
    /// What stands behind `#k=` of a meeting's URL.
    MeetingKey,
    /// What an `Authorization` field says.
    Credential,
}

impl Shape {
    /// Its label in metrics, and its name in the mark.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Jwt => "jwt",
            Shape::Token => "token",
            Shape::WebhookSecret => "webhook_secret",
            Shape::PrivateKey => "private_key",
            Shape::Password => "password",
            Shape::MeetingKey => "meeting_key",
            Shape::Credential => "credential",
        }
    }
}

/// How shapes begin. The last two are the first two as a list of bytes prints.
const STARTS: [(&str, Shape); 10] = [
    ("eyJ", Shape::Jwt),
    (crate::random::TOKEN_PREFIX, Shape::Token),
    ("whsec_", Shape::WebhookSecret),
    ("PRIVATE KEY-----", Shape::PrivateKey),
    ("://", Shape::Password),
    ("#k=", Shape::MeetingKey),
    ("earer ", Shape::Credential),
    ("asic ", Shape::Credential),
    ("101, 121, 74, ", Shape::Jwt),
    ("100, 116, 95, ", Shape::Token),
];
/// From here on [`STARTS`] are lists of bytes.
const NUMBERS_FROM: usize = 8;

static FINDER: LazyLock<AhoCorasick> =
    LazyLock::new(|| AhoCorasick::new(STARTS.map(|(start, _)| start)).expect("a handful of short words is no problem"));

/// The line without what looks like a secret; `None`: nothing in it does. `found` hears of each.
pub fn redact(line: &str, mut found: impl FnMut(Shape)) -> Option<String> {
    let mut clean: Option<String> = None;
    let mut kept = 0;
    for start in FINDER.find_iter(line) {
        if start.start() < kept {
            continue;
        }
        let index = start.pattern().as_usize();
        let shape = STARTS[index].1;
        let Some((from, to)) = extent(line, shape, index >= NUMBERS_FROM, start.start(), start.end()) else { continue };
        found(shape);
        let clean = clean.get_or_insert_with(|| String::with_capacity(line.len()));
        clean.push_str(&line[kept..from]);
        clean.push_str(MARK);
        clean.push_str(shape.name());
        clean.push(']');
        kept = to;
    }
    clean.map(|mut clean| {
        clean.push_str(&line[kept..]);
        clean
    })
}

/// From where to where the secret goes whose beginning was found at `start..end`; `None`: it is none.
fn extent(line: &str, shape: Shape, is_numbers: bool, start: usize, end: usize) -> Option<(usize, usize)> {
    let run = |from: usize, belongs: fn(u8) -> bool| from + line.as_bytes()[from..].iter().take_while(|&&byte| belongs(byte)).count();
    if is_numbers {
        let to = run(start, |byte| byte.is_ascii_digit() || matches!(byte, b',' | b' '));
        return (to - start >= NUMBERS_CHARS_MIN).then_some((start, to));
    }
    match shape {
        Shape::Jwt => {
            let to = run(start, |byte| is_base64url(byte) || byte == b'.');
            // A header alone, or base64 of other JSON, is no token.
            (to - start >= TOKEN_CHARS_MIN && line[start..to].contains('.')).then_some((start, to))
        }
        Shape::Token | Shape::MeetingKey => {
            let to = run(end, is_base64url);
            (to - end >= TOKEN_CHARS_MIN).then_some((if shape == Shape::Token { start } else { end }, to))
        }
        Shape::WebhookSecret => {
            let to = run(end, is_base64);
            (to - end >= TOKEN_CHARS_MIN).then_some((start, to))
        }
        // Whatever else the line says.
        Shape::PrivateKey => Some((end, line.trim_end().len().max(end))),
        Shape::Password => {
            let to = run(end, |byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'"' | b'\'' | b'@' | b'<' | b'>'));
            let colon = line[end..to].find(':')?;
            (line.as_bytes().get(to) == Some(&b'@') && end + colon + 1 < to).then_some((end + colon + 1, to))
        }
        Shape::Credential => {
            let to = run(end, |byte| is_base64(byte) || matches!(byte, b'.' | b'_' | b'-' | b'~'));
            (to - end >= CREDENTIAL_CHARS_MIN
                && line.as_bytes()[end..to].iter().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
            .then_some((end, to))
        }
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let mut shapes = Vec::new();
        let said = redact(line, |shape| shapes.push(shape));
        assert_eq!(said.as_deref().unwrap_or(line), expected);
        assert_eq!(said.is_none(), shapes.is_empty(), "{line}");
    }

    #[test]
    fn secrets_leave_the_line_and_nothing_else_does() {
        let token = crate::random::token();
        check(&format!("a {token} b"), "a [redacted token] b");
        check(&format!("{{\"x\":\"{token}\"}}"), "{\"x\":\"[redacted token]\"}");
        check("t=eyJ0eXAiOiJkdC1qb2luK2p3dCJ9.eyJqdGkiOiJ4In0.c2ln, u", "t=[redacted jwt], u");
        check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!", "[redacted webhook_secret]!");
        let begin = "-----BEGIN ".to_owned() + STARTS[3].0;
        check(&format!("{begin}\\nMC4CAQAw\n"), &format!("{begin}[redacted private_key]\n"));
        check("postgres://tower:secret:x@db/x failed", "postgres://tower:[redacted password]@db/x failed");
        check("https://a/m/abc#k=0123456789abcdefghij) x", "https://a/m/abc#k=[redacted meeting_key]) x");
        check("authorization: Basic QWxhZGRpbjpvcGVu", "authorization: Basic [redacted credential]");
        check("Authorization: Bearer abcdefgh1", "Authorization: Bearer [redacted credential]");
        check("two: eyJhbGciOiJub25lIn0.e30. eyJhbGciOiJub25lIn0.e30.", "two: [redacted jwt] [redacted jwt]");
    }

    #[test]
    fn secrets_as_lists_of_bytes_leave_the_line() {
        let list = format!("{:?}", b"eyJhbGciOiJub25lIn0.e30.");
        check(&format!("payload: {list}"), "payload: [[redacted jwt]]");
        check(&format!("payload: {:?}", crate::random::token().as_bytes()), "payload: [[redacted token]]");
    }

    #[test]
    fn what_only_looks_alike_stays() {
        for line in [
            "eyJ",
            "the eyJ0eXAiOiJkdC1qb2luK2p3dCJ9 of a header",
            "dt_short",
            "whsec_",
            "https://example.org/a@b",
            "https://user@host/",
            "https://127.0.0.1:8443/wt",
            "http://[::1]:80/",
            "Basic realm=\"dark-tower\"",
            "the basic understanding of it",
            "#k=short",
            "[101, 121, 74, 1]",
            "",
        ] {
            check(line, line);
        }
    }
}
