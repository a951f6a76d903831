//! What controllers ask for: participants with their media streams, and who gets which.

use std::time::Duration;

use common_core::departures::Process;
use common_core::media::{MediaStream, STREAMS_PER_PARTICIPANT_MAX, SubscriptionOptions};
use common_core::{Code, Generation, MeetingId, Moment, NodeId, ParticipantId, StreamId};
use thiserror::Error;

use super::{Address, Hub, Participant, Published};
use crate::arena::Key;
use crate::fate::Fates;
use crate::key_frames::Losses;
use crate::source::Source;
use crate::subscription::{Following, Subscription};

/// Why a participant is not registered or removed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// Another controller registered it, with this generation or a newer one.
    #[error("the participant is another controller's")]
    OtherController,
    /// It has joined or resumed since.
    #[error("generation {given:?} is older than {known:?}")]
    Stale {
        /// What the call says.
        given: Generation,
        /// What was registered.
        known: Generation,
    },
    /// An id among the media streams or layers is taken.
    #[error("stream id {0} is registered already")]
    Taken(StreamId),
    /// Too many media streams.
    #[error("streams: a participant may publish {STREAMS_PER_PARTICIPANT_MAX} media streams")]
    TooManyStreams,
    /// Too many media streams of all participants.
    #[error("this handler takes no more media streams")]
    FullOfStreams,
    /// This handler is full.
    #[error("this handler serves no more participants")]
    Full,
}

/// Why a route is not set or removed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// Nobody in that meeting publishes it here.
    #[error("media stream {0} is not published in this meeting here")]
    UnknownStream(StreamId),
    /// Not in that meeting here.
    #[error("participant {0} is not registered in this meeting here")]
    UnknownParticipant(ParticipantId),
    /// Registered by another controller.
    #[error("participant {0} is another controller's")]
    OtherController(ParticipantId),
    /// That participant subscribes to as many as one may.
    #[error("participant {0} may not subscribe to more media streams")]
    TooMany(ParticipantId),
    /// All participants together subscribe to as many as this handler serves.
    #[error("this handler serves no more subscriptions")]
    Full,
}

/// One subscriber of a route.
pub type Destination = (ParticipantId, SubscriptionOptions);

impl Hub {
    /// Registers a participant with the whole list of what it publishes, or updates it. All or nothing.
    pub fn register_participant(
        &mut self,
        now: Moment,
        owner: &NodeId,
        address: (MeetingId, ParticipantId),
        generation: Generation,
        streams: Vec<MediaStream>,
    ) -> Result<(), RegisterError> {
        match self.participants.get(&address) {
            Some(known) if known.owner != *owner && generation <= known.generation => return Err(RegisterError::OtherController),
            Some(known) if generation < known.generation => {
                return Err(RegisterError::Stale { given: generation, known: known.generation });
            }
            None if self.participants.len() >= self.limits.participants_max => return Err(RegisterError::Full),
            None if let Some((removed, _)) = self.removed.get(&address).filter(|(removed, _)| generation <= *removed) => {
                return Err(RegisterError::Stale { given: generation, known: *removed });
            }
            _ => {}
        }
        if streams.len() > STREAMS_PER_PARTICIPANT_MAX {
            return Err(RegisterError::TooManyStreams);
        }
        self.check_ids(address, &streams)?;
        self.check_room(address, &streams)?;
        let participant = self.participants.entry(address).or_insert_with(|| Participant {
            owner: owner.clone(),
            process: 0,
            registered_at: now,
            generation,
            streams: Default::default(),
            subscriptions: Default::default(),
            sessions: Vec::new(),
        });
        (participant.owner, participant.generation, participant.registered_at) = (owner.clone(), generation, now);
        let kept = |published: &Published| {
            streams.iter().any(|stream| {
                stream.stream_id == published.stream.stream_id
                    && stream.stream_type == published.stream.stream_type
                    && stream.frame_ids() == published.stream.frame_ids()
            })
        };
        let gone: Vec<StreamId> = participant.streams.iter().filter(|(_, published)| !kept(published)).map(|(id, _)| *id).collect();
        // A media stream whose layers changed keeps its subscribers.
        let mut again: Vec<(StreamId, Destination)> = Vec::new();
        for media_stream in gone {
            if streams.iter().any(|stream| stream.stream_id == media_stream) {
                again.extend(self.destinations(address.0, media_stream).into_iter().map(|destination| (media_stream, destination)));
            }
            self.remove_media_stream(address, media_stream, now);
        }
        for stream in streams {
            self.add_media_stream(address, stream, now);
        }
        for (media_stream, (participant, options)) in again {
            self.subscribe(now, (address.0, participant), media_stream, options);
        }
        Ok(())
    }

    /// Notes which process of its controller a participant hangs on.
    pub fn note_process(&mut self, address: (MeetingId, ParticipantId), start_number: u64) {
        if let Some(participant) = self.participants.get_mut(&address) {
            participant.process = start_number;
        }
    }

    /// Removes participants without a media session whose controllers' processes are none of `present`: nobody is left who would. Returns how
    /// many. Whoever still has a session keeps it, and goes when it is over; and a process that has registered somebody within `patience` is
    /// there, even if it is too young for any list.
    pub fn remove_abandoned(&mut self, now: Moment, present: &[Process], patience: Duration) -> usize {
        let is_abandoned = |participant: &Participant| {
            participant.process != 0
                && participant.sessions.is_empty()
                && now.since(participant.registered_at) > patience
                && !present.iter().any(|(controller, process)| (controller, *process) == (&participant.owner, participant.process))
        };
        let abandoned: Vec<(Address, NodeId, Generation)> = self
            .participants
            .iter()
            .filter(|(_, participant)| is_abandoned(participant))
            .map(|(address, participant)| (*address, participant.owner.clone(), participant.generation))
            .collect();
        let mut gone = |(address, owner, generation): &(Address, NodeId, Generation)| {
            self.remove_participant(now, owner, *address, *generation, Code::Moved, "its controller is gone").is_ok()
        };
        abandoned.iter().map(&mut gone).filter(|gone| *gone).count()
    }

    /// Removes a participant, what it publishes and what it subscribes to, and closes its sessions. A generation older
    /// than the registered one changes nothing, nor does an unknown participant.
    pub fn remove_participant(
        &mut self,
        now: Moment,
        owner: &NodeId,
        address: (MeetingId, ParticipantId),
        generation: Generation,
        code: Code,
        reason: &str,
    ) -> Result<(), RegisterError> {
        let Some(participant) = self.participants.get(&address) else { return Ok(()) };
        if participant.owner != *owner {
            return Err(RegisterError::OtherController);
        }
        if generation < participant.generation {
            return Ok(());
        }
        let (streams, subscriptions) =
            (participant.streams.keys().copied().collect::<Vec<_>>(), participant.subscriptions.values().copied().collect::<Vec<_>>());
        let sessions = participant.sessions.clone();
        for media_stream in streams {
            self.remove_media_stream(address, media_stream, now);
        }
        for subscription in subscriptions {
            self.remove_subscription(subscription, code, now);
        }
        for session in sessions {
            self.close(session, code, reason);
        }
        self.tokens.retain(|_, token| token.address != address);
        self.participants.remove(&address);
        // Nobody is removed and registered again with the same generation: who comes back is somebody new, or has a newer one. But who was
        // only withdrawn because the meeting is elsewhere comes back as it was when the meeting does.
        if code != Code::Moved && self.removed.len() < self.limits.participants_max {
            self.removed.insert(address, (generation, now));
        }
        Ok(())
    }

    /// Subscribes `destinations` to a media stream of `meeting`, or updates their options. All or nothing.
    pub fn route_media(
        &mut self,
        now: Moment,
        owner: &NodeId,
        meeting: MeetingId,
        media_stream: StreamId,
        destinations: Vec<Destination>,
    ) -> Result<(), RouteError> {
        if !self.media_streams.contains_key(&(meeting, media_stream)) {
            return Err(RouteError::UnknownStream(media_stream));
        }
        for (participant, _) in &destinations {
            match self.participants.get(&(meeting, *participant)) {
                None => return Err(RouteError::UnknownParticipant(*participant)),
                Some(known) if known.owner != *owner => return Err(RouteError::OtherController(*participant)),
                Some(_) => {}
            }
        }
        self.check_routes(meeting, media_stream, &destinations)?;
        for (participant, options) in destinations {
            self.subscribe(now, (meeting, participant), media_stream, options);
        }
        Ok(())
    }

    /// Ends subscriptions; those that are not there are passed over.
    pub fn unroute_media(
        &mut self,
        now: Moment,
        owner: &NodeId,
        meeting: MeetingId,
        media_stream: StreamId,
        destinations: &[ParticipantId],
    ) -> Result<(), RouteError> {
        let mut found = Vec::new();
        for id in destinations {
            let Some(participant) = self.participants.get(&(meeting, *id)) else { continue };
            if participant.owner != *owner {
                return Err(RouteError::OtherController(*id));
            }
            found.extend(participant.subscriptions.get(&media_stream));
        }
        for subscription in found {
            self.remove_subscription(subscription, Code::Normal, now);
        }
        Ok(())
    }

    /// Participants registered now.
    pub fn participants(&self) -> usize {
        self.participants.len()
    }

    /// Every id of `streams` must be free, or `address`'s own already, and stand there once.
    fn check_ids(&self, address: Address, streams: &[MediaStream]) -> Result<(), RegisterError> {
        let mut seen = std::collections::BTreeSet::new();
        for stream in streams {
            let layers = stream.frame_ids().into_iter().filter(|id| *id != stream.stream_id);
            for id in std::iter::once(stream.stream_id).chain(layers) {
                let publisher = self.frame_owner(address.0, id).or(self.media_streams.get(&(address.0, id)).copied());
                let taken = publisher.is_some_and(|by| by != address.1);
                if taken || !seen.insert(id) {
                    return Err(RegisterError::Taken(id));
                }
            }
        }
        Ok(())
    }

    fn add_media_stream(&mut self, address: Address, stream: MediaStream, now: Moment) {
        let Some(participant) = self.participants.get_mut(&address) else { return };
        if let Some(published) = participant.streams.get_mut(&stream.stream_id) {
            published.stream = stream;
            return;
        }
        let source = |frame_id| Source::new(frame_id, address.0, address.1, stream.stream_type.is_audio());
        let mut sources = Vec::new();
        for frame_id in stream.frame_ids() {
            let key = self.sources.insert(source(frame_id));
            self.frame_ids.insert((address.0, frame_id), key);
            sources.push(key);
        }
        self.media_streams.insert((address.0, stream.stream_id), address.1);
        participant.streams.insert(stream.stream_id, Published { stream, sources: sources.clone() });
        for source in sources {
            self.mind_takers(source, now);
        }
    }

    fn remove_media_stream(&mut self, address: Address, media_stream: StreamId, now: Moment) {
        let Some(published) = self.participants.get(&address).and_then(|participant| participant.streams.get(&media_stream)) else {
            return;
        };
        let sources = published.sources.clone();
        for subscription in self.listeners(address.0, media_stream) {
            self.remove_subscription(subscription, Code::StreamError, now);
        }
        for key in sources {
            if let Some(source) = self.sources.remove(key) {
                self.frame_ids.remove(&(source.meeting, source.frame_id));
                self.forget_takers(key, &source);
                self.totals.bytes_received += source.bytes_received;
            }
            self.wanting.remove(&key);
            self.sounding.remove(&key);
        }
        self.media_streams.remove(&(address.0, media_stream));
        if let Some(participant) = self.participants.get_mut(&address) {
            participant.streams.remove(&media_stream);
        }
    }

    fn listeners(&self, meeting: MeetingId, media_stream: StreamId) -> Vec<Key<Subscription>> {
        let source = self.published(meeting, media_stream).and_then(|published| self.sources.get(*published.sources.first()?));
        source.map(|source| source.listeners.clone()).unwrap_or_default()
    }

    fn destinations(&self, meeting: MeetingId, media_stream: StreamId) -> Vec<Destination> {
        let subscriptions = self.listeners(meeting, media_stream).into_iter().filter_map(|key| self.subscriptions.get(key));
        subscriptions.map(|subscription| (subscription.participant, subscription.options.clone())).collect()
    }

    fn subscribe(&mut self, now: Moment, address: Address, media_stream: StreamId, options: SubscriptionOptions) {
        let Some(published) = self.published(address.0, media_stream) else { return };
        let Some(source) = published.choose(&options) else { return };
        let (sources, is_audio) = (published.sources.clone(), published.stream.stream_type.is_audio());
        let budget = options.latency_budget();
        let Some(participant) = self.participants.get_mut(&address) else { return };
        if let Some(key) = participant.subscriptions.get(&media_stream).copied() {
            let changed = self.subscriptions.get(key).is_some_and(|subscription| subscription.source != source);
            let before = self.taken(key);
            if changed {
                self.end_cursors(key, Code::Normal);
            }
            if let Some(subscription) = self.subscriptions.get_mut(key) {
                (subscription.options, subscription.budget, subscription.source) = (options, budget, source);
            }
            if changed {
                self.change_taker(before, self.taken(key), now);
                self.start(key, now);
            }
            return;
        }
        let session = participant.sessions.last().copied();
        let key = self.subscriptions.insert(Subscription {
            meeting: address.0,
            participant: address.1,
            media_stream,
            is_audio,
            source,
            options,
            budget,
            session,
            following: Following::Waiting,
            cursors: Vec::new(),
            is_ready: false,
            is_blocked: false,
            burst_until: None,
            parked: None,
            losses: Losses::default(),
            fates: Fates::default(),
            bytes_sent: 0,
            reported: None,
            to_report: None,
        });
        participant.subscriptions.insert(media_stream, key);
        for source in sources {
            if let Some(source) = self.sources.get_mut(source) {
                source.listeners.push(key);
            }
        }
        self.change_taker(None, self.taken(key), now);
        self.start(key, now);
    }
}
