//! A hub with its publishers and subscribers, and virtual time.

use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use common_core::frame::PAYLOAD_BYTES_MAX;
use common_core::frame_reader::{FrameEvent, FrameReader};
use common_core::media::{MediaStream, StreamType, SubscriptionOptions, VideoShape};
use common_core::{FrameFlags, FrameHeader, FrameKind, Generation, MeetingId, Moment, NodeId, ParticipantId, StreamId};
use media_handler_core::hub::{Batch, Ingress, Outcome};
use media_handler_core::{Fate, Hub, Key, Limits, Session};

use crate::load::{Load, Pattern};

const MEETING: MeetingId = MeetingId::from_bytes([9; 16]);
/// As often as a handler's upkeep.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(20);

/// Which subscribers were woken, in order.
type Woken = Arc<Mutex<Vec<usize>>>;

struct Task {
    number: usize,
    woken: Woken,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.woken.lock().expect("one thread").push(self.number);
    }
}

/// Somebody with a session.
struct Person {
    session: Key<Session>,
    waker: Waker,
    batch: Batch,
}

/// A media stream that is sent.
struct Channel {
    id: StreamId,
    session: Key<Session>,
    pattern: Pattern,
    sequence: u64,
    ingress: Ingress,
    reader: FrameReader,
    /// When its next record comes.
    next: Moment,
}

pub struct Stage {
    hub: Hub,
    load: Load,
    owner: NodeId,
    now: Moment,
    upkept_at: Moment,
    people: Vec<Person>,
    channels: Vec<Channel>,
    woken: Woken,
    running: Vec<usize>,
    wakes: Vec<Waker>,
}

fn id(kind: u8, number: usize) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}

impl Stage {
    /// Everybody is there, has said hello and is subscribed.
    pub fn begin(load: Load) -> Self {
        let now = Moment::ORIGIN + Duration::from_secs(1);
        let owner = "mc-1".parse().expect("a node id");
        let mut stage = Self {
            hub: Hub::new(Limits::default()),
            load,
            owner,
            now,
            upkept_at: now,
            people: Vec::new(),
            channels: Vec::new(),
            woken: Woken::default(),
            running: Vec::new(),
            wakes: Vec::new(),
        };
        for number in 0..load.publishers + load.subscribers {
            stage.join(number);
        }
        for publisher in 0..load.publishers {
            for (index, _) in load.patterns.iter().enumerate() {
                let stream = StreamId::from_bytes(id(b's', publisher * load.patterns.len() + index));
                let others = (0..stage.people.len()).filter(|number| *number != publisher);
                let destinations = others.map(|number| (ParticipantId::from_bytes(id(b'p', number)), SubscriptionOptions::default()));
                stage.hub.route_media(now, &stage.owner, MEETING, stream, destinations.collect()).expect("they are there");
            }
        }
        stage.run_woken();
        stage
    }

    fn join(&mut self, number: usize) {
        let participant = ParticipantId::from_bytes(id(b'p', number));
        let patterns = if number < self.load.publishers { self.load.patterns } else { &[] };
        let stream = |index: usize, pattern: &Pattern| MediaStream {
            stream_id: StreamId::from_bytes(id(b's', number * patterns.len() + index)),
            participant_id: participant,
            stream_type: if pattern.group == 0 { StreamType::Audio } else { StreamType::VideoCamera },
            codec: String::new(),
            max_bitrate: 0,
            video: (pattern.group > 0).then(VideoShape::default),
            sample_rate: 0,
            channels: 0,
        };
        let streams: Vec<_> = patterns.iter().enumerate().map(|(index, pattern)| stream(index, pattern)).collect();
        let ids: Vec<_> = streams.iter().map(|stream| stream.stream_id).collect();
        self.hub.register_participant(self.now, &self.owner, (MEETING, participant), Generation(1), streams).expect("there is room");
        let session = self.hub.open_session();
        let mut token = [0; 32];
        token[..8].copy_from_slice(&(number as u64).to_be_bytes());
        self.hub.issue_token(self.now, (MEETING, participant), token);
        self.hub.hello(self.now, session, &token).expect("the token is fresh");
        let waker = Waker::from(Arc::new(Task { number, woken: self.woken.clone() }));
        self.people.push(Person { session, waker, batch: Batch::default() });
        // Its task's first run, which leaves its waker with the hub.
        self.deliver(number);
        for (index, (id, pattern)) in ids.into_iter().zip(patterns).enumerate() {
            // Not all at the same moment, as among people.
            let offset = Duration::from_micros(1_000 + 977 * (number * patterns.len() + index) as u64 % 20_000);
            self.channels.push(Channel {
                id,
                session,
                pattern: *pattern,
                sequence: 0,
                ingress: self.hub.open_ingress(session),
                reader: FrameReader::new(PAYLOAD_BYTES_MAX),
                next: self.now + offset,
            });
        }
    }

    /// Lets time go on, and everything be sent and delivered. How many records were delivered whole; panics if one was not.
    pub fn run(mut self, periods: u32) -> u64 {
        let end = self.now + self.load.length(periods);
        // All payloads are slices of this, so that it costs no instructions to make them.
        let payload = Bytes::from(vec![7; 64 * 1024]);
        let mut sent = 0;
        loop {
            let next = self.channels.iter().map(|channel| channel.next).min().filter(|next| *next < end);
            let Some(next) = next else { break };
            self.now = if self.load.tick.is_zero() { next } else { next + self.load.tick };
            if self.now.since(self.upkept_at) >= UPKEEP_INTERVAL {
                self.upkept_at = self.now;
                self.hub.tick(self.now);
                self.run_woken();
            }
            // Without a tick that one record; with it all that came meanwhile.
            for number in 0..self.channels.len() {
                while self.channels[number].next <= self.now.min(end) && self.channels[number].next < end {
                    self.send(number, &payload);
                    sent += 1;
                    if self.load.tick.is_zero() {
                        self.run_woken();
                    }
                }
            }
            self.run_woken();
        }
        let fates = self.hub.totals().fates;
        let delivered = fates.of(Fate::Delivered);
        assert_eq!((delivered, fates.dropped()), (sent * self.load.audience() as u64, 0), "every record reaches everybody");
        delivered
    }

    /// A channel's next record comes in.
    fn send(&mut self, number: usize, payload: &Bytes) {
        let channel = &mut self.channels[number];
        let pattern = channel.pattern;
        let (kind, length) = match channel.sequence.checked_rem(pattern.group) {
            None => (FrameKind::Audio, pattern.bytes),
            Some(0) => (FrameKind::VideoKey, pattern.key_bytes),
            Some(_) => (FrameKind::VideoDelta, pattern.bytes),
        };
        if kind == FrameKind::VideoKey && channel.sequence > 0 {
            // Ours open a stream for each group.
            let ingress = self.hub.open_ingress(channel.session);
            self.hub.end_ingress(std::mem::replace(&mut channel.ingress, ingress), self.now);
        }
        let header = FrameHeader {
            kind,
            stream_id: channel.id,
            timestamp_us: channel.next.as_micros(),
            sequence: channel.sequence,
            payload_length: length,
            flags: FrameFlags::END_OF_FRAME,
            reserved: [0; 6],
        };
        channel.sequence += 1;
        channel.next = channel.next + Duration::from_micros(1_000_000 / pattern.rate);
        for bytes in [Bytes::copy_from_slice(&header.encode()), payload.slice(..length as usize)] {
            channel.reader.push(bytes);
            while let Some(event) = channel.reader.next_event().expect("the records are ours") {
                match event {
                    FrameEvent::Begin { header, raw } => self.hub.begin(&mut channel.ingress, self.now, &header, raw),
                    FrameEvent::Payload(bytes) => self.hub.payload(&mut channel.ingress, bytes),
                    FrameEvent::End => Ok(()),
                }
                .expect("the publisher may");
            }
        }
        self.hub.flush(&mut channel.ingress, self.now);
    }

    /// Runs the tasks that were woken, until none is.
    fn run_woken(&mut self) {
        loop {
            self.hub.take_wakes(&mut self.wakes);
            self.wakes.drain(..).for_each(Waker::wake);
            let mut running = std::mem::take(&mut self.running);
            std::mem::swap(&mut running, &mut *self.woken.lock().expect("one thread"));
            if running.is_empty() {
                self.running = running;
                return;
            }
            running.iter().for_each(|number| self.deliver(*number));
            running.clear();
            self.running = running;
        }
    }

    /// One run of a subscriber's task: as its shell does it, with a QUIC that takes everything.
    fn deliver(&mut self, number: usize) {
        let person = &mut self.people[number];
        let mut again = true;
        loop {
            self.hub.step(person.session, self.now, &mut person.batch, &person.waker, std::mem::take(&mut again));
            if person.batch.is_empty() {
                return;
            }
            let Batch { writes, chunks, .. } = &mut person.batch;
            for write in writes {
                let taken = chunks[write.chunks.clone()].iter_mut().map(|chunk| std::mem::take(chunk).len()).sum();
                write.outcome = Outcome::Written(taken);
            }
        }
    }
}
