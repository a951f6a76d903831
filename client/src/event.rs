//! What happens in a meeting, as an application sees it.

use common_core::media::MediaStream;
use common_core::{Code, ParticipantId, StreamId};
use proto::v1;
use tokio::sync::broadcast;

use crate::end::SessionEnd;
use crate::meeting::RequestError;
use crate::roster::{LeaveReason, Participant, StateUpdate};

/// Events that wait for a slow application; after that the oldest are lost, which [`Event::Lagged`] tells.
pub(crate) const EVENTS_MAX: usize = 1_024;

/// Something that happened. Later versions may tell of more.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody came.
    ParticipantJoined(Participant),
    /// Somebody is gone, with all their media streams.
    ParticipantLeft {
        /// Who; oneself too, when kicked or when the meeting ended.
        participant_id: ParticipantId,
        /// Why.
        reason: LeaveReason,
    },
    /// A media stream can be subscribed to.
    StreamPublished(MediaStream),
    /// A media stream is gone.
    StreamUnpublished {
        /// Whose.
        participant_id: ParticipantId,
        /// Which.
        stream_id: StreamId,
    },
    /// Somebody was muted, turned their picture on, began to speak.
    StateChanged {
        /// Who.
        participant_id: ParticipantId,
        /// What is different.
        update: StateUpdate,
    },
    /// A chat message, one's own too: each exactly once, in the meeting's order, over resumes.
    Chat(v1::ChatMessage),
    /// In an encrypted meeting: what came as a chat message and cannot be opened, or was said before, or by somebody without the secret. As it came;
    /// its content is not what anybody here wrote.
    ChatUndecryptable(v1::ChatMessage),
    /// Records of a media stream could not be opened, and were dropped; pictures come again from the next key frame on. At most once a second.
    Undecryptable {
        /// The id in the frames.
        stream_id: StreamId,
        /// How many since it was told last.
        records: u64,
    },
    /// How the path of a media stream does, published or subscribed.
    Quality {
        /// Which media stream.
        stream_id: StreamId,
        /// Bits per second; 0: not known.
        available_bitrate: u32,
        /// 0 to 1.
        packet_loss: f32,
        /// Milliseconds.
        rtt_ms: u32,
    },
    /// Somebody who may asks this participant to be quiet. The application decides, and says what it did by its state.
    MuteRequested {
        /// The microphone is to be turned off.
        microphone: bool,
        /// The camera is to be turned off.
        camera: bool,
        /// For people; may be empty.
        reason: String,
    },
    /// A message from one participant to this one.
    Relay {
        /// From whom, as the server vouches.
        source: ParticipantId,
        /// "offer", "answer", "ice" or an application's own.
        kind: String,
        /// Opaque.
        payload: bytes::Bytes,
    },
    /// Somebody needs a key frame of one of our media streams (or layers), or it starts anew on another handler.
    KeyFrameRequested {
        /// The id in the frames.
        stream_id: StreamId,
    },
    /// Nobody takes a layer of ours, or somebody does again.
    LayerPaused {
        /// The id in the frames.
        stream_id: StreamId,
        /// Whether nobody takes it.
        paused: bool,
    },
    /// The uplink was over 300 ms behind: the group was broken off and goes on at the next key frame. Lower the bitrate.
    PublisherBehind {
        /// The id in the frames.
        stream_id: StreamId,
    },
    /// Why a subscribed media stream looks as it does.
    SubscriptionReport(v1::SubscriptionReport),
    /// Signaling fell silent or broke; media goes on, requests wait.
    Reconnecting {
        /// In words.
        reason: String,
    },
    /// Signaling stands again, same participant; what changed meanwhile came as events before this one.
    Resumed,
    /// The old place was lost; the client joined anew by itself, as a new participant. Published media streams go on under their ids, subscriptions are
    /// renewed; the others saw the old participant leave and a new one come.
    Rejoined {
        /// Who one was.
        before: ParticipantId,
        /// Who one is.
        now: ParticipantId,
    },
    /// After a return a publication or a subscription of ours could not be renewed, and will not be tried again.
    NotRestored {
        /// Which media stream.
        stream_id: StreamId,
        /// Why.
        error: RequestError,
    },
    /// No media flows until another session with a handler stands; one is asked for.
    MediaLost {
        /// In words.
        reason: String,
    },
    /// Media flows over this handler now.
    MediaServerChanged {
        /// Its URL.
        url: String,
    },
    /// The application was slow: this many events were lost. [`Meeting::roster`](crate::Meeting::roster) is right all the same.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The meeting is over for this participant. The last event.
    Closed {
        /// How.
        end: SessionEnd,
    },
}

impl Event {
    /// The code of a [`Closed`](Self::Closed).
    pub fn close_code(&self) -> Option<Code> {
        match self {
            Self::Closed { end } => end.code(),
            _ => None,
        }
    }
}

/// The events of a meeting from the moment on when this was made.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    over: bool,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self { receiver, over: false }
    }

    /// The next event; `None` after [`Event::Closed`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        let received = self.receiver.recv().await;
        self.take(received.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => Some(missed),
            broadcast::error::RecvError::Closed => None,
        }))
    }

    /// An event that waits already.
    pub fn try_next(&mut self) -> Option<Event> {
        let received = self.receiver.try_recv();
        self.take(received.map_err(|error| match error {
            broadcast::error::TryRecvError::Lagged(missed) => Some(missed),
            broadcast::error::TryRecvError::Closed | broadcast::error::TryRecvError::Empty => None,
        }))
    }

    /// An event, or how many were missed, if any.
    fn take(&mut self, received: Result<Event, Option<u64>>) -> Option<Event> {
        match received {
            Ok(event) => {
                self.over = matches!(event, Event::Closed { .. });
                Some(event)
            }
            Err(missed) => missed.map(|missed| Event::Lagged { missed }),
        }
    }
}
