//! Joins and resumes: from a verified token to the answer, over one round trip to the handler.

use std::time::Duration;

use common_core::authority::{Action, Actor, Denied, Relation, permit};
use common_core::grant::{JoinGrant, Role};
use common_core::media::SubscriptionOptions;
use common_core::name::{NameError, parse_name};
use common_core::{Code, Generation, Moment, ParticipantId, StreamId};

use super::Meeting;
use crate::credentials::{ResumeToken, SpendError, TokenHash};
use crate::handler::{HandlerAnswer, HandlerCommand, HandlerFailure, Mark, Purpose, Reply};
use crate::input::{Credential, Join};
use crate::message::{JoinAnswer, MediaServer, Message, Participant, Refusal, SessionKey};
use crate::output::{Event, Output};
use crate::rate::{RateWindow, Verdict};
use crate::roster::{Member, Presence};

/// Longest key id of a meeting's secret, in bytes.
const KEY_ID_BYTES_MAX: usize = 64;
/// Codecs a participant may name, and how long each name may be, so that a roster of a thousand stays in bounds.
const CODECS_MAX: usize = 16;
const CODEC_BYTES_MAX: usize = 32;
/// Resumes of one participant in a minute: a client that dials anew after each 1.5 s of silence (DESIGN section 4) stays under
/// it; one that goes round and round costs the handler no more than that.
const RESUMES_MAX: u32 = 60;
/// That minute.
const RESUMES_WINDOW: Duration = Duration::from_secs(60);

/// By what somebody comes back.
#[derive(Clone, Debug)]
pub(super) struct Returning {
    /// The resume token that stays good until the fresh one has arrived.
    good: Option<TokenHash>,
    /// The join token that is being spent.
    token_id: Option<String>,
}

/// Somebody on the way in, whom nobody sees yet.
#[derive(Debug)]
pub(super) enum PendingJoin {
    /// With a join token.
    Fresh { request_id: u64, name: String, grant: Box<JoinGrant>, join: Box<Join> },
    /// With a resume token, or with a join token that was given for one.
    Resume { returning: Returning, request_id: u64, participant_id: ParticipantId, fresh: ResumeToken, chat_after_sequence: u64 },
}

impl PendingJoin {
    /// Whom a handler may have registered for it already; nobody for who comes back.
    pub fn newcomer(&self) -> Option<ParticipantId> {
        match self {
            PendingJoin::Fresh { join, .. } => Some(ParticipantId::from_bytes(join.stamp.id)),
            PendingJoin::Resume { .. } => None,
        }
    }

    pub fn request_id(&self) -> u64 {
        match self {
            PendingJoin::Fresh { request_id, .. } | PendingJoin::Resume { request_id, .. } => *request_id,
        }
    }

    /// Whose place it takes.
    pub fn resumes(&self) -> Option<ParticipantId> {
        match self {
            PendingJoin::Fresh { .. } => None,
            PendingJoin::Resume { participant_id, .. } => Some(*participant_id),
        }
    }

    /// The join token that is being spent.
    fn spends(&self) -> Option<&str> {
        match self {
            PendingJoin::Fresh { grant, .. } => Some(&grant.token_id),
            PendingJoin::Resume { returning, .. } => returning.token_id.as_deref(),
        }
    }

    /// The subject of a join token that lets somebody new in.
    pub fn subject(&self) -> Option<&str> {
        match self {
            PendingJoin::Fresh { grant, .. } => Some(&grant.subject),
            PendingJoin::Resume { .. } => None,
        }
    }
}

impl Meeting {
    pub(super) fn join(&mut self, now: Moment, join: Join) {
        let (session, request_id) = (join.session, join.request_id);
        if self.joins.contains_key(&session) || self.roster.on_session(session).is_some() {
            self.refuse(Reply { session, request_id }, Denied::JOINED_ALREADY.into());
            return;
        }
        let outcome = match join.credential.clone() {
            Credential::Grant(grant, spent_until) => self.begin_join(now, join, grant, spent_until),
            Credential::Resume(hash) => self.begin_resume(now, &join, hash),
        };
        if let Err(refusal) = outcome {
            self.refuse_join(session, request_id, refusal);
        }
    }

    fn begin_join(&mut self, now: Moment, join: Join, grant: JoinGrant, spent_until: Moment) -> Result<(), Refusal> {
        let actor = if self.memory.refused.contains(&grant.subject) { Actor::Removed } else { grant.role.into() };
        // The shell has seen that the token is of this meeting.
        permit(actor, Action::Join, Relation::SameMeeting)?;
        self.memory.spent.take(now, &grant.token_id, spent_until).map_err(|error| match error {
            SpendError::Spent => Refusal::new(Code::Unauthorized, "this token is spent; ask the API for a new one"),
            SpendError::Full => Refusal::new(Code::CapacityExceeded, "too many joins in too short a time"),
        })?;
        // A refusal does not use the token up.
        if let Some(participant_id) = self.whom_it_resumes(&grant) {
            let returning = Returning { good: self.resume.newest(participant_id), token_id: Some(grant.token_id.clone()) };
            return self.come_back(now, &join, participant_id, returning).inspect_err(|_| self.memory.spent.give_back(&grant.token_id));
        }
        let name = self.check_join(&join, &grant).inspect_err(|_| self.memory.spent.give_back(&grant.token_id))?;
        let participant_id = ParticipantId::from_bytes(join.stamp.id);
        let generation = FIRST;
        let command = HandlerCommand::Register { participant_id, streams: Vec::new(), generation, issue_token: true };
        self.operations.issue(command, Purpose::Join(join.session));
        let (session, request_id) = (join.session, join.request_id);
        let pending = PendingJoin::Fresh { request_id, name, grant: Box::new(grant), join: Box::new(join) };
        self.joins.insert(session, pending);
        Ok(())
    }

    /// Whether this one may come in, and under which name.
    fn check_join(&self, join: &Join, grant: &JoinGrant) -> Result<String, Refusal> {
        let name = choose_name(&join.participant_name, grant)?;
        check_details(join)?;
        let on_the_way = self.joins.values().filter(|pending| pending.resumes().is_none()).count();
        if self.roster.len() + on_the_way >= self.settings.participants_max {
            let text = format!("this meeting is full: {} participants", self.settings.participants_max);
            return Err(Refusal::new(Code::CapacityExceeded, text));
        }
        Ok(name)
    }

    /// The participant whose place the holder of a join token takes; after the reconnection window it is somebody new.
    fn whom_it_resumes(&self, grant: &JoinGrant) -> Option<ParticipantId> {
        let is_same = |id: &ParticipantId| self.roster.find(*id).is_some_and(|member| member.subject == grant.subject);
        grant.resumes.filter(is_same)
    }

    fn begin_resume(&mut self, now: Moment, join: &Join, used: TokenHash) -> Result<(), Refusal> {
        // Whoever holds a token of a place here is the one whose place it is; any other token is a stranger's.
        let place = self.resume.find(used).and_then(|participant_id| self.roster.find(participant_id));
        let (actor, relation) = place.map_or((Actor::Stranger, Relation::OtherMeeting), |member| (member.role.into(), Relation::Own));
        permit(actor, Action::Resume, relation)?;
        let participant_id = place.map(|member| member.participant_id).ok_or(Denied::NO_PLACE)?;
        self.come_back(now, join, participant_id, Returning { good: Some(used), token_id: None })
    }

    fn come_back(&mut self, now: Moment, join: &Join, participant_id: ParticipantId, returning: Returning) -> Result<(), Refusal> {
        if let Some(member) = self.roster.find_mut(participant_id)
            && member.resumes.count(now, RESUMES_MAX, RESUMES_WINDOW) != Verdict::Serve
        {
            let seconds = member.resumes.remaining(now, RESUMES_WINDOW).as_secs() + 1;
            let text = format!("over {RESUMES_MAX} resumes in {} s", RESUMES_WINDOW.as_secs());
            return Err(Refusal::new(Code::RateLimited, text).with("retry_after_s", seconds.to_string()));
        }
        // The newest attempt of a client is the one it listens to.
        let earlier: Vec<SessionKey> =
            self.joins.iter().filter(|(_, pending)| pending.resumes() == Some(participant_id)).map(|(session, _)| *session).collect();
        for session in earlier {
            if let Some(pending) = self.joins.remove(&session) {
                self.give_back(&pending);
                self.refuse_join(session, pending.request_id(), Refusal::new(Code::Moved, "a newer session took over"));
            }
        }
        if let Some(member) = self.roster.find_mut(participant_id) {
            member.generation = member.generation.next();
        }
        let fresh = join.resume_token.clone();
        let (request_id, chat_after_sequence) = (join.request_id, join.chat_after_sequence);
        self.joins.insert(join.session, PendingJoin::Resume { returning, request_id, participant_id, fresh, chat_after_sequence });
        self.register(participant_id, true, Purpose::Join(join.session));
        Ok(())
    }

    pub(super) fn is_resuming(&self, participant_id: ParticipantId) -> bool {
        self.joins.values().any(|pending| pending.resumes() == Some(participant_id))
    }

    /// The handler answered a join's or resume's registration.
    pub(super) fn join_answered(&mut self, now: Moment, session: SessionKey, result: Result<HandlerAnswer, HandlerFailure>) {
        let media_server = match result {
            Ok(HandlerAnswer::Registered(media_server)) => Ok(media_server),
            Ok(HandlerAnswer::Done) => Err(HandlerFailure { code: Code::Unavailable, reason: "no media server in the answer".to_owned() }),
            Err(failure) => Err(failure),
        };
        match self.joins.remove(&session) {
            Some(PendingJoin::Fresh { request_id, name, grant, join }) => match media_server {
                Ok(media_server) => self.admit(now, name, *grant, *join, media_server),
                Err(_) => {
                    self.memory.spent.give_back(&grant.token_id);
                    // The call may have come through all the same.
                    self.withdraw_registration(now, ParticipantId::from_bytes(join.stamp.id));
                    self.refuse_join(session, request_id, no_media_server());
                }
            },
            Some(PendingJoin::Resume { returning, request_id, participant_id, fresh, chat_after_sequence }) => {
                if media_server.is_err() {
                    self.operations.mark(now, Mark::Participant { participant_id, pushes_token: true });
                }
                // Chat and roster need no handler: who comes back in time is back.
                let reply = Reply { session, request_id };
                self.readmit(reply, participant_id, returning.good, fresh, chat_after_sequence, media_server.ok());
            }
            // Abandoned meanwhile, and withdrawn from the handler then.
            None => {}
        }
    }

    fn admit(&mut self, now: Moment, name: String, grant: JoinGrant, join: Join, media_server: MediaServer) {
        let participant_id = ParticipantId::from_bytes(join.stamp.id);
        if self.settings.is_end_to_end_encrypted && self.e2ee_key_id.is_none() && !join.e2ee_key_id.is_empty() {
            self.e2ee_key_id = Some(join.e2ee_key_id);
        }
        let participants = self.roster.by_arrival().into_iter().map(|member| self.describe(member)).collect();
        self.joins_ever += 1;
        let member = Member {
            participant_id,
            name,
            role: grant.role,
            subject: grant.subject,
            is_account: grant.is_account,
            joined_at_ms: join.stamp.unix_micros / 1000,
            number: self.joins_ever,
            capabilities: join.capabilities,
            auto_subscribe: join.auto_subscribe,
            is_muted: false,
            is_video_on: false,
            generation: FIRST,
            presence: Presence::On(join.session),
            messages: RateWindow::new(now),
            audio_levels: RateWindow::new(now),
            resumes: RateWindow::new(now),
            is_speaking: false,
        };
        let attendance = Box::new(self.attendance_of(&member));
        let joined = attendance.participant.clone();
        self.roster.add(member);
        self.resume.renew(participant_id, None, join.resume_token.hash);
        let answer = JoinAnswer {
            participant_id,
            participants,
            media_server: Some(media_server),
            e2ee_key_id: self.e2ee_key_id.clone(),
            resume_token: join.resume_token,
            chat: self.chat.after(join.chat_after_sequence),
            subscriptions: Vec::new(),
            meeting: self.settings.clone(),
        };
        self.send(vec![join.session], join.request_id, Message::Joined(Box::new(answer)));
        self.tell_others(participant_id, Message::ParticipantJoined(joined));
        self.outputs.push_back(Output::Event(Event::Joined { attendance, session: join.session }));
        if join.auto_subscribe {
            for stream_id in self.media.live_of_others(participant_id) {
                self.route_quietly(stream_id, vec![participant_id]);
            }
        }
    }

    fn readmit(
        &mut self,
        reply: Reply,
        participant_id: ParticipantId,
        good: Option<TokenHash>,
        fresh: ResumeToken,
        chat_after_sequence: u64,
        media_server: Option<MediaServer>,
    ) {
        let Some(member) = self.roster.find(participant_id) else {
            self.refuse_join(reply.session, reply.request_id, Refusal::new(Code::NotFound, "this participant is gone"));
            return;
        };
        let oneself = self.describe(member);
        let others = self.roster.by_arrival().into_iter().filter(|other| other.participant_id != participant_id);
        let participants = std::iter::once(oneself).chain(others.map(|other| self.describe(other))).collect();
        if let Some(old) = self.roster.set_presence(participant_id, Presence::On(reply.session)) {
            self.close(old, Code::Moved, "a newer session took over");
        }
        self.resume.renew(participant_id, good, fresh.hash);
        let answer = JoinAnswer {
            participant_id,
            participants,
            media_server,
            e2ee_key_id: self.e2ee_key_id.clone(),
            resume_token: fresh,
            chat: self.chat.after(chat_after_sequence),
            subscriptions: self.media.subscriptions_of(participant_id),
            meeting: self.settings.clone(),
        };
        self.send(vec![reply.session], reply.request_id, Message::Joined(Box::new(answer)));
        self.outputs.push_back(Output::Event(Event::Resumed { participant_id, session: reply.session }));
    }

    /// The token of a join that does not succeed is not spent.
    pub(super) fn give_back(&mut self, pending: &PendingJoin) {
        if let Some(token_id) = pending.spends() {
            self.memory.spent.give_back(token_id);
        }
    }

    /// The session ended, or the subject was kicked, before the handler answered.
    pub(super) fn abandon_join(&mut self, pending: PendingJoin) {
        self.give_back(&pending);
        if let Some(participant_id) = pending.newcomer() {
            let (code, reason) = (Code::Normal, "the join was given up");
            self.operations.issue(HandlerCommand::Remove { participant_id, generation: FIRST, code, reason }, Purpose::Quiet);
        }
    }

    fn withdraw_registration(&mut self, now: Moment, participant_id: ParticipantId) {
        self.operations.mark(now, Mark::Gone { participant_id, generation: FIRST.0, code: Code::Normal });
    }

    /// The reply and the end of a session that does not get in.
    pub(super) fn refuse_join(&mut self, session: SessionKey, request_id: u64, refusal: Refusal) {
        let (code, reason) = (refusal.code, refusal.message.clone());
        self.send(vec![session], request_id, Message::Error(refusal));
        self.close(session, code, reason.clone());
        self.outputs.push_back(Output::Event(Event::JoinRefused { session, code, reason }));
    }

    pub(super) fn describe(&self, member: &Member) -> Participant {
        Participant {
            participant_id: member.participant_id,
            name: member.name.clone(),
            streams: self.media.live_of(member.participant_id),
            joined_at_ms: member.joined_at_ms,
            is_muted: member.is_muted,
            is_video_on: member.is_video_on,
            role: member.role,
            user_id: if member.is_account { member.subject.clone() } else { String::new() },
            capabilities: member.capabilities.clone(),
        }
    }

    /// Subscribes participants that want everything; nobody waits for the handler.
    pub(super) fn route_quietly(&mut self, stream_id: StreamId, participants: Vec<ParticipantId>) {
        for participant_id in &participants {
            self.media.subscribe(stream_id, *participant_id, SubscriptionOptions::default());
        }
        let destinations = participants.into_iter().map(|who| (who, SubscriptionOptions::default())).collect();
        self.operations.issue(HandlerCommand::Route { stream_id, destinations }, Purpose::Quiet);
    }
}

/// The generation of every participant's first session.
pub(super) const FIRST: Generation = Generation(1);

/// What a client hears when no handler does what it needs (seed 004, section 7.3).
pub(super) fn no_media_server() -> Refusal {
    Refusal::new(Code::Unavailable, "Media Server Unavailable")
}

/// The token's name, else the stated one, else what the role is called. Both must be good where they are there.
fn choose_name(stated: &str, grant: &JoinGrant) -> Result<String, Refusal> {
    let parse = |text| match parse_name(text) {
        Ok(name) => Ok(Some(name.to_owned())),
        Err(NameError::Empty) => Ok(None),
        Err(error) => Err(Refusal::field("participant_name", error)),
    };
    let (stated, granted) = (parse(stated)?, parse(&grant.display_name)?);
    let unnamed = if grant.role == Role::Host { "Host" } else { "Guest" };
    Ok(granted.or(stated).unwrap_or_else(|| unnamed.to_owned()))
}

fn check_details(join: &Join) -> Result<(), Refusal> {
    for (field, codecs) in
        [("capabilities.video_codecs", &join.capabilities.video_codecs), ("capabilities.audio_codecs", &join.capabilities.audio_codecs)]
    {
        if codecs.len() > CODECS_MAX || codecs.iter().any(|codec| codec.len() > CODEC_BYTES_MAX) {
            return Err(Refusal::field(field, format!("at most {CODECS_MAX} names of {CODEC_BYTES_MAX} bytes")));
        }
    }
    if join.e2ee_key_id.len() > KEY_ID_BYTES_MAX {
        return Err(Refusal::field("e2ee_key_id", format!("at most {KEY_ID_BYTES_MAX} bytes")));
    }
    Ok(())
}
