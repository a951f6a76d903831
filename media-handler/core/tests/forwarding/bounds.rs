//! What anyone may make the hub hold, against random hosts of participants and publishers.

use std::collections::BTreeSet;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use common_core::media::{Layer, MediaStream, StreamType, SubscriptionOptions, VideoShape};
use common_core::{Code, FrameFlags, FrameHeader, FrameKind, Generation, MeetingId, Moment, NodeId, ParticipantId, StreamId};
use media_handler_core::hub::{HelloError, Ingress, Refusal, RegisterError, RouteError};
use media_handler_core::{Control, Hub, Key, Limits, Session};
use proptest::prelude::*;

const MEETING: MeetingId = MeetingId::from_bytes([1; 16]);
const NOW: Moment = Moment::from_micros(1_000_000);

fn limits() -> Limits {
    Limits {
        participants_max: 5,
        sources_max: 12,
        subscriptions_max: 9,
        subscriptions_per_participant_max: 3,
        sessions_max: 4,
        under_way_bytes_max: 10_000,
        ..Limits::default()
    }
}

fn owner() -> NodeId {
    "mc-1".parse().expect("a node id")
}

fn participant(number: u8) -> ParticipantId {
    ParticipantId::from_bytes([number; 16])
}

fn stream_id(publisher: u8, number: u8) -> StreamId {
    StreamId::from_bytes([publisher, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

/// The so-manieth camera of a participant, with as many layers.
fn camera(publisher: u8, number: u8, layers: u8) -> MediaStream {
    let layer = |layer: u8| Layer {
        layer_id: layer.to_string(),
        width: 0,
        height: 0,
        max_bitrate: 0,
        stream_id: StreamId::from_bytes([publisher, number, layer, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
    };
    MediaStream {
        stream_id: stream_id(publisher, number),
        participant_id: participant(publisher),
        stream_type: StreamType::VideoCamera,
        codec: "VP9".into(),
        max_bitrate: 0,
        video: Some(VideoShape { layers: (0..layers).map(layer).collect(), ..Default::default() }),
        sample_rate: 0,
        channels: 0,
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// A participant's whole list, by the layers of each.
    Register {
        participant: u8,
        layers: Vec<u8>,
    },
    Remove {
        participant: u8,
    },
    Route {
        publisher: u8,
        stream: u8,
        destinations: Vec<u8>,
    },
    Unroute {
        publisher: u8,
        stream: u8,
        destination: u8,
    },
    Hello {
        participant: u8,
    },
    End {
        session: usize,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..7u8, prop::collection::vec(0..4u8, 0..5)).prop_map(|(participant, layers)| Op::Register { participant, layers }),
        1 => (0..7u8).prop_map(|participant| Op::Remove { participant }),
        6 => (0..7u8, 0..5u8, prop::collection::vec(0..7u8, 1..6))
            .prop_map(|(publisher, stream, destinations)| Op::Route { publisher, stream, destinations }),
        2 => (0..7u8, 0..5u8, 0..7u8).prop_map(|(publisher, stream, destination)| Op::Unroute { publisher, stream, destination }),
        3 => (0..7u8).prop_map(|participant| Op::Hello { participant }),
        2 => (0..8usize).prop_map(|session| Op::End { session }),
    ];
    prop::collection::vec(op, 1..80)
}

/// A participant who does not read for a while hears every report once it does, however many there are; and what it is asked for
/// does not wait behind them.
#[test]
fn reports_wait_in_turn_and_hold_up_no_request() {
    let (mut hub, owner) = (Hub::new(Limits::default()), owner());
    let streams = |id| (0..32).map(|number| camera(id, number, 0)).collect::<Vec<_>>();
    for id in 1..=3 {
        hub.register_participant(NOW, &owner, (MEETING, participant(id)), Generation(1), streams(id)).expect("there is room");
    }
    hub.register_participant(NOW, &owner, (MEETING, participant(9)), Generation(1), vec![camera(9, 0, 0)]).expect("there is room");
    let session = hub.open_session();
    hub.issue_token(NOW, (MEETING, participant(9)), [9; 32]);
    hub.hello(NOW, session, &[9; 32]).expect("the token is fresh");
    for (id, number) in (1..=3).flat_map(|id| (0..32).map(move |number| (id, number))) {
        let destination = vec![(participant(9), SubscriptionOptions::default())];
        hub.route_media(NOW, &owner, MEETING, stream_id(id, number), destination).expect("both are there");
    }
    for second in 1..=5 {
        hub.tick(NOW + Duration::from_secs(second));
    }
    let destination = vec![(participant(1), SubscriptionOptions::default())];
    hub.route_media(NOW, &owner, MEETING, stream_id(9, 0), destination).expect("both are there");
    let other = hub.open_session();
    hub.issue_token(NOW, (MEETING, participant(1)), [1; 32]);
    hub.hello(NOW + Duration::from_secs(6), other, &[1; 32]).expect("the token is fresh");
    let mut told = Vec::new();
    while let Poll::Ready(control) = hub.poll_control(session, &Context::from_waker(Waker::noop())) {
        told.push(control);
    }
    assert_eq!(told[0], Control::KeyFrame(stream_id(9, 0)), "first of all");
    let reported: BTreeSet<StreamId> = told[1..]
        .iter()
        .map(|control| if let Control::Report(report) = control { report.media_stream } else { panic!("{control:?}") })
        .collect();
    assert_eq!((reported.len(), told.len()), (96, 97), "of each once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Whatever controllers ask for and sessions say, nothing goes over its bound; what is refused changes nothing; what is taken away makes
    /// room again.
    #[test]
    fn nobody_gets_more_room_than_there_is(ops in ops()) {
        let (mut hub, owner) = (Hub::new(limits()), owner());
        let mut sessions: Vec<Key<Session>> = Vec::new();
        let mut tokens = 0_u32;
        for (op, generation) in ops.into_iter().zip((1..).map(Generation)) {
            let before = (hub.participants(), hub.counts(), hub.greeted_count());
            let is_refused = match op {
                Op::Register { participant: id, layers } => {
                    let streams = layers.iter().zip(0..).map(|(layers, number)| camera(id, number, *layers)).collect();
                    match hub.register_participant(NOW, &owner, (MEETING, participant(id)), generation, streams) {
                        Ok(()) => false,
                        Err(RegisterError::Full | RegisterError::FullOfStreams) => true,
                        Err(error) => panic!("{error}"),
                    }
                }
                Op::Remove { participant: id } => {
                    hub.remove_participant(NOW, &owner, (MEETING, participant(id)), generation, Code::Normal, "").expect("it is ours");
                    false
                }
                Op::Route { publisher, stream, destinations } => {
                    let destinations = destinations.iter().map(|id| (participant(*id), SubscriptionOptions::default())).collect();
                    match hub.route_media(NOW, &owner, MEETING, stream_id(publisher, stream), destinations) {
                        Ok(()) => false,
                        Err(RouteError::OtherController(id)) => panic!("{id} is ours"),
                        Err(_) => true,
                    }
                }
                Op::Unroute { publisher, stream, destination } => {
                    hub.unroute_media(NOW, &owner, MEETING, stream_id(publisher, stream), &[participant(destination)]).expect("it is ours");
                    false
                }
                Op::Hello { participant: id } => {
                    tokens += 1;
                    let mut hash = [0; 32];
                    hash[..4].copy_from_slice(&tokens.to_be_bytes());
                    let session = hub.open_session();
                    sessions.push(session);
                    hub.issue_token(NOW, (MEETING, participant(id)), hash);
                    let said = hub.hello(NOW, session, &hash);
                    if said == Err(HelloError::Full) {
                        prop_assert_eq!(hub.greeted_count(), 4);
                        // The token is not spent.
                        let Some(one) = sessions.iter().position(|key| *key != session) else { panic!("four stand") };
                        hub.end_session(NOW, sessions.remove(one));
                    }
                    said.is_err() && said != Err(HelloError::Full)
                }
                Op::End { session } => {
                    if session < sessions.len() {
                        hub.end_session(NOW, sessions.remove(session));
                    }
                    false
                }
            };
            let (layers, subscriptions) = hub.counts();
            prop_assert!(hub.participants() <= 5 && layers <= 12 && subscriptions <= 9 && hub.greeted_count() <= 4);
            prop_assert!(!is_refused || before == (hub.participants(), hub.counts(), hub.greeted_count()), "a refusal changes nothing");
            for entry in hub.telemetry(&owner).iter().filter(|entry| !entry.publishes) {
                let of = hub.telemetry(&owner).iter().filter(|other| !other.publishes && other.participant == entry.participant).count();
                prop_assert!(of <= 3, "{} subscribes to {of}", entry.participant);
            }
        }
        for id in 0..7 {
            hub.remove_participant(NOW, &owner, (MEETING, participant(id)), Generation(100), Code::Normal, "").expect("it is ours");
        }
        for session in sessions {
            hub.end_session(NOW, session);
        }
        prop_assert_eq!((hub.participants(), hub.counts(), hub.greeted_count(), hub.session_count()), (0, (0, 0), 0, 0));
    }

    /// Records begun on any number of streams come to no more than the bound, to the byte, however they go on or end; and they hold no
    /// memory once they are over and too old to join at.
    #[test]
    fn records_begun_are_not_held_without_end(steps in prop::collection::vec((0..6usize, 0..5000u32, 0..6000usize, 0..8u8), 1..100)) {
        let (mut hub, owner) = (Hub::new(limits()), owner());
        hub.register_participant(NOW, &owner, (MEETING, participant(1)), Generation(1), vec![camera(1, 0, 0)]).expect("there is room");
        let session = hub.open_session();
        hub.issue_token(NOW, (MEETING, participant(1)), [1; 32]);
        hub.hello(NOW, session, &[1; 32]).expect("the token is fresh");
        // A stream, and what its record under way lacks and has in all.
        let mut streams: Vec<Option<(Ingress, u32, u32)>> = (0..6).map(|_| None).collect();
        let mut now = NOW;
        for (sequence, (at, payload, bytes, what)) in (0..).zip(steps) {
            now = now + Duration::from_millis(50);
            let (mut ingress, missing, length) = streams[at].take().unwrap_or_else(|| (hub.open_ingress(session), 0, 0));
            let others: u64 = streams.iter().flatten().map(|(_, missing, length)| if *missing > 0 { u64::from(*length) } else { 0 }).sum();
            if what == 0 {
                hub.end_ingress(ingress, now);
            } else if missing > 0 {
                let piece = u32::try_from(bytes).expect("it is small").min(missing);
                hub.payload(&mut ingress, Bytes::from(vec![0; piece as usize])).expect("it is taken");
                hub.flush(&mut ingress, now);
                streams[at] = Some((ingress, missing - piece, length));
            } else {
                let header = FrameHeader {
                    kind: if what % 2 == 0 { FrameKind::VideoKey } else { FrameKind::VideoDelta },
                    stream_id: stream_id(1, 0),
                    timestamp_us: 0,
                    sequence,
                    payload_length: payload,
                    flags: FrameFlags(u16::from(what) & 1),
                    reserved: [0; 6],
                };
                let outcome = hub.begin(&mut ingress, now, &header, Bytes::copy_from_slice(&header.encode()));
                hub.flush(&mut ingress, now);
                let is_too_much = others + u64::from(payload) > 10_000;
                prop_assert_eq!(outcome, if is_too_much { Err(Refusal::Stop(Code::CapacityExceeded)) } else { Ok(()) });
                if is_too_much {
                    hub.end_ingress(ingress, now);
                } else {
                    streams[at] = Some((ingress, payload, payload));
                }
            }
            let under_way: u64 =
                streams.iter().flatten().map(|(_, missing, length)| if *missing > 0 { u64::from(*length) } else { 0 }).sum();
            prop_assert_eq!(hub.under_way_bytes(session), under_way);
        }
        for (ingress, ..) in streams.into_iter().flatten() {
            hub.end_ingress(ingress, now);
        }
        hub.tick(now + Duration::from_secs(5));
        prop_assert_eq!((hub.under_way_bytes(session), hub.cost_held()), (0, 0));
    }
}

/// A controller that no list names yet may have started a moment ago: whoever it registers has time to come.
#[test]
fn who_was_registered_a_moment_ago_is_not_abandoned() {
    const PATIENCE: Duration = Duration::from_secs(18);
    let mut hub = Hub::new(limits());
    let before = (owner(), 7);
    for number in [1, 2] {
        let address = (MEETING, participant(number));
        hub.register_participant(NOW, &owner(), address, Generation(1), Vec::new()).expect("there is room");
        hub.note_process(address, 8);
    }
    assert_eq!(hub.remove_abandoned(NOW + PATIENCE, std::slice::from_ref(&before), PATIENCE), 0);
    let later = NOW + PATIENCE + Duration::from_millis(1);
    assert_eq!(hub.remove_abandoned(later, &[before.clone(), (owner(), 8)], PATIENCE), 0);
    // It counts from the last registration.
    hub.register_participant(later, &owner(), (MEETING, participant(1)), Generation(2), Vec::new()).expect("it is newer");
    assert_eq!(hub.remove_abandoned(later, &[before], PATIENCE), 1);
    assert_eq!(hub.participants(), 1);
}
