//! Whatever bytes come, however they are cut: the readers neither panic, nor lose, nor invent anything.

use bytes::Bytes;
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::frame_reader::{FrameEvent, FrameReader};
use common_core::length_prefix::{CLIENT_MESSAGE_BYTES_MAX, LengthError, LengthPrefixed};
use common_core::{FrameFlags, FrameHeader, FrameHeaderError, FrameKind, StreamId};
use proptest::prelude::*;

/// Long enough for several records, short enough to shrink well.
const PAYLOAD_BYTES: u32 = 300;

fn any_header(payload_length: impl Strategy<Value = u32>) -> impl Strategy<Value = FrameHeader> {
    let kind = prop_oneof![Just(FrameKind::Audio), Just(FrameKind::VideoKey), Just(FrameKind::VideoDelta)];
    (kind, any::<[u8; 16]>(), any::<(u64, u64, u16, [u8; 6])>(), payload_length).prop_map(
        |(kind, stream_id, (timestamp_us, sequence, flags, reserved), payload_length)| FrameHeader {
            kind,
            stream_id: StreamId::from_bytes(stream_id),
            timestamp_us,
            sequence,
            payload_length,
            flags: FrameFlags(flags),
            reserved,
        },
    )
}

/// Records as they stand on a QUIC stream.
fn any_records() -> impl Strategy<Value = Vec<u8>> {
    let record = any_header(0..PAYLOAD_BYTES).prop_map(|header| {
        let payload = (0..header.payload_length).map(|at| at.to_le_bytes()[0]);
        header.encode().into_iter().chain(payload).collect::<Vec<u8>>()
    });
    proptest::collection::vec(record, 0..6).prop_map(|records| records.concat())
}

/// Records, and what a careless or hostile publisher makes of them.
fn any_wire() -> impl Strategy<Value = Vec<u8>> {
    let broken = (any_records(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut wire, at, byte)| {
        if !wire.is_empty() {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        wire
    });
    let cut = (any_records(), any::<prop::sample::Index>()).prop_map(|(mut wire, at)| {
        wire.truncate(at.index(wire.len() + 1));
        wire
    });
    prop_oneof![any_records(), broken, cut, proptest::collection::vec(any::<u8>(), 0..200)]
}

/// `wire` in pieces whose lengths repeat `lengths`.
fn pieces(wire: &[u8], lengths: &[usize]) -> Vec<Bytes> {
    let (mut rest, mut out) = (wire, Vec::new());
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        out.push(Bytes::copy_from_slice(piece));
        rest = behind;
    }
    out
}

fn any_lengths() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1_usize..120, 1..8)
}

/// What a reader said about some bytes: neighbouring payload pieces joined, so that only meaning is compared.
#[derive(Debug, Default, PartialEq)]
struct Told {
    events: Vec<FrameEvent>,
    error: Option<FrameHeaderError>,
    between_records: bool,
}

fn read(chunks: Vec<Bytes>) -> Told {
    let (mut reader, mut told) = (FrameReader::new(PAYLOAD_BYTES), Told::default());
    for chunk in chunks {
        reader.push(chunk);
        loop {
            match reader.next_event() {
                Ok(Some(event)) => told.note(event),
                Ok(None) => break,
                Err(error) => {
                    told.error = Some(error);
                    return told;
                }
            }
        }
    }
    told.between_records = reader.is_between_records();
    told
}

impl Told {
    fn note(&mut self, event: FrameEvent) {
        match (self.events.last_mut(), event) {
            (Some(FrameEvent::Payload(known)), FrameEvent::Payload(more)) => *known = [&known[..], &more[..]].concat().into(),
            (_, event) => self.events.push(event),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for event in &self.events {
            match event {
                FrameEvent::Begin { raw, .. } => out.extend_from_slice(raw),
                FrameEvent::Payload(bytes) => out.extend_from_slice(bytes),
                FrameEvent::End => {}
            }
        }
        out
    }
}

proptest! {
    #[test]
    fn headers_round_trip(header in any_header(0..=PAYLOAD_BYTES_MAX)) {
        prop_assert_eq!(FrameHeader::decode(&header.encode(), PAYLOAD_BYTES_MAX), Ok(header));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(mut raw in any::<[u8; 46]>(), sane in any::<bool>(), limit in any::<u32>()) {
        if sane {
            raw[0] = 1;
            raw[1] %= 3;
        }
        if let Ok(header) = FrameHeader::decode(&raw, limit) {
            prop_assert_eq!(header.encode(), raw);
            prop_assert!(header.payload_length <= limit);
        }
    }

    #[test]
    fn short_input_is_truncated(raw in proptest::collection::vec(any::<u8>(), 0..46)) {
        let have = raw.len();
        prop_assert_eq!(FrameHeader::decode(&raw, u32::MAX), Err(FrameHeaderError::Truncated { have }));
    }

    /// A publisher's packets may be cut anywhere: subscribers must not notice.
    #[test]
    fn frames_do_not_depend_on_how_they_arrive(wire in any_wire(), lengths in any_lengths()) {
        prop_assert_eq!(read(pieces(&wire, &lengths)), read(vec![Bytes::from(wire)]));
    }

    /// What comes in goes out, bit for bit.
    #[test]
    fn frame_events_hold_the_very_bytes(wire in any_wire(), lengths in any_lengths()) {
        let told = read(pieces(&wire, &lengths));
        let bytes = told.bytes();
        prop_assert_eq!(&bytes[..], &wire[..bytes.len()]);
        // Without an error at most a part of one header is held back.
        prop_assert!(told.error.is_some() || wire.len() - bytes.len() < 46);
    }

    #[test]
    fn whole_records_end_between_records(wire in any_records(), lengths in any_lengths()) {
        let told = read(pieces(&wire, &lengths));
        prop_assert_eq!(told.error, None);
        prop_assert!(wire.is_empty() || told.between_records);
        prop_assert_eq!(told.bytes(), wire);
    }

    #[test]
    fn messages_do_not_depend_on_how_they_arrive(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..100), 0..6),
        lengths in any_lengths(),
    ) {
        let wire: Vec<u8> = messages.iter().flat_map(|message| LengthPrefixed::frame(message)).collect();
        let (mut decoder, mut out) = (LengthPrefixed::new(100), Vec::new());
        for piece in pieces(&wire, &lengths) {
            decoder.push(&piece);
            while let Some(message) = decoder.next_message().expect("all are within the limit") {
                out.push(message.to_vec());
            }
        }
        prop_assert_eq!(out, messages);
        prop_assert!(!decoder.is_mid_message());
    }

    #[test]
    fn no_bytes_break_the_message_decoder(wire in proptest::collection::vec(any::<u8>(), 0..300), limit in 0..CLIENT_MESSAGE_BYTES_MAX) {
        let mut decoder = LengthPrefixed::new(limit);
        decoder.push(&wire);
        let outcome = loop {
            match decoder.next_message() {
                Ok(Some(message)) => prop_assert!((1..=limit).contains(&message.len())),
                other => break other,
            }
        };
        match outcome {
            Err(LengthError::TooLong { found, .. }) => prop_assert!(found > limit),
            Err(LengthError::Empty) | Ok(_) => {}
        }
    }
}
