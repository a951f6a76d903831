//! A hub with one publisher, subscribers with a network of a given appetite, and virtual time.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use common_core::media::{Layer, MediaStream, StreamType, SubscriptionOptions, VideoShape};
use common_core::{FRAME_HEADER_BYTES, FrameFlags, FrameHeader, FrameKind, Generation, MeetingId, Moment, NodeId, ParticipantId, StreamId};
use media_handler_core::hub::{Batch, Ingress, Outcome, Write};
use media_handler_core::{Control, End, Fate, Hub, Key, Limits, Session};

pub const CAMERA: StreamId = StreamId::from_bytes([1; 16]);
pub const SCREEN: StreamId = StreamId::from_bytes([2; 16]);
pub const MICROPHONE: StreamId = StreamId::from_bytes([3; 16]);
pub const LAYERED: StreamId = StreamId::from_bytes([4; 16]);
const MEETING: MeetingId = MeetingId::from_bytes([9; 16]);
const PUBLISHER: ParticipantId = ParticipantId::from_bytes([8; 16]);

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub struct Viewer {
    id: ParticipantId,
    session: Key<Session>,
}

/// What a viewer's task keeps.
#[derive(Default)]
struct Task {
    batch: Batch,
    /// Bytes of the record under way, by slot.
    partial: BTreeMap<usize, Vec<u8>>,
    /// Bytes that QUIC took of the stream in each slot.
    taken: BTreeMap<usize, usize>,
    ends: Vec<End>,
    deadline: Option<Moment>,
}

pub struct Stage {
    pub hub: Hub,
    pub now: Moment,
    owner: NodeId,
    publisher: Key<Session>,
    sequences: BTreeMap<StreamId, u64>,
    tasks: BTreeMap<ParticipantId, Task>,
    tokens: u8,
}

fn stream(stream_id: StreamId, stream_type: StreamType, layers: Vec<Layer>) -> MediaStream {
    let video = (!stream_type.is_audio()).then(|| VideoShape { layers, ..Default::default() });
    MediaStream {
        stream_id,
        participant_id: PUBLISHER,
        stream_type,
        codec: "VP9".into(),
        max_bitrate: 0,
        video,
        sample_rate: 0,
        channels: 0,
    }
}

impl Stage {
    pub fn begin(limits: Limits) -> Self {
        let mut hub = Hub::new(limits);
        let publisher = hub.open_session();
        let owner = "mc-1".parse().expect("a node id");
        let now = Moment::ORIGIN + Duration::from_secs(1);
        let mut stage = Self { hub, now, owner, publisher, sequences: BTreeMap::new(), tasks: BTreeMap::new(), tokens: 0 };
        stage.publish(vec![]);
        stage.hello(PUBLISHER, publisher);
        stage
    }

    fn publish(&mut self, more: Vec<MediaStream>) {
        let mut streams = vec![
            stream(CAMERA, StreamType::VideoCamera, vec![]),
            stream(SCREEN, StreamType::VideoScreen, vec![]),
            stream(MICROPHONE, StreamType::Audio, vec![]),
        ];
        streams.extend(more);
        self.hub.register_participant(self.now, &self.owner, (MEETING, PUBLISHER), Generation(1), streams).expect("ids are free");
    }

    /// Publishes a media stream with two layers; their ids.
    pub fn publish_layers(&mut self) -> (StreamId, StreamId) {
        let layer = |layer_id: &str, byte| Layer {
            layer_id: layer_id.into(),
            width: 0,
            height: 0,
            max_bitrate: 0,
            stream_id: StreamId::from_bytes([byte; 16]),
        };
        let (low, high) = (layer("low", 5), layer("high", 6));
        let ids = (low.stream_id, high.stream_id);
        self.publish(vec![stream(LAYERED, StreamType::VideoCamera, vec![low, high])]);
        ids
    }

    fn hello(&mut self, participant: ParticipantId, session: Key<Session>) {
        self.tokens += 1;
        self.hub.issue_token(self.now, (MEETING, participant), [self.tokens; 32]);
        self.hub.hello(self.now, session, &[self.tokens; 32]).expect("the token is fresh");
    }

    pub fn subscriber(&mut self, stream: StreamId, options: SubscriptionOptions) -> Viewer {
        let id = ParticipantId::from_bytes([100 + self.tokens; 16]);
        self.hub.register_participant(self.now, &self.owner, (MEETING, id), Generation(1), vec![]).expect("there is room");
        let session = self.hub.open_session();
        self.hello(id, session);
        self.tasks.insert(id, Task::default());
        let viewer = Viewer { id, session };
        self.subscribe(&viewer, stream, options);
        viewer
    }

    pub fn subscribe(&mut self, viewer: &Viewer, stream: StreamId, options: SubscriptionOptions) {
        self.hub.route_media(self.now, &self.owner, MEETING, stream, vec![(viewer.id, options)]).expect("both are there");
    }

    pub fn unsubscribe(&mut self, viewer: &Viewer, stream: StreamId) {
        self.hub.unroute_media(self.now, &self.owner, MEETING, stream, &[viewer.id]).expect("it is ours");
    }

    /// The viewer's session is over; its subscriptions stand.
    pub fn leaves(&mut self, viewer: &Viewer) {
        self.hub.end_session(self.now, viewer.session);
    }

    /// The viewer has another session.
    pub fn returns(&mut self, viewer: &mut Viewer) {
        viewer.session = self.hub.open_session();
        self.hello(viewer.id, viewer.session);
    }

    /// The publisher has another session; the one before.
    pub fn publisher_dials(&mut self) -> Key<Session> {
        let session = self.hub.open_session();
        let before = std::mem::replace(&mut self.publisher, session);
        self.hello(PUBLISHER, session);
        before
    }

    /// The publisher's session is over.
    pub fn publisher_leaves(&mut self) {
        self.hub.end_session(self.now, self.publisher);
    }

    /// The publisher's newest session is over, and the one before is there.
    pub fn publisher_falls_back(&mut self, to: Key<Session>) {
        self.hub.end_session(self.now, std::mem::replace(&mut self.publisher, to));
    }

    pub fn ingress(&mut self) -> Ingress {
        self.hub.open_ingress(self.publisher)
    }

    pub fn end(&mut self, ingress: Ingress) {
        self.hub.end_ingress(ingress, self.now);
    }

    pub fn record(&mut self, ingress: &mut Ingress, stream: StreamId, kind: FrameKind, payload: u32, flags: FrameFlags) {
        self.send(ingress, stream, kind, payload, payload as usize, flags);
    }

    /// A record of which only `bytes` payload bytes come.
    pub fn part(&mut self, ingress: &mut Ingress, stream: StreamId, kind: FrameKind, payload: u32, bytes: usize) {
        self.send(ingress, stream, kind, payload, bytes, FrameFlags::END_OF_FRAME);
    }

    fn send(&mut self, ingress: &mut Ingress, stream_id: StreamId, kind: FrameKind, payload_length: u32, bytes: usize, flags: FrameFlags) {
        let next = self.sequences.entry(stream_id).or_default();
        let header = FrameHeader { kind, stream_id, timestamp_us: 0, sequence: *next, payload_length, flags, reserved: [0; 6] };
        *next += 1;
        self.hub.begin(ingress, self.now, &header, Bytes::copy_from_slice(&header.encode())).expect("the id is the publisher's");
        self.hub.payload(ingress, Bytes::from(vec![0; bytes])).expect("so it is");
        self.hub.flush(ingress, self.now);
    }

    /// As if a record had been lost before it came here.
    pub fn skip_sequence(&mut self, stream: StreamId) {
        *self.sequences.entry(stream).or_default() += 1;
    }

    pub fn wait(&mut self, length: u64) {
        self.now = self.now + millis(length);
        self.hub.tick(self.now);
    }

    /// Runs a viewer's task while its network takes `appetite` bytes; the sequences of the records that came out whole.
    pub fn run(&mut self, viewer: &Viewer, mut appetite: usize) -> Vec<u64> {
        self.run_with(viewer, |_, bytes| {
            if appetite == 0 {
                return Outcome::Blocked;
            }
            let taken = bytes.min(appetite);
            appetite -= taken;
            Outcome::Written(taken)
        })
    }

    /// The same while QUIC takes `window` bytes of each stream, and nobody reads.
    pub fn run_unread(&mut self, viewer: &Viewer, window: usize) -> Vec<u64> {
        self.run_by(viewer, |_, bytes, taken| {
            let bytes = bytes.min(window - taken);
            if bytes == 0 { Outcome::Blocked } else { Outcome::Written(bytes) }
        })
    }

    pub fn run_with(&mut self, viewer: &Viewer, mut network: impl FnMut(&Write, usize) -> Outcome) -> Vec<u64> {
        self.run_by(viewer, |write, bytes, _| network(write, bytes))
    }

    /// `network`: a write, its bytes, those that were taken of its stream.
    fn run_by(&mut self, viewer: &Viewer, mut network: impl FnMut(&Write, usize, usize) -> Outcome) -> Vec<u64> {
        let task = self.tasks.get_mut(&viewer.id).expect("a viewer has a task");
        let (mut again, mut whole) = (true, Vec::new());
        loop {
            self.hub.step(viewer.session, self.now, &mut task.batch, Waker::noop(), std::mem::take(&mut again));
            task.deadline = task.batch.deadline;
            if task.batch.is_empty() {
                return whole;
            }
            for (slot, end) in &task.batch.endings {
                task.partial.remove(slot);
                task.taken.remove(slot);
                task.ends.push(*end);
            }
            let Batch { writes, chunks, .. } = &mut task.batch;
            for write in writes {
                let bytes = chunks[write.chunks.clone()].concat();
                let before = task.taken.entry(write.slot).or_default();
                write.outcome = network(write, bytes.len(), *before);
                if let Outcome::Written(taken) = write.outcome {
                    *before += taken;
                    let partial = task.partial.entry(write.slot).or_default();
                    partial.extend_from_slice(&bytes[..taken]);
                    take_whole(partial, &mut whole);
                }
            }
        }
    }

    /// What would be written now, in order: media stream, first sequence, priority. Nothing is taken.
    pub fn plan(&mut self, viewer: &Viewer) -> Vec<(StreamId, u64, i32)> {
        let task = self.tasks.get_mut(&viewer.id).expect("a viewer has a task");
        self.hub.step(viewer.session, self.now, &mut task.batch, Waker::noop(), true);
        let Batch { writes, chunks, .. } = &task.batch;
        let plan = writes.iter().map(|write| {
            let header = FrameHeader::decode(&chunks[write.chunks.start], u32::MAX).expect("a header first");
            (header.stream_id, header.sequence, write.priority)
        });
        plan.collect()
    }

    /// The viewer's newer session plans what its older one writes; then QUIC takes bytes of the older one's.
    pub fn move_while_writing(&mut self, viewer: &mut Viewer) {
        self.plan(viewer);
        let session = self.hub.open_session();
        self.hello(viewer.id, session);
        let older = std::mem::replace(&mut viewer.session, session);
        let mut batch = std::mem::take(&mut self.tasks.get_mut(&viewer.id).expect("a viewer has a task").batch);
        self.plan(viewer);
        for write in &mut batch.writes {
            write.outcome = Outcome::Written(10);
        }
        self.hub.step(older, self.now, &mut batch, Waker::noop(), false);
    }

    /// How group streams ended since the last call.
    pub fn ends(&mut self, viewer: &Viewer) -> Vec<End> {
        std::mem::take(&mut self.tasks.get_mut(&viewer.id).expect("a viewer has a task").ends)
    }

    pub fn deadline(&self, viewer: &Viewer) -> Option<Moment> {
        self.tasks[&viewer.id].deadline
    }

    pub fn fate(&self, viewer: &Viewer, stream: StreamId, fate: Fate) -> u64 {
        let all = self.hub.telemetry(&self.owner);
        let entry = all.iter().find(|entry| !entry.publishes && entry.participant == viewer.id && entry.media_stream == stream);
        entry.expect("it is subscribed").fates.of(fate)
    }

    /// Layers the publisher was asked a key frame of since the last call.
    pub fn asked(&mut self) -> Vec<StreamId> {
        let asked = |control| match control {
            Control::KeyFrame(layer) => Some(layer),
            Control::Layer { .. } => None,
            other => panic!("{other:?}"),
        };
        self.told().into_iter().filter_map(asked).collect()
    }

    /// Everything the publisher was told since the last call.
    pub fn told(&mut self) -> Vec<Control> {
        self.controls(self.publisher)
    }

    pub fn control(&mut self, viewer: &Viewer) -> Vec<Control> {
        self.controls(viewer.session)
    }

    fn controls(&mut self, session: Key<Session>) -> Vec<Control> {
        let context = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match self.hub.poll_control(session, &context) {
            Poll::Ready(control) => Some(control),
            Poll::Pending => None,
        })
        .collect()
    }
}

/// Takes whole records from the front of `bytes`; their sequences go to `whole`.
fn take_whole(bytes: &mut Vec<u8>, whole: &mut Vec<u64>) {
    while let Ok(header) = FrameHeader::decode(bytes, u32::MAX) {
        let length = FRAME_HEADER_BYTES + header.payload_length as usize;
        if bytes.len() < length {
            return;
        }
        bytes.drain(..length);
        whole.push(header.sequence);
    }
}
