//! What nobody takes: paused at its publisher, and begun anew with the first who does.

use common_core::media::SubscriptionOptions;
use common_core::{FrameFlags, FrameKind, StreamId};
use media_handler_core::{Control, Limits};

use crate::stage::{CAMERA, LAYERED, MICROPHONE, SCREEN, Stage, millis};

/// Longer than a layer may be without takers.
const LONG: u64 = 60_000;

fn paused(layer: StreamId) -> Control {
    Control::Layer { layer, is_paused: true }
}

fn resumed(layer: StreamId) -> Control {
    Control::Layer { layer, is_paused: false }
}

fn layer(preferred: &str) -> SubscriptionOptions {
    SubscriptionOptions { preferred_layer: preferred.into(), ..Default::default() }
}

/// Pictures alone, after five seconds, once; the first taker is enough, and needs a key frame as ever.
#[test]
fn what_nobody_takes_is_paused_until_somebody_does() {
    let mut stage = Stage::begin(Limits::default());
    stage.wait(4_999);
    assert_eq!(stage.told(), []);
    stage.wait(1);
    assert_eq!(stage.told(), [paused(CAMERA), paused(SCREEN)]);
    stage.wait(LONG);
    assert_eq!(stage.told(), [], "once");
    let viewer = stage.subscriber(CAMERA, SubscriptionOptions::default());
    assert_eq!(stage.told(), [resumed(CAMERA), Control::KeyFrame(CAMERA)]);
    stage.subscriber(CAMERA, SubscriptionOptions::default());
    stage.subscribe(&viewer, MICROPHONE, SubscriptionOptions::default());
    stage.unsubscribe(&viewer, MICROPHONE);
    stage.unsubscribe(&viewer, CAMERA);
    stage.wait(LONG);
    assert!(!stage.told().iter().any(|control| matches!(control, Control::Layer { .. })), "there is another who takes it");
}

/// Of the layers of one media stream those are paused that no subscription asks for; who asks for another has it at once.
#[test]
fn each_layer_is_paused_by_itself() {
    let mut stage = Stage::begin(Limits::default());
    let (low, high) = stage.publish_layers();
    let viewer = stage.subscriber(LAYERED, layer("low"));
    stage.wait(LONG);
    let told = stage.told();
    assert!(told.contains(&paused(high)) && !told.contains(&paused(low)), "{told:?}");
    stage.subscribe(&viewer, LAYERED, layer("high"));
    assert_eq!(stage.told(), [resumed(high), Control::KeyFrame(high)]);
    stage.wait(4_999);
    let is_about_layers = |control: &Control| matches!(control, Control::Layer { .. });
    assert!(!stage.told().iter().any(is_about_layers));
    stage.wait(1);
    assert!(stage.told().contains(&paused(low)));
    stage.subscribe(&viewer, LAYERED, SubscriptionOptions { max_latency_ms: 400, ..layer("high") });
    stage.wait(LONG);
    assert!(!stage.told().iter().any(is_about_layers), "other options change nothing");
}

/// Who is not there to be sent anything takes nothing; who is back in time was never away.
#[test]
fn who_has_no_session_takes_nothing() {
    let mut stage = Stage::begin(Limits::default());
    let mut viewer = stage.subscriber(CAMERA, SubscriptionOptions::default());
    stage.leaves(&viewer);
    stage.wait(4_999);
    stage.returns(&mut viewer);
    stage.wait(LONG);
    assert!(!stage.told().contains(&paused(CAMERA)));
    stage.leaves(&viewer);
    stage.wait(5_000);
    assert!(stage.told().contains(&paused(CAMERA)));
    stage.returns(&mut viewer);
    assert_eq!(stage.told().first(), Some(&resumed(CAMERA)));
}

/// Another session may be another client, which knows nothing, or one that keeps to what it heard: it is told to go on, and to pause when that
/// is due again. So it is when it falls back to its older session.
#[test]
fn with_another_session_of_the_publisher_everything_goes_on() {
    let mut stage = Stage::begin(Limits::default());
    stage.wait(5_000);
    assert_eq!(stage.told(), [paused(CAMERA), paused(SCREEN)]);
    let first = stage.publisher_dials();
    assert_eq!(stage.told(), [resumed(CAMERA), resumed(SCREEN)]);
    stage.wait(4_999);
    assert_eq!(stage.told(), []);
    stage.wait(1);
    assert_eq!(stage.told(), [paused(CAMERA), paused(SCREEN)]);
    stage.publisher_falls_back(first);
    assert_eq!(stage.told(), [resumed(CAMERA), resumed(SCREEN)]);
    stage.wait(5_000);
    assert_eq!(stage.told(), [paused(CAMERA), paused(SCREEN)]);
}

/// Who has no session is told on the next one, if nobody takes it then either.
#[test]
fn a_publisher_that_is_away_is_told_when_it_is_back() {
    let mut stage = Stage::begin(Limits::default());
    stage.publisher_leaves();
    stage.wait(LONG);
    stage.subscriber(CAMERA, SubscriptionOptions::default());
    stage.publisher_dials();
    stage.wait(5_000);
    let told: Vec<Control> = stage.told().into_iter().filter(|control| matches!(control, Control::Layer { .. })).collect();
    assert_eq!(told, [paused(SCREEN)]);
}

/// What was not heard yet is not said any more.
#[test]
fn a_change_of_mind_is_not_told() {
    let mut stage = Stage::begin(Limits::default());
    stage.wait(5_000);
    let viewer = stage.subscriber(CAMERA, SubscriptionOptions::default());
    assert_eq!(stage.told(), [paused(SCREEN), Control::KeyFrame(CAMERA)]);
    stage.unsubscribe(&viewer, CAMERA);
    stage.wait(5_000);
    assert_eq!(stage.told(), [paused(CAMERA)]);
}

/// A publisher that goes on sending is forwarded as ever; of one that does not, nobody is shown an old picture.
#[test]
fn nothing_is_dropped_and_nothing_old_is_shown() {
    let mut stage = Stage::begin(Limits::default());
    stage.wait(5_000);
    assert!(stage.told().contains(&paused(CAMERA)));
    let mut ingress = stage.ingress();
    stage.record(&mut ingress, CAMERA, FrameKind::VideoKey, 1000, FrameFlags::END_OF_FRAME);
    let viewer = stage.subscriber(CAMERA, SubscriptionOptions::default());
    assert_eq!(stage.run(&viewer, usize::MAX), [0], "it was sent all the same");
    stage.unsubscribe(&viewer, CAMERA);
    stage.end(ingress);
    stage.wait(5_000);
    stage.told();
    let late = stage.subscriber(CAMERA, SubscriptionOptions::default());
    assert_eq!(stage.run(&late, usize::MAX), [] as [u64; 0], "five seconds old");
    assert_eq!(stage.told(), [resumed(CAMERA), Control::KeyFrame(CAMERA)]);
    stage.now = stage.now + millis(100);
    let mut ingress = stage.ingress();
    stage.record(&mut ingress, CAMERA, FrameKind::VideoKey, 1000, FrameFlags::END_OF_FRAME);
    assert_eq!(stage.run(&late, usize::MAX), [1]);
}

/// While who was told to go on has had no time to, its subscribers are not told that it sends nothing.
#[test]
fn who_was_just_resumed_is_not_taken_for_silent() {
    let mut stage = Stage::begin(Limits::default());
    stage.wait(LONG);
    let viewer = stage.subscriber(CAMERA, SubscriptionOptions::default());
    stage.wait(1_000);
    let limiters = |controls: Vec<Control>| -> Vec<&'static str> {
        controls
            .iter()
            .map(|control| if let Control::Report(report) = control { report.limiter.name() } else { panic!("{control:?}") })
            .collect()
    };
    assert_eq!(limiters(stage.control(&viewer)), ["no_key_frame"]);
    stage.wait(2_000);
    assert_eq!(limiters(stage.control(&viewer)), ["publisher"], "now it is");
}
