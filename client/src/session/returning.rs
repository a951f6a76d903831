//! Losses of the session, and returns: what the session does about them. The way back itself is [`come_back`](super::come_back)'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common_core::{Code, ParticipantId, StreamId};
use proto::v1::{self, client_message, server_message};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::come_back::{Back, Silent, WayBack, is_worth_rejoining};
use super::pulse::Pulse;
use super::restore::Return;
use super::{ComingBack, Entered, Session};
use crate::convert::participants;
use crate::end::{SessionEnd, left};
use crate::event::Event;
use crate::records::unix_micros;
use crate::roster::{Participant, Roster};
use crate::signaling::SignalingConnection;
use crate::status::{ConnectionState, SignalingTransport};

impl Session {
    /// The old session speaks again before anything was replaced: it stays.
    pub(super) fn revive(&mut self) {
        if self.connection.is_some() && self.coming_back.as_ref().is_some_and(|it| it.by_silence && !it.committed.load(Ordering::Acquire)) {
            self.coming_back = None;
            self.stands_again(Event::Resumed);
        }
    }

    pub(super) fn move_to(&mut self, reconnect: v1::Reconnect) {
        if let Some(info) = reconnect.media_server {
            self.media_server(info, false);
        }
        if !reconnect.meeting_controller_url.is_empty() && self.leaving.is_none() {
            let trust = self.options.trust_for(&reconnect.certificate_hashes);
            self.controllers.move_to(reconnect.meeting_controller_url, trust);
            self.coming_back = None;
            self.begin_return(&reconnect.reason, false);
        }
    }

    /// The session ended: over for good, or to be taken up again.
    pub(super) fn lose(&mut self, end: SessionEnd) -> Option<SessionEnd> {
        self.connection = None;
        if self.leaving.is_some() {
            return Some(left());
        }
        let moved_by_us = end.code() == Some(Code::Moved) && self.coming_back.is_some();
        let has_tickets = self.options.tickets.is_some();
        if self.is_dismissed || !(end.is_worth_resuming() || moved_by_us || (has_tickets && is_worth_rejoining(&end))) {
            return Some(end);
        }
        if self.coming_back.is_none() {
            self.begin_return(&end.to_string(), false);
        }
        None
    }

    pub(super) fn begin_return(&mut self, reason: &str, by_silence: bool) {
        self.backoff.ended_after(self.pulse.age(self.now()));
        self.outlets.status.send_modify(|status| status.state = ConnectionState::Reconnecting);
        self.tell(Event::Reconnecting { reason: common_core::name::escape(reason, 300) });
        let committed = Arc::new(AtomicBool::new(false));
        let packets = self.connection.as_ref().filter(|_| by_silence).and_then(SignalingConnection::packet_count);
        let way_back = WayBack {
            dialer: self.dialer.clone(),
            options: self.options.clone(),
            controllers: self.controllers.clone(),
            request: v1::JoinRequest {
                join_token: String::new(),
                resume_token: self.resume_token.clone(),
                chat_after_sequence: self.chat_sequence,
                ..self.options.join_request(self.outlets.encryption.as_ref().map(|it| it.key_id()).unwrap_or_default())
            },
            committed: committed.clone(),
            silent: packets.map(|packets| Silent { count: packets.count(), packets }),
            backoff: std::mem::take(&mut self.backoff),
        };
        self.coming_back = Some(ComingBack { task: AbortOnDropHandle::new(tokio::spawn(way_back.go())), committed, by_silence });
    }

    pub(super) fn came_back(&mut self, back: Result<Back, SessionEnd>) -> Option<SessionEnd> {
        self.coming_back = None;
        match back {
            Ok(Back::Resumed(entered)) if entered.response.participant_id != self.me.to_string() => {
                Some(SessionEnd::lost("the controller resumed somebody else"))
            }
            Ok(Back::Resumed(entered)) => {
                self.adopt(entered, Some((Return::Resumed, self.me)));
                self.stands_again(Event::Resumed);
                None
            }
            Ok(Back::Rejoined(entered, controllers)) => {
                let Ok(now) = proto::convert::id("participant_id", &entered.response.participant_id) else {
                    return Some(SessionEnd::lost("the controller let us in without an id"));
                };
                let before = std::mem::replace(&mut self.me, now);
                self.controllers = controllers;
                self.outlets.me.send_modify(|me| {
                    let me = Arc::make_mut(me);
                    // What is published and said of oneself follows as it is granted again.
                    *me = Participant {
                        participant_id: now,
                        joined_at_ms: unix_micros() / 1_000,
                        streams: BTreeMap::new(),
                        is_muted: false,
                        is_video_on: false,
                        ..me.clone()
                    };
                });
                self.adopt(entered, Some((Return::Rejoined, before)));
                self.stands_again(Event::Rejoined { before, now });
                None
            }
            // It spoke again only to end.
            Ok(Back::NotNeeded) if self.connection.is_none() => {
                self.begin_return("the session that was silent has ended", false);
                None
            }
            // A session that is as silent as before is none, whatever QUIC still hopes for: the application's patience is over.
            Err(end) if self.connection.is_none() || self.is_silent() => Some(end),
            // The session that was to be replaced came back meanwhile.
            Ok(Back::NotNeeded) | Err(_) => {
                self.stands_again(Event::Resumed);
                None
            }
        }
    }

    fn stands_again(&self, event: Event) {
        self.outlets.status.send_modify(|status| status.state = ConnectionState::Connected);
        self.tell(event);
    }

    /// Takes a session over, with its snapshot; after a loss as `how` says, and as whom we were before.
    pub(super) fn adopt(&mut self, entered: Entered, how: Option<(Return, ParticipantId)>) {
        let Entered { connection, url, response } = entered;
        let signaling = match connection.session() {
            Some(_) => SignalingTransport::WebTransport,
            None => SignalingTransport::WebSocket,
        };
        // The old session, if any, ends here: the new one stands.
        self.connection = Some(connection);
        self.controllers.stands_at(&url, response.alternate_controller_urls);
        self.resume_token.clone_from(&response.resume_token);
        let me = self.me;
        self.outlets.status.send_modify(|status| {
            (status.participant_id, status.resume_token, status.signaling) = (me, response.resume_token, signaling);
        });
        self.pulse = Pulse::new(response.heartbeat_interval_ms, self.now());
        let mut others = participants(response.existing_participants);
        let known: Vec<StreamId> =
            others.iter().filter(|it| it.participant_id == self.me).flat_map(|it| it.streams.keys().copied()).collect();
        if let Some(oneself) = others.iter().find(|it| it.participant_id == self.me) {
            self.outlets.me.send_replace(Arc::new(oneself.clone()));
        }
        others.retain(|it| it.participant_id != self.me);
        match how {
            None => {
                self.change_roster(|roster| {
                    *roster = Roster::new(others);
                    Vec::new()
                });
            }
            Some(_) => self.change_roster(|roster| roster.replace(others)),
        }
        let mut said = BTreeMap::new();
        let is_rejoined = matches!(how, Some((Return::Rejoined, _)));
        for chat in response.chat {
            if let Some((Return::Rejoined, before)) = how
                && chat.sender_id == before.to_string()
            {
                said.insert(chat.client_message_id.clone(), chat.clone());
            }
            self.unasked(server_message::Body::Chat(chat));
        }
        if let Some((how, _)) = how {
            self.restore(how, &known, &response.subscriptions, said);
        }
        if let Some(info) = response.media_server {
            self.media_server(info, is_rejoined);
        }
        self.flush();
    }

    /// After a return: what the controller does not know any more is said again, and requests that were under way are
    /// repeated where that does no harm.
    fn restore(&mut self, how: Return, known: &[StreamId], subscriptions: &[String], mut said: BTreeMap<String, v1::ChatMessage>) {
        let is_known = |id: &str| known.iter().any(|stream| stream.to_string() == id);
        for pending in self.requests.carry_over(how, is_known, |id| said.contains_key(id)) {
            let message = match pending.body() {
                Some(client_message::Body::Chat(chat)) => said.remove(&chat.client_message_id),
                _ => None,
            };
            self.answer(pending, message.map_or(server_message::Body::Ack(v1::Ack {}), server_message::Body::Chat));
        }
        let missing = self.standing.missing(is_known, subscriptions, how == Return::Rejoined);
        self.requests.restore(missing, Instant::now());
    }
}
