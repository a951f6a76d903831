//! What is published in a meeting, and who takes it: the wanted state that handlers mirror.

use std::collections::BTreeMap;

use common_core::media::{MediaStream, STREAMS_PER_PARTICIPANT_MAX, SubscriptionOptions};
use common_core::{Code, ParticipantId, StreamId};

use crate::message::Refusal;

/// Media streams in one meeting: with every field at its limit a roster of them still fits a server message of 4 MiB.
pub(crate) const STREAMS_PER_MEETING_MAX: usize = 3000;

#[derive(Debug)]
struct Published {
    media_stream: MediaStream,
    /// In the order of publication.
    number: u64,
    /// The handler knows it, and so do the others.
    is_live: bool,
    subscriptions: BTreeMap<ParticipantId, SubscriptionOptions>,
}

/// Media streams and subscriptions of one meeting.
#[derive(Debug, Default)]
pub(crate) struct Media {
    published: BTreeMap<StreamId, Published>,
    /// Every id that stands in a frame or names a media stream, and the media stream it belongs to.
    taken: BTreeMap<StreamId, StreamId>,
    last_number: u64,
}

impl Media {
    /// Takes the ids of a media stream, which nobody sees yet. The number tells this publication from another of the same id.
    pub fn reserve(&mut self, media_stream: MediaStream) -> Result<u64, Refusal> {
        let mut ids = media_stream.frame_ids();
        if !ids.contains(&media_stream.stream_id) {
            ids.push(media_stream.stream_id);
        }
        if let Some(taken) = ids.iter().find(|id| self.taken.contains_key(id)) {
            return Err(Refusal::new(Code::Conflict, format!("the stream id {taken} is taken in this meeting")));
        }
        if self.of(media_stream.participant_id).len() >= STREAMS_PER_PARTICIPANT_MAX {
            return Err(Refusal::new(
                Code::CapacityExceeded,
                format!("a participant may publish {STREAMS_PER_PARTICIPANT_MAX} media streams at a time"),
            ));
        }
        if self.published.len() >= STREAMS_PER_MEETING_MAX {
            return Err(Refusal::new(
                Code::CapacityExceeded,
                format!("a meeting may have {STREAMS_PER_MEETING_MAX} media streams at a time"),
            ));
        }
        for id in ids {
            self.taken.insert(id, media_stream.stream_id);
        }
        self.last_number += 1;
        let published = Published { number: self.last_number, is_live: false, subscriptions: BTreeMap::new(), media_stream };
        self.published.insert(published.media_stream.stream_id, published);
        Ok(self.last_number)
    }

    /// The handler knows it: everyone may. `None` if that publication was withdrawn meanwhile.
    pub fn go_live(&mut self, stream_id: StreamId, number: u64) -> Option<&MediaStream> {
        let published = self.published.get_mut(&stream_id).filter(|published| published.number == number)?;
        published.is_live = true;
        Some(&published.media_stream)
    }

    /// Whether that publication still stands.
    pub fn stands(&self, stream_id: StreamId, number: u64) -> bool {
        self.published.get(&stream_id).is_some_and(|published| published.number == number)
    }

    /// Gives the ids back and forgets the subscriptions.
    pub fn withdraw(&mut self, stream_id: StreamId) -> Option<MediaStream> {
        let published = self.published.remove(&stream_id)?;
        self.taken.retain(|_, owner| *owner != stream_id);
        Some(published.media_stream)
    }

    /// The media stream, if it is live.
    pub fn live(&self, stream_id: StreamId) -> Option<&MediaStream> {
        self.published.get(&stream_id).filter(|published| published.is_live).map(|published| &published.media_stream)
    }

    /// The media stream, live or not.
    pub fn any(&self, stream_id: StreamId) -> Option<&MediaStream> {
        self.published.get(&stream_id).map(|published| &published.media_stream)
    }

    /// All of a participant's, in the order of publication: what its handler registers.
    pub fn of(&self, participant_id: ParticipantId) -> Vec<MediaStream> {
        self.select(|published| published.media_stream.participant_id == participant_id)
    }

    /// Those of a participant's that others see.
    pub fn live_of(&self, participant_id: ParticipantId) -> Vec<MediaStream> {
        self.select(|published| published.is_live && published.media_stream.participant_id == participant_id)
    }

    /// Live media streams of everyone else.
    pub fn live_of_others(&self, participant_id: ParticipantId) -> Vec<StreamId> {
        let others = self.select(|published| published.is_live && published.media_stream.participant_id != participant_id);
        others.into_iter().map(|media_stream| media_stream.stream_id).collect()
    }

    fn select(&self, wanted: impl Fn(&Published) -> bool) -> Vec<MediaStream> {
        let mut found: Vec<&Published> = self.published.values().filter(|published| wanted(published)).collect();
        found.sort_by_key(|published| published.number);
        found.into_iter().map(|published| published.media_stream.clone()).collect()
    }

    /// Sets a subscription to a live media stream; returns what stood before.
    pub fn subscribe(&mut self, stream_id: StreamId, to: ParticipantId, options: SubscriptionOptions) -> Option<SubscriptionOptions> {
        self.published.get_mut(&stream_id)?.subscriptions.insert(to, options)
    }

    /// Ends a subscription; false if there is none.
    pub fn unsubscribe(&mut self, stream_id: StreamId, participant_id: ParticipantId) -> bool {
        self.published.get_mut(&stream_id).is_some_and(|published| published.subscriptions.remove(&participant_id).is_some())
    }

    /// The options of a subscription that stands.
    pub fn subscription(&self, stream_id: StreamId, participant_id: ParticipantId) -> Option<&SubscriptionOptions> {
        self.published.get(&stream_id)?.subscriptions.get(&participant_id)
    }

    /// Everyone who takes a media stream.
    pub fn subscriptions_to(&self, stream_id: StreamId) -> Vec<(ParticipantId, SubscriptionOptions)> {
        let published = self.published.get(&stream_id);
        published.into_iter().flat_map(|published| &published.subscriptions).map(|(who, options)| (*who, options.clone())).collect()
    }

    /// What a participant takes.
    pub fn subscriptions_of(&self, participant_id: ParticipantId) -> Vec<StreamId> {
        let taking = self.published.iter().filter(|(_, published)| published.subscriptions.contains_key(&participant_id));
        taking.map(|(stream_id, _)| *stream_id).collect()
    }

    /// A participant is gone: its subscriptions and media streams with it, which are handed out.
    pub fn remove_participant(&mut self, participant_id: ParticipantId) -> Vec<MediaStream> {
        for published in self.published.values_mut() {
            published.subscriptions.remove(&participant_id);
        }
        let own = self.of(participant_id);
        for media_stream in &own {
            self.withdraw(media_stream.stream_id);
        }
        own
    }

    /// Ids of live media streams.
    pub fn live_ids(&self) -> Vec<StreamId> {
        self.published.iter().filter(|(_, published)| published.is_live).map(|(stream_id, _)| *stream_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common_core::media::{Layer, StreamType, VideoShape};

    fn person(byte: u8) -> ParticipantId {
        ParticipantId::from_bytes([byte; 16])
    }

    fn stream(byte: u8) -> StreamId {
        StreamId::from_bytes([byte; 16])
    }

    fn media_stream(owner: u8, id: u8, layers: &[u8]) -> MediaStream {
        let layer = |id: &u8| Layer { layer_id: id.to_string(), width: 1, height: 1, max_bitrate: 1, stream_id: stream(*id) };
        MediaStream {
            stream_id: stream(id),
            participant_id: person(owner),
            stream_type: StreamType::VideoCamera,
            codec: "VP9".into(),
            max_bitrate: 0,
            video: Some(VideoShape { layers: layers.iter().map(layer).collect(), ..Default::default() }),
            sample_rate: 0,
            channels: 0,
        }
    }

    #[test]
    fn ids_are_unique_in_the_meeting_layers_included() {
        let mut media = Media::default();
        let code = |result: Result<u64, Refusal>| result.map(|_| ()).map_err(|refusal| refusal.code);
        assert_eq!(code(media.reserve(media_stream(1, 10, &[11, 12]))), Ok(()));
        for (id, layers) in [(10, &[][..]), (11, &[]), (20, &[12]), (20, &[10])] {
            assert_eq!(code(media.reserve(media_stream(2, id, layers))), Err(Code::Conflict), "{id} {layers:?}");
        }
        media.withdraw(stream(10));
        assert_eq!(code(media.reserve(media_stream(2, 12, &[]))), Ok(()));
    }

    #[test]
    fn a_participant_has_thirty_two() {
        let mut media = Media::default();
        for id in 0..32 {
            assert!(media.reserve(media_stream(1, id, &[])).is_ok());
        }
        assert_eq!(media.reserve(media_stream(1, 32, &[])).map_err(|refusal| refusal.code), Err(Code::CapacityExceeded));
        assert!(media.reserve(media_stream(2, 32, &[])).is_ok());
    }

    #[test]
    fn who_goes_takes_streams_and_subscriptions_along() {
        let mut media = Media::default();
        for (owner, id) in [(1, 10), (2, 20)] {
            let number = media.reserve(media_stream(owner, id, &[])).expect("the ids are free");
            media.go_live(stream(id), number).expect("it was just reserved");
            assert!(media.go_live(stream(id), number + 1).is_none());
        }
        media.subscribe(stream(10), person(2), SubscriptionOptions::default());
        media.subscribe(stream(20), person(1), SubscriptionOptions::default());
        assert_eq!(media.remove_participant(person(1)).len(), 1);
        assert_eq!((media.subscriptions_of(person(2)), media.subscriptions_to(stream(20))), (vec![], vec![]));
        assert_eq!(media.live_of_others(person(3)), [stream(20)]);
    }
}
