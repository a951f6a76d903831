//! A meeting's state machine, fed with whatever the codec makes of hostile messages.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common_core::grant::{JoinGrant, Role};
use common_core::length_prefix::SERVER_MESSAGE_BYTES_MAX;
use common_core::{Code, MeetingId, Moment};
use meeting_controller::seams::{Decoded, decode, encode};
use meeting_controller_core::message::MediaServer;
use meeting_controller_core::{
    Credential, HandlerAnswer, HandlerCommand, HandlerFailure, Input, Join, Limits, Meeting, Memory, Message, OperationId, Output, Request,
    ResumeToken, ServerMessage, SessionKey, Settings, Stamp, TokenHash,
};
use prost::Message as _;
use proto::v1;

/// So few that a short input reaches it.
const PARTICIPANTS_MAX: usize = 4;
/// Messages of a participant in a minute, likewise.
const MESSAGES_MAX: u32 = 20;

/// Everyone around the meeting.
struct World {
    meeting: Meeting,
    now: Moment,
    sessions: u64,
    /// Sessions that stand, and how many replies each of their requests is still owed.
    open: BTreeMap<SessionKey, BTreeMap<u64, u32>>,
    waiting: Vec<(OperationId, HandlerCommand)>,
    stamps: u8,
}

/// Steps of one byte and what belongs to it, until the input is over. People who join are 0101…, 0202… and so on, so that an input can name
/// them. Each request has one reply in the end, nothing is said to a session that is over, every message can be read, and nobody is too many.
pub fn meeting(data: &[u8]) {
    let now = Moment::from_micros(1_000_000);
    let settings = Settings { participants_max: PARTICIPANTS_MAX, is_end_to_end_encrypted: true, ..Settings::default() };
    let limits = Limits { messages_max: MESSAGES_MAX, ..Limits::default() };
    let meeting = Meeting::new(now, settings, Memory::default(), limits);
    let mut world = World { meeting, now, sessions: 0, open: BTreeMap::new(), waiting: Vec::new(), stamps: 0 };
    let mut rest = data;
    while let Some(step) = take(&mut rest, 1).map(|step| step[0]) {
        world.step(step, &mut rest);
        assert!(world.meeting.participant_count() <= PARTICIPANTS_MAX);
    }
    while !world.waiting.is_empty() {
        world.answer(0, true);
    }
    for (session, owed) in &world.open {
        assert!(owed.values().all(|replies| *replies == 0), "{session} is owed replies: {owed:?}");
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn byte(rest: &mut &[u8]) -> u8 {
    take(rest, 1).map_or(0, |byte| byte[0])
}

impl World {
    fn step(&mut self, step: u8, rest: &mut &[u8]) {
        match step % 10 {
            0 => {
                let (token, who) = (byte(rest), byte(rest));
                let grant = JoinGrant {
                    token_id: token.to_string(),
                    meeting_id: MeetingId::from_bytes([1; 16]),
                    role: if who & 0x80 == 0 { Role::Attendee } else { Role::Host },
                    display_name: String::new(),
                    subject: (who & 7).to_string(),
                    is_account: who & 8 != 0,
                    resumes: (who & 16 != 0).then(|| common_core::ParticipantId::from_bytes([byte(rest); 16])),
                    handlers: Vec::new(),
                    expires_at: 0,
                };
                self.join(Credential::Grant(grant, self.now + Duration::from_secs(300)), who & 32 != 0);
            }
            1 => {
                let token = byte(rest);
                self.join(Credential::Resume(TokenHash([token; 32])), false);
            }
            2..=5 => {
                let (pick, length) = (byte(rest), usize::from(byte(rest)));
                let message = take(rest, length.min(rest.len())).unwrap_or_default();
                self.say(pick, Bytes::copy_from_slice(message));
            }
            6 => self.answer(byte(rest), !byte(rest).is_multiple_of(4)),
            7 => {
                let pick = byte(rest);
                if let Some(session) = self.pick(pick) {
                    self.open.remove(&session);
                    self.feed(Input::SessionEnded(session));
                }
            }
            8 => {
                self.now = self.now + Duration::from_millis(50 * u64::from(byte(rest)));
                self.feed(Input::Tick);
            }
            _ => self.feed(Input::Refuse(vec![(byte(rest) & 7).to_string()])),
        }
    }

    fn pick(&self, pick: u8) -> Option<SessionKey> {
        self.open.keys().nth(usize::from(pick) % self.open.len().max(1)).copied()
    }

    fn stamp(&mut self) -> Stamp {
        self.stamps = self.stamps.wrapping_add(1);
        // The id of somebody who joined when numbers were small must not come again.
        let id = if self.stamps == 0 { [255; 16] } else { [self.stamps; 16] };
        Stamp { unix_micros: self.now.as_micros(), id }
    }

    fn join(&mut self, credential: Credential, auto_subscribe: bool) {
        if self.stamps > 200 {
            return;
        }
        self.sessions += 1;
        let session = SessionKey(self.sessions);
        self.open.insert(session, BTreeMap::from([(1, 1)]));
        let stamp = self.stamp();
        let join = Join {
            session,
            request_id: 1,
            credential,
            participant_name: String::new(),
            capabilities: Default::default(),
            auto_subscribe,
            chat_after_sequence: 0,
            e2ee_key_id: String::new(),
            resume_token: ResumeToken { text: stamp.id[0].to_string(), hash: TokenHash([stamp.id[0]; 32]) },
            stamp,
        };
        self.feed(Input::Join(Box::new(join)));
    }

    /// As a session's reader does.
    fn say(&mut self, pick: u8, bytes: Bytes) {
        let Some(session) = self.pick(pick) else { return };
        if self.stamps > 200 {
            return;
        }
        let (request_id, request) = match decode(bytes) {
            Ok((request_id, Decoded::Request(request))) => (request_id, request),
            Ok((request_id, Decoded::Join(_))) => (request_id, Request::Invalid(common_core::authority::Denied::JOINED_ALREADY.into())),
            Err(_) => {
                self.open.remove(&session);
                self.feed(Input::SessionEnded(session));
                return;
            }
        };
        // A line of chat is sent to its sender with the number 0 as well: that is no reply.
        if request_id != 0 {
            *self.open.entry(session).or_default().entry(request_id).or_default() += 1;
        }
        let stamp = self.stamp();
        self.feed(Input::Request { session, request_id, request, stamp });
    }

    fn answer(&mut self, pick: u8, is_done: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let (operation, command) = self.waiting.remove(usize::from(pick) % self.waiting.len());
        let result = match command {
            _ if !is_done => Err(HandlerFailure { code: Code::Unavailable, reason: String::new() }),
            HandlerCommand::Register { .. } => Ok(HandlerAnswer::Registered(MediaServer {
                url: String::new(),
                connection_token: String::new(),
                certificate_hashes: Vec::new(),
                fallback_url: String::new(),
            })),
            _ => Ok(HandlerAnswer::Done),
        };
        self.feed(Input::HandlerAnswered { operation, result });
    }

    fn feed(&mut self, input: Input) {
        self.meeting.handle(self.now, input);
        while let Some(output) = self.meeting.poll_output() {
            match output {
                Output::Send { to, message } => {
                    assert!(!to.is_empty());
                    let bytes = encode(&message);
                    assert!(bytes.len() <= SERVER_MESSAGE_BYTES_MAX && v1::ServerMessage::decode(bytes).is_ok());
                    to.into_iter().for_each(|session| self.hear(session, &message));
                }
                Output::AckWhenStored { session, request_id } => self.hear(session, &ServerMessage { request_id, body: Message::Ack }),
                Output::Close { session, .. } => assert!(self.open.remove(&session).is_some(), "{session} is over already"),
                Output::Handler { operation, command } => self.waiting.push((operation, command)),
                Output::Event(_) | Output::Ended(_) => {}
            }
        }
    }

    fn hear(&mut self, session: SessionKey, message: &ServerMessage) {
        let owed = self.open.get_mut(&session).expect("nothing is said to a session that is over");
        if message.request_id != 0 {
            let replies = owed.get_mut(&message.request_id).expect("nothing is answered that was not asked");
            *replies = replies.checked_sub(1).expect("a request has one reply");
        }
    }
}
