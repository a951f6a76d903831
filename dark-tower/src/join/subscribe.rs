//! What `--subscribe` takes: which media streams of others are wanted. And what came of them, counted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;

use client::{Meeting, ReceivedRecord, Roster};
use common_core::media::MediaStream;
use common_core::{Code, FrameKind, ParticipantId, StreamId};
use tokio::task::JoinSet;

use super::names::SHORT_ID_CHARS;

/// Stream ids that are counted apart; what comes under more is not told.
const STREAMS_MAX: usize = 1_024;

/// One `--subscribe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Every media stream.
    All,
    /// Sound alone.
    Audio,
    /// Pictures alone.
    Video,
    /// Nothing.
    None,
    /// A media stream's or participant's id, its beginning as lines show it, or a participant's name.
    One(String),
}

impl FromStr for Wish {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "all" => Self::All,
            "audio" => Self::Audio,
            "video" => Self::Video,
            "none" => Self::None,
            other => Self::One(other.to_owned()),
        })
    }
}

impl Wish {
    /// Whether it asks for a media stream of somebody of that name.
    fn wants(&self, stream: &MediaStream, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Audio => stream.stream_type.is_audio(),
            Self::Video => !stream.stream_type.is_audio(),
            Self::One(text) => text == name || begins(&stream.stream_id, text) || begins(&stream.participant_id, text),
        }
    }
}

/// Whether `id` is meant: whole, or by no less of it than lines show.
fn begins(id: &impl ToString, text: &str) -> bool {
    text.len() >= SHORT_ID_CHARS && id.to_string().starts_with(&text.to_ascii_lowercase())
}

/// Whether any of `wishes` asks for `stream`.
pub(super) fn is_wanted(wishes: &[Wish], stream: &MediaStream, roster: &Roster) -> bool {
    let name = roster.participant(stream.participant_id).map_or("", |participant| participant.name.as_str());
    wishes.iter().any(|wish| wish.wants(stream, name))
}

/// Whether they ask for everything, so that the controller may subscribe before we know of it.
pub(super) fn is_everything(wishes: &[Wish]) -> bool {
    wishes.contains(&Wish::All)
}

/// Subscribes besides everything else; a media stream that was unpublished meanwhile is no failure.
pub(super) fn subscribe(
    subscribing: &mut JoinSet<Result<(), client::RequestError>>,
    meeting: &Meeting,
    stream_id: StreamId,
    options: &common_core::media::SubscriptionOptions,
) {
    let (meeting, options) = (meeting.clone(), options.clone());
    subscribing.spawn(async move {
        match meeting.subscribe(stream_id, &options).await {
            Err(error) if error.code() == Some(Code::NotFound) => Ok(()),
            result => result,
        }
    });
}

/// What came under one stream id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) participant_id: Option<ParticipantId>,
    pub(super) is_audio: bool,
    pub(super) records: u64,
    pub(super) frames: u64,
    pub(super) key_frames: u64,
    pub(super) bytes: u64,
}

/// Counts what comes.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<StreamId, Received>);

impl Tally {
    /// A record came.
    pub(super) fn record(&mut self, record: &ReceivedRecord, roster: &Roster) {
        let id = record.header.stream_id;
        if !self.0.contains_key(&id) && self.0.len() >= STREAMS_MAX {
            return;
        }
        let received = self.0.entry(id).or_default();
        if received.participant_id.is_none() {
            received.participant_id = roster.stream_of_frame(id).map(|stream| stream.participant_id);
        }
        received.is_audio = record.header.kind == FrameKind::Audio;
        received.records += 1;
        received.frames += u64::from(record.header.ends_frame());
        received.key_frames += u64::from(record.header.ends_frame() && record.header.kind == FrameKind::VideoKey);
        received.bytes += u64::try_from(record.raw.len() + record.payload.len()).unwrap_or(u64::MAX);
    }

    /// What came, by stream id.
    pub(super) fn received(&self) -> impl Iterator<Item = (StreamId, Received)> {
        self.0.iter().map(|(id, received)| (*id, *received))
    }
}

#[cfg(test)]
mod tests {
    use client::StreamDescription;
    use common_core::media::StreamType;

    use super::*;

    fn stream(stream_type: StreamType) -> MediaStream {
        let StreamDescription { stream_id, codec, .. } = StreamDescription::new(stream_type, "VP8");
        let participant_id = ParticipantId::from_bytes([0xab; 16]);
        MediaStream { stream_id, participant_id, stream_type, codec, max_bitrate: 0, video: None, sample_rate: 0, channels: 0 }
    }

    #[test]
    fn wishes_are_words_ids_or_names() {
        let (sound, camera) = (stream(StreamType::Audio), stream(StreamType::VideoCamera));
        let by_stream = camera.stream_id.to_string();
        let by_participant = camera.participant_id.to_string().to_uppercase();
        for (text, wants_sound, wants_camera) in [
            ("all", true, true),
            ("audio", true, false),
            ("video", false, true),
            ("none", false, false),
            ("Ana", true, true),
            ("ana", false, false),
            (by_stream.as_str(), false, true),
            (by_participant.as_str(), true, true),
            (&by_stream[..SHORT_ID_CHARS], false, true),
            (&by_stream[..SHORT_ID_CHARS - 1], false, false),
        ] {
            let Ok(wish) = text.parse::<Wish>();
            assert_eq!((wish.wants(&sound, "Ana"), wish.wants(&camera, "Ana")), (wants_sound, wants_camera), "{text}");
        }
    }
}
