use super::*;

fn at(seconds: u64) -> Moment {
    Moment::from_micros(seconds * 1_000_000)
}

fn id(text: &str) -> NodeId {
    text.parse().expect("a node id")
}

fn record(start_number: u64) -> NodeRecord {
    NodeRecord { region: "eu".into(), start_number, ..NodeRecord::default() }
}

/// A view long after its start, with one controller that beat at second 100.
fn settled() -> ClusterView {
    let mut view = ClusterView::new(Rules::default(), at(0));
    for second in 0..100 {
        view.touch(at(second));
    }
    view.register_controller(at(100), id("mc-1"), record(1), ControllerCapacity::default()).expect("there is room");
    view
}

#[test]
fn a_lease_runs_out_after_three_seconds() {
    let mut view = settled();
    for second in 101..=104 {
        view.touch(at(second));
    }
    assert!(matches!(view.standing(at(103), &id("mc-1"), 1), Standing::Live(_)));
    assert!(matches!(view.standing(at(104), &id("mc-1"), 1), Standing::Gone));
    assert_eq!(view.beat_controller(at(104), &id("mc-1"), 1, ControllerBeat::default()), Ok(()));
    assert!(matches!(view.standing(at(105), &id("mc-1"), 1), Standing::Live(_)));
}

/// After a start we do not know who is there; after a freeze we do not know who still is.
#[test]
fn nobody_is_lost_while_we_were_away() {
    let mut view = ClusterView::new(Rules::default(), at(0));
    assert!(matches!(view.standing(at(6), &id("mc-1"), 1), Standing::Unsettled));
    assert!(matches!(view.standing(at(7), &id("mc-1"), 1), Standing::Gone));
    let mut woken = settled();
    woken.touch(at(115));
    assert!(matches!(woken.standing(at(121), &id("mc-1"), 1), Standing::Live(_)));
    for second in 116..123 {
        woken.touch(at(second));
    }
    assert!(matches!(woken.standing(at(122), &id("mc-1"), 1), Standing::Gone));
    view.touch(at(1));
}

#[test]
fn another_process_of_the_same_id_has_to_register() {
    let mut view = settled();
    assert_eq!(view.beat_controller(at(101), &id("mc-1"), 2, ControllerBeat::default()), Err(BeatError::MustRegister));
    assert_eq!(view.beat_controller(at(101), &id("mc-2"), 1, ControllerBeat::default()), Err(BeatError::MustRegister));
    view.register_controller(at(101), id("mc-1"), record(2), ControllerCapacity::default()).expect("there is room");
    assert!(matches!(view.standing(at(101), &id("mc-1"), 1), Standing::Gone));
    assert!(matches!(view.standing(at(101), &id("mc-1"), 2), Standing::Live(_)));
}

/// What is leaving takes nothing new, and still counts who is in.
#[test]
fn a_draining_controller_still_counts() {
    let mut view = settled();
    let meeting = MeetingId::from_bytes([1; 16]);
    let beat = ControllerBeat { meetings: BTreeMap::from([(meeting, 3)]), ..ControllerBeat::default() };
    view.deregister(&id("mc-1"), 9);
    assert!(matches!(view.standing(at(100), &id("mc-1"), 1), Standing::Live(_)));
    view.deregister(&id("mc-1"), 1);
    assert_eq!(view.beat_controller(at(101), &id("mc-1"), 1, beat), Ok(()));
    assert!(matches!(view.standing(at(101), &id("mc-1"), 1), Standing::Gone));
    assert_eq!(view.participant_count(at(101), meeting), 3);
    assert_eq!(view.running(at(101)).count(), 1);
    assert!(view.controller_candidates(at(101)).iter().all(|candidate| candidate.draining));
}

/// What a controller was just told of may be missing in a heartbeat that was on its way already; what it was told of long before is not.
#[test]
fn what_was_placed_counts_once() {
    let mut view = settled();
    let meetings = |view: &ClusterView| view.controller_candidates(at(101))[0].capacity.meetings;
    let beat = |meetings| ControllerBeat { capacity: ControllerCapacity { meetings, ..Default::default() }, ..Default::default() };
    for _ in 0..3 {
        view.note_placed(&id("mc-1"));
    }
    view.note_told(&id("mc-1"), true);
    view.note_told(&id("mc-1"), false);
    assert_eq!(meetings(&view), 2);
    assert_eq!(view.beat_controller(at(101), &id("mc-1"), 1, beat(1)), Ok(()));
    assert_eq!(meetings(&view), 2);
    view.note_told(&id("mc-1"), true);
    assert_eq!(meetings(&view), 2);
    assert_eq!(view.beat_controller(at(101), &id("mc-1"), 1, beat(2)), Ok(()));
    assert_eq!(meetings(&view), 2);
}

/// Of two processes of one id the later one is the node, whoever speaks first.
#[test]
fn the_later_process_takes_over_at_once_and_for_good() {
    let mut view = settled();
    view.register_controller(at(101), id("mc-1"), record(5), ControllerCapacity::default()).expect("it is later");
    let superseded = Superseded { by: 5 };
    for second in 101..120 {
        assert_eq!(view.beat_controller(at(second), &id("mc-1"), 5, ControllerBeat::default()), Ok(()));
        assert_eq!(view.beat_controller(at(second), &id("mc-1"), 1, ControllerBeat::default()), Err(BeatError::Superseded(superseded)));
        let again = view.register_controller(at(second), id("mc-1"), record(1), ControllerCapacity::default());
        assert_eq!(again, Err(RegisterError::Superseded(superseded)));
        assert_eq!(view.controller_yields(at(second), &id("mc-1"), 1), Err(superseded));
    }
    assert_eq!(view.controller_yields(at(120), &id("mc-1"), 5), Ok(()));
}

/// A clock that was set back far must not keep a node out for longer than the lease of the process before.
#[test]
fn an_earlier_number_gets_in_once_the_lease_is_over() {
    let mut view = settled();
    view.register_handler(at(100), id("mh-1"), record(9), HandlerCapacity::default()).expect("there is room");
    for second in 101..=103 {
        assert!(view.register_handler(at(second), id("mh-1"), record(2), HandlerCapacity::default()).is_err());
    }
    assert_eq!(view.register_handler(at(104), id("mh-1"), record(2), HandlerCapacity::default()), Ok(()));
    assert_eq!(view.beat_handler(at(105), &id("mh-1"), 2, HandlerBeat::default()), Ok(()));
    // One that has left holds nobody up.
    view.deregister(&id("mh-1"), 2);
    assert_eq!(view.register_handler(at(106), id("mh-1"), record(1), HandlerCapacity::default()), Ok(()));
}

/// Who registers again on its way out, because a global controller has forgotten it, is still on its way out.
#[test]
fn leaving_is_not_undone_by_registering_again() {
    let mut view = settled();
    view.deregister(&id("mc-1"), 1);
    view.register_controller(at(101), id("mc-1"), record(1), ControllerCapacity::default()).expect("it is known");
    assert!(matches!(view.standing(at(101), &id("mc-1"), 1), Standing::Gone));
    view.register_controller(at(101), id("mc-1"), record(2), ControllerCapacity::default()).expect("it is later");
    assert!(matches!(view.standing(at(101), &id("mc-1"), 2), Standing::Live(_)));
}

/// A controller that beats but does not answer is passed over, for longer and longer, and no longer than it is mute.
#[test]
fn who_does_not_answer_is_passed_over_for_a_while() {
    let mut view = settled();
    let avoided = |view: &ClusterView, second| view.controller_candidates(at(second))[0].unanswering;
    assert!(!view.note_call(at(101), &id("mc-1"), false) && !avoided(&view, 101), "one call may be lost");
    assert!(view.note_call(at(101), &id("mc-1"), false));
    assert!(avoided(&view, 105) && !avoided(&view, 106));
    assert_eq!(view.beat_controller(at(105), &id("mc-1"), 1, ControllerBeat::default()), Ok(()));
    assert!(avoided(&view, 105), "heartbeats are no answers");
    assert!(view.note_call(at(106), &id("mc-1"), false));
    assert!(avoided(&view, 115) && !avoided(&view, 116));
    assert!(!view.note_call(at(116), &id("mc-1"), true) && !avoided(&view, 116));
    for _ in 0..100 {
        view.note_call(at(120), &id("mc-1"), false);
    }
    assert!(avoided(&view, 179) && !avoided(&view, 180));
}

#[test]
fn the_long_lost_are_forgotten() {
    let mut view = settled();
    for second in 101..=170 {
        view.touch(at(second));
    }
    assert_eq!(view.forget_lost(at(160)), []);
    assert_eq!(view.forget_lost(at(170)), [id("mc-1")]);
    assert!(view.controller(&id("mc-1")).is_none());
}
