//! Request bodies: bounded in size and time, JSON with the wrong field named.

pub(crate) mod tree;

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

/// Parses a JSON object, and says at which field it is not what was asked for.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    tree::read(bytes).and_then(tree::take).map_err(|problem| match problem.field() {
        Some(field) => ApiError::invalid_field(&field, problem.what()),
        None => ApiError::invalid(problem.to_string()),
    })
}

#[cfg(test)]
mod tests;
