//! The model: what was published, what each subscription was owed, what came out of each group stream.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use common_core::media::{MediaStream, StreamType, SubscriptionOptions};
use common_core::{
    Code, FRAME_HEADER_BYTES, FrameFlags, FrameHeader, FrameKind, Generation, MeetingId, Moment, NodeId, ParticipantId, StreamId,
};
use media_handler_core::hub::{Batch, Ingress, Outcome, Refusal};
use media_handler_core::{Control, End, Hub, Key, Limits, Session};

#[derive(Clone, Debug)]
pub enum Op {
    /// `kind` 0: sound; 1: key; 2: delta.
    Record {
        ingress: usize,
        kind: u8,
        payload: u32,
        ends: bool,
        discardable: bool,
    },
    /// More of the record under way on that ingress stream.
    Bytes {
        ingress: usize,
        bytes: usize,
    },
    EndIngress {
        ingress: usize,
    },
    Wait {
        millis: u64,
    },
    Subscribe {
        subscriber: usize,
        stream: usize,
        priority: u32,
    },
    Unsubscribe {
        subscriber: usize,
        stream: usize,
    },
    Hello {
        subscriber: usize,
    },
    EndSession {
        subscriber: usize,
    },
    /// The subscriber's task runs while its network takes `capacity` bytes; `mood` picks what goes wrong besides.
    Run {
        subscriber: usize,
        capacity: usize,
        mood: u8,
    },
    /// The publisher takes its streams away and brings them back.
    Republish,
}

/// What a subscriber may lag behind: a few of the records here.
const LAG_BYTES_MAX: u64 = 20_000;
/// As in the design.
const PAUSE_UNTAKEN_AFTER: Duration = Duration::from_secs(5);
const MEETING: MeetingId = MeetingId::from_bytes([1; 16]);
const PUBLISHER: ParticipantId = ParticipantId::from_bytes([2; 16]);
const STREAMS: [StreamId; 2] = [StreamId::from_bytes([3; 16]), StreamId::from_bytes([4; 16])];

fn subscriber_id(index: usize) -> ParticipantId {
    ParticipantId::from_bytes([10 + u8::try_from(index).expect("there are three"); 16])
}

/// What a group stream has carried.
#[derive(Debug, Default)]
struct Carried {
    bytes: Vec<u8>,
}

struct Publishing {
    ingress: Ingress,
    /// Of the record under way: which stream, and payload that has not been sent.
    rest: Bytes,
}

struct Subscriber {
    session: Option<Key<Session>>,
    batch: Batch,
    streams: BTreeMap<usize, Carried>,
    /// Pictures' key records it has had whole, by sequence.
    keys: BTreeSet<u64>,
    /// Records owed so far, by media stream; kept in step with the hub's own sums.
    owed: BTreeMap<usize, u64>,
}

pub struct World {
    hub: Hub,
    owner: NodeId,
    now: Moment,
    publisher: Key<Session>,
    publishing: Vec<Option<Publishing>>,
    sequences: [u64; 2],
    /// Every record published, by media stream and sequence.
    published: BTreeMap<(usize, u64), Vec<u8>>,
    subscribers: Vec<Subscriber>,
    tokens: u8,
    /// Whether the publisher was told that nobody takes its pictures, and since when nobody does.
    is_paused: bool,
    untaken_since: Option<Moment>,
}

impl World {
    pub fn begin() -> Self {
        // Small, so that the bounds are met.
        let limits = Limits {
            write_bytes_max: 2000,
            writes_max: 3,
            group_streams_max: 5,
            group_streams_for_audio: 2,
            lag_bytes_max: LAG_BYTES_MAX,
            groups_per_subscription_max: 4,
            groups_per_source_max: 6,
            ..Limits::default()
        };
        let mut hub = Hub::new(limits);
        let owner: NodeId = "mc-1".parse().expect("a node id");
        let now = Moment::ORIGIN + Duration::from_secs(1);
        let publisher = hub.open_session();
        let mut world = Self {
            hub,
            owner,
            now,
            publisher,
            publishing: vec![None, None],
            sequences: [0; 2],
            published: BTreeMap::new(),
            subscribers: Vec::new(),
            tokens: 0,
            is_paused: false,
            untaken_since: None,
        };
        world.publishes(true);
        let publisher = world.publisher;
        world.says_hello(PUBLISHER, publisher);
        for index in 0..3 {
            world.register(subscriber_id(index), vec![]);
            world.subscribers.push(Subscriber {
                session: None,
                batch: Batch::default(),
                streams: BTreeMap::new(),
                keys: BTreeSet::new(),
                owed: BTreeMap::new(),
            });
        }
        world.does(Op::Hello { subscriber: 0 });
        world
    }

    fn register(&mut self, participant: ParticipantId, streams: Vec<MediaStream>) {
        let owner = self.owner.clone();
        self.hub.register_participant(self.now, &owner, (MEETING, participant), Generation(1), streams).expect("ids are free");
    }

    fn publishes(&mut self, publishes: bool) {
        let stream = |index: usize| MediaStream {
            stream_id: STREAMS[index],
            participant_id: PUBLISHER,
            stream_type: if index == 0 { StreamType::Audio } else { StreamType::VideoCamera },
            codec: String::new(),
            max_bitrate: 0,
            video: None,
            sample_rate: 0,
            channels: 0,
        };
        self.register(PUBLISHER, if publishes { vec![stream(0), stream(1)] } else { vec![] });
    }

    fn says_hello(&mut self, participant: ParticipantId, session: Key<Session>) {
        self.tokens = self.tokens.wrapping_add(1);
        let hash = [self.tokens; 32];
        self.hub.issue_token(self.now, (MEETING, participant), hash);
        self.hub.hello(self.now, session, &hash).expect("the token is fresh");
    }

    pub fn does(&mut self, op: Op) {
        let joins = matches!(op, Op::Subscribe { .. } | Op::Hello { .. } | Op::EndSession { .. } | Op::Republish);
        let mut begun = None;
        match op {
            Op::Record { ingress, kind, payload, ends, discardable } => begun = self.record(ingress, kind, payload, ends, discardable),
            Op::Bytes { ingress, bytes } => self.bytes(ingress, bytes),
            Op::EndIngress { ingress } => self.end_ingress(ingress),
            Op::Wait { millis } => self.now = self.now + Duration::from_millis(millis),
            Op::Subscribe { subscriber, stream, priority } => {
                let options = SubscriptionOptions { max_latency_ms: 200, priority, ..Default::default() };
                let owner = self.owner.clone();
                self.hub
                    .route_media(self.now, &owner, MEETING, STREAMS[stream], vec![(subscriber_id(subscriber), options)])
                    .expect("both are there");
            }
            Op::Unsubscribe { subscriber, stream } => {
                let owner = self.owner.clone();
                self.hub.unroute_media(self.now, &owner, MEETING, STREAMS[stream], &[subscriber_id(subscriber)]).expect("it is ours");
                self.subscribers[subscriber].owed.remove(&stream);
            }
            Op::Hello { subscriber } => {
                let session = self.hub.open_session();
                self.says_hello(subscriber_id(subscriber), session);
                self.forget_session(subscriber);
                self.subscribers[subscriber].session = Some(session);
            }
            Op::EndSession { subscriber } => self.forget_session(subscriber),
            Op::Run { subscriber, capacity, mood } => self.run(subscriber, capacity, mood),
            Op::Republish => {
                for ingress in 0..self.publishing.len() {
                    self.end_ingress(ingress);
                }
                self.publishes(false);
                self.publishes(true);
                for subscriber in &mut self.subscribers {
                    subscriber.owed.clear();
                }
                // They come anew, and who was told to pause them is told of that.
                self.untaken_since = None;
            }
        }
        self.hub.tick(self.now);
        self.check_sums(begun, joins);
        self.hears();
    }

    /// Begins a record; on which media stream, if the hub took it.
    fn record(&mut self, index: usize, kind: u8, payload: u32, ends: bool, discardable: bool) -> Option<usize> {
        let publisher = self.publisher;
        if self.publishing[index].is_none() {
            self.publishing[index] = Some(Publishing { ingress: self.hub.open_ingress(publisher), rest: Bytes::new() });
        }
        let left = self.publishing[index].as_ref().map_or(0, |publishing| publishing.rest.len());
        self.bytes(index, left);
        let stream = usize::from(kind != 0);
        let sequence = self.sequences[stream];
        self.sequences[stream] += 1;
        let flag = |set, flag| if set { flag } else { FrameFlags::default() };
        let header = FrameHeader {
            kind: [FrameKind::Audio, FrameKind::VideoKey, FrameKind::VideoDelta][usize::from(kind)],
            stream_id: STREAMS[stream],
            timestamp_us: sequence * 20_000,
            sequence,
            payload_length: payload,
            flags: flag(ends, FrameFlags::END_OF_FRAME).with(flag(discardable, FrameFlags::DISCARDABLE)),
            reserved: [7; 6],
        };
        let raw = Bytes::copy_from_slice(&header.encode());
        let rest: Bytes = (0..payload).map(|at| (at as u64 ^ sequence) as u8).collect();
        self.published.insert((stream, sequence), [&raw[..], &rest].concat());
        let publishing = self.publishing[index].as_mut().expect("it was opened above");
        self.hub.begin(&mut publishing.ingress, self.now, &header, raw).expect("the id is the publisher's");
        self.hub.flush(&mut publishing.ingress, self.now);
        publishing.rest = rest;
        Some(stream)
    }

    fn bytes(&mut self, index: usize, bytes: usize) {
        let Some(publishing) = &mut self.publishing[index] else { return };
        let piece = publishing.rest.split_to(bytes.min(publishing.rest.len()));
        if !piece.is_empty() {
            match self.hub.payload(&mut publishing.ingress, piece) {
                Ok(()) | Err(Refusal::Stop(Code::NotFound)) => {}
                Err(other) => panic!("{other:?}"),
            }
            self.hub.flush(&mut publishing.ingress, self.now);
        }
    }

    fn end_ingress(&mut self, index: usize) {
        if let Some(publishing) = self.publishing[index].take() {
            self.hub.end_ingress(publishing.ingress, self.now);
        }
    }

    fn forget_session(&mut self, index: usize) {
        let subscriber = &mut self.subscribers[index];
        if let Some(session) = subscriber.session.take() {
            self.hub.end_session(self.now, session);
        }
        for (_, carried) in std::mem::take(&mut subscriber.streams) {
            check_copy(&self.published, &carried, &mut subscriber.keys, false);
        }
        subscriber.batch = Batch::default();
    }

    fn run(&mut self, index: usize, mut capacity: usize, mood: u8) {
        let Subscriber { session: Some(session), batch, streams, keys, .. } = &mut self.subscribers[index] else { return };
        let mut again = true;
        // A write that takes at least a byte each, an end, or a block: it comes to a rest.
        for _ in 0..100_000 {
            self.hub.step(*session, self.now, batch, Waker::noop(), std::mem::take(&mut again));
            if batch.is_empty() {
                if let Some(deadline) = batch.deadline {
                    assert!(deadline > self.now, "a deadline in the past would spin");
                }
                return;
            }
            for (slot, end) in &batch.endings {
                let carried = streams.remove(slot).unwrap_or_default();
                check_copy(&self.published, &carried, keys, *end == End::Finish);
            }
            let Batch { writes, chunks, .. } = batch;
            for write in writes {
                assert!(write.slot < 5, "no more streams than allowed");
                let chunks = &chunks[write.chunks.clone()];
                let bytes: usize = chunks.iter().map(Bytes::len).sum();
                assert!((bytes == 0) == write.is_trial(), "nothing is written for nothing");
                let taken = bytes.min(capacity);
                write.outcome = match (mood, streams.contains_key(&write.slot)) {
                    (1, false) => Outcome::Opening,
                    (2, _) => Outcome::Stopped,
                    _ if capacity == 0 => Outcome::Blocked,
                    _ => Outcome::Written(taken),
                };
                if let Outcome::Written(taken) = write.outcome {
                    capacity -= taken;
                    let flat = chunks.concat();
                    streams.entry(write.slot).or_default().bytes.extend_from_slice(&flat[..taken]);
                }
            }
        }
        panic!("the task never comes to a rest");
    }

    /// Fates and pending records agree with what came: one more for each subscription when a record begins, more at a join,
    /// and no change by anything else.
    fn check_sums(&mut self, begun: Option<usize>, joins: bool) {
        let telemetry = self.hub.telemetry(&self.owner);
        for entry in telemetry.iter().filter(|entry| !entry.publishes) {
            let index = (0..3).find(|index| subscriber_id(*index) == entry.participant).expect("they are the subscribers");
            let stream = STREAMS.iter().position(|id| *id == entry.media_stream).expect("there are two");
            let sum = entry.fates.total() + entry.pending;
            let owed = self.subscribers[index].owed.entry(stream).or_default();
            if begun == Some(stream) {
                *owed += 1;
            }
            if joins {
                assert!(sum >= *owed, "a join takes nothing away");
                *owed = sum;
            }
            assert_eq!(sum, *owed, "subscriber {index}, stream {stream}: {:?} and {} pending", entry.fates, entry.pending);
        }
        assert!(self.hub.group_streams() <= 15);
        assert!(self.hub.groups_max() <= 7, "{} groups of one layer", self.hub.groups_max());
        for session in self.subscribers.iter().filter_map(|subscriber| subscriber.session) {
            let lag = self.hub.lag_bytes(session);
            assert_eq!(lag, self.hub.lag_bytes_anew(session), "the sum is kept as it is");
            assert!(lag <= LAG_BYTES_MAX, "a subscriber lags behind by {lag} bytes");
        }
    }

    /// Everyone reads all there is, the publisher ends, time passes: nothing is pending, nobody is owed anything.
    pub fn settles(&mut self) {
        for ingress in 0..self.publishing.len() {
            self.does(Op::EndIngress { ingress });
        }
        for subscriber in 0..3 {
            self.does(Op::Run { subscriber, capacity: usize::MAX, mood: 0 });
            self.does(Op::Run { subscriber, capacity: usize::MAX, mood: 0 });
        }
        for entry in self.hub.telemetry(&self.owner) {
            assert_eq!(entry.pending, 0);
        }
        assert_eq!(self.hub.group_streams(), 0, "every stream has come to its end");
        self.hears();
    }

    /// What the publisher is told: of pictures alone; that they are paused, once they have had no taker for five seconds, and not longer.
    fn hears(&mut self) {
        while let Poll::Ready(control) = self.hub.poll_control(self.publisher, &Context::from_waker(Waker::noop())) {
            match control {
                Control::KeyFrame(layer) => assert_eq!(layer, STREAMS[1], "sound has no key frames"),
                Control::Layer { layer, is_paused } => {
                    assert_eq!(layer, STREAMS[1], "sound is never paused");
                    assert_ne!(std::mem::replace(&mut self.is_paused, is_paused), is_paused, "once");
                }
                other => panic!("a publisher is told nothing else: {other:?}"),
            }
        }
        let is_taken = self.subscribers.iter().any(|subscriber| subscriber.session.is_some() && subscriber.owed.contains_key(&1));
        let since = self.untaken_since.take().unwrap_or(self.now);
        self.untaken_since = (!is_taken).then_some(since);
        assert_eq!(self.is_paused, !is_taken && self.now.since(since) >= PAUSE_UNTAKEN_AFTER);
    }
}

/// The stream's bytes are records as they were published, in order, with only discardable ones left out; the last may be a
/// part, unless the stream was finished.
fn check_copy(published: &BTreeMap<(usize, u64), Vec<u8>>, carried: &Carried, keys: &mut BTreeSet<u64>, is_finished: bool) {
    let mut bytes = &carried.bytes[..];
    let mut before: Option<FrameHeader> = None;
    while bytes.len() >= FRAME_HEADER_BYTES {
        let header = FrameHeader::decode(bytes, u32::MAX).expect("what comes out begins with a header");
        let stream = STREAMS.iter().position(|id| *id == header.stream_id).expect("there are two");
        let record = &published[&(stream, header.sequence)];
        let length = record.len().min(bytes.len());
        assert!(record[..length] == bytes[..length], "record {} is not what was published", header.sequence);
        if let Some(before) = before {
            assert!(before.stream_id == header.stream_id && before.sequence < header.sequence, "one id, in order");
        }
        let is_key = header.kind == FrameKind::VideoKey;
        let has_key = keys.first().is_some_and(|key| *key < header.sequence);
        assert!(header.kind == FrameKind::Audio || is_key || before.is_some() || has_key, "a picture starts at a key frame");
        if length < record.len() {
            assert!(!is_finished, "a finished stream ends with a whole record");
            return;
        }
        if is_key {
            keys.insert(header.sequence);
        }
        before = Some(header);
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty() || !is_finished, "a finished stream ends with a whole record");
}
