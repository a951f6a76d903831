//! The promises of DESIGN section 5, one by one, in virtual time.

use std::time::Duration;

use common_core::media::SubscriptionOptions;
use common_core::{Code, FrameFlags, FrameKind};
use media_handler_core::hub::Outcome;
use media_handler_core::{Control, End, Fate, Limiter, Limits};

use crate::stage::{CAMERA, LAYERED, MICROPHONE, SCREEN, Stage, Viewer, millis};

const END: FrameFlags = FrameFlags::END_OF_FRAME;
const DISCARDABLE: FrameFlags = FrameFlags(3);

fn budget(max_latency_ms: u32) -> SubscriptionOptions {
    SubscriptionOptions { max_latency_ms, ..Default::default() }
}

#[test]
fn a_joiner_starts_at_the_cached_group_if_it_is_fresh_and_small() {
    fn check(age: u64, payload: u32, joins: bool) {
        let mut stage = Stage::begin(Limits::default());
        let mut camera = stage.ingress();
        stage.record(&mut camera, CAMERA, FrameKind::VideoKey, payload, END);
        stage.wait(age);
        stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 100, END);
        let viewer = stage.subscriber(CAMERA, budget(0));
        let written = stage.run(&viewer, usize::MAX);
        let asked = stage.asked();
        let expected = if joins { (vec![0, 1], vec![]) } else { (vec![], vec![CAMERA]) };
        assert_eq!((written, asked), expected, "{age} ms, {payload} bytes");
    }
    check(0, 1000, true);
    check(1990, 1000, true);
    check(2010, 1000, false);
    check(0, 2_000_000, true);
    check(0, 2_200_000, false);
}

#[test]
fn without_a_key_frame_records_count_as_such_until_one_comes() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, budget(0));
    assert_eq!(stage.asked(), [CAMERA]);
    let mut camera = stage.ingress();
    for _ in 0..3 {
        stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 100, END);
    }
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [3]);
    assert_eq!((stage.fate(&viewer, CAMERA, Fate::NoKeyFrame), stage.fate(&viewer, CAMERA, Fate::Delivered)), (3, 1));
}

/// Whole discardable frames in front go first; then the group; then nothing until the next key frame, which is asked for when the path takes
/// bytes again.
#[test]
fn what_is_late_goes_by_the_stated_rule() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, budget(100));
    let mut camera = stage.ingress();
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [0], "caught up: no more exemption");
    stage.asked();
    stage.wait(1000);
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 1000, DISCARDABLE);
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 1000, DISCARDABLE);
    stage.wait(60);
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 1000, END);
    stage.run(&viewer, 0);
    assert_eq!(stage.deadline(&viewer), Some(stage.now + millis(41)), "the oldest byte is 60 ms old");
    stage.wait(41);
    stage.run(&viewer, 0);
    assert_eq!(stage.fate(&viewer, CAMERA, Fate::Discardable), 2);
    assert_eq!(stage.deadline(&viewer), Some(stage.now + millis(60)), "the delta came 60 ms later");
    stage.wait(60);
    stage.run(&viewer, 0);
    assert_eq!((stage.fate(&viewer, CAMERA, Fate::Expired), stage.asked()), (1, vec![]));
    stage.run(&viewer, 1);
    assert_eq!((stage.ends(&viewer), stage.asked()), (vec![End::Reset(Code::Expired)], vec![CAMERA]));
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 1000, END);
    assert_eq!(stage.fate(&viewer, CAMERA, Fate::NoKeyFrame), 1);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [5]);

    // Late again soon: the others are not made to pay for another key frame.
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 1000, END);
    stage.run(&viewer, 0);
    stage.wait(102);
    stage.run(&viewer, 0);
    stage.run(&viewer, 1);
    assert_eq!((stage.fate(&viewer, CAMERA, Fate::Expired), stage.asked()), (2, vec![]));
}

#[test]
fn a_joiners_burst_is_exempt_for_two_seconds() {
    let mut stage = Stage::begin(Limits::default());
    let mut camera = stage.ingress();
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 50_000, END);
    let viewer = stage.subscriber(CAMERA, budget(100));
    stage.run(&viewer, 10_000);
    stage.wait(1990);
    stage.run(&viewer, 10_000);
    assert_eq!(stage.fate(&viewer, CAMERA, Fate::Expired), 0);
    stage.wait(12);
    stage.run(&viewer, 0);
    assert_eq!(stage.fate(&viewer, CAMERA, Fate::Expired), 1);
}

#[test]
fn sound_goes_first_then_the_wished_for_then_the_newest() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, SubscriptionOptions { priority: 1, ..budget(0) });
    stage.subscribe(&viewer, SCREEN, budget(0));
    stage.subscribe(&viewer, MICROPHONE, budget(0));
    let (mut camera, mut screen, mut microphone) = (stage.ingress(), stage.ingress(), stage.ingress());
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
    stage.record(&mut screen, SCREEN, FrameKind::VideoKey, 100, END);
    stage.record(&mut screen, SCREEN, FrameKind::VideoKey, 100, END);
    stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
    let plan = stage.plan(&viewer);
    assert_eq!(
        plan.iter().map(|(stream, sequence, _)| (*stream, *sequence)).collect::<Vec<_>>(),
        [(MICROPHONE, 0), (CAMERA, 0), (SCREEN, 1), (SCREEN, 0)]
    );
    assert!(plan.is_sorted_by(|(_, _, before), (_, _, after)| before > after), "QUIC is told the same order: {plan:?}");
}

#[test]
fn sound_is_cut_each_second_at_silence_and_when_the_ingress_changes() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(MICROPHONE, budget(0));
    let mut microphone = stage.ingress();
    for _ in 0..100 {
        stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
        stage.run(&viewer, usize::MAX);
        stage.wait(20);
    }
    stage.run(&viewer, usize::MAX);
    assert_eq!(stage.ends(&viewer), [End::Finish, End::Finish], "two seconds");
    stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
    stage.run(&viewer, usize::MAX);
    stage.wait(59);
    assert_eq!(stage.ends(&viewer), []);
    stage.wait(1);
    stage.run(&viewer, usize::MAX);
    assert_eq!(stage.ends(&viewer), [End::Finish], "silence");
    stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
    let mut another = stage.ingress();
    stage.record(&mut another, MICROPHONE, FrameKind::Audio, 100, END);
    stage.run(&viewer, usize::MAX);
    assert_eq!(stage.ends(&viewer), [End::Finish], "another ingress stream");
    assert_eq!(stage.fate(&viewer, MICROPHONE, Fate::Delivered), 103);
}

#[test]
fn another_ingress_stream_goes_on_with_a_group_only_without_a_gap() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, budget(0));
    let mut first = stage.ingress();
    stage.record(&mut first, CAMERA, FrameKind::VideoKey, 100, END);
    stage.run(&viewer, usize::MAX);
    stage.end(first);
    assert_eq!(stage.run(&viewer, usize::MAX), []);
    assert_eq!(stage.ends(&viewer), [End::Finish]);
    let mut second = stage.ingress();
    stage.record(&mut second, CAMERA, FrameKind::VideoDelta, 100, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [1]);
    stage.skip_sequence(CAMERA);
    let mut third = stage.ingress();
    stage.record(&mut third, CAMERA, FrameKind::VideoDelta, 100, END);
    assert_eq!(stage.run(&viewer, usize::MAX), []);
    assert_eq!(stage.fate(&viewer, CAMERA, Fate::NoKeyFrame), 1);
}

#[test]
fn a_part_frame_leaves_the_cache_and_whole_ones_stay() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, budget(0));
    let mut camera = stage.ingress();
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
    stage.part(&mut camera, CAMERA, FrameKind::VideoDelta, 1000, 10);
    stage.run(&viewer, usize::MAX);
    stage.end(camera);
    stage.run(&viewer, usize::MAX);
    assert_eq!(stage.ends(&viewer), [End::Reset(Code::StreamError)]);
    assert_eq!((stage.fate(&viewer, CAMERA, Fate::Delivered), stage.fate(&viewer, CAMERA, Fate::Closed)), (1, 1));
    let joiner = stage.subscriber(CAMERA, budget(0));
    assert_eq!(stage.run(&joiner, usize::MAX), [0]);
    assert_eq!(stage.ends(&joiner), [End::Finish]);
}

/// Ninety pictures and one voice at a subscriber that allows no more streams.
#[test]
fn pictures_leave_streams_for_sound_and_those_without_one_count_as_such() {
    let limits = Limits { group_streams_max: 4, group_streams_for_audio: 1, ..Limits::default() };
    let mut stage = Stage::begin(limits);
    let viewer = stage.subscriber(CAMERA, budget(1000));
    stage.subscribe(&viewer, MICROPHONE, budget(1000));
    let mut camera = stage.ingress();
    for _ in 0..5 {
        stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
        stage.run(&viewer, 0);
    }
    let mut microphone = stage.ingress();
    stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
    let plan = stage.plan(&viewer);
    assert!(plan.iter().any(|(stream, ..)| *stream == MICROPHONE), "a stream was kept for sound");
    stage.wait(2100);
    stage.run(&viewer, 0);
    assert_eq!((stage.fate(&viewer, CAMERA, Fate::StreamLimit), stage.fate(&viewer, CAMERA, Fate::Expired)), (2, 3));
}

/// A subscriber who takes nothing pins a bounded part of the log, whatever latency it asks for, and is closed after half a minute.
#[test]
fn a_stalled_subscriber_costs_bounded_memory_and_is_closed() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, budget(30_000));
    let mut camera = stage.ingress();
    for frame in 0..800u64 {
        let kind = if frame % 300 == 0 { FrameKind::VideoKey } else { FrameKind::VideoDelta };
        stage.record(&mut camera, CAMERA, kind, 100_000, END);
        stage.run(&viewer, 0);
        stage.wait(33);
        // What it lags behind, and the group that a joiner would start at.
        assert!(stage.hub.bytes_held() <= 7 * 1024 * 1024, "frame {frame}: {} bytes", stage.hub.bytes_held());
    }
    assert!(stage.control(&viewer).iter().all(|control| matches!(control, Control::Report(_))));
    stage.wait(1000);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    stage.run(&viewer, 0);
    assert!(matches!(stage.control(&viewer)[..], [Control::Close(Code::Expired, _)]));
}

#[test]
fn nobody_pays_for_a_source_without_subscribers() {
    let mut stage = Stage::begin(Limits::default());
    let mut camera = stage.ingress();
    for frame in 0..1000u64 {
        let kind = if frame == 0 { FrameKind::VideoKey } else { FrameKind::VideoDelta };
        stage.record(&mut camera, CAMERA, kind, 10_000, END);
        stage.wait(33);
    }
    assert!(stage.hub.bytes_held() <= 2 * 10_046, "a group too old to join keeps no more than its newest record");
}

#[test]
fn a_subscriber_that_stops_a_group_is_served_from_the_next_one() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, budget(0));
    let mut camera = stage.ingress();
    stage.asked();
    stage.wait(1000);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
    stage.run_with(&viewer, |_, _| Outcome::Stopped);
    assert_eq!(stage.asked(), [CAMERA]);
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 100, END);
    assert_eq!(stage.run(&viewer, usize::MAX), []);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [2]);
    assert_eq!((stage.fate(&viewer, CAMERA, Fate::Closed), stage.fate(&viewer, CAMERA, Fate::NoKeyFrame)), (1, 1));
    stage.subscribe(&viewer, MICROPHONE, budget(0));
    let mut microphone = stage.ingress();
    stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
    stage.run_with(&viewer, |_, _| Outcome::Stopped);
    stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
    assert_eq!(stage.run(&viewer, usize::MAX), [1], "sound waits for no other group");
}

/// Two layers: the named one, else the best; what the other carries counts as `layer`.
#[test]
fn a_subscriber_gets_one_layer() {
    let mut stage = Stage::begin(Limits::default());
    let (low, high) = stage.publish_layers();
    let named = stage.subscriber(LAYERED, SubscriptionOptions { preferred_layer: "low".into(), ..budget(0) });
    let best = stage.subscriber(LAYERED, budget(0));
    assert_eq!(stage.asked(), [low, high]);
    let mut camera = stage.ingress();
    stage.record(&mut camera, low, FrameKind::VideoKey, 100, END);
    stage.record(&mut camera, high, FrameKind::VideoKey, 100, END);
    stage.record(&mut camera, high, FrameKind::VideoDelta, 100, END);
    assert_eq!((stage.run(&named, usize::MAX), stage.run(&best, usize::MAX)), (vec![0], vec![0, 1]));
    assert_eq!((stage.fate(&named, LAYERED, Fate::Layer), stage.fate(&best, LAYERED, Fate::Layer)), (2, 1));
    // Another wish: from the cached group of that layer.
    stage.subscribe(&named, LAYERED, budget(0));
    assert_eq!(stage.run(&named, usize::MAX), [0, 1]);
}

#[test]
fn joiners_share_a_request_that_is_repeated_until_a_key_frame_comes() {
    let mut stage = Stage::begin(Limits { key_frame_interval: Duration::from_millis(500), ..Limits::default() });
    let _first = stage.subscriber(CAMERA, budget(0));
    assert_eq!(stage.asked(), [CAMERA]);
    for _ in 0..10 {
        let _another = stage.subscriber(CAMERA, budget(0));
        stage.wait(10);
    }
    assert_eq!(stage.asked(), []);
    stage.wait(400);
    assert_eq!(stage.asked(), [CAMERA], "asked again, as none came");
}

/// A subscriber learns what limits it when that changes, at most once a second.
#[test]
fn a_subscriber_is_told_why_it_sees_what_it_sees() {
    fn told(stage: &mut Stage, viewer: &Viewer) -> Vec<Limiter> {
        let limiter = |control| if let Control::Report(report) = control { report.limiter } else { panic!("{control:?}") };
        stage.control(viewer).into_iter().map(limiter).collect()
    }
    let mut stage = Stage::begin(Limits::default());
    let mut camera = stage.ingress();
    let viewer = stage.subscriber(CAMERA, budget(100));
    stage.wait(1000);
    assert_eq!(told(&mut stage, &viewer), [Limiter::Publisher]);
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 100, END);
    stage.wait(1000);
    assert_eq!(told(&mut stage, &viewer), [Limiter::NoKeyFrame]);
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 100, END);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
    stage.run(&viewer, usize::MAX);
    stage.wait(1000);
    assert_eq!(told(&mut stage, &viewer), [Limiter::NoKeyFrame], "one more was dropped, though it flows by now");
    stage.wait(1000);
    assert_eq!(told(&mut stage, &viewer), [Limiter::None]);
    stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 100, END);
    stage.run(&viewer, 0);
    stage.wait(200);
    stage.run(&viewer, 0);
    stage.wait(800);
    assert_eq!(told(&mut stage, &viewer), [Limiter::Bandwidth]);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
    stage.run(&viewer, usize::MAX);
    stage.wait(1000);
    assert_eq!(told(&mut stage, &viewer), [Limiter::None]);
    stage.wait(1000);
    assert_eq!(told(&mut stage, &viewer), [], "nothing has changed");

    let (low, _) = stage.publish_layers();
    let viewer = stage.subscriber(LAYERED, budget(100));
    stage.wait(1000);
    told(&mut stage, &viewer);
    let mut layers = stage.ingress();
    stage.record(&mut layers, low, FrameKind::VideoKey, 100, END);
    stage.wait(1000);
    assert_eq!(told(&mut stage, &viewer), [], "another layer's records are not missed");
}

#[test]
fn what_an_older_session_wrote_does_not_count_for_the_newer() {
    let mut stage = Stage::begin(Limits::default());
    let mut viewer = stage.subscriber(CAMERA, budget(0));
    let mut camera = stage.ingress();
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    stage.move_while_writing(&mut viewer);
    assert_eq!(stage.run(&viewer, usize::MAX), [0], "whole, from its first byte");
}

/// Each new stream's window takes bytes though nobody reads; that alone keeps no session open.
#[test]
fn who_only_has_windows_filled_is_stalled() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, budget(30_000));
    let mut camera = stage.ingress();
    let mut closed_at = None;
    for frame in 0..900u64 {
        let kind = if frame % 30 == 0 { FrameKind::VideoKey } else { FrameKind::VideoDelta };
        stage.record(&mut camera, CAMERA, kind, 3_000, END);
        stage.run_unread(&viewer, 10_000);
        stage.wait(33);
        if stage.control(&viewer).iter().any(|control| matches!(control, Control::Close(Code::Expired, _))) {
            closed_at = Some(frame * 33 / 1000);
            break;
        }
    }
    assert_eq!(closed_at, Some(27), "seconds");
}

/// Who took nothing once is not closed for it after an hour in which nothing was due; who goes on taking nothing is.
#[test]
fn a_stall_does_not_survive_an_idle_time() {
    let mut stage = Stage::begin(Limits::default());
    let viewer = stage.subscriber(CAMERA, budget(500));
    let mut camera = stage.ingress();
    stage.wait(2000);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    stage.run(&viewer, 0);
    stage.wait(3000);
    stage.run(&viewer, 0);
    stage.wait(3_600_000);
    let is_closed = |stage: &mut Stage| stage.control(&viewer).iter().any(|control| matches!(control, Control::Close(..)));
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    stage.run(&viewer, 0);
    assert!(!is_closed(&mut stage), "its patience begins anew");
    // A group each four seconds, each of which expires: a stall all the same.
    for _ in 0..6 {
        stage.wait(4000);
        stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
        stage.run(&viewer, 0);
        assert!(!is_closed(&mut stage));
    }
    stage.wait(4000);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 1000, END);
    stage.run(&viewer, 0);
    assert!(is_closed(&mut stage));
}

/// A group stream that ends makes room for one that waits, without anything else having to happen.
#[test]
fn a_slot_that_becomes_free_is_taken_at_once() {
    let mut stage = Stage::begin(Limits { group_streams_max: 1, group_streams_for_audio: 0, ..Limits::default() });
    let viewer = stage.subscriber(CAMERA, budget(500));
    stage.subscribe(&viewer, SCREEN, budget(500));
    let (mut camera, mut screen) = (stage.ingress(), stage.ingress());
    stage.record(&mut screen, SCREEN, FrameKind::VideoKey, 100, END);
    stage.skip_sequence(CAMERA);
    stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 100, END);
    stage.end(camera);
    assert_eq!(stage.run(&viewer, usize::MAX), [1, 0], "the newer group first, and then the other on its stream");
    assert_eq!(stage.ends(&viewer), [End::Finish]);
    assert_eq!(stage.fate(&viewer, SCREEN, Fate::StreamLimit), 0);
}

/// A subscriber is sent what it may be sent in a time; what is late for that has a fate of its own, and sound goes first.
#[test]
fn what_is_sent_to_a_subscriber_is_capped() {
    let mut stage = Stage::begin(Limits { egress_bitrate_max: 80_000, ..Limits::default() });
    let viewer = stage.subscriber(CAMERA, budget(500));
    stage.subscribe(&viewer, MICROPHONE, budget(500));
    let (mut camera, mut microphone) = (stage.ingress(), stage.ingress());
    stage.wait(3000);
    let (mut pictures, mut sounds) = (0, 0);
    for second in 0..20 {
        for tenth in 0..10 {
            let kind = if tenth == 0 { FrameKind::VideoKey } else { FrameKind::VideoDelta };
            stage.record(&mut camera, CAMERA, kind, 4_000, END);
            stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
            stage.run(&viewer, usize::MAX);
            stage.wait(100);
            stage.run(&viewer, usize::MAX);
        }
        pictures = stage.fate(&viewer, CAMERA, Fate::Delivered);
        sounds = stage.fate(&viewer, MICROPHONE, Fate::Delivered);
        let sent = pictures * 4_046 + sounds * 146;
        // The burst of a second, and the write that went over it, with all that waited.
        assert!(sent <= (second + 1) * 10_000 + 10_000 + 45_000, "{sent} bytes in {second} s");
    }
    assert!(stage.fate(&viewer, CAMERA, Fate::Bandwidth) > 50 && stage.fate(&viewer, CAMERA, Fate::Expired) == 0);
    assert!(pictures > 20 && sounds >= 190, "{pictures} pictures and {sounds} packets of sound came");
}

/// Who stops each group as it begins makes the handler open one stream after the other: within reason it is served, beyond it is closed.
#[test]
fn who_stops_too_much_is_closed() {
    let mut stage = Stage::begin(Limits { stops_per_second_max: 10, stops_burst: 100, ..Limits::default() });
    let viewer = stage.subscriber(MICROPHONE, budget(500));
    let mut microphone = stage.ingress();
    let mut stops = 0;
    while !stage.control(&viewer).iter().any(|control| matches!(control, Control::Close(Code::RateLimited, _))) {
        stage.record(&mut microphone, MICROPHONE, FrameKind::Audio, 100, END);
        stage.run_with(&viewer, |_, _| Outcome::Stopped);
        stage.wait(20);
        stops += 1;
        assert!(stops <= 130, "fifty a second go on for ever");
    }
    assert!(stops >= 100, "closed after {stops}");
}

/// A reset gives the subscriber's QUIC room for the next group although nobody reads: that does not count as reading.
#[test]
fn what_a_reset_gives_back_is_not_taken_for_reading() {
    let stalls = |reads: bool| {
        let mut stage = Stage::begin(Limits::default());
        let viewer = stage.subscriber(CAMERA, budget(500));
        let mut camera = stage.ingress();
        for second in 0..40 {
            stage.record(&mut camera, CAMERA, FrameKind::VideoKey, 10_000, END);
            stage.record(&mut camera, CAMERA, FrameKind::VideoDelta, 10_000, END);
            // As much as of the group before, which was reset, and once what its QUIC had withheld; and a little more if somebody reads.
            stage.run(&viewer, if second == 20 { 5_125 } else { 5_000 });
            stage.wait(400);
            stage.run(&viewer, if reads { 10 } else { 0 });
            stage.wait(200);
            stage.run(&viewer, 0);
            stage.wait(400);
            if stage.control(&viewer).iter().any(|control| matches!(control, Control::Close(Code::Expired, _))) {
                return Some(second);
            }
        }
        None
    };
    assert!(stalls(false).is_some_and(|second| (27..=30).contains(&second)), "{:?}", stalls(false));
    assert_eq!(stalls(true), None);
}
