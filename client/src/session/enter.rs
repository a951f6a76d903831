//! From nothing to a session that has been let in: dialling, and the `JoinRequest` with its answer.

use std::time::Duration;

use common_core::Code;
use proto::v1::{self, client_message, server_message};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::controllers::Controllers;
use crate::convert::join_response;
use crate::dial::{DialError, Dialer};
use crate::encryption::check;
use crate::end::SessionEnd;
use crate::meeting::{JoinError, RequestError};
use crate::signaling::{SignalingConnection, client_message};

/// How long the answer to a `JoinRequest` may take: the controller asks a handler and a store in that time.
const ENTER_TIMEOUT: Duration = Duration::from_secs(10);
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

/// Dials the addresses of `controllers` by their plan, the next one early when one fails; the first to stand wins and the others are dropped.
/// The error is that of the address that was dialled first: it says more about what is wrong.
pub(crate) async fn dial(dialer: &Dialer, controllers: &Controllers) -> Result<(SignalingConnection, String), DialError> {
    let began = Instant::now();
    let mut dials = JoinSet::new();
    let mut failed: Option<(usize, DialError)> = None;
    let mut plan = controllers.plan().into_iter().enumerate();
    let mut next = plan.next();
    loop {
        let due = next.as_ref().map(|(_, (after, _))| began + *after);
        let mut hurry = dials.is_empty();
        if !hurry {
            tokio::select! {
                () = wait_until(due) => hurry = true,
                Some(dialled) = dials.join_next() => match dialled {
                    Ok(Ok(stands)) => return Ok(stands),
                    Ok(Err((place, error))) => {
                        if failed.as_ref().is_none_or(|(first, _)| place < *first) {
                            failed = Some((place, error));
                        }
                        hurry = true;
                    }
                    Err(error) => tracing::warn!(%error, "a dial ended in a panic"),
                },
            }
        }
        match next.take() {
            Some((place, (_, url))) if hurry => {
                let (dialer, trust) = (dialer.clone(), controllers.trust.clone());
                dials.spawn(async move {
                    match SignalingConnection::open(&dialer, &url, &trust).await {
                        Ok(connection) => Ok((connection, url)),
                        Err(error) => Err((place, error)),
                    }
                });
                next = plan.next();
            }
            None if dials.is_empty() => {
                return Err(failed.map_or(DialError::Url { url: String::new(), problem: "no controller is known" }, |(_, error)| error));
            }
            waiting => next = waiting,
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A close before the answer: its code is the refusal, whose message a controller in a hurry had no time for.
fn refused_by_close(end: SessionEnd) -> JoinError {
    match (end.code(), &end) {
        (Some(code), SessionEnd::Closed { reason, .. }) if code != Code::Normal => JoinError::Refused { code, message: reason.clone() },
        _ => JoinError::Ended(end),
    }
}

/// Sends the `JoinRequest` and waits for its answer. Leaves again at once where encryption does not fit.
pub(crate) async fn enter(mut connection: SignalingConnection, url: String, request: v1::JoinRequest) -> Result<Entered, JoinError> {
    let key_id = request.e2ee_key_id.clone();
    connection.send(&client_message(JOIN_REQUEST_ID, client_message::Body::Join(request))).await.map_err(JoinError::Ended)?;
    let answer = async {
        loop {
            let message = connection.next().await.map_err(refused_by_close)?;
            match message.body {
                Some(server_message::Body::Join(response)) => {
                    return join_response(response).map_err(|error| JoinError::Answer(error.to_string()));
                }
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
