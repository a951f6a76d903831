//! Whether a frame decodes without others, by its own bits.

use super::Codec;
use super::bits::Bits;

/// Whether `frame` is a key frame of `codec`. Bytes that are no frame are none.
pub fn is_key_frame(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8(frame),
        Codec::Vp9 => vp9(frame).unwrap_or(false),
        Codec::Av1 => av1(frame),
        Codec::H264 => super::annex_b::nal_units(frame).any(|nal| super::annex_b::nal_type(nal) == Some(super::annex_b::IDR)),
        Codec::Opus => true,
    }
}

/// RFC 6386 section 9.1: the lowest bit of the frame tag is 0, and a start code follows it.
fn vp8(frame: &[u8]) -> bool {
    frame.first().is_some_and(|byte| byte & 1 == 0) && frame.get(3..6) == Some(&[0x9d, 0x01, 0x2a])
}

/// VP9 bitstream specification section 6.2, `uncompressed_header`.
fn vp9(frame: &[u8]) -> Option<bool> {
    let mut bits = Bits::new(frame);
    if bits.take(2)? != 2 {
        return None;
    }
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 {
        bits.flag()?;
    }
    let show_existing_frame = bits.flag()?;
    let is_inter = bits.flag()?;
    Some(!show_existing_frame && !is_inter)
}

const AV1_SEQUENCE_HEADER: u8 = 1;
const AV1_FRAME_HEADER: u8 = 3;
const AV1_FRAME: u8 = 6;

/// AV1 bitstream specification sections 5.3 to 5.9: a sequence header, and a first frame header of type KEY_FRAME.
fn av1(temporal_unit: &[u8]) -> bool {
    let mut rest = temporal_unit;
    // Of a sequence header in this unit: whether it is of a still picture with short frame headers.
    let mut still = None;
    while let Some((kind, payload, next)) = av1_obu(rest) {
        match kind {
            AV1_SEQUENCE_HEADER => {
                let mut bits = Bits::new(payload);
                still = bits.take(4).and_then(|_profile_and_still| bits.flag());
            }
            AV1_FRAME_HEADER | AV1_FRAME => {
                let mut bits = Bits::new(payload);
                return match still {
                    Some(true) => true,
                    // show_existing_frame, then two bits of frame_type.
                    Some(false) => bits.take(3) == Some(0),
                    None => false,
                };
            }
            _ => {}
        }
        rest = next;
    }
    false
}

/// The first OBU of `bytes`: its type, its payload, and what follows it.
fn av1_obu(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (header, mut rest) = bytes.split_first()?;
    let (has_extension, has_size) = (header & 0b100 != 0, header & 0b10 != 0);
    if has_extension {
        rest = rest.get(1..)?;
    }
    let kind = header >> 3 & 0b1111;
    if !has_size {
        return Some((kind, rest, &[]));
    }
    let mut size: usize = 0;
    for place in 0..8 {
        let (byte, next) = rest.split_first()?;
        rest = next;
        size |= usize::from(byte & 0x7f).checked_shl(place * 7)?;
        if byte & 0x80 == 0 {
            break;
        }
    }
    rest.split_at_checked(size).map(|(payload, next)| (kind, payload, next))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::Opus] {
                let _ = is_key_frame(codec, &bytes);
            }
        }
    }

    #[test]
    fn key_frames_tell_themselves() {
        fn check(codec: Codec, frame: &[u8], expected: bool) {
            assert_eq!(is_key_frame(codec, frame), expected, "{codec:?} {frame:x?}");
        }
        check(Codec::Vp8, &[0x50, 0, 0, 0x9d, 0x01, 0x2a, 0, 0], true);
        check(Codec::Vp8, &[0x51, 0, 0, 0x9d, 0x01, 0x2a, 0, 0], false);
        check(Codec::Vp9, &[0b1000_0010, 0x49, 0x83, 0x42], true);
        check(Codec::Vp9, &[0b1000_0110, 0], false);
        // Profile 3 has one bit more; and an existing frame shown again is no key frame.
        check(Codec::Vp9, &[0b1011_0001, 0], true);
        check(Codec::Vp9, &[0b1000_1000, 0], false);
        let delimiter = [0x12, 0x00];
        let sequence = [0x0a, 0x02, 0x00, 0x00];
        check(Codec::Av1, &[&delimiter[..], &sequence, &[0x32, 0x01, 0x10]].concat(), true);
        check(Codec::Av1, &[&delimiter[..], &sequence, &[0x32, 0x01, 0x30]].concat(), false);
        check(Codec::Av1, &[&delimiter[..], &[0x32, 0x01, 0x10]].concat(), false);
        check(Codec::H264, &[0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65, 0x88], true);
        check(Codec::H264, &[0, 0, 0, 1, 0x41, 0x9a], false);
    }
}
