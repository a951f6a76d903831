//! `Idempotency-Key`: makes a POST repeatable. The same caller's same key within a day stands for the same request.
//!
//! In: the header, the caller, the parsed body. Out: what the store remembers a request by. The key is looked at after permission and body, so
//! that nobody learns more by sending one.

use std::convert::Infallible;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};

use super::ApiError;
use super::caller::Caller;
use super::context;
use crate::app::App;
use crate::store::{IdempotencyKey, Repeated};
use crate::timestamp::now_millis;

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// As it is written in refusals.
const FIELD: &str = "Idempotency-Key";
/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 255;

/// What a request says of being repeated: its header, not yet looked at, and where it comes from.
#[derive(Debug)]
pub struct Repeatable {
    keys: Vec<HeaderValue>,
    address: IpAddr,
}

impl<S: Send + Sync> FromRequestParts<S> for Repeatable {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let keys = parts.headers.get_all(HEADER).iter().cloned().collect();
        Ok(Self { keys, address: context::address(&parts.extensions) })
    }
}

impl Repeatable {
    /// What to remember this request by; `None`: it has no key. `operation` says what is asked for, such as `create`; `account` is whom it is done
    /// for: a token that may not speak for somebody gets nothing that came of one that may. `body` is the parsed body.
    pub fn key(
        &self,
        caller: &Caller,
        operation: &str,
        account: Option<&str>,
        body: &impl Serialize,
    ) -> Result<Option<IdempotencyKey>, ApiError> {
        let Some(text) = text_of(&self.keys)? else { return Ok(None) };
        Ok(Some(IdempotencyKey {
            caller: caller.key(self.address),
            operation: operation.to_owned(),
            key: text.to_owned(),
            fingerprint: fingerprint(account, body)?,
            created_at: now_millis(),
        }))
    }
}

/// The key in a request's headers, if it has one.
pub(crate) fn text_of(keys: &[HeaderValue]) -> Result<Option<&str>, ApiError> {
    let text = match keys {
        [] => return Ok(None),
        [one] => one.to_str().unwrap_or_default(),
        _ => return Err(ApiError::invalid_field(FIELD, "must be given once")),
    };
    if text.is_empty() || text.len() > KEY_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::invalid_field(FIELD, "must be 1 to 255 visible ASCII characters, such as a random UUID"));
    }
    Ok(Some(text))
}

/// What came of the request that `key` stands for, if there was one; refused if that was another request.
pub async fn recall(app: &App, key: Option<&IdempotencyKey>) -> Result<Option<String>, ApiError> {
    match key {
        Some(key) => outcome(app.store.recall(key).await?),
        None => Ok(None),
    }
}

/// Remembers what came of a request; what came of the first one, if another was faster.
pub async fn remember(app: &App, key: Option<&IdempotencyKey>, came: &str) -> Result<Option<String>, ApiError> {
    match key {
        Some(key) => outcome(app.store.remember(key, came).await?),
        None => Ok(None),
    }
}

/// What came of the first request; `None`: this is the first one.
pub fn outcome(repeated: Repeated) -> Result<Option<String>, ApiError> {
    match repeated {
        Repeated::New => Ok(None),
        Repeated::Same(came) => Ok(Some(came)),
        Repeated::Different => {
            Err(ApiError::conflict(FIELD, "stands for a request with another body or account; a new request needs a new key"))
        }
    }
}

/// SHA-256 of what a body asks for, and for whom. How it is written, fields that are not known here and those that are `null` make no difference.
fn fingerprint(account: Option<&str>, body: &impl Serialize) -> Result<[u8; 32], ApiError> {
    let mut value = json!({"account": account, "body": serde_json::to_value(body).map_err(ApiError::internal)?});
    drop_nulls(&mut value);
    let hash = digest(&SHA256, value.to_string().as_bytes());
    hash.as_ref().try_into().map_err(ApiError::internal)
}

/// So that a field that a later release adds does not change what an earlier one remembered.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(keys: &[&str]) -> Repeatable {
        let keys = keys.iter().map(|key| HeaderValue::from_bytes(key.as_bytes()).expect("a header value")).collect();
        Repeatable { keys, address: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST) }
    }

    #[test]
    fn keys_are_visible_ascii_and_given_once() {
        let check = |keys: &[&str], expected: Result<Option<&str>, &str>| {
            let key = sent(keys).key(&Caller::Anonymous, "create", None, &json!({}));
            assert_eq!(key.as_ref().map(|key| key.as_ref().map(|key| key.key.as_str())).map_err(ApiError::message), expected);
        };
        let wrong = Err("Idempotency-Key: must be 1 to 255 visible ASCII characters, such as a random UUID");
        check(&[], Ok(None));
        check(&["a-1"], Ok(Some("a-1")));
        check(&[&"x".repeat(255)], Ok(Some(&"x".repeat(255))));
        check(&[""], wrong);
        check(&["a b"], wrong);
        check(&["ä"], wrong);
        check(&[&"x".repeat(256)], wrong);
        check(&["a", "a"], Err("Idempotency-Key: must be given once"));
    }

    #[test]
    fn what_is_asked_for_counts_and_not_how_it_is_written() {
        let of = |value: Value| fingerprint(None, &value).expect("it is JSON");
        let first = of(json!({"name": "a", "inner": {"on": true, "off": null}}));
        assert_eq!(first, of(json!({"name": "a", "inner": {"on": true}, "later": null})));
        assert_ne!(first, of(json!({"name": "a", "inner": {"on": false}})));
        assert_ne!(first, of(json!({"name": "b", "inner": {"on": true}})));
        let done_for = |account| fingerprint(account, &json!({"user_id": "ana"})).expect("it is JSON");
        assert_ne!(done_for(Some("ana")), done_for(Some("client")));
    }
}
