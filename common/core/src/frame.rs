//! The 46-byte media frame header: what stands before every payload (seed contract, section 3.2; DESIGN section 5).
//!
//! In: bytes. Out: a header, or exactly why not. Encoding and decoding allocate nothing; a handler passes the received
//! bytes on and never the re-encoded ones.

use thiserror::Error;

use crate::id::StreamId;

/// Length of the header, in bytes.
pub const FRAME_HEADER_BYTES: usize = 46;
/// The version this code speaks; also the first byte by which a media stream tells itself.
pub const FRAME_VERSION: u8 = 1;
/// Largest payload unless configured otherwise: 4 MiB (DESIGN section 5).
pub const PAYLOAD_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// One Opus packet.
    Audio = 0,
    /// A picture, or a part of one, that decodes without others: starts a group.
    VideoKey = 1,
    /// A picture, or a part of one, that needs those before it.
    VideoDelta = 2,
}

/// The 16 flag bits; bits 2 to 15 are reserved and passed on as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameFlags(pub u16);

impl FrameFlags {
    /// Bit 0: the record ends an encoded frame; clear: the frame goes on in the next record.
    pub const END_OF_FRAME: FrameFlags = FrameFlags(1);
    /// Bit 1: no other frame needs this one.
    pub const DISCARDABLE: FrameFlags = FrameFlags(2);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: FrameFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other` set too.
    pub const fn with(self, other: FrameFlags) -> FrameFlags {
        FrameFlags(self.0 | other.0)
    }
}

/// A decoded header. All numbers are big-endian on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    /// What the payload is.
    pub kind: FrameKind,
    /// The media stream's, or its layer's, id.
    pub stream_id: StreamId,
    /// Microseconds since the epoch by the publisher's clock; no server decides by it.
    pub timestamp_us: u64,
    /// Counts the records of one stream id, +1 each, across reconnects and handlers.
    pub sequence: u64,
    /// Bytes that follow the header.
    pub payload_length: u32,
    /// See [`FrameFlags`].
    pub flags: FrameFlags,
    /// Passed on unread.
    pub reserved: [u8; 6],
}

/// Why 46 bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameHeaderError {
    /// Fewer bytes than a header has.
    #[error("a frame header is 46 bytes, only {have} came")]
    Truncated {
        /// How many there were.
        have: usize,
    },
    /// Another version.
    #[error("frame version {found} is not spoken here; 1 is")]
    Version {
        /// The first byte.
        found: u8,
    },
    /// A kind beyond the three.
    #[error("frame type {found:#04x} is none of 0x00 (audio), 0x01 (video key), 0x02 (video delta)")]
    Kind {
        /// The second byte.
        found: u8,
    },
    /// A payload over the limit.
    #[error("a payload of {found} bytes is over the limit of {limit}")]
    Length {
        /// What the header says.
        found: u32,
        /// What is allowed.
        limit: u32,
    },
}

impl FrameHeader {
    /// Reads the first 46 of `bytes`. Checks, in this order: length of the input, version, kind, payload length.
    pub fn decode(bytes: &[u8], payload_bytes_max: u32) -> Result<Self, FrameHeaderError> {
        let Some(raw) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Err(FrameHeaderError::Truncated { have: bytes.len() });
        };
        if raw[0] != FRAME_VERSION {
            return Err(FrameHeaderError::Version { found: raw[0] });
        }
        let kind = match raw[1] {
            0 => FrameKind::Audio,
            1 => FrameKind::VideoKey,
            2 => FrameKind::VideoDelta,
            found => return Err(FrameHeaderError::Kind { found }),
        };
        let payload_length = u32::from_be_bytes(field(raw, 34));
        if payload_length > payload_bytes_max {
            return Err(FrameHeaderError::Length { found: payload_length, limit: payload_bytes_max });
        }
        Ok(Self {
            kind,
            stream_id: StreamId::from_bytes(field(raw, 2)),
            timestamp_us: u64::from_be_bytes(field(raw, 18)),
            sequence: u64::from_be_bytes(field(raw, 26)),
            payload_length,
            flags: FrameFlags(u16::from_be_bytes(field(raw, 38))),
            reserved: field(raw, 40),
        })
    }

    /// The 46 bytes for the wire.
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut raw = [0; FRAME_HEADER_BYTES];
        raw[0] = FRAME_VERSION;
        raw[1] = self.kind as u8;
        raw[2..18].copy_from_slice(self.stream_id.as_bytes());
        raw[18..26].copy_from_slice(&self.timestamp_us.to_be_bytes());
        raw[26..34].copy_from_slice(&self.sequence.to_be_bytes());
        raw[34..38].copy_from_slice(&self.payload_length.to_be_bytes());
        raw[38..40].copy_from_slice(&self.flags.0.to_be_bytes());
        raw[40..46].copy_from_slice(&self.reserved);
        raw
    }

    /// Whether the record ends an encoded frame.
    pub const fn ends_frame(&self) -> bool {
        self.flags.contains(FrameFlags::END_OF_FRAME)
    }

    /// Whether no other frame needs this one.
    pub const fn is_discardable(&self) -> bool {
        self.flags.contains(FrameFlags::DISCARDABLE)
    }
}

/// The `N` bytes at `offset`; both are constants of the layout, within 46.
fn field<const N: usize>(raw: &[u8; FRAME_HEADER_BYTES], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&raw[offset..offset + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::VideoKey,
            stream_id: StreamId::from_bytes([7; 16]),
            timestamp_us: 1_705_406_400_000_000,
            sequence: 42,
            payload_length: 3,
            flags: FrameFlags::END_OF_FRAME,
            reserved: [1, 2, 3, 4, 5, 6],
        }
    }

    #[test]
    fn round_trips() {
        assert_eq!(FrameHeader::decode(&sample().encode(), PAYLOAD_BYTES_MAX), Ok(sample()));
    }

    #[test]
    fn says_what_is_wrong() {
        fn check(change: impl FnOnce(&mut [u8; 46]), expected: FrameHeaderError) {
            let mut raw = sample().encode();
            change(&mut raw);
            assert_eq!(FrameHeader::decode(&raw, 1000), Err(expected));
        }
        check(|raw| raw[0] = 2, FrameHeaderError::Version { found: 2 });
        check(|raw| raw[1] = 3, FrameHeaderError::Kind { found: 3 });
        check(|raw| raw[34..38].fill(0xff), FrameHeaderError::Length { found: u32::MAX, limit: 1000 });
        assert_eq!(FrameHeader::decode(&sample().encode()[..45], 1000), Err(FrameHeaderError::Truncated { have: 45 }));
    }
}
