//! Reads one QUIC stream of a client: tells control from media by the first byte, and takes records to the hub.
//!
//! Before the hello nothing is read but a stream's first bytes: QUIC's windows, small until then, bound what is held. Frames of an id
//! that is not known yet are read on and held here, up to a number of bytes and for a while. What goes to the hub is copied once:
//! QUIC hands out slices of whole batches of packets, which a few bytes kept for long would keep in memory.

mod control_start;

use std::sync::Arc;
use std::task::Waker;

use bytes::{Buf, Bytes, BytesMut};
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
/// What one stream holds of frames whose id is not known yet (DESIGN section 5).
const HELD_BYTES_MAX: usize = 256 * 1024;
/// Chunks read at a time; QUIC hands out one per packet, so a delta comes in one turn and a key frame in a few.
const CHUNKS_MAX: usize = 32;

/// Serves a stream that the client opened. `reply` is its other half if it is bidirectional.
pub(crate) async fn serve(visitor: Arc<Visitor>, mut stream: RecvStream, reply: Option<SendStream>, control: mpsc::Sender<ControlStream>) {
    let Some(first) = first_bytes(&mut stream).await else {
        visitor.count_barren();
        return;
    };
    match (first[0], reply) {
        (CONTROL_STREAM, Some(send)) => {
            let Some(rest) = control_start::read(&mut stream, first).await else { return };
            // An error means that the session is over.
            let _ = control.send(ControlStream { send, receive: stream, rest }).await;
        }
        // On a bidirectional media stream nothing is said; our half ends with the client's.
        (FRAME_VERSION, reply) => {
            let first = Bytes::copy_from_slice(&first);
            if visitor.greeted().await {
                visitor.publishes();
                Reader::new(visitor, stream).run(first).await;
            }
            drop(reply);
        }
        (other, reply) => {
            visitor.count_barren();
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
    chunks: Vec<Bytes>,
    /// Read and not taken by the hub yet.
    events: Vec<FrameEvent>,
    /// When the record under way began to come.
    began: Option<Instant>,
    /// Whether any record came.
    is_fruitful: bool,
    wakes: Vec<Waker>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    bytes: usize,
    records: usize,
}

impl Reader {
    fn new(visitor: Arc<Visitor>, stream: RecvStream) -> Self {
        let frames = FrameReader::new(visitor.handler.limits.max_payload_bytes);
        let chunks = vec![Bytes::new(); CHUNKS_MAX];
        Self { visitor, stream, frames, chunks, events: Vec::new(), began: None, is_fruitful: false, wakes: Vec::new() }
    }

    async fn run(mut self, first: Bytes) {
        let mut ingress = self.visitor.handler.with(|hub| hub.open_ingress(self.visitor.key));
        if let Err(code) = self.read(&mut ingress, first).await {
            tracing::debug!(%code, session = ?self.visitor.key, "a media stream is refused");
            metrics::counter!("dark_tower_media_streams_refused_total", "code" => code.name()).increment(1);
            // An error means that the stream is over already.
            let _ = self.stream.stop(code.number());
        }
        let now = self.visitor.handler.now();
        self.visitor.handler.with(|hub| hub.end_ingress(ingress, now));
        if !self.is_fruitful {
            self.visitor.count_barren();
        }
    }

    /// Until the client ends the stream, or there is a reason to stop it.
    async fn read(&mut self, ingress: &mut Ingress, first: Bytes) -> Result<(), Code> {
        self.chunks[0] = first;
        let mut count = 1;
        loop {
            let (read, parsed) = self.parse(count);
            if !self.hand_over(ingress).await? {
                return Ok(());
            }
            parsed?;
            self.visitor.pace(read.bytes, read.records).await;
            let more = self.stream.read_chunks(&mut self.chunks);
            let more = if self.frames.is_between_records() {
                more.await
            } else {
                let began = *self.began.get_or_insert_with(Instant::now);
                // A record that is begun and never ended would be held for ever.
                tokio::time::timeout_at(began + self.visitor.handler.limits.record_timeout, more).await.map_err(|_| Code::Expired)?
            };
            count = match more {
                Ok(Some(count)) => count,
                // Finished, reset, or gone with the session: what was whole stays, what was not never will be.
                Ok(None) | Err(_) => return Ok(()),
            };
        }
    }

    /// Takes the first `count` chunks apart; what they were, and why not all of them are records.
    fn parse(&mut self, count: usize) -> (Read, Result<(), Code>) {
        let mut read = Read::default();
        // Payload in a row is joined: one chunk for all subscribers, instead of one for each packet.
        let mut payload = BytesMut::new();
        let mut left: usize = self.chunks[..count].iter().map(Buf::remaining).sum();
        read.bytes = left;
        for chunk in &mut self.chunks[..count] {
            left -= chunk.remaining();
            self.frames.push(std::mem::take(chunk));
            loop {
                let event = match self.frames.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "not a record");
                        return (read, Err(Code::InvalidRequest));
                    }
                };
                match event {
                    FrameEvent::Payload(bytes) => {
                        if payload.is_empty() {
                            payload = BytesMut::with_capacity(bytes.len() + left.min(self.frames.payload_left()));
                        }
                        payload.extend_from_slice(&bytes);
                        if self.frames.payload_left() == 0 {
                            self.events.push(FrameEvent::Payload(std::mem::take(&mut payload).freeze()));
                        }
                    }
                    FrameEvent::Begin { header, raw } => {
                        read.records += 1;
                        self.is_fruitful = true;
                        self.began = None;
                        self.events.push(FrameEvent::Begin { header, raw: Bytes::copy_from_slice(&raw) });
                    }
                    FrameEvent::End => self.events.push(FrameEvent::End),
                }
            }
        }
        if !payload.is_empty() {
            self.events.push(FrameEvent::Payload(payload.freeze()));
        }
        (read, Ok(()))
    }

    /// Takes the events to the hub; holds them if it does not know their id yet, until a registration comes or there is no more patience.
    /// `false` if the stream or the session ended meanwhile.
    async fn hand_over(&mut self, ingress: &mut Ingress) -> Result<bool, Code> {
        let (mut taken, mut refusal) = self.offer(ingress, 0);
        if refusal.is_none() {
            self.events.clear();
            return Ok(true);
        }
        let visitor = self.visitor.clone();
        let mut holding = visitor.hold().ok_or(Code::NotFound)?;
        let held: usize = self.events[taken..].iter().map(bytes_of).sum();
        if !holding.grow(held) {
            return Err(Code::NotFound);
        }
        let mut changes = visitor.handler.changes();
        let give_up = Instant::now() + visitor.handler.limits.unknown_stream_timeout;
        let (mut is_open, mut parsed) = (true, Ok(()));
        loop {
            changes.borrow_and_update();
            (taken, refusal) = self.offer(ingress, taken);
            match refusal {
                None => break,
                Some(Refusal::Stop(code)) => return Err(code),
                Some(Refusal::Unknown) => {}
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| Code::Unavailable)?,
                () = tokio::time::sleep_until(give_up) => return Err(Code::NotFound),
                () = visitor.ended() => return Ok(false),
                more = self.stream.read_chunks(&mut self.chunks), if is_open => {
                    match more {
                        Ok(Some(count)) => {
                            let read;
                            (read, parsed) = self.parse(count);
                            if !holding.grow(read.bytes) || holding.bytes() > HELD_BYTES_MAX {
                                return Err(Code::NotFound);
                            }
                            is_open = parsed.is_ok();
                            visitor.pace(read.bytes, read.records).await;
                        }
                        // What came may still become known.
                        Ok(None) => is_open = false,
                        Err(_) => return Ok(false),
                    }
                }
            }
        }
        self.events.clear();
        parsed.map(|()| is_open)
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

fn bytes_of(event: &FrameEvent) -> usize {
    match event {
        FrameEvent::Begin { raw, .. } => raw.len(),
        FrameEvent::Payload(bytes) => bytes.len(),
        FrameEvent::End => 0,
    }
}
