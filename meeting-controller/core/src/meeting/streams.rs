//! Publishing and subscribing, and what the handler answers to either.

use common_core::media::{MediaStream, SubscriptionOptions};
use common_core::{Code, Moment, ParticipantId, StreamId};

use super::Meeting;
use super::join::no_media_server;
use crate::handler::{HandlerAnswer, HandlerCommand, HandlerFailure, Mark, OperationId, Purpose, Reply, Subject};
use crate::message::{Message, Refusal, SessionKey, StreamQuality};
use crate::output::{Event, Output};
use crate::quality::Key;

impl Meeting {
    pub(super) fn publish(&mut self, reply: Reply, participant_id: ParticipantId, media_stream: MediaStream) {
        let media_stream = MediaStream { participant_id, ..media_stream };
        let stream_id = media_stream.stream_id;
        match self.media.reserve(media_stream) {
            Ok(number) => self.register(participant_id, false, Purpose::Publish { reply, participant_id, stream_id, number }),
            Err(refusal) => self.refuse(reply, refusal),
        }
    }

    fn publish_answered(
        &mut self,
        now: Moment,
        reply: Reply,
        participant_id: ParticipantId,
        (stream_id, number): (StreamId, u64),
        failure: Option<Code>,
    ) {
        if let Some(code) = failure {
            if self.media.stands(stream_id, number) {
                self.media.withdraw(stream_id);
            }
            // The call may have come through all the same.
            self.operations.mark(now, Mark::Participant { participant_id, pushes_token: false });
            self.refuse(reply, refused_by_handler(code));
            return;
        }
        let Some(media_stream) = self.media.go_live(stream_id, number).cloned() else {
            self.refuse(reply, Refusal::new(Code::NotFound, "it was unpublished meanwhile"));
            return;
        };
        self.tell_others(participant_id, Message::StreamPublished(media_stream.clone()));
        self.outputs.push_back(Output::Event(Event::Published(Box::new(media_stream))));
        let wants = |member: &&crate::roster::Member| member.auto_subscribe && member.participant_id != participant_id;
        let takers: Vec<ParticipantId> = self.roster.members().filter(wants).map(|member| member.participant_id).collect();
        if takers.is_empty() {
            self.answer(reply, Message::Ack);
            return;
        }
        for taker in &takers {
            self.media.subscribe(stream_id, *taker, SubscriptionOptions::default());
        }
        let destinations = takers.into_iter().map(|taker| (taker, SubscriptionOptions::default())).collect();
        self.operations.issue(HandlerCommand::Route { stream_id, destinations }, Purpose::Acknowledge(reply));
    }

    pub(super) fn unpublish(&mut self, reply: Reply, participant_id: ParticipantId, stream_id: StreamId) {
        let was_live = self.media.live(stream_id).is_some();
        let withdrawn = self.media.withdraw(stream_id);
        self.quality.forget_stream(stream_id);
        if let Some(media_stream) = withdrawn.filter(|_| was_live) {
            self.tell_others(participant_id, Message::StreamUnpublished { participant_id, stream_id });
            self.outputs.push_back(Output::Event(Event::Unpublished(Box::new(media_stream))));
        }
        self.register(participant_id, false, Purpose::Acknowledge(reply));
    }

    pub(super) fn subscribe(&mut self, reply: Reply, participant_id: ParticipantId, stream_id: StreamId, options: SubscriptionOptions) {
        let before = self.media.subscribe(stream_id, participant_id, options.clone());
        let command = HandlerCommand::Route { stream_id, destinations: vec![(participant_id, options)] };
        self.operations.issue(command, Purpose::Subscribe { reply, participant_id, stream_id, before });
    }

    fn subscribe_answered(
        &mut self,
        now: Moment,
        reply: Reply,
        subscription: (StreamId, ParticipantId),
        before: Option<SubscriptionOptions>,
        has_failed: bool,
    ) {
        let (stream_id, participant_id) = subscription;
        if !has_failed {
            let stands = self.media.live(stream_id).is_some();
            let answer = if stands { Message::Ack } else { Message::Error(not_found("the media stream was unpublished meanwhile")) };
            self.answer(reply, answer);
            return;
        }
        if self.media.subscription(stream_id, participant_id).is_some() {
            match before {
                Some(options) => drop(self.media.subscribe(stream_id, participant_id, options)),
                None => drop(self.media.unsubscribe(stream_id, participant_id)),
            }
        }
        self.operations.mark(now, Mark::Route { stream_id, participant_id });
        self.refuse(reply, no_media_server());
    }

    pub(super) fn unsubscribe(&mut self, reply: Reply, participant_id: ParticipantId, stream_id: StreamId) {
        self.media.unsubscribe(stream_id, participant_id);
        let command = HandlerCommand::Unroute { stream_id, participants: vec![participant_id] };
        self.operations.issue(command, Purpose::Acknowledge(reply));
    }

    pub(super) fn issue_media_server(&mut self, reply: Reply, participant_id: ParticipantId) {
        self.register(participant_id, true, Purpose::MediaServer { reply, participant_id });
    }

    /// A subscriber's figures go to the publisher, a publisher's own are only acknowledged.
    pub(super) fn report_quality(&mut self, now: Moment, reply: Reply, participant_id: ParticipantId, quality: StreamQuality) {
        let stream_id = quality.stream_id;
        let publisher = self.media.live(stream_id).map(|media_stream| media_stream.participant_id);
        if let Some(publisher) = publisher.filter(|publisher| *publisher != participant_id)
            && let Some(session) = self.roster.session_of(publisher)
            && self.quality.passes(now, Key { stream_id, to: publisher, reported: true }, quality)
        {
            self.send(vec![session], 0, Message::Quality(quality));
        }
        self.answer(reply, Message::Ack);
    }

    /// Figures of the handler, for a media stream that the participant publishes or takes.
    pub(super) fn telemetry(&mut self, now: Moment, participant_id: ParticipantId, quality: StreamQuality) {
        let stream_id = quality.stream_id;
        let publishes = self.media.live(stream_id).is_some_and(|media_stream| media_stream.participant_id == participant_id);
        let takes = self.media.subscription(stream_id, participant_id).is_some();
        let key = Key { stream_id, to: participant_id, reported: false };
        if let Some(session) = self.roster.session_of(participant_id)
            && (publishes || takes)
            && self.quality.passes(now, key, quality)
        {
            self.send(vec![session], 0, Message::Quality(quality));
        }
    }

    /// Another handler, or a restarted one, is told everything; who is there is told to dial.
    pub(super) fn handler_changed(&mut self, now: Moment, reason: String, except: Option<SessionKey>) {
        let under_way = self.operations.start_over();
        self.reconnect_reason = reason;
        let members: Vec<ParticipantId> = self.roster.by_arrival().into_iter().map(|member| member.participant_id).collect();
        for participant_id in members {
            let told = self.roster.session_of(participant_id).is_some_and(|session| Some(session) != except);
            let purpose = if told { Purpose::Reconnect(participant_id) } else { Purpose::Quiet };
            self.register(participant_id, told, purpose);
        }
        for stream_id in self.media.live_ids() {
            let destinations = self.media.subscriptions_to(stream_id);
            if !destinations.is_empty() {
                self.operations.issue(HandlerCommand::Route { stream_id, destinations }, Purpose::Quiet);
            }
        }
        for (command, purpose) in under_way {
            self.issue_anew(now, command, purpose);
        }
    }

    /// What was under way when the handler changed: as it stands now, not as it stood when it was first issued.
    fn issue_anew(&mut self, now: Moment, command: HandlerCommand, purpose: Purpose) {
        match (command, purpose) {
            // Told with everything else.
            (_, Purpose::Quiet | Purpose::Reconnect(_)) => {}
            // Given up meanwhile, and nothing to withdraw from a handler that never heard of it.
            (_, Purpose::Join(session)) if !self.joins.contains_key(&session) => {}
            (HandlerCommand::Register { participant_id, issue_token, .. }, purpose) if self.roster.find(participant_id).is_some() => {
                self.register(participant_id, issue_token, purpose);
            }
            (command, purpose @ Purpose::Join(_)) => self.operations.issue(command, purpose),
            (HandlerCommand::Register { .. }, _) => {}
            (HandlerCommand::Route { stream_id, destinations }, purpose) => {
                let wanted = |who| self.media.subscription(stream_id, who).map(|options| (who, options.clone()));
                let destinations: Vec<_> = destinations.into_iter().filter_map(|(who, _)| wanted(who)).collect();
                if destinations.is_empty() {
                    self.conclude(now, &HandlerCommand::Route { stream_id, destinations }, purpose, Ok(HandlerAnswer::Done));
                } else {
                    self.operations.issue(HandlerCommand::Route { stream_id, destinations }, purpose);
                }
            }
            (command @ (HandlerCommand::Unroute { .. } | HandlerCommand::Remove { .. }), purpose) => {
                self.conclude(now, &command, purpose, Ok(HandlerAnswer::Done));
            }
        }
    }

    pub(super) fn handler_answered(&mut self, now: Moment, operation: OperationId, result: Result<HandlerAnswer, HandlerFailure>) {
        let Some((command, purpose)) = self.operations.answered(operation) else { return };
        match &result {
            Ok(_) => self.settle(now, &command),
            Err(failure) => self.outputs.push_back(Output::Event(Event::HandlerFailed { reason: failure.reason.clone() })),
        }
        self.conclude(now, &command, purpose, result);
    }

    /// Tells whoever waits, and notes what is left undone.
    fn conclude(&mut self, now: Moment, command: &HandlerCommand, purpose: Purpose, result: Result<HandlerAnswer, HandlerFailure>) {
        match purpose {
            Purpose::Join(session) => self.join_answered(now, session, result),
            Purpose::Publish { reply, participant_id, stream_id, number } => {
                self.publish_answered(now, reply, participant_id, (stream_id, number), result.err().map(|failure| failure.code));
            }
            Purpose::Subscribe { reply, participant_id, stream_id, before } => {
                self.subscribe_answered(now, reply, (stream_id, participant_id), before, result.is_err());
            }
            Purpose::Acknowledge(reply) => {
                if result.is_err() {
                    self.mark_undone(now, command, false);
                }
                self.answer(reply, Message::Ack);
            }
            Purpose::AcknowledgeStored(reply) => {
                if result.is_err() {
                    self.mark_undone(now, command, false);
                }
                if self.awaits(reply) {
                    self.outputs.push_back(Output::AckWhenStored { session: reply.session, request_id: reply.request_id });
                }
            }
            Purpose::MediaServer { reply, participant_id } => match result {
                Ok(HandlerAnswer::Registered(media_server)) => self.answer(reply, Message::MediaServer(media_server)),
                _ => {
                    self.operations.mark(now, Mark::Participant { participant_id, pushes_token: false });
                    self.refuse(reply, no_media_server());
                }
            },
            Purpose::Reconnect(participant_id) => match result {
                Ok(HandlerAnswer::Registered(media_server)) => {
                    let reason = self.reconnect_reason.clone();
                    let to = self.roster.session_of(participant_id).into_iter().collect();
                    self.send(to, 0, Message::Reconnect { media_server, reason });
                }
                _ => self.mark_undone(now, command, true),
            },
            Purpose::Quiet => {
                if result.is_err() {
                    self.mark_undone(now, command, false);
                }
            }
        }
    }

    fn mark_undone(&mut self, now: Moment, command: &HandlerCommand, pushes_token: bool) {
        for mark in marks_of(command, pushes_token) {
            self.operations.mark(now, mark);
        }
    }

    /// The handler did it. If the meeting has changed since then, and no later operation tells the handler, one must.
    fn settle(&mut self, now: Moment, command: &HandlerCommand) {
        for (subject, mark) in command.subjects().into_iter().zip(marks_of(command, false)) {
            if self.operations.is_under_way(subject) {
                continue;
            }
            self.operations.settle(mark);
            if !self.is_as_wanted(command, subject) {
                self.operations.mark(now, mark);
            }
        }
        if matches!(command, HandlerCommand::Register { issue_token: true, .. }) {
            for mark in marks_of(command, true) {
                self.operations.settle(mark);
            }
        }
    }

    fn is_as_wanted(&self, command: &HandlerCommand, subject: Subject) -> bool {
        match (command, subject) {
            (HandlerCommand::Register { participant_id, streams, generation, .. }, _) => {
                // Who is on the way in is not a member yet; who is gone was withdrawn.
                let member = self.roster.find(*participant_id);
                member.is_none_or(|member| member.generation == *generation && self.media.of(*participant_id) == *streams)
            }
            (HandlerCommand::Remove { .. }, _) => true,
            (HandlerCommand::Route { destinations, .. }, Subject::Route(stream_id, participant_id)) => {
                let wanted = self.media.subscription(stream_id, participant_id);
                destinations.iter().any(|(who, options)| *who == participant_id && Some(options) == wanted)
            }
            (HandlerCommand::Unroute { .. }, Subject::Route(stream_id, participant_id)) => {
                self.media.subscription(stream_id, participant_id).is_none()
            }
            (_, Subject::Participant(_)) => true,
        }
    }
}

/// What a command was about.
fn marks_of(command: &HandlerCommand, pushes_token: bool) -> Vec<Mark> {
    match command {
        HandlerCommand::Register { participant_id, .. } => vec![Mark::Participant { participant_id: *participant_id, pushes_token }],
        HandlerCommand::Remove { participant_id, generation, code, .. } => {
            vec![Mark::Gone { participant_id: *participant_id, generation: generation.0, code: *code }]
        }
        HandlerCommand::Route { stream_id, destinations } => {
            destinations.iter().map(|(participant_id, _)| Mark::Route { stream_id: *stream_id, participant_id: *participant_id }).collect()
        }
        HandlerCommand::Unroute { stream_id, participants } => {
            participants.iter().map(|participant_id| Mark::Route { stream_id: *stream_id, participant_id: *participant_id }).collect()
        }
    }
}

fn not_found(text: &str) -> Refusal {
    Refusal::new(Code::NotFound, text)
}

/// What a publisher hears when its media stream is not taken.
fn refused_by_handler(code: Code) -> Refusal {
    match code {
        Code::Conflict => Refusal::new(code, "this media stream's id is taken"),
        Code::InvalidRequest | Code::CapacityExceeded => Refusal::new(code, "the media handler does not take this media stream"),
        _ => no_media_server(),
    }
}
