//! Opus in Ogg (RFC 7845): packets with their durations, by their first bytes (RFC 6716 section 3.1).

use std::io::{Cursor, Write};
use std::time::Duration;

use bytes::Bytes;
use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use super::{Clip, Codec, ParseError, Sample};

/// The first bytes of every Ogg page.
pub const MAGIC: &[u8] = b"OggS";
const HEAD: &[u8] = b"OpusHead";
const TAGS: &[u8] = b"OpusTags";
const SAMPLES_PER_SECOND: u64 = 48_000;
/// Longest packet (RFC 6716 section 3.2.5): 120 ms.
const PACKET_SAMPLES_MAX: u64 = 5_760;
/// Packets on a page of a file that is written: a second of the usual ones.
const PACKETS_PER_PAGE: u32 = 50;
/// A time that differs by more than this from the sum of the packets before is a gap (discontinuous transmission, mute), not
/// jitter of a clock.
const GAP_SAMPLES: u64 = SAMPLES_PER_SECOND / 10;

/// How many samples at 48 kHz a packet decodes to; `None` when it is no Opus packet.
pub fn packet_samples(packet: &[u8]) -> Option<u64> {
    let toc = *packet.first()?;
    let frame: u64 = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|samples| (1..=PACKET_SAMPLES_MAX).contains(samples))
}

fn length(samples: u64) -> Duration {
    Duration::from_micros(samples.saturating_mul(1_000_000) / SAMPLES_PER_SECOND)
}

/// Splits a file into packets; the headers are left out. Other logical streams in the file are passed over.
pub fn parse(bytes: &Bytes) -> Result<Clip, ParseError> {
    let mut reader = PacketReader::new(Cursor::new(bytes.clone()));
    let mut opus: Option<(u32, u32)> = None;
    let mut samples: Vec<Sample> = Vec::new();
    let mut position = 0;
    loop {
        let packet = match reader.read_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => return Err(ParseError::broken(format!("the Ogg file is damaged after {} packets: {error}", samples.len()))),
        };
        if packet.data.starts_with(HEAD) && packet.first_in_stream() {
            if opus.is_none() {
                opus = Some((packet.stream_serial(), channels(&packet.data)?));
            }
            continue;
        }
        let is_tags = samples.is_empty() && packet.data.starts_with(TAGS);
        if is_tags || opus.is_none_or(|(serial, _)| serial != packet.stream_serial()) {
            continue;
        }
        let Some(decoded) = packet_samples(&packet.data) else {
            return Err(ParseError::broken(format!("packet {} is no Opus packet", samples.len() + 1)));
        };
        samples.push(Sample { at: length(position), is_key: true, payload: packet.data.into() });
        position += decoded;
    }
    let Some((_, channels)) = opus else {
        return Err(ParseError::broken("the Ogg file holds no Opus; ffmpeg makes it: ffmpeg -i INPUT -c:a libopus clip.opus"));
    };
    Ok(Clip { codec: Codec::Opus, width: 0, height: 0, framerate: 0, channels, samples, duration: length(position) })
}

/// RFC 7845 section 5.1.
fn channels(head: &[u8]) -> Result<u32, ParseError> {
    let (Some(channels), Some(family)) = (head.get(9), head.get(18)) else {
        return Err(ParseError::broken("the OpusHead is cut off"));
    };
    match (channels, family) {
        (1 | 2, 0) => Ok(u32::from(*channels)),
        _ => Err(ParseError::broken(format!(
            "{channels} channels of mapping family {family} need several Opus streams; one or two channels can be published (ffmpeg -ac 2)"
        ))),
    }
}

/// Writes a file. One packet is held back, because the last one of a stream and of a page is marked.
pub struct OggOpusWriter<W: Write> {
    out: PacketWriter<'static, W>,
    serial: u32,
    first_us: Option<u64>,
    /// Samples up to the end of the packet that is held back.
    position: u64,
    held: Option<Bytes>,
    on_page: u32,
}

impl<W: Write> OggOpusWriter<W> {
    /// Begins a file. `serial` tells logical streams apart; any number does.
    pub fn new(out: W, serial: u32, channels: u32) -> std::io::Result<Self> {
        let mut out = PacketWriter::new(out);
        let mut head = HEAD.to_vec();
        head.extend_from_slice(&[1, if channels == 1 { 1 } else { 2 }]);
        // No pre-skip: what was received is played from its first packet on.
        head.extend_from_slice(&0_u16.to_le_bytes());
        head.extend_from_slice(&48_000_u32.to_le_bytes());
        // No gain, one stream.
        head.extend_from_slice(&[0, 0, 0]);
        out.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        let vendor = concat!("dark-tower ", env!("CARGO_PKG_VERSION"));
        let mut tags = TAGS.to_vec();
        tags.extend_from_slice(&u32::try_from(vendor.len()).unwrap_or(0).to_le_bytes());
        tags.extend_from_slice(vendor.as_bytes());
        tags.extend_from_slice(&0_u32.to_le_bytes());
        out.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        Ok(Self { out, serial, first_us: None, position: 0, held: None, on_page: 0 })
    }

    /// Adds a packet; bytes that are no Opus packet are refused. A leap of the times beyond the packets' own is kept as a gap.
    pub fn write(&mut self, timestamp_us: u64, packet: Bytes) -> std::io::Result<()> {
        let samples = packet_samples(&packet).ok_or_else(|| std::io::Error::other("no Opus packet"))?;
        let elapsed_us = timestamp_us.saturating_sub(*self.first_us.get_or_insert(timestamp_us));
        let begins = elapsed_us.saturating_mul(SAMPLES_PER_SECOND) / 1_000_000;
        let gap = begins.saturating_sub(self.position) > GAP_SAMPLES;
        self.release(if gap || self.on_page + 1 >= PACKETS_PER_PAGE {
            PacketWriteEndInfo::EndPage
        } else {
            PacketWriteEndInfo::NormalPacket
        })?;
        if gap {
            self.position = begins;
        }
        self.position += samples;
        self.held = Some(packet);
        Ok(())
    }

    fn release(&mut self, end: PacketWriteEndInfo) -> std::io::Result<()> {
        let Some(packet) = self.held.take() else { return Ok(()) };
        self.on_page = if end == PacketWriteEndInfo::EndPage { 0 } else { self.on_page + 1 };
        self.out.write_packet(Vec::from(packet), self.serial, end, self.position)
    }

    /// Writes what is held back and ends the stream.
    pub fn finish(mut self) -> std::io::Result<W> {
        self.release(PacketWriteEndInfo::EndStream)?;
        let mut out = self.out.into_inner();
        out.flush()?;
        Ok(out)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A packet of one 20 ms frame (configuration 31), with a mark in it.
    fn packet(mark: u8) -> Bytes {
        Bytes::from(vec![31 << 3, mark, 0, 7])
    }

    fn written(packets: impl IntoIterator<Item = (u64, Bytes)>) -> Vec<u8> {
        let mut writer = OggOpusWriter::new(Vec::new(), 7, 2).expect("memory takes it");
        for (time, packet) in packets {
            writer.write(time, packet).expect("an Opus packet");
        }
        writer.finish().expect("memory takes it")
    }

    pub(crate) fn small_file() -> Vec<u8> {
        written((0..3).map(|index| (1_000_000 + u64::from(index) * 20_000, packet(index))))
    }

    #[test]
    fn what_is_written_is_read() {
        let count = 120;
        let file = written((0..count).map(|index| (u64::from(index) * 20_000, packet(index))));
        let clip = parse(&file.into()).expect("a good file");
        assert_eq!((clip.codec, clip.channels, clip.samples.len()), (Codec::Opus, 2, usize::from(count)));
        for (index, sample) in (0..).zip(&clip.samples) {
            assert_eq!((sample.at.as_millis(), &sample.payload), (u128::from(index) * 20, &packet(index)));
        }
        assert_eq!(clip.duration, Duration::from_millis(2_400));
    }

    /// Ten seconds of silence stay ten seconds long.
    #[test]
    fn gaps_are_kept_as_positions() {
        let file = written([(0, packet(1)), (20_000, packet(2)), (10_000_000, packet(3))]);
        let mut reader = PacketReader::new(Cursor::new(file));
        let mut positions = Vec::new();
        while let Some(packet) = reader.read_packet().expect("a good file") {
            positions.push((packet.absgp_page(), packet.last_in_stream()));
        }
        assert_eq!(positions, [(0, false), (0, false), (1_920, false), (1_920, false), (480_960, true)]);
    }

    #[test]
    fn durations_are_by_the_first_bytes() {
        for (packet, expected) in [
            (&[31 << 3][..], Some(960)),
            (&[16 << 3], Some(120)),
            (&[3 << 3], Some(2_880)),
            (&[12 << 3 | 1], Some(960)),
            (&[31 << 3 | 3, 6], Some(5_760)),
            (&[31 << 3 | 3, 7], None),
            (&[31 << 3 | 3], None),
            (&[], None),
        ] {
            assert_eq!(packet_samples(packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn an_ogg_file_without_opus_is_refused() {
        let mut writer = PacketWriter::new(Vec::new());
        writer.write_packet(&b"\x01vorbis"[..], 1, PacketWriteEndInfo::EndStream, 0).expect("memory takes it");
        let error = parse(&writer.into_inner().into()).expect_err("no Opus").to_string();
        assert!(error.contains("holds no Opus"), "{error}");
    }
}
