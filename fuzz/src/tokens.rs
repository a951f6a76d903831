//! Join tokens and access tokens: text that nobody signed, and claims that were signed with the right key.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::clock::unix_seconds;
use common::token::{
    ACCESS_AUDIENCE, ACCESS_LIFE_MAX, ACCESS_TYPE, ISSUER, JOIN_AUDIENCE, JOIN_LIFE_MAX, JOIN_TYPE, TokenSigner, TokenVerifier,
};
use serde_json::Value;

/// How far clocks may be off here.
const LEEWAY: Duration = Duration::from_secs(5);

/// Keys that no input can sign with unless the target does: made afresh in each process.
struct Keys {
    pair: Ed25519KeyPair,
    key_id: String,
    /// Knows the key by its own id.
    verifier: TokenVerifier,
    /// Knows another key by the id that the seeds use.
    foreign: TokenVerifier,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let (pkcs8, other) = (TokenSigner::generate_pkcs8(), TokenSigner::generate_pkcs8());
    let signer = TokenSigner::from_pkcs8(&pkcs8).expect("a fresh key serves");
    let other = TokenSigner::from_pkcs8(&other).expect("a fresh key serves");
    Keys {
        pair: Ed25519KeyPair::from_pkcs8(&pkcs8).expect("a fresh key serves"),
        key_id: signer.key_id().to_owned(),
        verifier: TokenVerifier::new([(signer.key_id(), &signer.public_key()[..])], LEEWAY),
        foreign: TokenVerifier::new([("seed", &other.public_key()[..])], LEEWAY),
    }
});

/// No text is a token of a key that nobody signed with.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(KEYS.foreign.verify_join(text).is_err(), "a join token was forged");
    assert!(KEYS.foreign.verify_access(text).is_err(), "an access token was forged");
}

/// A header and claims (the bytes before and behind the first zero byte) that are signed with the right key. `$KID` stands for the key's id,
/// `$NOW` and `$SOON` for the time and a minute later. A token that is taken is, read by other eyes, of exactly one kind, in its time, and not
/// meant to live longer than its kind may.
pub fn signed_token(data: &[u8]) {
    let keys = &*KEYS;
    let now = unix_seconds();
    let fill = |part: &[u8]| {
        let text = String::from_utf8_lossy(part).replace("$KID", &keys.key_id);
        text.replace("$NOW", &now.to_string()).replace("$SOON", &(now + 60).to_string())
    };
    let (header, claims) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let (header, claims) = (fill(header), fill(claims.get(1..).unwrap_or_default()));
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&claims));
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(keys.pair.sign(message.as_bytes())));
    let (join, access) = (keys.verifier.verify_join(&token), keys.verifier.verify_access(&token));
    assert!(join.is_err() || access.is_err(), "one token of two kinds");
    if let Ok(grant) = join {
        check(&header, &claims, (JOIN_TYPE, JOIN_AUDIENCE, JOIN_LIFE_MAX), now);
        assert!(!grant.subject.is_empty() && !grant.token_id.is_empty());
    }
    if access.is_ok() {
        check(&header, &claims, (ACCESS_TYPE, ACCESS_AUDIENCE, ACCESS_LIFE_MAX), now);
    }
}

fn check(header: &str, claims: &str, (typ, audience, life_max): (&str, &str, Duration), now: u64) {
    let header: Value = serde_json::from_str(header).expect("what was taken is JSON");
    let fields: Vec<&str> = header.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["alg", "kid", "typ"], "a header has these and no other");
    assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some("EdDSA"), Some(typ)));
    let claims: Value = serde_json::from_str(claims).expect("what was taken is JSON");
    assert_eq!((claims["iss"].as_str(), claims["aud"].as_str()), (Some(ISSUER), Some(audience)));
    let time = |name: &str| claims[name].as_u64();
    let (issued, expires) = (time("iat").expect("a number"), time("exp").expect("a number"));
    // The verifier looked at the clock a moment later.
    let (earliest, latest) = (now - LEEWAY.as_secs(), now + LEEWAY.as_secs() + 1);
    assert!(issued <= latest && expires > earliest && expires - issued <= life_max.as_secs(), "{issued} to {expires} at {now}");
    assert!(claims.get("nbf").is_none_or(|begin| begin.is_null() || begin.as_u64().is_some_and(|begin| begin <= latest)));
}
