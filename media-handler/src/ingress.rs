//! Reads one QUIC stream of a client: tells control from media by the first byte, and takes records to the hub.
//!
//! Frames of an id that is not known yet are held by not reading on: QUIC's stream window bounds them, and the records come
//! in whole once the registration does.

mod control_start;

use std::sync::Arc;
use std::task::Waker;

use bytes::{Buf, Bytes};
use common_core::Code;
use common_core::frame::FRAME_VERSION;
use common_core::frame_reader::{FrameEvent, FrameReader};
use media_handler_core::hub::{Ingress, Refusal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use web_transport_quinn::{RecvStream, SendStream};

use crate::control::ControlStream;
use crate::handler::Handler;
use crate::session::Visitor;

/// The first byte of a control stream (DESIGN section 5).
const CONTROL_STREAM: u8 = 0;
/// Chunks read at a time; QUIC hands out one per packet, so a delta comes in one turn and a key frame in a few.
const CHUNKS_MAX: usize = 32;

/// Serves a stream that the client opened. `reply` is its other half if it is bidirectional.
pub(crate) async fn serve(visitor: Arc<Visitor>, mut stream: RecvStream, reply: Option<SendStream>, control: mpsc::Sender<ControlStream>) {
    let Some(first) = first_bytes(&mut stream).await else { return };
    match (first[0], reply) {
        (CONTROL_STREAM, Some(send)) => {
            let Some(rest) = control_start::read(&mut stream, first).await else { return };
            // An error means that the session is over.
            let _ = control.send(ControlStream { send, receive: stream, rest }).await;
        }
        // On a bidirectional media stream nothing is said; our half ends with the client's.
        (FRAME_VERSION, reply) => {
            Reader::new(visitor, stream).run(first).await;
            drop(reply);
        }
        (other, reply) => {
            tracing::debug!(first = other, "a stream that is neither control nor media");
            let _ = stream.stop(Code::InvalidRequest.number());
            if let Some(mut reply) = reply {
                let _ = reply.reset(Code::InvalidRequest.number());
                // Before the hello it can only have been meant as one.
                if !visitor.has_said_hello() {
                    visitor.close(Code::InvalidRequest, "the control stream starts with a byte 0x00");
                }
            }
        }
    }
}

async fn first_bytes(stream: &mut RecvStream) -> Option<Bytes> {
    loop {
        let chunk = stream.read_chunk(usize::MAX, true).await.ok()??;
        if !chunk.bytes.is_empty() {
            return Some(chunk.bytes);
        }
    }
}

/// A media stream being read.
struct Reader {
    visitor: Arc<Visitor>,
    stream: RecvStream,
    frames: FrameReader,
    /// Read and not taken by the hub yet.
    events: Vec<FrameEvent>,
    wakes: Vec<Waker>,
}

impl Reader {
    fn new(visitor: Arc<Visitor>, stream: RecvStream) -> Self {
        let frames = FrameReader::new(visitor.handler.limits.max_payload_bytes);
        Self { visitor, stream, frames, events: Vec::new(), wakes: Vec::new() }
    }

    async fn run(mut self, first: Bytes) {
        let mut ingress = self.visitor.handler.with(|hub| hub.open_ingress(self.visitor.key));
        if let Err(code) = self.read(&mut ingress, first).await {
            tracing::debug!(%code, "a media stream is refused");
            metrics::counter!("dark_tower_media_streams_refused_total", "code" => code.name()).increment(1);
            // An error means that the stream is over already.
            let _ = self.stream.stop(code.number());
        }
        let now = self.visitor.handler.now();
        self.visitor.handler.with(|hub| hub.end_ingress(ingress, now));
    }

    /// Until the client ends the stream, or there is a reason to stop it.
    async fn read(&mut self, ingress: &mut Ingress, first: Bytes) -> Result<(), Code> {
        let mut chunks = vec![Bytes::new(); CHUNKS_MAX];
        chunks[0] = first;
        let mut count = 1;
        loop {
            let mut bytes = 0;
            let mut broken = Ok(());
            for chunk in &mut chunks[..count] {
                bytes += chunk.remaining();
                self.frames.push(std::mem::take(chunk));
                if broken.is_ok() {
                    broken = self.parse();
                }
            }
            let records = self.events.iter().filter(|event| matches!(event, FrameEvent::Begin { .. })).count();
            self.hand_over(ingress).await?;
            broken?;
            if !self.events.is_empty() {
                // The session ended while they were held.
                return Ok(());
            }
            self.visitor.pace(bytes, records).await;
            count = match self.stream.read_chunks(&mut chunks).await {
                Ok(Some(count)) => count,
                // Finished, reset, or gone with the session: what was whole stays, what was not never will be.
                Ok(None) | Err(_) => return Ok(()),
            };
        }
    }

    fn parse(&mut self) -> Result<(), Code> {
        loop {
            match self.frames.next_event() {
                Ok(Some(event)) => self.events.push(event),
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::debug!(%error, "not a record");
                    return Err(Code::InvalidRequest);
                }
            }
        }
    }

    /// Takes the events to the hub; waits for a registration if it does not know their id yet.
    async fn hand_over(&mut self, ingress: &mut Ingress) -> Result<(), Code> {
        let (mut taken, mut refusal) = self.offer(ingress, 0);
        if refusal.is_none() {
            self.events.clear();
            return Ok(());
        }
        let handler = self.visitor.handler.clone();
        let mut changes = handler.changes();
        let mut give_up: Option<Instant> = None;
        loop {
            changes.borrow_and_update();
            (taken, refusal) = self.offer(ingress, taken);
            match refusal {
                None => break,
                Some(Refusal::Stop(code)) => return Err(code),
                Some(Refusal::Unknown) => {}
            }
            // Before the hello, the hello's own timeout is the bound.
            if give_up.is_none() && self.visitor.has_said_hello() {
                give_up = Some(Instant::now() + handler.limits.unknown_stream_timeout);
            }
            let patience = async {
                match give_up {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| Code::Unavailable)?,
                () = patience => return Err(Code::NotFound),
                () = self.visitor.ended() => return Ok(()),
            }
        }
        self.events.clear();
        Ok(())
    }

    /// Offers the events from `from` on; how many were taken in all, and why not the next.
    fn offer(&mut self, ingress: &mut Ingress, from: usize) -> (usize, Option<Refusal>) {
        let handler: &Handler = &self.visitor.handler;
        let (events, now) = (&self.events, handler.now());
        handler.with_wakes(&mut self.wakes, |hub| {
            for (index, event) in events.iter().enumerate().skip(from) {
                let result = match event {
                    FrameEvent::Begin { header, raw } => hub.begin(ingress, now, header, raw.clone()),
                    FrameEvent::Payload(bytes) => hub.payload(ingress, bytes.clone()),
                    FrameEvent::End => Ok(()),
                };
                if let Err(refusal) = result {
                    hub.flush(ingress, now);
                    return (index, Some(refusal));
                }
            }
            hub.flush(ingress, now);
            (events.len(), None)
        })
    }
}
