//! Splits the bytes of a QUIC stream into records while they arrive, without waiting for a payload's end (cut-through).
//!
//! In: shared `Bytes` as they were read. Out: events whose bytes are the very ones that came in. Never copies a payload.

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameHeaderError};

/// What the bytes so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameEvent {
    /// A record begins; `raw` are its 46 bytes as received.
    Begin {
        /// Decoded.
        header: FrameHeader,
        /// As received.
        raw: Bytes,
    },
    /// The next bytes of the payload of the record that began last.
    Payload(Bytes),
    /// That record is whole.
    End,
}

/// An incremental parser for one QUIC stream.
#[derive(Debug)]
pub struct FrameReader {
    payload_bytes_max: u32,
    /// Received and not yet given out.
    input: Bytes,
    /// A header of which only a part came.
    partial: BytesMut,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Payload { left: u32 },
    End,
}

impl FrameReader {
    /// A reader at the start of a stream. Payloads over `payload_bytes_max` are an error before any of their bytes is kept.
    pub fn new(payload_bytes_max: u32) -> Self {
        Self { payload_bytes_max, input: Bytes::new(), partial: BytesMut::new(), state: State::Header }
    }

    /// Hands in what was read. Call [`next_event`](Self::next_event) until `None` before the next push; bytes of a push
    /// that is not drained are appended by copy.
    pub fn push(&mut self, bytes: Bytes) {
        if self.input.is_empty() {
            self.input = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + bytes.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&bytes);
            self.input = joined.freeze();
        }
    }

    /// The next event, `None` when more bytes are needed. After an error the stream is of no further use.
    pub fn next_event(&mut self) -> Result<Option<FrameEvent>, FrameHeaderError> {
        match self.state {
            State::Header => self.header(),
            State::Payload { left } => {
                if self.input.is_empty() {
                    return Ok(None);
                }
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
                let bytes = self.input.split_to(take);
                let left = left - u32::try_from(take).unwrap_or(left);
                self.state = if left == 0 { State::End } else { State::Payload { left } };
                Ok(Some(FrameEvent::Payload(bytes)))
            }
            State::End => {
                self.state = State::Header;
                Ok(Some(FrameEvent::End))
            }
        }
    }

    /// Whether the bytes so far end between two records.
    pub fn is_between_records(&self) -> bool {
        self.state == State::Header && self.partial.is_empty() && self.input.is_empty()
    }

    /// Payload bytes of the record under way that have not been given out.
    pub fn payload_left(&self) -> usize {
        match self.state {
            State::Payload { left } => usize::try_from(left).unwrap_or(usize::MAX),
            State::Header | State::End => 0,
        }
    }

    fn header(&mut self) -> Result<Option<FrameEvent>, FrameHeaderError> {
        let raw = if self.partial.is_empty() && self.input.len() >= FRAME_HEADER_BYTES {
            self.input.split_to(FRAME_HEADER_BYTES)
        } else {
            let missing = FRAME_HEADER_BYTES - self.partial.len();
            let take = missing.min(self.input.len());
            self.partial.extend_from_slice(&self.input[..take]);
            self.input.advance(take);
            if self.partial.len() < FRAME_HEADER_BYTES {
                return Ok(None);
            }
            self.partial.split().freeze()
        };
        let header = FrameHeader::decode(&raw, self.payload_bytes_max)?;
        self.state = match header.payload_length {
            0 => State::End,
            left => State::Payload { left },
        };
        Ok(Some(FrameEvent::Begin { header, raw }))
    }
}
