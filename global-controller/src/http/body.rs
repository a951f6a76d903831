//! Request bodies: bounded in size and time, JSON with the wrong field named.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::ApiError;
use crate::app::App;

/// A body that is still to be read: nobody's is read before it is known that the caller has leave.
pub struct Unread {
    media_type: Option<String>,
    body: Body,
}

impl<S: Send + Sync> FromRequest<S> for Unread {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self { media_type: media_type(request.headers()), body: request.into_body() })
    }
}

impl Unread {
    /// Reads it as JSON (RFC 8259). Fields that are not known here are passed over, so that newer clients work.
    pub async fn json<T: DeserializeOwned>(self, app: &App) -> Result<T, ApiError> {
        if self.media_type.is_some_and(|found| found != "application/json") {
            return Err(ApiError::wrong_media_type("application/json"));
        }
        parse(&read(self.body, app).await?)
    }
}

/// The media type of a request without its parameters, lower-case; `None`: not stated.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("unreadable");
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Reads a body to its end, within the limits.
pub async fn read(body: Body, app: &App) -> Result<Bytes, ApiError> {
    let (bytes_max, timeout) = (app.config.limits.body_bytes, app.config.limits.read_timeout);
    if http_body::Body::size_hint(&body).lower() > bytes_max as u64 {
        return Err(ApiError::body_too_large(bytes_max));
    }
    match tokio::time::timeout(timeout, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large(bytes_max)),
        Ok(Err(_)) => Err(ApiError::invalid("the body broke off")),
        Err(_) => Err(ApiError::body_too_slow()),
    }
}

/// Parses JSON, and says at which field it is not what was asked for.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // An array would be taken for the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::invalid("the body must be a JSON object, not an array"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let refuse = |error: serde_json::Error| ApiError::invalid(format!("the body is not JSON: {error}"));
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data if path != "." => ApiError::invalid_field(&path, error.inner()),
            serde_json::error::Category::Data => ApiError::invalid(format!("the body: {}", error.inner())),
            _ => refuse(error.into_inner()),
        }
    })?;
    deserializer.end().map_err(refuse)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default)]
        settings: Inner,
    }

    #[derive(Debug, Default, Deserialize)]
    struct Inner {
        on: Option<bool>,
    }

    #[test]
    fn names_what_is_wrong() {
        let check = |text: &str, expected: &str| {
            let message = parse::<Sample>(text.as_bytes()).expect_err("it is refused").message().to_owned();
            assert_eq!(message, expected);
        };
        check("{\"settings\": {\"on\": 1}}", "settings.on: invalid type: integer `1`, expected a boolean at line 1 column 21");
        check("{", "the body is not JSON: EOF while parsing an object at line 1 column 1");
        check(" [{\"on\": true}]", "the body must be a JSON object, not an array");
        check("", "the body is not JSON: EOF while parsing a value at line 1 column 0");
        check("{} x", "the body is not JSON: trailing characters at line 1 column 4");
        check("7", "the body: invalid type: integer `7`, expected struct Sample at line 1 column 1");
        assert_eq!(parse::<Sample>(b"{\"new\": 1, \"settings\": {\"on\": true}}").map(|it| it.settings.on).ok(), Some(Some(true)));
    }
}
