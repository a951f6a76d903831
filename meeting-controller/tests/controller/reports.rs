//! What global controllers hear of meetings.

use std::time::Duration;

use proto::cluster::meeting_event::What;
use proto::cluster::{KickFromMeeting, MeetingEvent};
use proto::v1;
use proto::v1::LeaveReason;
use proto::v1::client_message::Body as Ask;
use proto::v1::server_message::Body as Say;

use crate::registry::TestFront;
use crate::world::{MEETING, World, config, eventually};

/// One line for each event.
fn story(events: &[MeetingEvent]) -> Vec<String> {
    let name = |it: &Option<v1::Participant>| it.as_ref().map(|it| it.name.clone()).unwrap_or_default();
    let line = |event: &MeetingEvent| match event.what.as_ref().expect("something happened") {
        What::ParticipantJoined(it) => format!("{} joined", name(&it.participant)),
        What::ParticipantLeft(it) => {
            let who = it.participant.as_ref().expect("somebody left");
            format!("{} left: {}", name(&who.participant), it.reason().as_str_name())
        }
        What::StreamPublished(it) => format!("{} published", it.stream_id),
        What::StreamUnpublished(it) => format!("{} unpublished", it.stream_id),
    };
    events.iter().map(line).collect()
}

async fn hears(front: &TestFront, count: usize) -> Vec<MeetingEvent> {
    eventually("the events", || front.heard().events().len() >= count).await;
    front.heard().events()
}

/// In the order in which the participants saw it, with all that an application wants to know.
#[tokio::test]
async fn what_happens_is_reported_in_order() {
    let (world, [front]) = World::start_reporting(config()).await;
    let (mut host, mut ana) = (world.join("Host").await, world.join("Ana").await);
    let (kept, withdrawn) = (ana.publish().await, ana.publish().await);
    ana.done(Ask::Unpublish(v1::UnpublishStream { stream_id: withdrawn.clone() })).await;
    host.done(Ask::Kick(v1::KickParticipant { participant_id: ana.id.clone() })).await;
    host.done(Ask::Leave(v1::Leave {})).await;
    let events = hears(&front, 8).await;
    assert_eq!(
        story(&events),
        [
            "Host joined".to_owned(),
            "Ana joined".to_owned(),
            format!("{kept} published"),
            format!("{withdrawn} published"),
            format!("{withdrawn} unpublished"),
            format!("{kept} unpublished"),
            "Ana left: KICKED".to_owned(),
            "Host left: VOLUNTARY".to_owned(),
        ]
    );
    assert!(events.iter().all(|event| event.meeting_id == MEETING && event.occurred_at_ms > 1_600_000_000_000));
    let Some(What::ParticipantJoined(joined)) = &events[1].what else { panic!("{:?}", events[1]) };
    let participant = joined.participant.clone().expect("somebody joined");
    assert_eq!((joined.subject.as_str(), participant.participant_id.as_str(), participant.role.as_str()), ("ana", &*ana.id, "attendee"));
    assert!(joined.connected);
    let report = front.heard().reports[0].clone();
    assert_eq!(report.controller_id, "mc-1");
    assert!(report.start_number > 0);
}

/// A host may remove a device of its own, which is no reason to keep the host out.
#[tokio::test]
async fn who_is_kept_out_is_said_apart() {
    let (world, [front]) = World::start_reporting(config()).await;
    let (mut host, twin, ana) = (world.join("Host").await, world.join("Host").await, world.join("Ana").await);
    for id in [&twin.id, &ana.id] {
        host.done(Ask::Kick(v1::KickParticipant { participant_id: id.clone() })).await;
    }
    let gone = |event: &MeetingEvent| match &event.what {
        Some(What::ParticipantLeft(it)) => Some((it.reason(), it.kept_out)),
        _ => None,
    };
    let events = hears(&front, 5).await;
    let left: Vec<_> = events.iter().filter_map(gone).collect();
    assert_eq!(left, [(LeaveReason::Kicked, false), (LeaveReason::Kicked, true)]);
}

/// A host's removal is acknowledged once it outlasts this controller. While nobody stores it, that is what the host is told; it is done
/// here all the same.
#[tokio::test]
async fn a_removal_is_acknowledged_when_it_is_stored() {
    let (world, [front]) = World::start_reporting(config()).await;
    let (mut host, ana, mut bo) = (world.join("Host").await, world.join("Ana").await, world.join("Bo").await);
    host.done(Ask::Kick(v1::KickParticipant { participant_id: ana.id.clone() })).await;
    let is_kept_out = |event: &MeetingEvent| matches!(&event.what, Some(What::ParticipantLeft(it)) if it.kept_out);
    assert!(front.heard().events().iter().any(is_kept_out), "it is stored by the time of the Ack");

    front.heard().refuses_events = Some(tonic::Code::Unavailable);
    let Say::Error(error) = host.call(Ask::Kick(v1::KickParticipant { participant_id: bo.id.clone() })).await else {
        panic!("nobody has stored it")
    };
    assert_eq!((error.code(), error.details.get("done").map(String::as_str)), (v1::ErrorCode::Unavailable, Some("true")));
    assert_eq!(bo.end().await.0, 3, "FORBIDDEN");
    front.heard().refuses_events = None;
    eventually("the removal is stored", || front.heard().events().iter().filter(|it| is_kept_out(it)).count() == 2).await;
}

/// No meeting waits for a global controller; what was not taken is repeated, in order, until one has it.
#[tokio::test]
async fn reports_wait_and_are_repeated() {
    let (world, [first, second]) = World::start_reporting(config()).await;
    first.heard().refuses_events = Some(tonic::Code::Unavailable);
    second.heard().refuses_events = Some(tonic::Code::Unavailable);
    let ana = world.join("Ana").await;
    let bo = world.join("Bo").await;
    assert_eq!(bo.joined.existing_participants[0].participant_id, ana.id);
    // Taken, but the answer is lost: it comes again, to either of them.
    second.heard().refuses_events = Some(tonic::Code::Ok);
    eventually("a repeat", || second.heard().reports.len() >= 2).await;
    first.heard().refuses_events = None;
    assert_eq!(story(&hears(&first, 2).await), ["Ana joined", "Bo joined"]);
    world.join("Cleo").await;
    assert_eq!(story(&hears(&first, 3).await).last().map(String::as_str), Some("Cleo joined"));
}

/// A global controller whose store cannot take so much in time takes it in parts.
#[tokio::test]
async fn what_is_too_much_at_once_comes_in_parts() {
    let (world, [front]) = World::start_reporting(config()).await;
    front.heard().takes_at_most = Some(0);
    for name in ["Ana", "Bo", "Cleo", "Dee", "Eve"] {
        world.join(name).await;
    }
    front.heard().takes_at_most = Some(1);
    let expected = ["Ana joined", "Bo joined", "Cleo joined", "Dee joined", "Eve joined"];
    assert_eq!(story(&hears(&front, expected.len()).await), expected);
}

/// One that will never be understood does not hold up the others for ever.
#[tokio::test]
async fn what_is_refused_for_good_is_dropped() {
    let (world, [front]) = World::start_reporting(config()).await;
    front.heard().refuses_events = Some(tonic::Code::InvalidArgument);
    for name in ["Ana", "Bo"] {
        world.join(name).await;
    }
    let mut cleo = world.join("Cleo").await;
    front.heard().refuses_events = None;
    // Whatever of the first three was dropped meanwhile, what comes later is heard.
    cleo.done(Ask::Leave(v1::Leave {})).await;
    let is_heard = || front.heard().reports.iter().flat_map(|report| story(&report.events)).any(|line| line == "Cleo left: VOLUNTARY");
    eventually("the leave", is_heard).await;
}

/// A stop reports what it does, and does not wait for whoever takes nothing.
#[tokio::test]
async fn a_stop_reports_and_does_not_wait_for_ever() {
    let (world, [front]) = World::start_reporting(config()).await;
    let mut ana = world.join("Ana").await;
    world.controller.stop().await;
    assert_eq!(ana.end().await.0, 11);
    let events = front.heard().events();
    let Some(What::ParticipantLeft(gone)) = &events[1].what else { panic!("{events:?}") };
    assert_eq!(gone.reason(), LeaveReason::ConnectionLost, "the meeting may go on elsewhere");

    let (world, [deaf]) = World::start_reporting(config()).await;
    deaf.heard().refuses_events = Some(tonic::Code::Unavailable);
    world.join("Ana").await;
    let began = tokio::time::Instant::now();
    world.controller.stop().await;
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
}

/// Who is removed by a global controller is reported too.
#[tokio::test]
async fn a_kick_from_outside_is_reported() {
    let (mut world, [front]) = World::start_reporting(config()).await;
    let ana = world.join("Ana").await;
    let kick = KickFromMeeting { meeting_id: MEETING.into(), participant_id: ana.id.clone(), ..Default::default() };
    world.front.kick_from_meeting(kick).await.expect("she is there");
    assert_eq!(story(&hears(&front, 2).await), ["Ana joined", "Ana left: KICKED"]);
}
