//! Small stories with a stated end, in virtual time.

use std::time::Duration;

use common_core::Code;
use common_core::media::MediaStream;
use meeting_controller_core::message::{StateChange, StreamQuality};
use meeting_controller_core::{EndCause, Input, Message, Request, SessionKey};

use crate::people::{media_stream, stream};
use crate::{Fate, World};

fn session(number: u64) -> SessionKey {
    SessionKey(number)
}

/// A spent token is remembered for as long as it could be used again, even by a meeting that nobody is in.
#[test]
fn an_empty_meeting_outlives_its_tokens() {
    let mut world = World::with_empty_timeout(Duration::from_secs(1));
    world.join(1, 1, false);
    world.answer(Fate::Done);
    world.ask(session(1), Request::Leave);
    world.answer(Fate::Done);
    let is_dropped_after = |world: &mut World, seconds| {
        world.advance(Duration::from_secs(seconds));
        world.ended() == Some(EndCause::Empty)
    };
    assert!(!is_dropped_after(&mut world, 1), "the token lives for two seconds");
    assert!(is_dropped_after(&mut world, 1));
}

/// Two a second are passed on; the rest of the message is not lost with the level.
#[test]
fn audio_levels_are_thinned() {
    let mut world = World::new();
    for token in [1, 2] {
        world.join(token, token, false);
        world.answer(Fate::Done);
    }
    for level in [0.1, 0.2, 0.3, 0.0, 0.0] {
        let change = StateChange { audio_level: Some(level), is_muted: (level > 0.25).then_some(true), ..Default::default() };
        assert_eq!(world.ask(session(1), Request::State(change)), Some(Message::Ack));
    }
    let heard = world.heard_by(session(2));
    let changes: Vec<_> =
        heard.into_iter().filter_map(|it| if let Message::State { change, .. } = it { Some(change) } else { None }).collect();
    assert_eq!(
        changes.iter().map(|it| it.audio_level).collect::<Vec<_>>(),
        [Some(0.1), Some(0.2), None, Some(0.0)],
        "the end of a speech passes, once"
    );
    assert_eq!(changes[2].is_muted, Some(true));
    let wrong = StateChange { audio_level: Some(f32::NAN), ..Default::default() };
    assert_eq!(world.refused(session(1), Request::State(wrong)), Code::InvalidRequest);
}

/// A subscriber's figures reach the publisher, once a second; others have no say.
#[test]
fn reports_go_to_the_publisher() {
    let mut world = World::new();
    for token in [1, 2, 3] {
        world.join(token, token, token == 2);
        world.answer(Fate::Done);
    }
    world.ask(session(1), Request::Publish(MediaStream { codec: "VP9".into(), ..media_stream(1) }));
    world.answer(Fate::Done);
    world.answer(Fate::Done);
    let quality = StreamQuality { stream_id: stream(1), available_bitrate: 1, packet_loss: 0.5, rtt_ms: 1 };
    for _ in 0..3 {
        assert_eq!(world.ask(session(2), Request::Quality(quality)), Some(Message::Ack));
    }
    assert_eq!(world.refused(session(3), Request::Quality(quality)), Code::NotFound);
    let reports = world.heard_by(session(1)).into_iter().filter(|it| matches!(it, Message::Quality(_))).count();
    assert_eq!(reports, 1);
}

/// Refusals, then a close that counts as a loss; a resume does not empty the count.
#[test]
fn a_flood_is_refused_then_closed() {
    let mut world = World::with_messages_max(2);
    world.join(1, 1, false);
    world.answer(Fate::Done);
    let ping = || Request::Ping { sent_at_us: 0 };
    for _ in 0..2 {
        assert!(matches!(world.ask(session(1), ping()), Some(Message::Pong { .. })));
    }
    for _ in 0..2 {
        assert_eq!(world.refused(session(1), ping()), Code::RateLimited);
    }
    world.ask(session(1), ping());
    assert!(!world.is_open(session(1)));
    world.resume(0);
    world.answer(Fate::Done);
    world.ask(session(2), ping());
    assert!(!world.is_open(session(2)));
}

#[test]
fn the_end_refuses_who_waits_at_the_door() {
    let mut world = World::new();
    world.join(1, 1, false);
    world.feed(Input::End(EndCause::Ended));
    assert!(!world.is_open(session(1)));
    assert_eq!(world.ended(), Some(EndCause::Ended));
}
