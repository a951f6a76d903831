//! What a meeting costs and how well it goes, in numbers: one snapshot whenever it is asked for, by [`Meeting::stats`](crate::Meeting::stats).
//! Counts go up from the start of the media stream; rates are of the last second. Plain data.

pub(crate) mod meter;
pub(crate) mod rate;

use std::collections::BTreeMap;
use std::time::Duration;

use common_core::media::StreamType;
use common_core::{ParticipantId, StreamId};
use proto::v1;

use crate::publisher::PublisherCounts;
use crate::roster::Roster;
use crate::status::SignalingTransport;
use meter::Meter;

/// One snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Milliseconds since the epoch, by this machine's clock.
    pub at_ms: u64,
    /// What signaling travels on.
    pub signaling: SignalingTransport,
    /// To the controller and back, when it was measured.
    pub round_trip: Option<Duration>,
    /// Of the media handler in use; empty while there is none.
    pub handler_url: String,
    /// To the handler and back, smoothed by QUIC; `None` while there is none.
    pub media_round_trip: Option<Duration>,
    /// What is published from here.
    pub publications: Vec<PublicationStats>,
    /// What is received, by participant.
    pub subscriptions: Vec<SubscriptionStats>,
    /// Groups that were cut short because the application did not take its records.
    pub dropped_groups: u64,
}

/// What keeps a publication from its full bitrate. An encoder's own reasons are the application's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicationLimiter {
    /// Nothing.
    None,
    /// The path to the handler: frames wait, or were left out within the last two seconds.
    Uplink,
    /// Nobody takes it.
    Paused,
}

impl PublicationLimiter {
    /// "none", "uplink" or "paused", as in the TypeScript client.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Uplink => "uplink",
            Self::Paused => "paused",
        }
    }
}

/// One published media stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationStats {
    /// Of the media stream.
    pub stream_id: StreamId,
    /// Sound, camera or screen.
    pub stream_type: StreamType,
    /// As published.
    pub codec: String,
    /// Pixels, as published; 0 of sound, and where they were not stated.
    pub width: u32,
    /// Pixels, as published; 0 of sound, and where they were not stated.
    pub height: u32,
    /// Bits a second that were announced; 0: not stated.
    pub target_bitrate: u32,
    /// Bits a second that were handed to QUIC.
    pub bitrate: u64,
    /// Whole frames that were handed to QUIC in the last second.
    pub frames_per_second: u64,
    /// Records, frames and groups, and what became of them.
    pub counts: PublisherCounts,
    /// Bytes that wait for the uplink.
    pub queued_bytes: usize,
    /// For how long the oldest frame has waited for it.
    pub backlog: Duration,
    /// What keeps it from its full bitrate.
    pub limiter: PublicationLimiter,
}

/// One received media stream, all its layers together.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionStats {
    /// Of the media stream; of the frames, while the roster does not know them.
    pub stream_id: StreamId,
    /// Who publishes it; `None` while the roster does not know it.
    pub participant_id: Option<ParticipantId>,
    /// Sound, camera or screen; `None` while the roster does not know it.
    pub stream_type: Option<StreamType>,
    /// As published; empty while the roster does not know it.
    pub codec: String,
    /// Pixels, as published; 0 of sound, and where they were not stated.
    pub width: u32,
    /// Pixels, as published; 0 of sound, and where they were not stated.
    pub height: u32,
    /// Whether it is sound.
    pub is_audio: bool,
    /// Bits a second, headers included.
    pub bitrate: u64,
    /// Whole frames in the last second.
    pub frames_per_second: u64,
    /// Headers and payloads.
    pub bytes: u64,
    /// Records, doubles left out.
    pub records: u64,
    /// Whole frames.
    pub frames: u64,
    /// Of these, key frames.
    pub key_frames: u64,
    /// Group streams.
    pub groups: u64,
    /// Gaps between pictures as they come in that a person would notice (the rule of WebRTC's `freezeCount`); never of sound.
    pub freezes: u64,
    /// How long they were together.
    pub frozen: Duration,
    /// From the publisher's clock to here, smoothed; `None` before the first frame, and where the clocks do not agree.
    pub latency: Option<Duration>,
    /// How unevenly frames come, against their timestamps: the mean deviation of RFC 3550, section 6.4.1. What a jitter buffer has to even out, a few
    /// times over.
    pub jitter: Duration,
    /// Milliseconds by which this picture comes later than the sound of the same participant (negative: sooner), whatever their clock says; `None` of
    /// sound, and without both.
    pub sync_offset_ms: Option<i64>,
    /// Key frames that were asked for from here.
    pub key_frames_requested: u64,
    /// What was not given to the application, by cause: "queue" (groups cut short, the application was slow), "double" (came by two ways),
    /// "undecryptable", and the handler's own causes as "handler:expired" …
    pub dropped: BTreeMap<String, u64>,
    /// Why the handler sends what it sends, in its own words: the layers wanted, allowed and forwarded, what limits it, the last change, the bitrate
    /// that it thinks the path takes; `None` before it told.
    pub report: Option<v1::SubscriptionReport>,
}

impl SubscriptionStats {
    fn new(stream_id: StreamId) -> Self {
        Self {
            stream_id,
            participant_id: None,
            stream_type: None,
            codec: String::new(),
            width: 0,
            height: 0,
            is_audio: false,
            bitrate: 0,
            frames_per_second: 0,
            bytes: 0,
            records: 0,
            frames: 0,
            key_frames: 0,
            groups: 0,
            freezes: 0,
            frozen: Duration::ZERO,
            latency: None,
            jitter: Duration::ZERO,
            sync_offset_ms: None,
            key_frames_requested: 0,
            dropped: BTreeMap::new(),
            report: None,
        }
    }

    /// What limits it, in the handler's word ("none", "bandwidth", "max_bitrate", "publisher", "no_key_frame", "stream_limit"); empty before it told.
    pub fn limiter(&self) -> &str {
        self.report.as_ref().map_or("", |report| report.limiter.as_str())
    }

    fn drop_for(&mut self, cause: &str, count: u64) {
        if count > 0 {
            *self.dropped.entry(cause.to_owned()).or_default() += count;
        }
    }

    fn add(&mut self, meter: &mut Meter, now: common_core::Moment) {
        self.bitrate += meter.bitrate(now);
        self.frames_per_second += meter.frame_rate(now);
        self.bytes += meter.bytes;
        self.records += meter.records;
        self.frames += meter.frames;
        self.key_frames += meter.key_frames;
        self.groups += meter.groups;
        self.freezes += meter.freezes;
        self.frozen += meter.frozen;
        // The layer that is received now is the one whose last frame is youngest.
        self.latency = match (self.latency, meter.latency()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.jitter = self.jitter.max(meter.jitter());
        self.key_frames_requested += meter.key_frames_requested;
        self.drop_for("queue", meter.queue_full);
        self.drop_for("double", meter.doubled);
        self.drop_for("undecryptable", meter.undecryptable);
    }
}

/// What was measured, by media stream: layers are put together, and explained as far as the roster and the handler's reports go.
pub(crate) fn subscriptions(
    roster: &Roster,
    meters: &mut BTreeMap<StreamId, Meter>,
    reports: &BTreeMap<StreamId, v1::SubscriptionReport>,
    now: common_core::Moment,
) -> Vec<SubscriptionStats> {
    let mut by_stream: BTreeMap<(Option<ParticipantId>, StreamId), SubscriptionStats> = BTreeMap::new();
    // How late what came last is, by the publisher's clock: of sound by participant, of pictures by media stream.
    let (mut sound, mut pictures) = (BTreeMap::<ParticipantId, i64>::new(), BTreeMap::<StreamId, i64>::new());
    for (id, meter) in meters {
        let stream = roster.stream_of_frame(*id);
        let key = (stream.map(|it| it.participant_id), stream.map_or(*id, |it| it.stream_id));
        let stats = by_stream.entry(key).or_insert_with(|| SubscriptionStats::new(key.1));
        if let Some(stream) = stream {
            stats.participant_id = Some(stream.participant_id);
            stats.codec.clone_from(&stream.codec);
            stats.is_audio = stream.stream_type.is_audio();
            stats.stream_type = Some(stream.stream_type);
            (stats.width, stats.height) = stream.video.as_ref().map_or((0, 0), |video| (video.width, video.height));
            if let Some(age) = meter.age_us() {
                let least = if stats.is_audio {
                    sound.entry(stream.participant_id).or_insert(age)
                } else {
                    pictures.entry(stream.stream_id).or_insert(age)
                };
                *least = age.min(*least);
            }
        }
        stats.add(meter, now);
    }
    let mut all: Vec<_> = by_stream.into_values().collect();
    for stats in &mut all {
        let heard = stats.participant_id.and_then(|id| sound.get(&id));
        if let (Some(seen), Some(heard)) = (pictures.get(&stats.stream_id), heard) {
            stats.sync_offset_ms = Some(seen.saturating_sub(*heard) / 1_000);
        }
        if let Some(report) = reports.get(&stats.stream_id) {
            for (cause, count) in &report.dropped {
                stats.drop_for(&format!("handler:{}", common_core::name::escape(cause, 40)), *count);
            }
            stats.report = Some(report.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use common_core::media::{Layer, MediaStream, VideoShape};
    use common_core::{FrameFlags, FrameHeader, FrameKind, Moment};

    use super::*;
    use crate::roster::Participant;

    #[test]
    fn layers_are_one_media_stream_with_the_handlers_words() {
        let (owner, camera, high) = (ParticipantId::from_bytes([9; 16]), StreamId::from_bytes([1; 16]), StreamId::from_bytes([2; 16]));
        let layer = |stream_id| Layer { layer_id: String::new(), width: 0, height: 0, max_bitrate: 0, stream_id };
        let stream = MediaStream {
            stream_id: camera,
            participant_id: owner,
            stream_type: StreamType::VideoCamera,
            codec: "VP9".into(),
            max_bitrate: 0,
            video: Some(VideoShape { layers: vec![layer(camera), layer(high)], ..VideoShape::default() }),
            sample_rate: 0,
            channels: 0,
        };
        let participant = Participant {
            participant_id: owner,
            name: String::new(),
            role: String::new(),
            user_id: String::new(),
            joined_at_ms: 0,
            is_muted: false,
            is_video_on: true,
            streams: [(camera, stream)].into(),
        };
        let mut meters = BTreeMap::new();
        for (id, sequence) in [(camera, 0), (high, 0), (high, 1), (StreamId::from_bytes([7; 16]), 0)] {
            let header = FrameHeader {
                kind: FrameKind::VideoKey,
                stream_id: id,
                timestamp_us: 0,
                sequence,
                payload_length: 10,
                flags: FrameFlags::END_OF_FRAME,
                reserved: [0; 6],
            };
            meters.entry(id).or_insert_with(Meter::default).record(&header, sequence, Moment::ORIGIN, 5_000);
        }
        let dropped = [("expired".to_owned(), 3)].into();
        let report = v1::SubscriptionReport { dropped, limiter: "bandwidth".into(), ..Default::default() };
        let reports = [(camera, report)].into();
        let all = subscriptions(&Roster::new([participant]), &mut meters, &reports, Moment::ORIGIN);
        let told: Vec<_> = all.iter().map(|it| (it.participant_id, it.frames, it.codec.as_str())).collect();
        assert_eq!(told, [(None, 1, ""), (Some(owner), 3, "VP9")]);
        assert_eq!(all[1].dropped, [("handler:expired".to_owned(), 3)].into());
        assert_eq!(all[1].latency, Some(Duration::from_millis(5)));
        assert_eq!((all[1].limiter(), all[0].limiter(), all[1].stream_type), ("bandwidth", "", Some(StreamType::VideoCamera)));
    }

    /// Two clocks that are a minute apart do not matter: a picture and a sound of one participant have the same one.
    #[test]
    fn a_picture_is_measured_against_its_sound() {
        let owner = ParticipantId::from_bytes([9; 16]);
        let [camera, microphone, lone] = [1, 2, 3].map(|byte| StreamId::from_bytes([byte; 16]));
        let stream = |stream_id, participant_id, stream_type| MediaStream {
            stream_id,
            participant_id,
            stream_type,
            codec: String::new(),
            max_bitrate: 0,
            video: None,
            sample_rate: 0,
            channels: 0,
        };
        let stranger = ParticipantId::from_bytes([8; 16]);
        let with = |participant_id, streams: Vec<MediaStream>| Participant {
            streams: streams.into_iter().map(|stream| (stream.stream_id, stream)).collect(),
            ..Participant::unknown(participant_id)
        };
        let roster = Roster::new([
            with(owner, vec![stream(camera, owner, StreamType::VideoCamera), stream(microphone, owner, StreamType::Audio)]),
            with(stranger, vec![stream(lone, stranger, StreamType::VideoScreen)]),
        ]);
        let mut meters = BTreeMap::new();
        for (stream_id, kind, late_us) in
            [(camera, FrameKind::VideoKey, 55_000), (microphone, FrameKind::Audio, 80_000), (lone, FrameKind::VideoKey, 0)]
        {
            let (timestamp_us, flags) = (90_000_000, FrameFlags::END_OF_FRAME);
            let header = FrameHeader { kind, stream_id, timestamp_us, sequence: 0, payload_length: 10, flags, reserved: [0; 6] };
            meters.entry(stream_id).or_insert_with(Meter::default).record(&header, 0, Moment::ORIGIN, 30_000_000 + late_us);
        }
        let offsets: BTreeMap<_, _> = subscriptions(&roster, &mut meters, &BTreeMap::new(), Moment::ORIGIN)
            .into_iter()
            .map(|it| (it.stream_id, it.sync_offset_ms))
            .collect();
        assert_eq!(offsets, [(camera, Some(-25)), (microphone, None), (lone, None)].into());
    }
}
