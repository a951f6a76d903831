//! Sessions over WebTransport: the client's first bidirectional stream is signaling, and there is no other.

use std::sync::Arc;
use std::time::Duration;

use common::door::count_refusal;
use common::quic::TransportLimits;
use common::webtransport::{Accepted, MessageReader, MessageWriter, ReadMessageError, client_goes_first, close};
use common_core::Code;
use common_core::length_prefix::CLIENT_MESSAGE_BYTES_MAX;
use meeting_controller_core::message::Refusal;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use web_transport_quinn::{SendStream, Session};

use crate::codec;
use crate::node::Node;
use crate::outbox::{FAREWELL_TIMEOUT, Outgoing, Outgoings, outbox, stalled};
use crate::session::{LIFE_INTERVAL, Next, Reader, pongs};

/// Streams besides signaling that are stopped one by one; a client that opens more does so on purpose.
const STREAMS_REFUSED_MAX: u32 = 32;
/// Frames between two looks ([`LIFE_INTERVAL`]) that reset or stop a stream, probe a path or only keep alive. An honest session has one
/// stream and sends a few in its whole life.
const IDLE_FRAMES_MAX: u64 = 200;

/// Serves one session until it is over.
pub(crate) async fn serve(node: Arc<Node>, accepted: Accepted) {
    // The ticket is held until the session is over.
    let Accepted { session, remote, ticket: _ticket } = accepted;
    let Some(open) = node.open_session() else {
        dismiss(&session, Code::CapacityExceeded, "this controller is full").await;
        return;
    };
    tracing::debug!(session = %open.key, %remote, "a session over WebTransport");
    let (outbox, outgoings) = outbox(node.gate.clone());
    let reader = Reader::new(node.clone(), open, outbox);
    let streams = tokio::select! {
        streams = session.accept_bi() => streams,
        refusal = reader.join_overdue() => {
            dismiss(&session, refusal.code, &refusal.message).await;
            return;
        }
    };
    let Ok((send, receive)) = streams else { return };
    let marks = Marks::default();
    node.tasks.spawn(write(session.clone(), send, outgoings, marks.clone(), node.limits.stall_timeout));
    read(&session, reader, MessageReader::new(receive, CLIENT_MESSAGE_BYTES_MAX, &[]), &marks, node.limits.silence_timeout).await;
}

/// What the two tasks of a session tell each other.
#[derive(Clone, Default)]
struct Marks {
    /// A meeting has taken the session over.
    joined: CancellationToken,
    /// The writer has ended the session.
    written: CancellationToken,
}

/// Closes a session and waits a moment, as dropping it at once would drop the reason too.
async fn dismiss(session: &Session, code: Code, reason: &str) {
    close(session, code, reason);
    // Who does not take it goes without.
    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, session.closed()).await;
}

/// Reads until there is nothing more to read, and waits until the writer has ended the session.
async fn read(session: &Session, mut reader: Reader, mut messages: MessageReader, marks: &Marks, silence_max: Duration) {
    let mut life = Life::new(session.clone(), silence_max);
    let mut others = Others { session, refused: 0 };
    let key = reader.key();
    let mut next = Next::Read;
    while next == Next::Read {
        if reader.is_handed() && !marks.joined.is_cancelled() {
            marks.joined.cancel();
            TransportLimits::SIGNALING.grow(session);
        }
        next = tokio::select! {
            message = messages.next() => match message {
                Ok(Some(bytes)) => reader.message(bytes).await,
                Ok(None) => {
                    // Without its stream nobody can be told anything.
                    close(session, Code::Normal, "the signaling stream has ended");
                    break;
                }
                Err(ReadMessageError::Length(error)) => reader.refuse(0, Refusal::new(Code::InvalidRequest, error.to_string())),
                Err(ReadMessageError::Truncated) => reader.refuse(0, Refusal::new(Code::InvalidRequest, "the stream ended inside a message")),
                Err(ReadMessageError::Stream(error)) => {
                    tracing::debug!(session = %key, %error, "the session broke off");
                    close(session, Code::Normal, "the signaling stream was reset");
                    break;
                }
            },
            refusal = reader.join_overdue() => reader.refuse(0, refusal),
            ending = others.refuse() => match ending {
                Some(refusal) => reader.refuse(0, refusal),
                None => break,
            },
            verdict = life.over() => match verdict {
                Verdict::Silent => {
                    tracing::debug!(session = %key, "the session is silent");
                    close(session, Code::Unavailable, "no packet came for too long");
                    break;
                }
                Verdict::Flood(frames) => {
                    tracing::info!(session = %key, frames, "the session floods us with resets");
                    count_refusal("wt", "frame_flood");
                    reader.refuse(0, Refusal::new(Code::RateLimited, "too many streams are opened and given up"))
                }
            },
            () = marks.written.cancelled() => break,
        };
    }
    messages.stop(Code::Normal);
    reader.ended().await;
    marks.written.cancelled().await;
}

/// The client's streams besides signaling: there are none, so each is stopped.
struct Others<'a> {
    session: &'a Session,
    refused: u32,
}

impl Others<'_> {
    /// Stops every further stream; returns when the session is gone, or why it has to end. Cancel-safe: accepting is.
    async fn refuse(&mut self) -> Option<Refusal> {
        loop {
            let refused = tokio::select! {
                streams = self.session.accept_bi() => streams.map(|(mut send, mut receive)| {
                    // Errors mean that the stream is over already.
                    let _ = send.reset(Code::InvalidRequest.number());
                    let _ = receive.stop(Code::InvalidRequest.number());
                }),
                stream = self.session.accept_uni() => stream.map(|mut receive| {
                    // As above.
                    let _ = receive.stop(Code::InvalidRequest.number());
                }),
            };
            if refused.is_err() {
                return None;
            }
            count_refusal("wt", "stream");
            self.refused += 1;
            if self.refused > STREAMS_REFUSED_MAX {
                return Some(Refusal::new(Code::InvalidRequest, "a signaling session has one stream"));
            }
        }
    }
}

/// Writes until the outbox closes or the session is gone, then closes the session and says so.
async fn write(session: Session, send: SendStream, mut outgoings: Outgoings, marks: Marks, stall_timeout: Duration) {
    let mut writer = MessageWriter::new(send);
    let end = outgoings.end();
    let mut pongs = pongs();
    let mut has_spoken = false;
    let mut is_stuck = false;
    let (code, reason) = loop {
        let outgoing = tokio::select! {
            outgoing = outgoings.next() => outgoing,
            // The first thing that a client hears is the answer to its join.
            _ = pongs.tick(), if has_spoken => {
                if !outgoings.may_speak() {
                    continue;
                }
                Outgoing::Message(codec::unasked_pong(common::clock::unix_micros()))
            }
            _ = session.closed() => break (Code::Normal, String::new()),
        };
        match outgoing {
            Outgoing::Message(message) => {
                let write = tokio::select! {
                    // First, whatever the clock says: who is there to read is told, also by a machine that stood still for a while.
                    biased;
                    write = writer.send(&message) => write.is_ok(),
                    // Left half written: this client does not read.
                    () = end.due() => break end.verdict(),
                    () = stalled(&message, stall_timeout) => {
                        count_refusal("wt", "stalled");
                        is_stuck = true;
                        break end.verdict();
                    }
                };
                if !write {
                    break (Code::Normal, "the signaling stream was stopped".to_owned());
                }
                has_spoken = true;
            }
            Outgoing::Close { code, reason } => break (code, reason),
        }
    };
    if !is_stuck && !end.is_due() {
        writer.finish();
        let farewell = async {
            writer.delivered().await;
            // Strangers are not waited for.
            if marks.joined.is_cancelled() {
                client_goes_first(&session).await;
            }
        };
        // A client that does not take its farewell goes without.
        tokio::select! {
            () = farewell => {}
            () = end.due() => {}
            () = tokio::time::sleep(FAREWELL_TIMEOUT) => {}
        }
    }
    close(&session, code, &reason);
    // The close itself travels for a moment longer.
    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, session.closed()).await;
    marks.written.cancel();
}

/// What a look at a session's life tells.
enum Verdict {
    /// Nothing has come for too long.
    Silent,
    /// So many frames that cost work and say nothing have come since the last look.
    Flood(u64),
}

/// Watches whether packets still come: clients keep QUIC alive each second, and acknowledge what we send. And whether too many come
/// that open streams only to give them up, which the library takes care of without telling.
struct Life {
    session: Session,
    silence_max: Duration,
    datagrams: u64,
    idle_frames: u64,
    heard: Instant,
    looks: tokio::time::Interval,
}

impl Life {
    fn new(session: Session, silence_max: Duration) -> Self {
        let mut looks = tokio::time::interval(LIFE_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { session, silence_max, datagrams: 0, idle_frames: 0, heard: Instant::now(), looks }
    }

    /// Resolves when the session has to end. Cancel-safe.
    async fn over(&mut self) -> Verdict {
        loop {
            self.looks.tick().await;
            let stats = quinn::Connection::stats(&self.session);
            let frames = &stats.frame_rx;
            let idle_frames = frames.reset_stream + frames.stop_sending + frames.path_challenge + frames.ping;
            let flood = idle_frames - std::mem::replace(&mut self.idle_frames, idle_frames);
            if flood > IDLE_FRAMES_MAX {
                return Verdict::Flood(flood);
            }
            if stats.udp_rx.datagrams != self.datagrams {
                (self.datagrams, self.heard) = (stats.udp_rx.datagrams, Instant::now());
            } else if self.heard.elapsed() >= self.silence_max {
                return Verdict::Silent;
            }
        }
    }
}
