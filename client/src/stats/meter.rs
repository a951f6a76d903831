//! Measures what is received under one id: counts, rates, gaps, age. In: records with their instants. Out: numbers. Never reads a clock.

use std::time::Duration;

use common_core::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, Moment};

use super::rate::Rate;

/// A picture that comes later than the usual distance by so much, and than [`FREEZE_FACTOR`] distances, is a freeze: the rule of
/// WebRTC's `freezeCount`.
const FREEZE_MARGIN: Duration = Duration::from_millis(150);
/// See [`FREEZE_MARGIN`].
const FREEZE_FACTOR: u32 = 3;
/// Weight of a new value in averages: one in this many.
const WEIGHT: i64 = 16;
/// Of a new value in the jitter: one in this many (RFC 3550, section 6.4.1).
const JITTER_GAIN: u64 = 16;
/// One frame counts as no later than this in the jitter: what is worse is a freeze, or nonsense.
const DEVIATION_US_MAX: u64 = 10_000_000;
/// Distances before there is a usual one.
const DISTANCES_MIN: u64 = 8;

/// One stream id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) frames: u64,
    pub(crate) key_frames: u64,
    pub(crate) groups: u64,
    pub(crate) freezes: u64,
    pub(crate) frozen: Duration,
    /// Records that came more than once.
    pub(crate) doubled: u64,
    /// Groups cut short because the application did not take them.
    pub(crate) queue_full: u64,
    /// Records that could not be decrypted.
    pub(crate) undecryptable: u64,
    /// Key frames that were asked for.
    pub(crate) key_frames_requested: u64,
    group: Option<u64>,
    newest: u64,
    bitrate: Rate,
    frame_rate: Rate,
    frame_at: Option<Moment>,
    distance_us: i64,
    distances: u64,
    age_us: Option<i64>,
    /// Of the newest frame, as it came.
    last_age_us: i64,
    /// Sixteen times the mean deviation, so that its fractions are kept.
    jitter_us_16: u64,
}

impl Meter {
    /// A record came at `now`, which is `wall_us` by this machine's clock; `group` is the stream that brought it.
    pub(crate) fn record(&mut self, header: &FrameHeader, group: u64, now: Moment, wall_us: u64) {
        let bytes = u64::from(header.payload_length) + FRAME_HEADER_BYTES as u64;
        self.bytes += bytes;
        self.records += 1;
        self.bitrate.add(bytes * 8, now);
        if self.group != Some(group) {
            self.group = Some(group);
            // Groups that overtake are interleaved: only one that goes on is new.
            self.groups += u64::from(self.records == 1 || header.sequence > self.newest);
        }
        let is_newest = self.records == 1 || header.sequence > self.newest;
        self.newest = self.newest.max(header.sequence);
        if !header.ends_frame() {
            return;
        }
        self.frames += 1;
        self.key_frames += u64::from(header.kind == FrameKind::VideoKey);
        self.frame_rate.add(1, now);
        let as_signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        let age = as_signed(wall_us).saturating_sub(as_signed(header.timestamp_us));
        if is_newest {
            if self.age_us.is_some() {
                let deviation = age.saturating_sub(self.last_age_us).unsigned_abs().min(DEVIATION_US_MAX);
                self.jitter_us_16 = self.jitter_us_16 + deviation - (self.jitter_us_16 + JITTER_GAIN / 2) / JITTER_GAIN;
            }
            self.last_age_us = age;
        }
        self.age_us = Some(self.age_us.map_or(age, |usual| drift(usual, age)));
        // Sound pauses by right, and what was overtaken says nothing about now.
        if header.kind != FrameKind::Audio && is_newest {
            self.picture(now);
        }
    }

    fn picture(&mut self, now: Moment) {
        let Some(before) = self.frame_at.replace(now) else { return };
        let distance = now.since(before);
        let distance_us = i64::try_from(distance.as_micros()).unwrap_or(i64::MAX);
        if self.distances >= DISTANCES_MIN {
            let usual = Duration::from_micros(u64::try_from(self.distance_us).unwrap_or(0));
            if distance > (usual * FREEZE_FACTOR).max(usual + FREEZE_MARGIN) {
                self.freezes += 1;
                self.frozen += distance;
                return;
            }
        }
        self.distances += 1;
        self.distance_us = if self.distances == 1 { distance_us } else { drift(self.distance_us, distance_us) };
    }

    /// Bits in the last second.
    pub(crate) fn bitrate(&mut self, now: Moment) -> u64 {
        self.bitrate.per_second(now)
    }

    /// Whole frames in the last second.
    pub(crate) fn frame_rate(&mut self, now: Moment) -> u64 {
        self.frame_rate.per_second(now)
    }

    /// How unevenly frames come, against their timestamps (RFC 3550, section 6.4.1).
    pub(crate) fn jitter(&self) -> Duration {
        Duration::from_micros(self.jitter_us_16 / JITTER_GAIN)
    }

    /// Microseconds from the publisher's clock to ours, smoothed; negative where theirs goes before ours.
    pub(crate) fn age_us(&self) -> Option<i64> {
        self.age_us
    }

    /// From the publisher's clock to here, smoothed; `None` before the first frame, and where the clocks disagree by more than that.
    pub(crate) fn latency(&self) -> Option<Duration> {
        u64::try_from(self.age_us?).ok().map(Duration::from_micros)
    }
}

fn drift(usual: i64, new: i64) -> i64 {
    usual.saturating_add(new.saturating_sub(usual) / WEIGHT)
}

#[cfg(test)]
mod tests {
    use common_core::{FrameFlags, StreamId};

    use super::*;

    fn header(kind: FrameKind, sequence: u64, timestamp_us: u64) -> FrameHeader {
        FrameHeader {
            kind,
            stream_id: StreamId::from_bytes([1; 16]),
            timestamp_us,
            sequence,
            payload_length: 54,
            flags: FrameFlags::END_OF_FRAME,
            reserved: [0; 6],
        }
    }

    fn at(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    /// 30 pictures a second, 40 ms old, with one hole of 700 ms.
    #[test]
    fn a_hole_in_a_steady_picture_is_one_freeze() {
        let mut meter = Meter::default();
        let mut ms = 0;
        for sequence in 0..90 {
            let kind = if sequence % 30 == 0 { FrameKind::VideoKey } else { FrameKind::VideoDelta };
            ms += if sequence == 60 { 700 } else { 33 };
            meter.record(&header(kind, sequence, 1_000_000 + ms * 1_000), sequence / 30, at(ms), 1_040_000 + ms * 1_000);
        }
        assert_eq!((meter.frames, meter.key_frames, meter.groups, meter.records), (90, 3, 3, 90));
        assert_eq!((meter.freezes, meter.frozen), (1, Duration::from_millis(700)));
        assert_eq!(meter.latency(), Some(Duration::from_millis(40)));
        assert!((28..=31).contains(&meter.frame_rate(at(ms))), "{}", meter.frame_rate(at(ms)));
        assert_eq!(meter.bitrate(at(ms)), meter.frame_rate(at(ms)) * 800);
    }

    /// Frames that come by turns 10 ms sooner and later than they should deviate by 20 ms from each other; steady ones not at all.
    #[test]
    fn jitter_is_the_mean_deviation() {
        let (mut steady, mut uneven) = (Meter::default(), Meter::default());
        for sequence in 0..400 {
            let ms = sequence * 33;
            let late = if sequence % 2 == 0 { 30 } else { 50 };
            steady.record(&header(FrameKind::VideoDelta, sequence, ms * 1_000), 0, at(ms), (ms + 40) * 1_000);
            uneven.record(&header(FrameKind::VideoDelta, sequence, ms * 1_000), 0, at(ms), (ms + late) * 1_000);
        }
        assert_eq!(steady.jitter(), Duration::ZERO);
        assert!((19_000..=20_000).contains(&uneven.jitter().as_micros()), "{:?}", uneven.jitter());
    }

    #[test]
    fn nonsense_times_are_no_latency_and_no_panic() {
        let mut meter = Meter::default();
        meter.record(&header(FrameKind::Audio, u64::MAX, u64::MAX), 0, at(0), 0);
        assert_eq!(meter.latency(), None);
        meter.record(&header(FrameKind::Audio, 0, 0), 1, at(0), u64::MAX);
        assert_eq!((meter.freezes, meter.frames), (0, 2));
        for sequence in 1..2_000 {
            meter.record(&header(FrameKind::Audio, sequence, if sequence % 2 == 0 { u64::MAX } else { 0 }), 1, at(0), u64::MAX / 2);
        }
        assert!(meter.jitter() <= Duration::from_micros(DEVIATION_US_MAX), "{:?}", meter.jitter());
    }
}
