//! How long the frames of an HTTP/3 stream are (RFC 9114 section 7.1), watched beside the library.
//!
//! In: a stream's bytes as they arrive. Out: whether they may be passed on. The library collects every frame but DATA whole before it looks at
//! it, whatever length the frame claims; here a frame that claims too much is found by its first bytes.

/// A frame's payload that is read as it comes.
const DATA: u64 = 0x00;
/// Not a frame: the rest of its stream is a WebTransport session's, which the library refuses.
const WEBTRANSPORT_STREAM: u64 = 0x41;
/// Type of the stream that carries frames about the connection (RFC 9114 section 6.2.1).
const CONTROL_STREAM: u64 = 0x00;
/// Longest variable-length integer (RFC 9000 section 16).
const VARINT_BYTES_MAX: usize = 8;

/// A frame claims to be longer than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// See the module.
#[derive(Debug)]
pub struct Frames {
    state: State,
    varint: Varint,
    payload_bytes_max: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Of a unidirectional stream: its type comes first.
    StreamType,
    FrameType,
    Length {
        of: u64,
    },
    Payload {
        left: u64,
    },
    /// Neither frames nor collected by the library.
    Unwatched,
}

impl Frames {
    /// Of a request stream; `payload_bytes_max` is for every frame but DATA.
    pub fn of_request(payload_bytes_max: u64) -> Self {
        Self { state: State::FrameType, varint: Varint::default(), payload_bytes_max }
    }

    /// Of a unidirectional stream.
    pub fn of_unidirectional(payload_bytes_max: u64) -> Self {
        Self { state: State::StreamType, varint: Varint::default(), payload_bytes_max }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if let State::Unwatched = self.state {
                return Ok(());
            }
            if let State::Payload { left } = self.state {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[taken..];
                let left = left - taken as u64;
                self.state = if left == 0 { State::FrameType } else { State::Payload { left } };
                continue;
            }
            let (first, rest) = (bytes[0], &bytes[1..]);
            bytes = rest;
            if let Some(value) = self.varint.take(first) {
                self.state = self.next(value)?;
            }
        }
        Ok(())
    }

    fn next(&self, value: u64) -> Result<State, TooLong> {
        Ok(match self.state {
            State::StreamType if value == CONTROL_STREAM => State::FrameType,
            State::StreamType => State::Unwatched,
            State::FrameType if value == WEBTRANSPORT_STREAM => State::Unwatched,
            State::FrameType => State::Length { of: value },
            State::Length { of } if of != DATA && value > self.payload_bytes_max => return Err(TooLong),
            State::Length { .. } if value == 0 => State::FrameType,
            State::Length { .. } => State::Payload { left: value },
            other => other,
        })
    }
}

/// A variable-length integer (RFC 9000 section 16) as it comes.
#[derive(Debug, Default)]
struct Varint {
    value: u64,
    /// Bytes still to come.
    left: usize,
}

impl Varint {
    fn take(&mut self, byte: u8) -> Option<u64> {
        if self.left == 0 {
            self.value = u64::from(byte & 0x3f);
            self.left = (1 << (byte >> 6)) - 1;
            debug_assert!(self.left < VARINT_BYTES_MAX, "two bits say at most eight bytes");
        } else {
            self.value = self.value << 8 | u64::from(byte);
            self.left -= 1;
        }
        (self.left == 0).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 100;

    fn check(make: fn(u64) -> Frames, bytes: &[u8], expected: Result<(), TooLong>) {
        for piece in [1, 3, bytes.len()] {
            let mut frames = make(MAX);
            assert_eq!(bytes.chunks(piece).try_for_each(|bytes| frames.take(bytes)), expected, "{bytes:x?} in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_collected_is_bounded_and_data_is_not() {
        let headers = [&[0x01, 0x40, 100][..], &[7; 100]].concat();
        let data = [&[0x00, 0x41, 0x00][..], &[9; 256]].concat();
        check(Frames::of_request, &[headers.clone(), data.clone(), data, headers].concat(), Ok(()));
        check(Frames::of_request, &[0x01, 0x40, 101], Err(TooLong));
        check(Frames::of_request, &[0x01, 0x00, 0x00, 0x00, 0x21, 0xc0, 0, 0, 0, 0, 0, 1, 0], Err(TooLong));
        check(Frames::of_request, &[0x40, 0x41, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Ok(()));
    }

    #[test]
    fn of_unidirectional_streams_only_control_has_frames() {
        check(Frames::of_unidirectional, &[0x00, 0x04, 0x02, 0x06, 0x01, 0x04, 0x40, 101], Err(TooLong));
        check(Frames::of_unidirectional, &[0x02, 0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Ok(()));
        check(Frames::of_unidirectional, &[0x00, 0x04, 0x00, 0x07, 0x01, 0x00], Ok(()));
    }
}
