//! Sound without an encoder: loops of a second, encoded once (`sound/README.md`).

use bytes::Bytes;
use client::file::ogg_opus;

/// A second of 440 Hz.
const TONE: &[u8] = include_bytes!("sound/tone.opus");
/// A second that begins with 60 ms of 1 kHz.
const BEEPS: &[u8] = include_bytes!("sound/beeps.opus");
/// Of a loop.
pub(super) const PACKETS: usize = 50;
/// Of a packet.
pub(super) const PACKET_US: u64 = 20_000;

/// A loop's packets.
pub(super) fn packets(beeps: bool) -> Vec<Bytes> {
    let file = Bytes::from_static(if beeps { BEEPS } else { TONE });
    let clip = ogg_opus::parse(&file).expect("the files beside this one are Opus, as the tests see");
    clip.samples.into_iter().map(|sample| sample.payload).collect()
}
