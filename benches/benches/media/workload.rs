//! What is sent to whom. In: a name. Out: media streams and members, in numbers; the same for every server under measurement.

use benches::records::stream_id;
use common_core::{FrameKind, StreamId};
use serde::{Deserialize, Serialize};

/// Packets of sound a second, and one's bytes.
const AUDIO_RATE: u32 = 50;
const AUDIO_BYTES: usize = 150;
/// A key frame's and another's bytes at 1 Mb/s and 30 frames a second; W4 has three times as much.
const KEY_BYTES: usize = 30_000;
const DELTA_BYTES: usize = 3_700;

/// One media stream: groups of `group` records at `rate` a second.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Source {
    pub is_audio: bool,
    /// Records a second.
    pub rate: u32,
    /// Records of a group, each of which has a QUIC stream.
    pub group: u64,
    /// Payload of a group's first record.
    pub key_bytes: usize,
    /// Payload of the others.
    pub delta_bytes: usize,
}

impl Source {
    const fn video(rate: u32, group: u64, scale: usize) -> Self {
        Self { is_audio: false, rate, group, key_bytes: KEY_BYTES * scale, delta_bytes: DELTA_BYTES * scale }
    }

    /// A group each second, as publishers and the handler have it (DESIGN section 5).
    const fn audio() -> Self {
        Self { is_audio: true, rate: AUDIO_RATE, group: AUDIO_RATE as u64, key_bytes: AUDIO_BYTES, delta_bytes: AUDIO_BYTES }
    }

    /// What its record with this place in the group is, and how long.
    pub fn record(&self, place: u64) -> (FrameKind, usize) {
        match (self.is_audio, place) {
            (true, _) => (FrameKind::Audio, self.delta_bytes),
            (false, 0) => (FrameKind::VideoKey, self.key_bytes),
            (false, _) => (FrameKind::VideoDelta, self.delta_bytes),
        }
    }
}

/// Somebody who is connected: numbers of media streams.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Member {
    /// Which meeting.
    pub meeting: usize,
    pub publishes: Vec<u32>,
    pub receives: Vec<u32>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Workload {
    pub name: String,
    pub sources: Vec<Source>,
    pub members: Vec<Member>,
}

impl Workload {
    /// Of the six that are judged, by its name.
    pub fn named(name: &str) -> Option<Self> {
        let mut workload = match name {
            "W1" => Self::broadcast(Source::video(30, 60, 1), 100),
            "W2" => Self::meetings(Source::video(30, 60, 1), 1, 10),
            "W3" => Self::broadcast(Source::audio(), 100),
            "W4" => Self::broadcast(Source::video(30, 60, 3), 200),
            "H1" => Self::broadcast(Source::video(300, 600, 1), 100),
            // A key frame every two seconds, as in the others.
            "H2" => Self::meetings(Source::video(200, 400, 1), 1, 10),
            _ => return None,
        };
        workload.name = name.to_owned();
        Some(workload)
    }

    pub const NAMES: [&'static str; 6] = ["W1", "W2", "W3", "W4", "H1", "H2"];

    /// W1 with another number of subscribers.
    pub fn broadcast_to(subscribers: usize) -> Self {
        Self::broadcast(Source::video(30, 60, 1), subscribers)
    }

    /// W2 with `count` meetings of `size`.
    pub fn meetings_of(count: usize, size: usize) -> Self {
        Self::meetings(Source::video(30, 60, 1), count, size)
    }

    fn broadcast(source: Source, subscribers: usize) -> Self {
        let publisher = Member { meeting: 0, publishes: vec![0], receives: vec![] };
        let subscriber = Member { meeting: 0, publishes: vec![], receives: vec![0] };
        let members = std::iter::once(publisher).chain(std::iter::repeat_n(subscriber, subscribers)).collect();
        Self { name: format!("1 to {subscribers}"), sources: vec![source], members }
    }

    fn meetings(video: Source, count: usize, size: usize) -> Self {
        let mut sources = Vec::new();
        let mut members: Vec<Member> = Vec::new();
        for meeting in 0..count {
            let first = members.len();
            for _ in 0..size {
                let number = u32::try_from(sources.len()).expect("few");
                sources.extend([video, Source::audio()]);
                members.push(Member { meeting, publishes: vec![number, number + 1], receives: vec![] });
            }
            for own in first..first + size {
                let others = (first..first + size).filter(|other| *other != own);
                members[own].receives = others.flat_map(|other| members[other].publishes.clone()).collect();
            }
        }
        Self { name: format!("{count} meetings of {size}"), sources, members }
    }

    /// Records delivered a second.
    pub fn records_per_second(&self) -> f64 {
        let received = self.members.iter().flat_map(|member| &member.receives);
        received.map(|source| f64::from(self.sources[*source as usize].rate)).sum()
    }

    pub fn stream_id(source: u32) -> StreamId {
        stream_id(source)
    }
}
