//! Small stories with a stated end, in virtual time.

use std::time::Duration;

use common_core::media::MediaStream;
use common_core::{Code, Generation};
use meeting_controller_core::message::{LeaveReason, MuteWish, StateChange, StreamQuality};
use meeting_controller_core::{EndCause, HandlerCommand, Input, Message, Request, SessionKey, TokenHash};

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

/// A meeting that breaks off remembers who stays out and which tokens are spent; a join that was under way may be repeated.
#[test]
fn memory_outlives_the_meeting() {
    let mut world = World::new();
    world.join(1, 1, false);
    world.answer(Fate::Done);
    world.feed(Input::Refuse(vec!["2".to_owned()]));
    world.join(3, 3, false);
    world.restart();
    for (token, subject, expected) in [(1, 1, Some(Code::Unauthorized)), (2, 2, Some(Code::Forbidden)), (3, 3, None)] {
        assert_eq!(world.join_refused(token, subject), expected, "token {token}");
    }
}

/// Who is kept out goes at once, on every session and on the way in, whatever its role.
#[test]
fn refusal_removes_and_stays() {
    let mut world = World::new();
    for (token, subject) in [(1, 0), (2, 0), (3, 1)] {
        world.join(token, subject, false);
        world.answer(Fate::Done);
    }
    world.join(4, 0, false);
    world.feed(Input::Refuse(vec!["0".to_owned()]));
    assert_eq!([1, 2, 3, 4].map(|number| world.is_open(session(number))), [false, false, true, false]);
    let kicked = |it: &Message| matches!(it, Message::ParticipantLeft { reason: LeaveReason::Kicked, .. });
    assert_eq!(world.heard_by(session(3)).iter().filter(|it| kicked(it)).count(), 2);
    assert!(world.heard_by(session(1)).last().is_some_and(kicked), "it is told why");
    assert_eq!(world.join_refused(5, 0), Some(Code::Forbidden));
}

/// The wish reaches the one it is for; who has lost its session cannot be asked.
#[test]
fn a_mute_is_asked_of_one() {
    let mut world = World::new();
    for token in [1, 2] {
        world.join(token, token, false);
        world.answer(Fate::Done);
    }
    let ana = world.meeting.attendances()[0].participant.participant_id;
    let wish = MuteWish { microphone: true, camera: false, reason: "it is loud".to_owned() };
    world.feed(Input::AskToMute { participant_id: ana, wish: wish.clone() });
    assert_eq!(world.heard_by(session(1)).last(), Some(&Message::MuteRequest(wish.clone())));
    assert!(!world.heard_by(session(2)).iter().any(|it| matches!(it, Message::MuteRequest(_))));
    world.vanish(session(1));
    assert!(world.meeting.attendance(ana).is_some_and(|it| !it.is_connected));
    // Nothing is said to a session that is over: the model would notice.
    world.feed(Input::AskToMute { participant_id: ana, wish });
}

/// Looking at a resume token does not use it up.
#[test]
fn a_resume_token_can_be_looked_at() {
    let mut world = World::new();
    world.join(1, 1, false);
    world.answer(Fate::Done);
    let hash = TokenHash(world.resume_tokens[0]);
    let found = world.meeting.attendance_by_token(hash).expect("it is good");
    assert_eq!((found.subject.as_str(), found.participant.name.as_str(), found.is_connected), ("1", "Person 1", true));
    assert_eq!(world.meeting.attendance_by_token(TokenHash([9; 32])), None);
    world.resume(0);
    world.answer(Fate::Done);
    assert!(world.is_open(session(2)));
}

/// A join token that was given for a resume token takes the place of its participant, once; of nobody else's, and of nobody who has left.
#[test]
fn a_token_for_who_comes_back_takes_its_place() {
    let mut world = World::new();
    world.join(1, 1, false);
    world.answer(Fate::Done);
    let ana = world.meeting.attendance_by_token(TokenHash(world.resume_tokens[0])).expect("she is in").participant.participant_id;
    world.come_back(2, 1, ana);
    // Whoever gives up before the handler has answered may use the token again.
    world.vanish(session(2));
    world.answer(Fate::Done);
    world.come_back(2, 1, ana);
    world.answer(Fate::Done);
    assert!(world.is_open(session(3)) && !world.is_open(session(1)));
    assert_eq!(world.meeting.participant_count(), 1);
    // The answer may have been lost: the resume token that she had is good until she is heard.
    let known = |world: &World, at: usize| world.meeting.attendance_by_token(TokenHash(world.resume_tokens[at])).is_some();
    assert!(known(&world, 0) && known(&world, 1));
    world.come_back(2, 1, ana);
    assert!(!world.is_open(session(4)), "it is spent");
    world.come_back(3, 2, ana);
    world.answer(Fate::Done);
    assert_eq!(world.meeting.participant_count(), 2, "somebody else is somebody new");
    world.ask(session(3), Request::Leave);
    world.answer(Fate::Done);
    world.come_back(4, 1, ana);
    world.answer(Fate::Done);
    assert!(world.is_open(session(6)));
    assert!(world.meeting.attendance(ana).is_none(), "who has left comes as somebody new");
}

/// Round and round is refused for a while, and nobody is lost by it.
#[test]
fn resumes_have_a_rate() {
    let mut world = World::new();
    world.join(1, 1, false);
    world.answer(Fate::Done);
    let mut refused = 0;
    for _ in 0..70 {
        world.resume(0);
        world.answer(Fate::Done);
        refused += u32::from(!world.is_open(world.newest_session()));
    }
    assert_eq!(refused, 10);
    assert_eq!(world.meeting.participant_count(), 1);
    world.advance(Duration::from_secs(60));
    world.resume(0);
    world.answer(Fate::Done);
    assert!(world.is_open(world.newest_session()));
}

/// A line that wants no reply reaches its sender as it reaches everyone.
#[test]
fn chat_without_a_request_id_is_heard_by_its_sender() {
    let mut world = World::new();
    world.join(1, 1, false);
    world.answer(Fate::Done);
    let stamp = world.stamp();
    let request = Request::Chat { client_message_id: String::new(), content: "hello".to_owned() };
    world.feed(Input::Request { session: session(1), request_id: 0, request, stamp });
    assert!(matches!(world.heard_by(session(1)).last(), Some(Message::Chat(chat)) if chat.sequence == 1));
}

/// Whoever comes at the very moment when an empty meeting is to be dropped is let in.
#[test]
fn the_last_moment_is_in_time() {
    let mut world = World::with_empty_timeout(Duration::from_secs(1));
    world.now = world.now + Duration::from_secs(2);
    world.join(1, 1, false);
    world.answer(Fate::Done);
    assert!(world.is_open(session(1)) && world.ended().is_none());
    world.ask(session(1), Request::Leave);
    world.answer(Fate::Done);
    world.now = world.now + Duration::from_secs(10);
    world.feed(Input::Refuse(vec!["1".to_owned()]));
    assert_eq!(world.ended(), Some(EndCause::Empty), "any other input finds the meeting over");
}

/// A meeting that breaks off leaves nobody behind at the handler: neither who is in nor who was on the way.
#[test]
fn whoever_a_handler_may_know_is_withdrawn() {
    let mut world = World::new();
    world.join(1, 1, false);
    world.answer(Fate::Done);
    world.join(2, 2, false);
    let member = world.meeting.attendances()[0].participant.participant_id;
    let gone: Vec<_> = world
        .meeting
        .withdrawals()
        .into_iter()
        .map(|command| match command {
            HandlerCommand::Remove { participant_id, generation, code: Code::InternalError, .. } => (participant_id, generation),
            other => panic!("{other:?} withdraws nobody"),
        })
        .collect();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(gone.contains(&(member, Generation(1))), "{gone:?}");
}
