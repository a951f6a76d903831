//! The names in a path, such as a meeting's id.

use std::convert::Infallible;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::ApiError;

/// The parameters of a path, decoded. What is wrong with them is told once the caller is known to have leave.
pub struct ApiPath<T>(Result<T, ApiError>);

impl<T> ApiPath<T> {
    /// The parameters, or which of them cannot be read.
    pub fn read(self) -> Result<T, ApiError> {
        self.0
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for ApiPath<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Path::from_request_parts(parts, state).await.map(|Path(read)| read).map_err(refuse)))
    }
}

fn refuse(rejection: PathRejection) -> ApiError {
    match rejection {
        PathRejection::FailedToDeserializePathParams(error) => match error.into_kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => ApiError::invalid_field(&key, "must be UTF-8 text, percent-encoded"),
            other => ApiError::internal(other),
        },
        other => ApiError::internal(other),
    }
}
