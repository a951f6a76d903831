//! Join tokens and access tokens: JWTs (RFC 7519) with EdDSA (RFC 8037), two types that are never taken for each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common_core::Recent;
use common_core::grant::{JoinGrant, Role};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::unix_seconds;

/// `typ` of a join token.
pub const JOIN_TYPE: &str = "dt-join+jwt";
/// `typ` of an access token.
pub const ACCESS_TYPE: &str = "dt-access+jwt";
/// `aud` of a join token: any meeting controller of the cluster.
pub const JOIN_AUDIENCE: &str = "dark-tower/meeting-controller";
/// `aud` of an access token: the public API.
pub const ACCESS_AUDIENCE: &str = "dark-tower/api";
/// `iss` of both.
pub const ISSUER: &str = "dark-tower";
/// `alg` of both, and the only one: EdDSA with Ed25519 (RFC 8037).
const ALGORITHM: &str = "EdDSA";
/// Longest token that is looked at; ours stay under 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Longest life of a join token (DESIGN section 4).
pub const JOIN_LIFE_MAX: Duration = Duration::from_secs(300);
/// Longest life of an access token: what an application has lost is worth nothing the next day.
pub const ACCESS_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why a token is refused. What a client is told is the text; it never holds the token, nor which of all checks has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Something of it is not exactly as in a token of ours, for this use: a part, the header, a claim, the key, the signature.
    #[error("the token is not valid here")]
    Invalid,
    /// All is right but its time, which is over.
    #[error("the token has expired; ask the API for a new one")]
    Expired,
    /// The signing library refuses the key.
    #[error("the token cannot be signed")]
    Sign,
}

/// Claims of a join token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinClaims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// Always [`JOIN_AUDIENCE`].
    pub aud: String,
    /// The account, or a random subject for a guest.
    pub sub: String,
    /// The token's own id.
    pub jti: String,
    /// Seconds since the epoch.
    pub iat: u64,
    /// Seconds since the epoch.
    pub exp: u64,
    /// Canonical UUID.
    pub meeting_id: String,
    /// "host" or "attendee".
    pub role: String,
    /// Display name; may be empty.
    pub name: String,
    /// Whether `sub` is an account.
    pub account: bool,
    /// The participant that comes back with it: canonical UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<String>,
    /// Node ids of the handlers in the answer that carried this token, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handlers: Vec<String>,
}

/// Claims of an access token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// Always [`ACCESS_AUDIENCE`].
    pub aud: String,
    /// The API client's id.
    pub sub: String,
    /// The token's own id.
    pub jti: String,
    /// Seconds since the epoch.
    pub iat: u64,
    /// Seconds since the epoch.
    pub exp: u64,
    /// Canonical UUID.
    pub tenant: String,
    /// Separated by spaces (RFC 6749 section 3.3).
    pub scope: String,
    /// Requests in a window, if not as many as others (DESIGN section 3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
}

/// Signs tokens with one Ed25519 key.
pub struct TokenSigner {
    key_id: String,
    public_key: [u8; 32],
    key: EncodingKey,
}

impl TokenSigner {
    /// A fresh key as PKCS#8 (RFC 5958), to be stored and handed to [`from_pkcs8`](Self::from_pkcs8).
    pub fn generate_pkcs8() -> Vec<u8> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        Ed25519KeyPair::generate_pkcs8(&random).expect("the operating system provides randomness").as_ref().to_vec()
    }

    /// A signer for a stored key. Its id is the first 16 characters of the public key's SHA-256 in base64url.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, TokenError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| TokenError::Sign)?;
        let mut public_key = [0; 32];
        public_key.copy_from_slice(pair.public_key().as_ref());
        let mut key_id = URL_SAFE_NO_PAD.encode(sha256(&public_key));
        key_id.truncate(16);
        Ok(Self { key_id, public_key, key: EncodingKey::from_ed_der(pkcs8) })
    }

    /// `kid` of its tokens.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The 32 bytes that verify.
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// The public key as a JSON Web Key (RFC 8037 section 2).
    pub fn jwk(&self) -> serde_json::Value {
        serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": self.key_id, "x": URL_SAFE_NO_PAD.encode(self.public_key),
        })
    }

    /// Signs a join token.
    pub fn sign_join(&self, claims: &JoinClaims) -> Result<String, TokenError> {
        self.sign(JOIN_TYPE, claims)
    }

    /// Signs an access token.
    pub fn sign_access(&self, claims: &AccessClaims) -> Result<String, TokenError> {
        self.sign(ACCESS_TYPE, claims)
    }

    fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, TokenError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| TokenError::Sign)
    }
}

/// The header of a token, exactly as ours have it. A header that names a key (`jku`, `x5u`, `jwk` …) or wants to be understood (`crit`) is
/// refused: keys come from the cluster alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Protected {
    alg: String,
    typ: String,
    kid: String,
}

/// The claims that every token has (RFC 7519 section 4.1), typed: a number as a string, a fraction or a negative one is refused.
#[derive(Deserialize)]
struct Registered {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    iat: u64,
    exp: u64,
    nbf: Option<u64>,
}

impl Registered {
    /// Whether they hold at `now`. That its time is over is said only of a token that is right otherwise.
    fn check(&self, audience: &str, life_max: Duration, now: u64, leeway: u64) -> Result<(), TokenError> {
        let soon = now.saturating_add(leeway);
        let ours = self.iss == ISSUER && self.aud == audience && !self.sub.is_empty() && !self.jti.is_empty();
        let lives = self.exp.checked_sub(self.iat).is_some_and(|life| (1..=life_max.as_secs()).contains(&life));
        let begun = self.iat <= soon && self.nbf.is_none_or(|begin| begin <= soon);
        if !begun {
            tracing::debug!("a token is not good yet: a clock may be off");
        }
        if !(ours && lives && begun) {
            return Err(TokenError::Invalid);
        }
        if is_over(self.exp, now, leeway) { Err(TokenError::Expired) } else { Ok(()) }
    }
}

/// Access tokens that are remembered as verified: of more callers than ask within a minute. About 700 bytes each.
const VERIFIED_MAX: usize = 4096;

fn is_over(end: u64, now: u64, leeway: u64) -> bool {
    end.saturating_add(leeway) <= now
}

/// Verifies tokens with a set of public keys.
#[derive(Clone)]
pub struct TokenVerifier {
    keys: BTreeMap<String, DecodingKey>,
    leeway: Duration,
    /// Access tokens that were found good under these keys, by their SHA-256: a signature costs as much as all the rest of a small request.
    verified: Arc<Mutex<Recent<[u8; 32], Arc<AccessClaims>>>>,
}

impl Default for TokenVerifier {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), leeway: Duration::ZERO, verified: Arc::new(Mutex::new(Recent::new(VERIFIED_MAX))) }
    }
}

impl TokenVerifier {
    /// A verifier for pairs of key id and 32-byte Ed25519 public key, forgiving clocks that are off by `leeway`.
    pub fn new<'a>(keys: impl IntoIterator<Item = (&'a str, &'a [u8])>, leeway: Duration) -> Self {
        let keys = keys
            .into_iter()
            .filter_map(|(key_id, key)| Some((key_id.to_owned(), DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(key)).ok()?)))
            .collect();
        Self { keys, leeway, ..Self::default() }
    }

    /// Whether there is any key to verify with.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What a join token grants.
    pub fn verify_join(&self, token: &str) -> Result<JoinGrant, TokenError> {
        let claims: JoinClaims = self.verify(token, JOIN_TYPE, JOIN_AUDIENCE, JOIN_LIFE_MAX, unix_seconds())?;
        Ok(JoinGrant {
            token_id: claims.jti,
            meeting_id: claims.meeting_id.parse().map_err(|_| TokenError::Invalid)?,
            role: Role::from_name(&claims.role).ok_or(TokenError::Invalid)?,
            display_name: claims.name,
            subject: claims.sub,
            is_account: claims.account,
            resumes: claims.resumes.map(|id| id.parse()).transpose().map_err(|_| TokenError::Invalid)?,
            handlers: claims.handlers.iter().filter_map(|handler| handler.parse().ok()).collect(),
            expires_at: claims.exp,
        })
    }

    /// What an access token says. One that is shown again is not verified again: only its end can have come meanwhile.
    pub fn verify_access(&self, token: &str) -> Result<Arc<AccessClaims>, TokenError> {
        self.verify_access_at(token, unix_seconds())
    }

    fn verify_access_at(&self, token: &str, now: u64) -> Result<Arc<AccessClaims>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let digest = sha256(token.as_bytes());
        let known = self.verified().find(&digest).cloned();
        if let Some(claims) = known {
            return if is_over(claims.exp, now, self.leeway.as_secs()) { Err(TokenError::Expired) } else { Ok(claims) };
        }
        let claims: Arc<AccessClaims> = Arc::new(self.verify(token, ACCESS_TYPE, ACCESS_AUDIENCE, ACCESS_LIFE_MAX, now)?);
        self.verified().note(digest, claims.clone());
        Ok(claims)
    }

    fn verified(&self) -> MutexGuard<'_, Recent<[u8; 32], Arc<AccessClaims>>> {
        // Nothing panics while it is locked, so what is found is whole.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify<T: DeserializeOwned>(&self, token: &str, typ: &str, audience: &str, life_max: Duration, now: u64) -> Result<T, TokenError> {
        let invalid = || TokenError::Invalid;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let (message, signature) = token.rsplit_once('.').ok_or_else(invalid)?;
        let (header, payload) = message.split_once('.').ok_or_else(invalid)?;
        let header: Protected = serde_json::from_slice(&decode(header)?).map_err(|_| invalid())?;
        if header.alg != ALGORITHM || header.typ != typ {
            return Err(invalid());
        }
        let key = self.keys.get(&header.kid).ok_or_else(invalid)?;
        if !jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, Algorithm::EdDSA).unwrap_or(false) {
            return Err(invalid());
        }
        let payload = decode(payload)?;
        let registered: Registered = serde_json::from_slice(&payload).map_err(|_| invalid())?;
        let claims = serde_json::from_slice(&payload).map_err(|_| invalid())?;
        registered.check(audience, life_max, now, self.leeway.as_secs())?;
        Ok(claims)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}

/// One part of a token: base64url without padding (RFC 7515 section 2), in its one canonical form.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Invalid)
}

#[cfg(test)]
mod tests;
