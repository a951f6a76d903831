//! Join tokens and access tokens: JWTs (RFC 7519) with EdDSA (RFC 8037), two types that are never taken for each other.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common_core::grant::{JoinGrant, Role};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
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
/// Longest token that is looked at; ours stay under 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// Why a token is refused. What a client is told is the text; it never holds the token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// No token, or not three parts of base64url, or over [`TOKEN_BYTES_MAX`].
    #[error("the token is not a token of this cluster")]
    Malformed,
    /// `alg`, `typ`, `kid`, `aud`, `iss`, a claim or the signature is not right.
    #[error("the token is not valid here")]
    Invalid,
    /// Past its time.
    #[error("the token has expired; ask the API for a new one")]
    Expired,
    /// Not yet good: a clock is off.
    #[error("the token is not good yet; a clock is off")]
    Early,
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
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &public_key);
        let mut key_id = URL_SAFE_NO_PAD.encode(digest.as_ref());
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

/// Verifies tokens with a set of public keys. Keys come from the cluster alone: `jku`, `x5u` and `jwk` headers are not read.
#[derive(Clone, Default)]
pub struct TokenVerifier {
    keys: BTreeMap<String, DecodingKey>,
    leeway: Duration,
}

impl TokenVerifier {
    /// A verifier for pairs of key id and 32-byte Ed25519 public key, forgiving clocks that are off by `leeway`.
    pub fn new<'a>(keys: impl IntoIterator<Item = (&'a str, &'a [u8])>, leeway: Duration) -> Self {
        let keys = keys
            .into_iter()
            .filter_map(|(key_id, key)| Some((key_id.to_owned(), DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(key)).ok()?)))
            .collect();
        Self { keys, leeway }
    }

    /// Whether there is any key to verify with.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What a join token grants.
    pub fn verify_join(&self, token: &str) -> Result<JoinGrant, TokenError> {
        let claims: JoinClaims = self.verify(token, JOIN_TYPE, JOIN_AUDIENCE)?;
        Ok(JoinGrant {
            token_id: claims.jti,
            meeting_id: claims.meeting_id.parse().map_err(|_| TokenError::Invalid)?,
            role: Role::from_name(&claims.role).ok_or(TokenError::Invalid)?,
            display_name: claims.name,
            subject: claims.sub,
            is_account: claims.account,
            handlers: claims.handlers.iter().filter_map(|handler| handler.parse().ok()).collect(),
            expires_at: claims.exp,
        })
    }

    /// What an access token says.
    pub fn verify_access(&self, token: &str) -> Result<AccessClaims, TokenError> {
        self.verify(token, ACCESS_TYPE, ACCESS_AUDIENCE)
    }

    fn verify<T: DeserializeOwned + Issued>(&self, token: &str, typ: &str, audience: &str) -> Result<T, TokenError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(typ) {
            return Err(TokenError::Invalid);
        }
        let key = header.kid.and_then(|key_id| self.keys.get(&key_id)).ok_or(TokenError::Invalid)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = self.leeway.as_secs();
        validation.set_audience(&[audience]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let claims = jsonwebtoken::decode::<T>(token, key, &validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        if claims.issued_at() > unix_seconds() + self.leeway.as_secs() {
            return Err(TokenError::Early);
        }
        Ok(claims)
    }
}

/// Claims that say when they were made.
trait Issued {
    fn issued_at(&self) -> u64;
}

impl Issued for JoinClaims {
    fn issued_at(&self) -> u64 {
        self.iat
    }
}

impl Issued for AccessClaims {
    fn issued_at(&self) -> u64 {
        self.iat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEETING: &str = "550e8400-e29b-41d4-a716-446655440000";

    fn signer() -> TokenSigner {
        TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8()).expect("a fresh key serves")
    }

    fn verifier(signer: &TokenSigner) -> TokenVerifier {
        TokenVerifier::new([(signer.key_id(), &signer.public_key()[..])], Duration::from_secs(5))
    }

    fn claims(lives: i64) -> JoinClaims {
        let now = unix_seconds();
        JoinClaims {
            iss: ISSUER.into(),
            aud: JOIN_AUDIENCE.into(),
            sub: "ana".into(),
            jti: "1".into(),
            iat: now.saturating_add_signed(lives.min(0)),
            exp: now.saturating_add_signed(lives),
            meeting_id: MEETING.into(),
            role: "host".into(),
            name: "Ana".into(),
            account: true,
            handlers: vec!["mh-1".into()],
        }
    }

    #[test]
    fn a_join_token_grants_one_meeting() {
        let signer = signer();
        let token = signer.sign_join(&claims(60)).expect("signed");
        let grant = verifier(&signer).verify_join(&token).expect("verified");
        assert_eq!((grant.meeting_id.to_string().as_str(), grant.role, grant.handlers.len()), (MEETING, Role::Host, 1));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let ours = signer();
        let verifier = verifier(&ours);
        let check = |token: &str, expected: TokenError| assert_eq!(verifier.verify_join(token), Err(expected), "{token}");
        check("", TokenError::Malformed);
        check("a.b.c", TokenError::Malformed);
        check(&ours.sign_join(&claims(-60)).expect("signed"), TokenError::Expired);
        check(&signer().sign_join(&claims(60)).expect("signed"), TokenError::Invalid);
        check(&ours.sign(ACCESS_TYPE, &claims(60)).expect("signed"), TokenError::Invalid);
        check(&ours.sign_join(&JoinClaims { aud: ACCESS_AUDIENCE.into(), ..claims(60) }).expect("signed"), TokenError::Invalid);
        check(&ours.sign_join(&JoinClaims { iat: unix_seconds() + 600, ..claims(900) }).expect("signed"), TokenError::Early);
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(JOIN_TYPE.into());
        header.kid = Some(ours.key_id().into());
        let forged = jsonwebtoken::encode(&header, &claims(60), &EncodingKey::from_secret(&ours.public_key())).expect("signed");
        check(&forged, TokenError::Invalid);
    }
}
