//! What nobody takes: not made, not sent, and begun anew at a key frame.

use std::time::Duration;

use bytes::Bytes;
use common_core::media::StreamType;
use common_core::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, StreamId};
use dark_tower_client::file::{FrameSource, Publishing, Sample};
use dark_tower_client::{Event, JoinOptions, PublicationLimiter, StreamDescription, Trust};
use proto::v1::{self, media_server_message::Body, server_message};
use tokio::sync::mpsc;
use web_transport_quinn::{RecvStream, Session};

use crate::door::{Controller, Door, join_with, soon};
use crate::handler::{Handler, say};

/// Of the source.
const FRAME_INTERVAL_MS: u64 = 10;
/// Skips that are told; a test has a handful.
const SKIPS_MAX: usize = 16;

/// Makes a frame each 10 ms, whose payload is how many were made before; tells that number whenever it skips.
struct Watched {
    made: u64,
    due: Duration,
    wants_key: bool,
    skips: mpsc::Sender<u64>,
}

impl FrameSource for Watched {
    fn describe(&self) -> StreamDescription {
        StreamDescription::new(StreamType::VideoCamera, "VP8")
    }

    fn next_frame(&mut self) -> Option<Sample> {
        let sample = Sample { at: self.due, is_key: self.wants_key, payload: Bytes::copy_from_slice(&self.made.to_be_bytes()) };
        self.wants_key = false;
        self.made += 1;
        self.due += Duration::from_millis(FRAME_INTERVAL_MS);
        Some(sample)
    }

    fn skip_to(&mut self, at: Duration) -> bool {
        self.due = self.due.max(at);
        self.wants_key = true;
        self.skips.try_send(self.made).expect("few are told");
        true
    }

    fn ends_at(&self) -> Duration {
        self.due
    }
}

/// Grants whatever is asked for, until the client is gone.
async fn grant_all(mut controller: Controller) {
    while let Some(message) = controller.try_hear().await {
        let is_over = matches!(message.body, Some(v1::client_message::Body::Leave(_)));
        controller.say(message.request_id, server_message::Body::Ack(v1::Ack {})).await;
        if is_over {
            return;
        }
    }
}

/// The groups that come, one record after the other.
struct Groups {
    session: Session,
    group: Option<RecvStream>,
}

impl Groups {
    /// The next record: its header, and how many frames had been made before it.
    async fn next(&mut self) -> (FrameHeader, u64) {
        loop {
            let group = match &mut self.group {
                Some(group) => group,
                None => self.group.insert(soon(self.session.accept_uni()).await.expect("a group comes")),
            };
            let mut raw = [0; FRAME_HEADER_BYTES];
            if soon(group.read_exact(&mut raw)).await.is_err() {
                // A group ends where the next one begins.
                self.group = None;
                continue;
            }
            let mut payload = [0; 8];
            soon(group.read_exact(&mut payload)).await.expect("a whole record");
            return (FrameHeader::decode(&raw, 64).expect("a header"), u64::from_be_bytes(payload));
        }
    }
}

#[tokio::test]
async fn what_nobody_takes_is_not_made() {
    let (door, mut handler) = (Door::open().await, Handler::open());
    let options = JoinOptions { trust: Trust::Anything, ..door.options() };
    let response = v1::JoinResponse { media_server: Some(handler.info()), ..Default::default() };
    let ((mut ana, controller), (session, mut control)) = tokio::join!(join_with(&door, options, response), handler.accept());
    let granting = tokio::spawn(grant_all(controller));
    let (skips, mut skipped) = mpsc::channel(SKIPS_MAX);
    let source = Watched { made: 0, due: Duration::ZERO, wants_key: true, skips };
    let publishing = Publishing::start(&ana.meeting, vec![Box::new(source)]).await.expect("it is granted");
    let stream_id: StreamId = publishing.streams()[0].stream_id;
    let mut groups = Groups { session, group: None };
    let (first, _) = groups.next().await;
    assert_eq!((first.kind, first.stream_id, first.sequence), (FrameKind::VideoKey, stream_id, 0));

    let pause = |paused| Body::LayerControl(v1::LayerControl { stream_id: stream_id.to_string(), paused });
    say(&mut control, pause(true)).await;
    let before = soon(skipped.recv()).await.expect("the source hears of it");
    assert_eq!(ana.meeting.stats().publications[0].limiter, PublicationLimiter::Paused);
    // As long as it likes: nothing is made meanwhile.
    for _ in 0..3 {
        let state = dark_tower_client::roster::StateUpdate { is_muted: Some(true), ..Default::default() };
        soon(ana.meeting.update_state(state)).await.expect("it is granted");
    }
    say(&mut control, pause(false)).await;
    let after = soon(skipped.recv()).await.expect("the source hears of that too");
    assert_eq!(before, after, "frames were made for nobody");

    // The frame at hand when it was paused was made for nobody; what follows it begins anew.
    let (resumed, made) = loop {
        let (header, made) = groups.next().await;
        if made >= after {
            break (header, made);
        }
        assert!(made + 1 < after, "the frame at hand was sent");
    };
    assert_eq!((resumed.kind, made), (FrameKind::VideoKey, after));
    assert_eq!(resumed.sequence, after - 1, "what was not sent has no sequence");
    assert_eq!(ana.meeting.stats().publications[0].limiter, PublicationLimiter::None);
    let heard = loop {
        if let Event::LayerPaused { paused: false, stream_id } = soon(ana.events.next()).await.expect("the meeting goes on") {
            break stream_id;
        }
    };
    assert_eq!(heard, stream_id);
    drop(publishing);
    soon(ana.meeting.leave()).await;
    soon(granting).await.expect("no panic");
}
