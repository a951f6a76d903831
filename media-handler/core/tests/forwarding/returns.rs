//! Subscribers that fall behind and come back: when the publisher is asked for a key frame for them, and when it is spared.

use std::time::Duration;

use common_core::media::SubscriptionOptions;
use common_core::{Code, FrameFlags, FrameKind};
use media_handler_core::hub::{Ingress, Outcome};
use media_handler_core::{Control, End, Fate, Limits, Need};

use crate::stage::{CAMERA, SCREEN, Stage, Viewer};

const END: FrameFlags = FrameFlags::END_OF_FRAME;
/// The latency budget of the viewers.
const BUDGET: u32 = 500;

/// A viewer that has caught up with a group under way, and the camera that sends it; nobody has wanted anything for long.
fn watching(limits: Limits) -> (Stage, Viewer, Ingress) {
    let mut stage = Stage::begin(limits);
    let viewer = stage.subscriber(CAMERA, SubscriptionOptions { max_latency_ms: BUDGET, ..Default::default() });
    let mut camera = stage.ingress();
    stage.wait(5000);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [0]);
    stage.asked();
    (stage, viewer, camera)
}

/// The viewer takes nothing of the next picture until that is late.
fn falls_behind(stage: &mut Stage, viewer: &Viewer, camera: &mut Ingress, kind: FrameKind) {
    stage.record(camera, CAMERA, kind, 1000, END);
    stage.run(viewer, 0);
    stage.wait(u64::from(BUDGET) + 2);
    stage.run(viewer, 0);
}

/// Nobody pays for a viewer that takes nothing; it has a key frame as soon as it takes something.
#[test]
fn who_returns_is_served_from_a_key_frame_at_once() {
    let (mut stage, viewer, mut camera) = watching(Limits::default());
    falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoDelta);
    assert_eq!(stage.ends(&viewer), [], "its stream tells when it can be written");
    for _ in 0..8 {
        stage.wait(2000 - u64::from(BUDGET));
        falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoKey);
        assert_eq!(stage.ends(&viewer), [End::Reset(Code::Expired)], "a group has begun since");
        assert_eq!(stage.asked(), []);
    }
    stage.wait(300);
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 1000, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [], "nothing without its key frame");
    assert_eq!((stage.ends(&viewer), stage.asked()), (vec![End::Reset(Code::Expired)], vec![CAMERA]));
    assert_eq!(stage.hub.totals().key_frame_requests[Need::Lost as usize], 1);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [11]);
    // It has read: its patience is whole again, although it took nothing for 18 s before.
    for _ in 0..13 {
        stage.wait(2000 - u64::from(BUDGET));
        falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoKey);
    }
    assert!(stage.control(&viewer).iter().all(|control| !matches!(control, Control::Close(..))));
}

/// A viewer too slow for the stream, or one that comes and goes, makes the publisher send a key frame now and then, and no more often as it goes on.
#[test]
fn who_loses_every_group_does_not_cost_the_others_a_key_frame_each_time() {
    let (mut stage, viewer, mut camera) = watching(Limits::default());
    let mut asked = Vec::new();
    for tenth in 0..600 {
        let is_wanted = !stage.asked().is_empty();
        asked.extend(is_wanted.then_some(tenth / 10));
        // The publisher sends one by itself every 4 s.
        let kind = if is_wanted || tenth % 40 == 0 { FrameKind::VideoKey } else { FrameKind::VideoDelta };
        stage.record(&mut camera, CAMERA, kind, 10_000, END);
        stage.run(&viewer, 3_000);
        stage.wait(100);
    }
    assert!(asked.len() >= 5 && asked.len() <= 8, "asked in seconds {asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] > pair[0]), "asked in seconds {asked:?}");
    let delivered = stage.fate(&viewer, CAMERA, Fate::Delivered);
    assert!(delivered >= 15 + asked.len() as u64, "{delivered} pictures came: not even every key frame");
}

/// Who takes nothing is closed when its time is over, and not only when the next group begins.
#[test]
fn who_does_not_return_is_closed_on_time() {
    let (mut stage, viewer, mut camera) = watching(Limits::default());
    let began = stage.now;
    let mut deadlines = Vec::new();
    for _ in 0..7 {
        falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoKey);
        deadlines.push(stage.deadline(&viewer));
        assert!(stage.control(&viewer).iter().all(|control| !matches!(control, Control::Close(..))));
        stage.wait(4000 - u64::from(BUDGET));
    }
    let closes_at = began + Limits::default().stall_max;
    assert!(deadlines.iter().all(|deadline| deadline.is_some_and(|at| at.since(closes_at) <= Duration::from_millis(10))), "{deadlines:?}");
    stage.run(&viewer, 0);
    assert!(matches!(stage.control(&viewer)[..], [Control::Close(Code::Expired, _)]));
}

/// What one group's reset gives back to the subscriber's QUIC is no sign for another that somebody reads.
#[test]
fn room_that_a_reset_made_is_no_sign_of_life() {
    let (mut stage, viewer, mut camera) = watching(Limits::default());
    stage.subscribe(&viewer, SCREEN, SubscriptionOptions { max_latency_ms: BUDGET, ..Default::default() });
    let mut screen = stage.ingress();
    stage.wait(3000);
    stage.record(&mut screen, SCREEN, FrameKind::VideoKey, 1000, END);
    stage.run(&viewer, usize::MAX);
    stage.asked();
    falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoDelta);
    falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoKey);
    stage.wait(1000);
    // The screen's group takes the place of one that is reset, and both streams are writable for a moment.
    falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoKey);
    stage.record(&mut screen, SCREEN, FrameKind::VideoKey, 1000, END);
    stage.run(&viewer, 500);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    stage.run(&viewer, 400);
    stage.wait(u64::from(BUDGET) + 2);
    stage.run(&viewer, 0);
    assert_eq!(stage.asked(), [], "nobody has read");
    stage.wait(300);
    stage.run(&viewer, 1);
    let mut asked = stage.asked();
    asked.sort_unstable();
    assert_eq!(asked, [CAMERA, SCREEN]);
}

/// A stream that the viewer stops says that it lives; so does one that can be opened at last.
#[test]
fn a_stop_and_a_stream_that_opens_are_signs_of_life() {
    for sign in [Outcome::Stopped, Outcome::Written(0)] {
        let (mut stage, viewer, mut camera) = watching(Limits::default());
        stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
        stage.run_with(&viewer, |_, _| Outcome::Opening);
        stage.wait(u64::from(BUDGET) + 2);
        stage.run_with(&viewer, |_, _| Outcome::Opening);
        assert_eq!((stage.fate(&viewer, CAMERA, Fate::StreamLimit), stage.asked()), (1, vec![]));
        stage.run_with(&viewer, |write, _| if write.is_trial() { sign } else { Outcome::Opening });
        assert_eq!(stage.asked(), [CAMERA], "{sign:?}");
    }
}

/// Where streams are short, none is left open for this, and the key frame is asked for at the loss.
#[test]
fn nothing_is_left_open_where_streams_are_short() {
    let (mut stage, viewer, mut camera) = watching(Limits { group_streams_max: 2, group_streams_for_audio: 1, ..Limits::default() });
    falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoDelta);
    assert_eq!((stage.ends(&viewer), stage.asked()), (vec![End::Reset(Code::Expired)], vec![CAMERA]));
    assert_eq!(stage.hub.group_streams(), 0);
}

/// Who wants one too soon after the last has it later, unless a key frame came by itself.
#[test]
fn a_key_frame_that_may_not_be_wanted_yet_is_wanted_later() {
    for comes_by_itself in [false, true] {
        let (mut stage, viewer, mut camera) = watching(Limits { lost_key_frame_interval: Duration::from_secs(2), ..Limits::default() });
        falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoDelta);
        stage.run(&viewer, 1);
        assert_eq!(stage.asked(), [CAMERA]);
        falls_behind(&mut stage, &viewer, &mut camera, FrameKind::VideoKey);
        stage.run(&viewer, 1);
        assert_eq!(stage.asked(), [], "half a second later");
        if comes_by_itself {
            stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
        }
        stage.wait(1400);
        assert_eq!(stage.asked(), []);
        stage.wait(200);
        assert_eq!(stage.asked().len(), usize::from(!comes_by_itself));
    }
}
