//! From nothing to a session that has been let in: the first time by a join token, later by a resume token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common_core::Code;
use proto::v1::{self, client_message, server_message};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backoff::{Backoff, random};
use crate::dial::{DialError, Dialer};
use crate::encryption::check;
use crate::end::SessionEnd;
use crate::meeting::{JoinError, RequestError};
use crate::options::JoinOptions;
use crate::signaling::{PacketCount, SignalingConnection, client_message};
use crate::trust::Trust;

/// How long the answer to a `JoinRequest` may take: the controller asks a handler and a store in that time.
const ENTER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between dialling one controller and the next; the first to stand wins.
const ALTERNATE_STAGGER: Duration = Duration::from_millis(500);
/// The number of the first request on every session.
const JOIN_REQUEST_ID: u64 = u64::MAX;
/// Of the leave that follows when the answer does not suit.
const LEAVE_REQUEST_ID: u64 = u64::MAX - 1;
/// How long the answer to that leave is waited for.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// A session that has been let in.
pub(crate) struct Entered {
    pub(crate) connection: SignalingConnection,
    pub(crate) url: String,
    pub(crate) response: v1::JoinResponse,
}

/// A session from which nothing was heard for a while.
pub(super) struct Silent {
    pub(super) packets: PacketCount,
    /// The count when silence was noticed.
    pub(super) count: u64,
}

impl Silent {
    /// A close is no sign of life.
    fn speaks_again(&self) -> bool {
        self.packets.count() != self.count && !self.packets.is_closed()
    }
}

/// Dials the controller, and its fallback besides when it does not stand soon; the first to stand wins.
pub(crate) async fn dial_controller(dialer: &Dialer, options: &JoinOptions) -> Result<(SignalingConnection, String), DialError> {
    let trust = options.trust_for(&options.certificate_hashes);
    let main = SignalingConnection::open(dialer, &options.meeting_controller_url, &trust);
    tokio::pin!(main);
    let Some(fallback_url) = &options.signaling_fallback_url else {
        return Ok((main.await?, options.meeting_controller_url.clone()));
    };
    let first = tokio::select! {
        first = &mut main => Some(first),
        () = tokio::time::sleep(options.fallback_after) => None,
    };
    let fallback = SignalingConnection::open(dialer, fallback_url, &trust);
    match first {
        Some(Ok(connection)) => return Ok((connection, options.meeting_controller_url.clone())),
        // The first failure says more about what is wrong than the second.
        Some(Err(error)) => return fallback.await.map(|connection| (connection, fallback_url.clone())).map_err(|_| error),
        None => {}
    }
    tokio::pin!(fallback);
    tokio::select! {
        first = &mut main => match first {
            Ok(connection) => Ok((connection, options.meeting_controller_url.clone())),
            Err(error) => fallback.await.map(|connection| (connection, fallback_url.clone())).map_err(|_| error),
        },
        second = &mut fallback => match second {
            Ok(connection) => Ok((connection, fallback_url.clone())),
            Err(_) => Ok((main.await?, options.meeting_controller_url.clone())),
        },
    }
}

/// Sends the `JoinRequest` and waits for its answer. Leaves again at once where encryption does not fit.
pub(crate) async fn enter(mut connection: SignalingConnection, url: String, request: v1::JoinRequest) -> Result<Entered, JoinError> {
    let key_id = request.e2ee_key_id.clone();
    connection.send(&client_message(JOIN_REQUEST_ID, client_message::Body::Join(request))).await.map_err(JoinError::Ended)?;
    let answer = async {
        loop {
            let message = connection.next().await.map_err(JoinError::Ended)?;
            match message.body {
                Some(server_message::Body::Join(response)) => return Ok(response),
                Some(server_message::Body::Error(error)) => match RequestError::refused(error) {
                    RequestError::Refused { code, message, .. } => return Err(JoinError::Refused { code, message }),
                    other => return Err(JoinError::Answer(other.to_string())),
                },
                // A pong may come before.
                _ => {}
            }
        }
    };
    let response = tokio::time::timeout(ENTER_TIMEOUT, answer).await.map_err(|_| JoinError::Timeout)??;
    if let Err(error) = check(&key_id, &response) {
        let leave = client_message(LEAVE_REQUEST_ID, client_message::Body::Leave(v1::Leave {}));
        // Whoever cannot take part is not to stand in the others' roster; when this fails, the session's end says the same a little later.
        if connection.send(&leave).await.is_ok() {
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, async {
                while connection.next().await.is_ok_and(|it| it.request_id != LEAVE_REQUEST_ID) {}
            })
            .await;
        }
        connection.close(Code::Normal, "").await;
        return Err(error.into());
    }
    Ok(Entered { connection, url, response })
}

/// Comes back with the resume token: tries until it is let in, refused for good, or `within` is over. Sets `committed`
/// before anything is said that lets the server replace the old session. `None`: nothing was said, for `silent` speaks again.
pub(super) async fn resume(
    dialer: Dialer,
    trust: Trust,
    urls: Vec<String>,
    request: v1::JoinRequest,
    within: Duration,
    committed: Arc<AtomicBool>,
    silent: Option<Silent>,
) -> Result<Option<Entered>, SessionEnd> {
    let until = Instant::now() + within;
    let mut backoff = Backoff::default();
    let mut last = SessionEnd::lost("no attempt was made");
    while Instant::now() < until {
        tokio::time::sleep(backoff.next_wait(random())).await;
        let (connection, url) = match dial_any(&dialer, &trust, &urls).await {
            Ok(dialled) => dialled,
            Err(error) => {
                last = SessionEnd::lost(error);
                continue;
            }
        };
        // The request is what replaces the old session: a controller that was frozen, and not dead, speaks again by now.
        if silent.as_ref().is_some_and(Silent::speaks_again) {
            return Ok(None);
        }
        committed.store(true, Ordering::Release);
        match enter(connection, url, request.clone()).await {
            Ok(entered) => return Ok(Some(entered)),
            Err(JoinError::Refused { code, message }) => {
                last = SessionEnd::closed(code.number(), &message);
                if !code.worth_retrying() {
                    break;
                }
            }
            Err(JoinError::Ended(end)) => {
                last = end;
                if !last.is_worth_resuming() {
                    break;
                }
            }
            Err(error @ JoinError::Encryption(_)) => {
                // It will not fit the next time either.
                last = SessionEnd::closed(Code::InvalidRequest.number(), &error.to_string());
                break;
            }
            Err(error) => last = SessionEnd::lost(error),
        }
    }
    Err(last)
}

/// Dials each of `urls`, one after the other with a stagger; the first to stand wins.
async fn dial_any(dialer: &Dialer, trust: &Trust, urls: &[String]) -> Result<(SignalingConnection, String), DialError> {
    let mut dials = JoinSet::new();
    for (place, url) in (0..).zip(urls) {
        let (dialer, trust, url) = (dialer.clone(), trust.clone(), url.clone());
        dials.spawn(async move {
            tokio::time::sleep(ALTERNATE_STAGGER * place).await;
            let connection = SignalingConnection::open(&dialer, &url, &trust).await?;
            Ok((connection, url))
        });
    }
    let mut first_error = None;
    while let Some(dialled) = dials.join_next().await {
        match dialled {
            Ok(Ok(dialled)) => return Ok(dialled),
            Ok(Err(error)) => first_error = first_error.or(Some(error)),
            Err(error) => tracing::warn!(%error, "a dial ended in a panic"),
        }
    }
    Err(first_error.unwrap_or(DialError::Url { url: String::new(), problem: "no controller is known" }))
}

impl RequestError {
    /// The server's words for a refusal.
    pub(crate) fn refused(error: v1::ErrorMessage) -> Self {
        let code = Code::from(v1::ErrorCode::try_from(error.code).unwrap_or(v1::ErrorCode::Unknown));
        Self::Refused { code, message: common_core::name::escape(&error.message, 300), details: error.details.into_iter().collect() }
    }
}
