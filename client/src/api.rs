//! The part of the public API that a participant needs: from a meeting's URL to an admission (DESIGN section 3).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common_core::name::escape;
use futures_util::future::BoxFuture;
use reqwest::header::RETRY_AFTER;
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::e2ee::Secret;
use crate::options::JoinOptions;
use crate::ticket::{Ticket, TicketError, TicketSource, Why};
use crate::trust::{HASH_BYTES, Trust, TrustError};

/// A call that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read: a join's answer has a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Longest text of a server that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// Why the API did not admit.
#[derive(Debug, Error)]
pub enum ApiError {
    /// Not a meeting's URL.
    #[error("{url} is not a meeting URL: {problem}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// Trust could not be set up.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Nobody answered, or the certificate is not believed.
    #[error("cannot reach {url}: {cause}")]
    Unreachable {
        /// What was called.
        url: String,
        /// Why, with the causes behind it.
        cause: String,
    },
    /// The API refused, with its error body.
    #[error("{message} ({code}, HTTP {status}){}", when(*retry_after))]
    Refused {
        /// HTTP status.
        status: u16,
        /// Such as `MEETING_NOT_FOUND`.
        code: String,
        /// In words, escaped.
        message: String,
        /// Not before this is over should it be asked again; `None`: the API did not say.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the API's document says.
    #[error("{url} answered with something else than an admission: {cause}")]
    Answer {
        /// What was called.
        url: String,
        /// What was wrong.
        cause: String,
    },
}

impl From<ApiError> for TicketError {
    fn from(error: ApiError) -> Self {
        let cause = error.to_string();
        match error {
            // Too many, or the servers' own trouble.
            ApiError::Refused { status, retry_after, .. } if status == StatusCode::TOO_MANY_REQUESTS || status >= 500 => {
                Self::Later { cause, after: retry_after }
            }
            ApiError::Refused { code, message, .. } => Self::Refused { code, message },
            ApiError::Url { .. } | ApiError::Trust(_) => Self::Refused { code: "INVALID_REQUEST".to_owned(), message: cause },
            // A proxy between that answers for a dead server is no API.
            ApiError::Unreachable { .. } | ApiError::Answer { .. } => Self::Later { cause, after: None },
        }
    }
}

/// When to ask again, in words; empty if nobody knows.
fn when(retry_after: Option<Duration>) -> String {
    match retry_after.map(|it| it.as_secs()) {
        None => String::new(),
        Some(0 | 1) => "; try again in a second".to_owned(),
        Some(seconds) => format!("; try again in {seconds} seconds"),
    }
}

/// A meeting's address: `https://HOST[:PORT]/m/CODE`, with `#k=SECRET` behind it where the meeting is encrypted. What follows the `#` never leaves
/// this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeetingUrl {
    origin: Url,
    code: String,
    secret: Option<Secret>,
}

impl MeetingUrl {
    /// Parses what people are sent. `http` is for this machine alone.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        // Behind a `#` is a secret.
        let fail = |problem| ApiError::Url { url: escape(text.split('#').next().unwrap_or_default(), SHOWN_CHARS_MAX), problem };
        const SHAPE: &str = "https://HOST/m/CODE is needed";
        let url = Url::parse(text.trim()).map_err(|_| fail(SHAPE))?;
        let host = url.host_str().ok_or_else(|| fail(SHAPE))?.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if is_here => {}
            "http" => return Err(fail("http is for localhost alone; https is needed")),
            _ => return Err(fail(SHAPE)),
        }
        let segments: Vec<&str> = url.path_segments().map(|it| it.filter(|segment| !segment.is_empty()).collect()).unwrap_or_default();
        let code = match segments.as_slice() {
            [.., "m", code] => (*code).to_owned(),
            _ => return Err(fail("the path must be /m/CODE, as in the meeting_url of the API")),
        };
        if !code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(fail("a meeting's code has letters and digits alone"));
        }
        let damaged = |_| fail("the key behind the # is incomplete or was changed");
        let secret = url.fragment().map(Secret::from_fragment).transpose().map_err(damaged)?.flatten();
        let mut origin = url.clone();
        origin.set_path("/");
        origin.set_query(None);
        origin.set_fragment(None);
        Ok(Self { origin, code, secret })
    }

    /// The short code (or the meeting's id).
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The meeting's secret, if the address carries one: for [`JoinOptions::secret`].
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// Whether the API is behind TLS.
    pub fn is_https(&self) -> bool {
        self.origin.scheme() == "https"
    }

    fn call(&self, path: &str) -> String {
        format!("{}api/v1/meetings/{}{path}", self.origin, self.code)
    }
}

/// What the API answers to a join.
#[derive(Clone, Deserialize)]
pub struct Admission {
    /// The meeting (UUID).
    pub meeting_id: String,
    /// Good for a few minutes, for one join.
    pub join_token: String,
    /// RFC 3339.
    #[serde(default)]
    pub expires_at: String,
    /// `https://…/wt`.
    pub meeting_controller_url: String,
    /// `wss://…/ws`; may be empty.
    #[serde(default)]
    pub signaling_fallback_url: String,
    /// To be dialled while joining, best first.
    #[serde(default)]
    pub media_handler_urls: Vec<String>,
    /// Base64 of SHA-256; empty under a public authority.
    #[serde(default)]
    pub certificate_hashes: Vec<String>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("meeting_id", &self.meeting_id)
            .field("meeting_controller_url", &self.meeting_controller_url)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// Options with which to join, once: without a [`TicketSource`] the client does not come back as a new participant.
    pub fn into_options(self, name: &str) -> JoinOptions {
        JoinOptions { name: name.to_owned(), ..JoinOptions::default() }.with_ticket(self.into_ticket())
    }

    /// What joining needs of it. A hash that is none is left out: it could match nothing.
    pub fn into_ticket(self) -> Ticket {
        let hashes = self.certificate_hashes.iter().filter_map(|text| <[u8; HASH_BYTES]>::try_from(STANDARD.decode(text).ok()?).ok());
        Ticket {
            certificate_hashes: hashes.collect(),
            meeting_id: self.meeting_id,
            join_token: self.join_token,
            meeting_controller_url: self.meeting_controller_url,
            signaling_fallback_url: Some(self.signaling_fallback_url).filter(|url| !url.is_empty()),
            media_handler_urls: self.media_handler_urls,
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum JoinBody<'a> {
    Fresh { display_name: &'a str },
    Back { resume_token: &'a str },
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorFields,
}

#[derive(Deserialize)]
struct ErrorFields {
    code: String,
    message: String,
}

/// Calls the public API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
}

impl Api {
    /// An API client that believes `trust`; hashes in it are those of the API's own certificate.
    pub fn new(trust: &Trust) -> Result<Self, TrustError> {
        let tls = trust.tls_config(&[b"h2", b"http/1.1"])?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("dark-tower/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| TrustError::Verifier(rustls::Error::General(causes(&error))))?;
        Ok(Self { http })
    }

    /// Asks to be let into a meeting under a name. `bearer` is an access token, needed where the meeting asks for one. When the
    /// future is dropped, nothing is left behind but a ticket that nobody uses.
    pub async fn join(&self, meeting: &MeetingUrl, display_name: &str, bearer: Option<&str>) -> Result<Admission, ApiError> {
        self.admit(meeting, &JoinBody::Fresh { display_name }, bearer).await
    }

    /// Asks where to come back to with a [resume token](crate::Meeting::resume_token), which must go into
    /// [`JoinOptions::resume_token`] besides.
    pub async fn rejoin(&self, meeting: &MeetingUrl, resume_token: &str, bearer: Option<&str>) -> Result<Admission, ApiError> {
        self.admit(meeting, &JoinBody::Back { resume_token }, bearer).await
    }

    async fn admit(&self, meeting: &MeetingUrl, body: &JoinBody<'_>, bearer: Option<&str>) -> Result<Admission, ApiError> {
        let url = meeting.call("/join");
        let mut request = self.http.post(&url).json(body);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        let unreachable = |error: reqwest::Error| ApiError::Unreachable { url: url.clone(), cause: causes(&error) };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(seconds);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ApiError::Answer { url, cause: format!("over {ANSWER_BYTES_MAX} bytes") });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| ApiError::Answer { url, cause: error.to_string() });
        }
        Err(refusal(status, &body, retry_after))
    }
}

/// Tickets for one meeting from the public API, for [`Client::join_with`](crate::Client::join_with).
#[derive(Clone)]
pub struct MeetingTickets {
    api: Api,
    meeting: MeetingUrl,
    display_name: String,
    bearer: Option<String>,
}

impl MeetingTickets {
    /// Tickets for people who are let in under a name, by `bearer` where the meeting asks for an access token. It should be good for as long as
    /// the meeting may last.
    pub fn new(api: Api, meeting: MeetingUrl, display_name: impl Into<String>, bearer: Option<String>) -> Self {
        Self { api, meeting, display_name: display_name.into(), bearer }
    }
}

impl TicketSource for MeetingTickets {
    fn ticket(&self, _why: Why) -> BoxFuture<'_, Result<Ticket, TicketError>> {
        Box::pin(async {
            let admission = self.api.join(&self.meeting, &self.display_name, self.bearer.as_deref()).await?;
            Ok(admission.into_ticket())
        })
    }
}

/// `Retry-After` in seconds; the other form, a date, is for caches.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

fn refusal(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> ApiError {
    let fields = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => ErrorFields { code: "no code".into(), message: status.canonical_reason().unwrap_or("refused").to_owned() },
    };
    let message = escape(&fields.message, SHOWN_CHARS_MAX);
    ApiError::Refused { status: status.as_u16(), code: escape(&fields.code, 64), message, retry_after }
}

/// An error with the causes behind it: reqwest's own words say too little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    escape(&text, SHOWN_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meeting_urls_are_what_people_are_sent() {
        fn call(text: &str) -> String {
            MeetingUrl::parse(text).expect("a meeting URL").call("/join")
        }
        assert_eq!(call("https://meet.example/m/abcdefghij"), "https://meet.example/api/v1/meetings/abcdefghij/join");
        assert_eq!(
            call(" https://meet.example:8443/m/abc?x=1#k=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8 "),
            "https://meet.example:8443/api/v1/meetings/abc/join"
        );
        assert_eq!(call("http://localhost:8080/m/abc/"), "http://localhost:8080/api/v1/meetings/abc/join");
        assert_eq!(call("http://[::1]:8080/m/abc"), "http://[::1]:8080/api/v1/meetings/abc/join");
        for (text, problem) in [
            ("meet.example/m/abc", "https://HOST/m/CODE is needed"),
            ("ftp://meet.example/m/abc", "https://HOST/m/CODE is needed"),
            ("http://meet.example/m/abc", "http is for localhost alone"),
            ("https://meet.example/", "the path must be /m/CODE"),
            ("https://meet.example/m/a%2Fb", "letters and digits alone"),
            ("https://meet.example/m/abc#k=cutoff", "the key behind the # is incomplete"),
        ] {
            let error = MeetingUrl::parse(text).expect_err("no meeting URL").to_string();
            assert!(error.contains(problem) && !error.contains("cutoff"), "{text}: {error}");
        }
    }

    #[test]
    fn admissions_become_options() {
        let body = format!(
            r#"{{"meeting_id":"m","join_token":"t","expires_at":"","meeting_controller_url":"https://a/wt","signaling_fallback_url":"",
                "media_handler_urls":["https://b/media"],"certificate_hashes":["{}","short"],"display_name":"Plans",
                "settings":{{"enable_e2e_encryption":false,"max_participants":100}},"more":1}}"#,
            STANDARD.encode([7; 32])
        );
        let admission: Admission = serde_json::from_str(&body).expect("as the API answers");
        assert!(!format!("{admission:?}").contains("\"t\""), "a token is never shown");
        let options = admission.into_options("Ana");
        assert_eq!((options.signaling_fallback_url, options.certificate_hashes), (None, vec![[7; 32]]));
    }

    #[test]
    fn refusals_say_the_servers_words() {
        let body = br#"{"error":{"code":"MEETING_ENDED","message":"it is over","details":{}}}"#;
        assert_eq!(refusal(StatusCode::GONE, body, None).to_string(), "it is over (MEETING_ENDED, HTTP 410)");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>", None).to_string(), "Bad Gateway (no code, HTTP 502)");
    }

    /// Whoever was too fast reads when it is worth asking again.
    #[test]
    fn refusals_say_when_to_ask_again() {
        let body = br#"{"error":{"code":"RATE_LIMITED","message":"100 requests a minute","details":{}}}"#;
        for (header, end) in [("12", "; try again in 12 seconds"), (" 0 ", "; try again in a second"), ("Wed, 21 Oct 2026", ")")] {
            let text = refusal(StatusCode::TOO_MANY_REQUESTS, body, seconds(header)).to_string();
            assert!(text.starts_with("100 requests a minute (RATE_LIMITED, HTTP 429)") && text.ends_with(end), "{text}");
        }
    }

    /// Who came too fast or met dead servers asks again; who is not wanted does not.
    #[test]
    fn refusals_that_will_not_get_better_are_told_apart() {
        for (status, is_final) in
            [(400, true), (403, true), (404, true), (410, true), (409, true), (429, false), (500, false), (503, false)]
        {
            let status = StatusCode::from_u16(status).expect("a status");
            let error = TicketError::from(refusal(status, b"{}", seconds("3")));
            assert_eq!(error.is_final(), is_final, "{status}: {error}");
            assert!(is_final || matches!(error, TicketError::Later { after: Some(after), .. } if after.as_secs() == 3));
        }
        let unreachable = ApiError::Unreachable { url: "https://meet.example".into(), cause: "timed out".into() };
        assert!(!TicketError::from(unreachable).is_final());
    }

    #[test]
    fn who_comes_back_shows_its_resume_token() {
        let json = |body: &JoinBody<'_>| serde_json::to_string(body).expect("it is JSON");
        assert_eq!(json(&JoinBody::Fresh { display_name: "Ana" }), r#"{"display_name":"Ana"}"#);
        assert_eq!(json(&JoinBody::Back { resume_token: "t" }), r#"{"resume_token":"t"}"#);
    }
}
