//! Refusals as the contract shows them: `{"error": {"code", "message", "details"}}` (seed 003, "HTTP/3 Errors").

use std::any::Any;
use std::fmt::Display;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use common::token::TokenError;
use global_controller_core::Scope;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::context;
use crate::assignment::AssignError;
use crate::attendance::AttendanceError;
use crate::credentials::HashError;
use crate::store::StoreError;

/// When to come again after an answer that says so: about two heartbeats.
const RETRY_AFTER_SECONDS: u32 = 2;

/// The contract's error codes on HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// Something in the request is not as the contract asks for.
    InvalidRequest,
    /// No bearer, or one that does not hold.
    Unauthorized,
    /// A bearer without the scope.
    Forbidden,
    /// No such route.
    NotFound,
    /// No such meeting, or another tenant's.
    MeetingNotFound,
    /// It has ended.
    MeetingEnded,
    /// The meeting is full.
    CapacityExceeded,
    /// It contradicts what was said before, such as under the same idempotency key.
    Conflict,
    /// More requests than this caller may make in a window.
    RateLimited,
    /// Try again later.
    Unavailable,
    /// Our fault.
    InternalError,
}

impl ErrorCode {
    /// All of them, in the order in which they are explained.
    pub const ALL: [ErrorCode; 11] = [
        ErrorCode::InvalidRequest,
        ErrorCode::Unauthorized,
        ErrorCode::Forbidden,
        ErrorCode::NotFound,
        ErrorCode::MeetingNotFound,
        ErrorCode::MeetingEnded,
        ErrorCode::CapacityExceeded,
        ErrorCode::Conflict,
        ErrorCode::RateLimited,
        ErrorCode::Unavailable,
        ErrorCode::InternalError,
    ];

    /// Its name in the body, and the status that goes with it unless stated otherwise.
    pub const fn parts(self) -> (&'static str, StatusCode) {
        match self {
            ErrorCode::InvalidRequest => ("INVALID_REQUEST", StatusCode::BAD_REQUEST),
            ErrorCode::Unauthorized => ("UNAUTHORIZED", StatusCode::UNAUTHORIZED),
            ErrorCode::Forbidden => ("FORBIDDEN", StatusCode::FORBIDDEN),
            ErrorCode::NotFound => ("NOT_FOUND", StatusCode::NOT_FOUND),
            ErrorCode::MeetingNotFound => ("MEETING_NOT_FOUND", StatusCode::NOT_FOUND),
            ErrorCode::MeetingEnded => ("MEETING_ENDED", StatusCode::GONE),
            ErrorCode::CapacityExceeded => ("CAPACITY_EXCEEDED", StatusCode::CONFLICT),
            ErrorCode::Conflict => ("CONFLICT", StatusCode::CONFLICT),
            ErrorCode::RateLimited => ("RATE_LIMITED", StatusCode::TOO_MANY_REQUESTS),
            ErrorCode::Unavailable => ("UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE),
            ErrorCode::InternalError => ("INTERNAL_ERROR", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.parts().0)
    }
}

/// A refusal on its way to a client.
#[derive(Debug)]
pub struct ApiError {
    code: ErrorCode,
    status: StatusCode,
    message: String,
    details: Map<String, Value>,
    /// Boxed: refusals travel in every `Result`, and few carry one.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl ApiError {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, status: code.parts().1, message: message.into(), details: Map::new(), header: None }
    }

    fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some(Box::new((name, value))), ..self }
    }

    /// The request is not what the contract asks for.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// A field of it is not; `problem` reads on after the field's name.
    pub fn invalid_field(field: &str, problem: impl Display) -> Self {
        let mut error = Self::invalid(format!("{field}: {problem}"));
        error.details.insert("field".to_owned(), Value::from(field));
        error
    }

    /// The body is longer than `bytes_max`.
    pub fn body_too_large(bytes_max: usize) -> Self {
        Self::invalid(format!("the body is over the limit of {bytes_max} bytes")).with_status(StatusCode::PAYLOAD_TOO_LARGE)
    }

    /// The body did not arrive in time.
    pub fn body_too_slow() -> Self {
        Self::invalid("the body did not arrive in time").with_status(StatusCode::REQUEST_TIMEOUT)
    }

    /// The body is of another media type than `wanted`.
    pub fn wrong_media_type(wanted: &str) -> Self {
        Self::invalid(format!("content-type must be {wanted}")).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }

    /// Nobody said who asks.
    pub fn no_bearer() -> Self {
        Self::new(ErrorCode::Unauthorized, "an access token is needed: POST /api/v1/auth/token gives one")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"dark-tower\""))
    }

    /// What was shown does not hold (RFC 6750 section 3.1).
    pub fn bad_bearer(reason: TokenError) -> Self {
        Self::new(ErrorCode::Unauthorized, reason.to_string())
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"dark-tower\", error=\"invalid_token\""))
    }

    /// What was shown instead of a bearer, such as a resume token, does not hold.
    pub fn unauthorized(reason: impl Display) -> Self {
        Self::new(ErrorCode::Unauthorized, reason.to_string())
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"dark-tower\""))
    }

    /// The client id or its secret is wrong; which of them is not said.
    pub fn bad_client() -> Self {
        // Every 401 names a scheme that would do (RFC 9110 section 15.5.2).
        Self::new(ErrorCode::Unauthorized, "client_id or client_secret is wrong")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"dark-tower\""))
    }

    /// The bearer is known, and may not.
    pub fn missing_scope(scope: Scope) -> Self {
        let mut error = Self::new(ErrorCode::Forbidden, format!("the access token lacks the scope {scope}"));
        error.details.insert("scope".to_owned(), Value::from(scope.as_str()));
        error
    }

    /// Whoever asks is known, and this is not for it.
    pub fn forbidden(reason: impl Display) -> Self {
        Self::new(ErrorCode::Forbidden, reason.to_string())
    }

    /// No such thing inside of what was found, such as a participant or a webhook.
    pub fn not_found(message: impl Display) -> Self {
        Self::new(ErrorCode::NotFound, message.to_string())
    }

    /// It contradicts what was said before; `problem` reads on after the name of the field or header.
    pub fn conflict(field: &str, problem: impl Display) -> Self {
        let mut error = Self::new(ErrorCode::Conflict, format!("{field}: {problem}"));
        error.details.insert("field".to_owned(), Value::from(field));
        error
    }

    /// More than `limit` requests in a window; `retry_after` seconds until the next one starts.
    pub fn rate_limited(limit: u32, retry_after: u32) -> Self {
        let message = format!("more than {limit} requests in this window; come again in {retry_after} s");
        let mut error = Self::new(ErrorCode::RateLimited, message).with_header(header::RETRY_AFTER, HeaderValue::from(retry_after));
        error.details.insert("limit".to_owned(), Value::from(limit));
        error.details.insert("retry_after".to_owned(), Value::from(retry_after));
        error
    }

    /// No such meeting, or another tenant's: the two look alike. `asked` is what the client wrote.
    pub fn meeting_not_found(asked: &str) -> Self {
        Self::new(ErrorCode::MeetingNotFound, format!("Meeting {} does not exist", common_core::name::escape(asked, 64)))
    }

    /// It has ended; nobody can join it.
    pub fn meeting_ended() -> Self {
        Self::new(ErrorCode::MeetingEnded, "the meeting has ended")
    }

    /// As many as may be are in it.
    pub fn meeting_full(max_participants: u32) -> Self {
        Self::new(ErrorCode::CapacityExceeded, format!("the meeting has its {max_participants} participants"))
    }

    /// The API client has as many webhooks as it may have.
    pub fn too_many_webhooks(max: u32) -> Self {
        Self::new(ErrorCode::CapacityExceeded, format!("this API client has its {max} webhooks; delete one first"))
    }

    /// Not now.
    pub fn unavailable(reason: impl Display) -> Self {
        Self::new(ErrorCode::Unavailable, reason.to_string()).with_header(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
    }

    /// No such route.
    pub fn no_such_route() -> Self {
        Self::new(ErrorCode::NotFound, "there is nothing at this path")
    }

    /// Not by this method; the router adds `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::invalid("this path does not take this method").with_status(StatusCode::METHOD_NOT_ALLOWED)
    }

    /// Not by this method at any path; `what` reads on after "does not take".
    pub fn method_not_served(what: &str) -> Self {
        Self::invalid(format!("this server does not take {what}"))
            .with_status(StatusCode::METHOD_NOT_ALLOWED)
            .with_header(header::ALLOW, HeaderValue::from_static("GET,HEAD,POST,PATCH,DELETE,OPTIONS"))
    }

    /// The request names a host that is not ours (RFC 9110 section 15.5.20).
    pub fn misdirected(host: &str) -> Self {
        let problem = if host.is_empty() {
            "this server answers for hosts that the request must name".to_owned()
        } else {
            format!("this server does not answer for {}", common_core::name::escape(host, 64))
        };
        Self::invalid_field("host", problem).with_status(StatusCode::MISDIRECTED_REQUEST)
    }

    /// The request's head has too many bytes or fields.
    pub fn head_too_large(problem: impl Into<String>) -> Self {
        Self::invalid(problem).with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    }

    /// `Expect` asks for something else than 100-continue.
    pub fn expectation_failed() -> Self {
        Self::invalid("the only expectation that is met is 100-continue").with_status(StatusCode::EXPECTATION_FAILED)
    }

    /// Our fault: the cause goes to the log, the client gets the request's id.
    pub fn internal(cause: impl Display) -> Self {
        let request_id = context::request_id();
        tracing::error!(request_id, %cause, "internal error");
        let mut error = Self::new(ErrorCode::InternalError, "something went wrong on our side");
        error.details.insert("request_id".to_owned(), Value::from(request_id));
        error
    }

    /// The message, for answers that are not in the contract's body.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> axum::response::Response {
        let body = json!({"error": {"code": self.code.parts().0, "message": self.message, "details": self.details}});
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => {
                tracing::warn!(request_id = context::request_id(), cause, "the store is not available");
                Self::unavailable("the store is not available")
            }
            other => Self::internal(other),
        }
    }
}

impl From<AssignError> for ApiError {
    fn from(error: AssignError) -> Self {
        match error {
            AssignError::Store(error) => error.into(),
            AssignError::Vanished => Self::internal(error),
            other => Self::unavailable(other),
        }
    }
}

impl From<AttendanceError> for ApiError {
    fn from(error: AttendanceError) -> Self {
        if let AttendanceError::NoAnswer(cause) = &error {
            tracing::warn!(request_id = context::request_id(), %cause, "a meeting's controller does not answer");
        }
        Self::unavailable(error)
    }
}

impl From<HashError> for ApiError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy | HashError::BusyAddress => Self::unavailable(error),
            HashError::Failed => Self::internal(error),
        }
    }
}

/// The answer of a handler that panicked.
pub fn panicked(cause: Box<dyn Any + Send>) -> Response<Body> {
    let text = cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    metrics::counter!("dark_tower_http_panics_total").increment(1);
    ApiError::internal(format!("a handler panicked: {}", text.unwrap_or("no message"))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients are written against these.
    #[test]
    fn codes_and_statuses_are_the_contracts() {
        let said: Vec<String> = ErrorCode::ALL.iter().map(|code| format!("{} {}", code.parts().1.as_u16(), code.parts().0)).collect();
        assert_eq!(
            said,
            [
                "400 INVALID_REQUEST",
                "401 UNAUTHORIZED",
                "403 FORBIDDEN",
                "404 NOT_FOUND",
                "404 MEETING_NOT_FOUND",
                "410 MEETING_ENDED",
                "409 CAPACITY_EXCEEDED",
                "409 CONFLICT",
                "429 RATE_LIMITED",
                "503 UNAVAILABLE",
                "500 INTERNAL_ERROR",
            ]
        );
    }

    #[tokio::test]
    async fn a_panic_tells_nothing_but_where_to_look() {
        let response = panicked(Box::new("the inner secret"));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let bytes = axum::body::to_bytes(response.into_body(), 4096).await.expect("a short body");
        let body: Value = serde_json::from_slice(&bytes).expect("JSON");
        let expected = json!({"code": "INTERNAL_ERROR", "message": "something went wrong on our side", "details": {"request_id": ""}});
        assert_eq!(body["error"], expected);
    }
}
