//! Signs calls as Standard Webhooks says (spec v1.0, "Signature scheme"), so that a target knows who called. In: a secret, what is sent. Out: a header.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Begins every secret.
const PREFIX: &str = "whsec_";
/// Random bytes in a secret: as many as the hash is long (RFC 2104 section 3).
const SECRET_BYTES: usize = 32;

/// A secret that nobody has yet.
pub fn new_secret() -> String {
    format!("{PREFIX}{}", STANDARD.encode(common::random::bytes::<SECRET_BYTES>()))
}

/// The value of `webhook-signature`; `None`: the secret is not one of ours.
pub fn sign(secret: &str, id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    Some(format!("v1,{}", STANDARD.encode(context.sign())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the Standard Webhooks libraries.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let signed =
            sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one.trim_start_matches(PREFIX)).map(|bytes| bytes.len()), Ok(SECRET_BYTES));
        assert!(sign(&one, "a", 1, b"b").is_some());
        assert_eq!((sign("secret", "a", 1, b"b"), sign("whsec_%", "a", 1, b"b")), (None, None));
    }
}
