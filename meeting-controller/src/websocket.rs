//! Sessions over WebSocket, for where UDP does not pass: the same messages as binary frames, without the length.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use common::door::{Ticket, count_refusal};
use common::webtransport::OriginPolicy;
use common_core::Code;
use common_core::length_prefix::CLIENT_MESSAGE_BYTES_MAX;
use futures_util::stream::SplitStream;
use futures_util::{Sink, SinkExt, StreamExt};
use meeting_controller_core::message::Refusal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::codec;
use crate::door::DOOR;
use crate::node::{Node, OpenSession};
use crate::outbox::{FAREWELL_TIMEOUT, Outgoing, Outgoings, outbox, stalled};
use crate::session::{Next, Reader, pongs};

/// The dialect that is spoken here.
const SUBPROTOCOL: &str = "darktower.v1";
/// What the library refuses by itself; up to here we say what is wrong in our own words.
const FRAME_BYTES_MAX: usize = 2 * CLIENT_MESSAGE_BYTES_MAX;
/// What the library reads at a time.
const READ_BYTES: usize = 16 * 1024;
/// Messages of a client that are still taken when its session is over.
const LAST_WORDS_MAX: usize = 100;
/// Pings and pongs of a client in [`CONTROL_WINDOW`]: it answers ours, one a second, and may send its own.
const CONTROL_FRAMES_MAX: u32 = 100;
/// See [`CONTROL_FRAMES_MAX`].
const CONTROL_WINDOW: Duration = Duration::from_secs(10);
/// What the library may hold unwritten: one largest server message and its frame.
const WRITE_BYTES_MAX: usize = common_core::length_prefix::SERVER_MESSAGE_BYTES_MAX + 1024;
/// A close reason's room in its frame (RFC 6455, section 5.5: 125 bytes with the code).
const REASON_BYTES_MAX: usize = 123;

/// The route `/ws`.
pub(crate) fn router(node: Arc<Node>, origins: OriginPolicy) -> Router {
    Router::new().route("/ws", get(upgrade)).with_state((node, Arc::new(origins)))
}

type Shared = (Arc<Node>, Arc<OriginPolicy>);

/// The ticket is held until the session is over. A plain door of this machine alone gives none.
async fn upgrade(
    State((node, origins)): State<Shared>,
    ticket: Option<Extension<Arc<Ticket>>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let origin = headers.get(header::ORIGIN).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if !origins.allows(origin.as_deref()) {
        count_refusal(DOOR, "origin");
        return (StatusCode::FORBIDDEN, "this origin is not on the list\n").into_response();
    }
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    if upgrade.selected_protocol().is_none() {
        return (StatusCode::BAD_REQUEST, format!("the subprotocol {SUBPROTOCOL} must be offered\n")).into_response();
    }
    let Some(open) = node.open_session() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "this controller is full\n").into_response();
    };
    // The upgrade is a task of the library's: whoever waits for ours to end waits for it too.
    let token = node.tasks.token();
    upgrade.read_buffer_size(READ_BYTES).max_write_buffer_size(WRITE_BYTES_MAX).on_upgrade(move |socket| async move {
        if let Some(Extension(ticket)) = &ticket {
            ticket.stands();
        }
        serve(node, open, socket).await;
        drop((ticket, token));
    })
}

async fn serve(node: Arc<Node>, open: OpenSession, socket: WebSocket) {
    tracing::debug!(session = %open.key, "a session over WebSocket");
    let (outbox, outgoings) = outbox(node.gate.clone());
    let reader = Reader::new(node.clone(), open, outbox);
    let (sink, stream) = socket.split();
    let written = CancellationToken::new();
    let writing = AbortOnDropHandle::new(tokio::spawn(write(sink, outgoings, written.clone(), node.limits.stall_timeout)));
    read(reader, stream, &written, node.limits.silence_timeout).await;
    // Whatever is still to be said has its time; then the socket is dropped, with whatever a client has not read.
    let _ = tokio::time::timeout(2 * FAREWELL_TIMEOUT, writing).await;
}

async fn read(mut reader: Reader, mut stream: SplitStream<WebSocket>, written: &CancellationToken, silence_max: Duration) {
    let mut heard = Instant::now();
    let (mut control_frames, mut control_since) = (0, heard);
    let mut next = Next::Read;
    while next == Next::Read {
        next = tokio::select! {
            message = stream.next() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => reader.refuse(0, invalid("an empty message has no version")),
                    Some(Ok(Message::Binary(bytes))) if bytes.len() > CLIENT_MESSAGE_BYTES_MAX => {
                        reader.refuse(0, invalid(&format!("a message of {} bytes is over the limit of {CLIENT_MESSAGE_BYTES_MAX}", bytes.len())))
                    }
                    Some(Ok(Message::Binary(bytes))) => reader.message(bytes).await,
                    Some(Ok(Message::Text(_))) => reader.refuse(0, invalid("messages of darktower.v1 are binary")),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                        if control_since.elapsed() >= CONTROL_WINDOW {
                            (control_frames, control_since) = (0, heard);
                        }
                        control_frames += 1;
                        if control_frames > CONTROL_FRAMES_MAX {
                            count_refusal(DOOR, "control_flood");
                            reader.refuse(0, Refusal::new(Code::RateLimited, "too many pings"))
                        } else {
                            Next::Read
                        }
                    }
                    Some(Ok(Message::Close(_))) | None => break,
                    // Too long for the library, or broken; who is gone hears nothing of it.
                    Some(Err(error)) => reader.refuse(0, invalid(&error.to_string())),
                }
            }
            refusal = reader.join_overdue() => reader.refuse(0, refusal),
            // Before the join, the join's own time is what counts.
            () = tokio::time::sleep_until(heard + silence_max), if reader.is_handed() => {
                tracing::debug!(session = %reader.key(), "the session is silent");
                reader.refuse(0, Refusal::new(Code::Unavailable, "nothing came for too long"))
            }
            () = written.cancelled() => break,
        };
    }
    if next == Next::Stop || written.is_cancelled() {
        // Taken, so that what the client still says, its own farewell above all, is not answered by a reset, which may overtake ours in its kernel;
        // for as long as ours takes, and not from who goes on and on.
        let farewell = async {
            for _ in 0..LAST_WORDS_MAX {
                if !matches!(stream.next().await, Some(Ok(_))) {
                    return;
                }
            }
            std::future::pending().await
        };
        let _ = tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await;
    }
    reader.ended().await;
}

fn invalid(problem: &str) -> Refusal {
    Refusal::new(Code::InvalidRequest, problem)
}

/// Writes until the outbox closes or the socket breaks, then says so.
async fn write(mut sink: impl Sink<Message> + Unpin, mut outgoings: Outgoings, written: CancellationToken, stall_timeout: Duration) {
    let mut pongs = pongs();
    let end = outgoings.end();
    let mut has_spoken = false;
    loop {
        let outgoing = tokio::select! {
            outgoing = outgoings.next() => outgoing,
            _ = pongs.tick() => {
                if !outgoings.may_speak() {
                    continue;
                }
                // Answered by every WebSocket stack, a browser's hidden tab included: the sign of life.
                let sign = Message::Ping(bytes::Bytes::new());
                // The first message that a client hears is the answer to its join.
                let pong = has_spoken.then(|| Message::Binary(codec::unasked_pong(common::clock::unix_micros())));
                let signs = async {
                    sink.feed(sign).await?;
                    if let Some(pong) = pong {
                        sink.feed(pong).await?;
                    }
                    sink.flush().await
                };
                let wrote = tokio::select! {
                    biased;
                    wrote = signs => wrote.is_ok(),
                    () = tokio::time::sleep(stall_timeout) => {
                        count_refusal(DOOR, "stalled");
                        false
                    }
                    () = end.due() => false,
                };
                if !wrote {
                    break;
                }
                continue;
            }
        };
        match outgoing {
            Outgoing::Message(message) => {
                let stalled = stalled(&message, stall_timeout);
                let wrote = tokio::select! {
                    // First, whatever the clock says: on a machine that stood still for a while the deadline is over before anything was
                    // tried, and a client that is there to read is told why its session ends.
                    biased;
                    wrote = sink.send(Message::Binary(message)) => wrote.is_ok(),
                    () = stalled => {
                        count_refusal(DOOR, "stalled");
                        false
                    }
                    // Left half written: nothing more can be said to this client, not even a close.
                    () = end.due() => false,
                };
                if !wrote {
                    break;
                }
                has_spoken = true;
            }
            Outgoing::Close { code, reason } => {
                let frame = CloseFrame { code: code.websocket(), reason: shorten(&reason).into() };
                // A client that does not take its farewell goes without.
                tokio::select! {
                    biased;
                    _ = sink.send(Message::Close(Some(frame))) => {}
                    () = end.due() => {}
                    () = tokio::time::sleep(FAREWELL_TIMEOUT) => {}
                }
                break;
            }
        }
    }
    written.cancel();
}

fn shorten(reason: &str) -> &str {
    let end = (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    &reason[..end]
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    /// The socket of a client that has stopped reading.
    struct Stuck;

    impl Sink<Message> for Stuck {
        type Error = std::convert::Infallible;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }

        fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), Self::Error> {
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Pending
        }
    }

    /// A client that reads.
    #[derive(Clone, Default)]
    struct Reads(std::sync::Arc<std::sync::Mutex<Vec<Message>>>);

    impl Sink<Message> for Reads {
        type Error = std::convert::Infallible;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
            self.0.lock().expect("nothing panics").push(message);
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The machine stood still from the refusal until its time was over: who reads is told all the same, and not cut off without a word.
    #[tokio::test]
    async fn a_farewell_that_is_late_is_said_to_who_reads() {
        let sessions: Vec<_> = (0..32)
            .map(|_| {
                let (outbox, outgoings) = outbox(std::sync::Arc::default());
                outbox.send(bytes::Bytes::from_static(b"refused"));
                outbox.close(Code::Unavailable, "Media Server Unavailable");
                (outbox, outgoings)
            })
            .collect();
        for (outbox, outgoings) in sessions {
            outgoings.end().due().await;
            let reads = Reads::default();
            write(reads.clone(), outgoings, CancellationToken::new(), Duration::from_secs(60)).await;
            let heard = reads.0.lock().expect("nothing panics").clone();
            assert!(
                matches!(heard.as_slice(), [Message::Binary(_), Message::Close(Some(frame))] if frame.code == Code::Unavailable.websocket()),
                "{heard:?}"
            );
            drop(outbox);
        }
    }

    /// A close is over in time whether the writer is stuck in a message or has nothing to write but the close.
    #[tokio::test]
    async fn who_does_not_read_is_closed_all_the_same() {
        for messages in [1, 0] {
            let (outbox, outgoings) = outbox(std::sync::Arc::default());
            let written = CancellationToken::new();
            let writing = tokio::spawn(write(Stuck, outgoings, written.clone(), Duration::from_secs(60)));
            for _ in 0..messages {
                outbox.send(bytes::Bytes::from_static(b"x"));
            }
            // The writer has taken the message, and is stuck with it.
            tokio::task::yield_now().await;
            let began = Instant::now();
            outbox.close(Code::Forbidden, "removed");
            writing.await.expect("no panic");
            assert!(written.is_cancelled() && began.elapsed() < 2 * FAREWELL_TIMEOUT, "{:?}", began.elapsed());
        }
    }

    #[tokio::test]
    async fn who_reads_nothing_is_given_up() {
        let (outbox, outgoings) = outbox(std::sync::Arc::default());
        let written = CancellationToken::new();
        let writing = tokio::spawn(write(Stuck, outgoings, written.clone(), Duration::from_millis(50)));
        outbox.send(bytes::Bytes::from_static(b"x"));
        tokio::time::timeout(FAREWELL_TIMEOUT, writing).await.expect("in time").expect("no panic");
        assert!(written.is_cancelled());
    }

    #[test]
    fn reasons_fit_a_close_frame() {
        assert_eq!(shorten("left"), "left");
        assert_eq!(shorten(&"ä".repeat(100)).len(), 122);
    }
}
