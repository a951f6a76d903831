//! A handler's hub: whatever controllers register and clients send, nobody sends under an id that is not its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use common_core::frame::{FrameFlags, FrameHeader, FrameKind};
use common_core::media::{MediaStream, StreamType, SubscriptionOptions};
use common_core::{Code, Generation, MeetingId, Moment, NodeId, ParticipantId, StreamId};
use media_handler_core::hub::{Ingress, Refusal};
use media_handler_core::{Hub, Key, Limits, Session};

/// So few that a short input reaches it.
const PARTICIPANTS_MAX: usize = 5;

type Address = (MeetingId, ParticipantId);

/// What a small model knows of it.
struct World {
    hub: Hub,
    now: Moment,
    owners: [NodeId; 2],
    /// What each registered participant publishes.
    registered: BTreeMap<Address, BTreeSet<StreamId>>,
    /// Tokens that nobody has spent.
    tokens: BTreeMap<[u8; 32], (Address, Moment)>,
    spent: BTreeSet<[u8; 32]>,
    sessions: Vec<(Key<Session>, Option<Address>)>,
    ingresses: Vec<Stream>,
}

/// One QUIC stream of a session. As the frame reader has it, a record begins when the one before it is whole.
struct Stream {
    session: usize,
    ingress: Ingress,
    /// Payload bytes of its record that have not come.
    missing: usize,
}

/// Steps of one byte and what belongs to it. A token is spent once, by its own participant; a record is taken only from whoever publishes
/// under its id in its own meeting, refused with `FORBIDDEN` only if another participant of that meeting does, and held otherwise.
pub fn media_hub(data: &[u8]) {
    let limits = Limits { participants_max: PARTICIPANTS_MAX, ..Limits::default() };
    let owners = ["mc-1", "mc-2"].map(|id| id.parse().expect("a node id"));
    let mut world = World {
        hub: Hub::new(limits),
        now: Moment::from_micros(1_000_000),
        owners,
        registered: BTreeMap::new(),
        tokens: BTreeMap::new(),
        spent: BTreeSet::new(),
        sessions: Vec::new(),
        ingresses: Vec::new(),
    };
    for step in data.chunks(4) {
        let mut bytes = [0; 4];
        bytes[..step.len()].copy_from_slice(step);
        world.step(bytes);
        assert_eq!(world.hub.participants(), world.registered.len());
        assert!(world.registered.len() <= PARTICIPANTS_MAX);
        world.hub.take_wakes(&mut Vec::new());
    }
    for stream in world.ingresses {
        world.hub.end_ingress(stream.ingress, world.now);
    }
    for (session, _) in world.sessions {
        world.hub.end_session(world.now, session);
    }
    assert_eq!(world.hub.session_count(), 0);
}

fn address(byte: u8) -> Address {
    (MeetingId::from_bytes([byte & 1; 16]), ParticipantId::from_bytes([byte >> 1 & 3; 16]))
}

fn stream(byte: u8) -> StreamId {
    StreamId::from_bytes([byte & 7; 16])
}

fn published(owner: ParticipantId, id: u8) -> MediaStream {
    MediaStream {
        stream_id: stream(id),
        participant_id: owner,
        stream_type: if id & 8 == 0 { StreamType::VideoCamera } else { StreamType::Audio },
        codec: "VP9".to_owned(),
        max_bitrate: 0,
        video: None,
        sample_rate: 0,
        channels: 0,
    }
}

impl World {
    fn step(&mut self, [step, a, b, c]: [u8; 4]) {
        let owner = self.owners[usize::from(a >> 7)].clone();
        match step % 12 {
            0 => {
                let (address, streams) = (address(a), vec![published(address(a).1, b), published(address(a).1, c)]);
                let streams: Vec<MediaStream> = streams.into_iter().take(usize::from(a >> 4 & 3)).collect();
                let ids = streams.iter().map(|stream| stream.stream_id).collect();
                let generation = Generation(u64::from(step >> 4));
                if self.hub.register_participant(self.now, &owner, address, generation, streams).is_ok() {
                    self.registered.insert(address, ids);
                }
            }
            1 => {
                let generation = Generation(u64::from(step >> 4));
                let removed = self.hub.remove_participant(self.now, &owner, address(a), generation, Code::Forbidden, "removed");
                if removed.is_ok() && self.hub.participants() < self.registered.len() {
                    self.registered.remove(&address(a));
                    self.tokens.retain(|_, (whose, _)| *whose != address(a));
                }
            }
            2 => {
                let (meeting, who) = address(a);
                // Nobody, or one of another controller, is a refusal that says so.
                let _ = self.hub.route_media(self.now, &owner, meeting, stream(b), vec![(who, SubscriptionOptions::default())]);
            }
            3 => drop(self.hub.unroute_media(self.now, &owner, address(a).0, stream(b), &[address(a).1])),
            4 => {
                let hash = [b; 32];
                if self.registered.contains_key(&address(a)) && !self.spent.contains(&hash) && !self.tokens.contains_key(&hash) {
                    self.hub.issue_token(self.now, address(a), hash);
                    self.tokens.insert(hash, (address(a), self.now));
                }
            }
            5 if self.sessions.len() < 16 => self.sessions.push((self.hub.open_session(), None)),
            6 => self.hello(a, [b; 32]),
            7 if self.ingresses.len() < 16 => {
                if let Some(at) = self.pick(a) {
                    let ingress = self.hub.open_ingress(self.sessions[at].0);
                    self.ingresses.push(Stream { session: at, ingress, missing: 0 });
                }
            }
            8 => self.begin(a, b, c),
            9 => {
                let count = self.ingresses.len().max(1);
                if let Some(stream) = self.ingresses.get_mut(usize::from(a) % count) {
                    let bytes = usize::from(c).min(stream.missing);
                    stream.missing -= bytes;
                    // Gone with its media stream is a refusal that says so.
                    let _ = self.hub.payload(&mut stream.ingress, Bytes::from(vec![b; bytes]));
                    self.hub.flush(&mut stream.ingress, self.now);
                }
            }
            10 => {
                if let Some(at) = self.pick(a) {
                    let (key, who) = self.sessions[at];
                    let asked = self.hub.request_key_frame(self.now, key, stream(b));
                    assert!(asked.is_err() || who.is_some(), "a stranger asks for a key frame");
                }
            }
            _ => {
                self.now = self.now + Duration::from_millis(100 * u64::from(a));
                self.hub.tick(self.now);
            }
        }
    }

    fn pick(&self, byte: u8) -> Option<usize> {
        (!self.sessions.is_empty()).then(|| usize::from(byte) % self.sessions.len())
    }

    fn hello(&mut self, pick: u8, hash: [u8; 32]) {
        let Some(at) = self.pick(pick) else { return };
        let (key, before) = self.sessions[at];
        let token = self.tokens.get(&hash).copied();
        match self.hub.hello(self.now, key, &hash) {
            Ok(address) => {
                let (whose, issued_at) = token.expect("nobody made this token, or it is spent");
                assert!(before.is_none() && whose == address && self.registered.contains_key(&address));
                assert!(self.now.since(issued_at) < Limits::default().token_life);
                self.tokens.remove(&hash);
                self.spent.insert(hash);
                self.sessions[at].1 = Some(address);
            }
            // A token that was too old, or pushed out by newer ones, is good for nothing any more.
            Err(_) if before.is_none() => {
                self.tokens.remove(&hash);
                self.spent.insert(hash);
            }
            Err(_) => {}
        }
    }

    fn begin(&mut self, pick: u8, id: u8, flags: u8) {
        let count = self.ingresses.len().max(1);
        let Some(stream) = self.ingresses.get_mut(usize::from(pick) % count).filter(|stream| stream.missing == 0) else { return };
        let kind = [FrameKind::VideoKey, FrameKind::VideoDelta, FrameKind::Audio][usize::from(flags >> 4) % 3];
        let header = FrameHeader {
            kind,
            stream_id: self::stream(id),
            timestamp_us: 0,
            sequence: 0,
            payload_length: u32::from(flags & 15),
            flags: FrameFlags(u16::from(flags & 3)),
            reserved: [0; 6],
        };
        let sender = self.sessions[stream.session].1;
        let owner = sender.and_then(|(meeting, _)| {
            let here = self.registered.iter().find(|((in_meeting, _), ids)| *in_meeting == meeting && ids.contains(&header.stream_id));
            here.map(|((_, who), _)| *who)
        });
        let taken = self.hub.begin(&mut stream.ingress, self.now, &header, Bytes::copy_from_slice(&header.encode()));
        self.hub.flush(&mut stream.ingress, self.now);
        if taken.is_ok() {
            stream.missing = usize::from(flags & 15);
        }
        let is_own = owner.is_some() && owner == sender.map(|(_, who)| who);
        match taken {
            Ok(()) => assert!(is_own, "a record of another's, or of nobody's, was taken"),
            Err(Refusal::Stop(Code::Forbidden)) => assert!(owner.is_some() && !is_own, "forbidden, and not another's"),
            Err(Refusal::Stop(_)) => assert!(is_own, "stopped at once, and not its own"),
            Err(Refusal::Unknown) => assert!(owner.is_none(), "held, and known in this meeting"),
        }
    }
}
