//! Events: numbered without holes, told once, in the order of their commits; who is in a meeting; what is purged.

use std::sync::Arc;
use std::time::Duration;

use common_core::{MeetingId, ParticipantId};
use global_controller::store::{Assignment, Event, EventKind, MeetingKey, NewEvent, Presence, Status, Store, TenantId};
use serde_json::json;

use super::{assignment, meeting, status_of};

/// An event that can be repeated under `source`.
pub fn event(meeting: MeetingId, kind: EventKind, source: Option<&str>) -> NewEvent {
    NewEvent {
        id: common::random::uuid(),
        meeting,
        kind,
        occurred_at: 1000,
        data: json!({"participant_id": "p", "nested": {"text": "\u{0} ü \"'"}}),
        source: source.map(Into::into),
        presence: None,
    }
}

/// `participant` joins or leaves, on process `start_number` of `controller`.
pub fn moves(meeting: MeetingId, kind: EventKind, participant: u8, controller: &str, start_number: u64) -> NewEvent {
    let presence = Presence {
        meeting,
        participant: ParticipantId::from_bytes([participant; 16]),
        controller: controller.parse().expect("a node id"),
        start_number,
        data: format!("{{\"n\":{participant}}}"),
    };
    NewEvent { presence: Some(presence), ..event(meeting, kind, Some(&common::random::token())) }
}

pub async fn all(store: &dyn Store, meeting: MeetingId) -> Vec<Event> {
    store.events(meeting, 0, 1000).await.expect("it answers")
}

/// `1 meeting.created`, and so on.
pub async fn told(store: &dyn Store, meeting: MeetingId) -> Vec<String> {
    all(store, meeting).await.iter().map(|event| format!("{} {}", event.sequence, event.kind.as_str())).collect()
}

pub async fn a_meetings_life_is_told_once(store: &dyn Store) {
    let new = meeting(31, TenantId::from_u128(31), Some("ana"));
    store.create_meeting(&new, None).await.expect("created");
    assert_eq!(told(store, new.id).await, ["1 meeting.created"]);
    let created = all(store, new.id).await.remove(0);
    assert_eq!((created.meeting, created.kind, created.occurred_at), (new.id, EventKind::MeetingCreated, new.created_at));
    let settings = json!({"enable_e2e_encryption": false, "require_auth": true, "recording_enabled": true});
    assert_eq!(
        created.data,
        json!({"display_name": "Meeting 31", "meeting_url": "https://example.com/m/31", "max_participants": 7, "settings": settings})
    );

    // The first join is preceded by the start; a repeat of either report changes nothing.
    let joined = event(new.id, EventKind::ParticipantJoined, Some("mc-1/7/1"));
    let left = event(new.id, EventKind::ParticipantLeft, Some("mc-1/7/2"));
    assert_eq!(store.append_events(&[joined.clone(), left.clone()]).await.expect("it answers"), [new.id]);
    let repeated = [joined.clone(), NewEvent { id: common::random::uuid(), ..left.clone() }, joined.clone()];
    assert_eq!(store.append_events(&repeated).await.expect("it answers"), []);
    let twice_in_one = event(new.id, EventKind::StreamPublished, Some("mc-1/7/3"));
    let twice_in_one = [twice_in_one.clone(), NewEvent { id: common::random::uuid(), ..twice_in_one }];
    assert_eq!(store.append_events(&twice_in_one).await.expect("it answers"), [new.id]);
    assert_eq!(store.note_running(&[new.id], 2000).await.expect("it answers"), []);
    store.end_meeting(new.id, 3000).await.expect("it answers");
    store.end_meeting(new.id, 4000).await.expect("it answers");
    let last = event(new.id, EventKind::ParticipantLeft, Some("mc-1/7/4"));
    store.append_events(&[last]).await.expect("it answers");
    let expected = [
        "1 meeting.created",
        "2 meeting.started",
        "3 participant.joined",
        "4 participant.left",
        "5 stream.published",
        "6 meeting.ended",
        "7 participant.left",
    ];
    assert_eq!(told(store, new.id).await, expected);
    assert_eq!(status_of(store, new.id).await, Status::Completed);
    let kept = all(store, new.id).await;
    assert_eq!((kept[2].id, &kept[2].data, kept[2].occurred_at), (joined.id, &joined.data, 1000));
    assert_eq!((&kept[1].data, kept[5].occurred_at, &kept[5].data), (&json!({}), 3000, &json!({})));
    // Parts of the feed.
    let part: Vec<i64> = store.events(new.id, 2, 3).await.expect("it answers").iter().map(|event| event.sequence).collect();
    assert_eq!(part, [3, 4, 5]);
    assert!(store.events(new.id, 7, 3).await.expect("it answers").is_empty());

    // Nobody joined, somebody is there all the same: heartbeats say so.
    let other = meeting(32, TenantId::from_u128(31), None);
    store.create_meeting(&other, None).await.expect("created");
    for _ in 0..2 {
        assert_eq!(store.note_running(&[new.id, other.id], 5000).await.expect("it answers"), [new.id]);
    }
    store.append_events(&[event(other.id, EventKind::ParticipantJoined, None)]).await.expect("it answers");
    assert_eq!(told(store, other.id).await, ["1 meeting.created", "2 meeting.started", "3 participant.joined"]);
    // Of a meeting that is not kept.
    let nowhere = MeetingId::from_bytes([97; 16]);
    assert_eq!(store.append_events(&[event(nowhere, EventKind::ParticipantJoined, None)]).await.expect("it answers"), []);
    assert_eq!(store.append_events(&[]).await.expect("it answers"), []);
    assert!(all(store, nowhere).await.is_empty());
}

/// Whoever is left on a process that is gone is found; who came and went is told of once.
pub async fn orphans_are_found(store: &dyn Store) {
    let new = meeting(33, TenantId::from_u128(33), None);
    store.create_meeting(&new, None).await.expect("created");
    let joins: Vec<NewEvent> = [(1, "mc-a", 7), (2, "mc-a", 7), (3, "mc-a", u64::MAX), (4, "mc-b", 7)]
        .map(|(participant, controller, start)| moves(new.id, EventKind::ParticipantJoined, participant, controller, start))
        .into();
    store.append_events(&joins).await.expect("it answers");
    let left = moves(new.id, EventKind::ParticipantLeft, 2, "mc-a", 7);
    assert_eq!(store.append_events(std::slice::from_ref(&left)).await.expect("it answers"), [new.id]);
    // It is not there any more, so there is nothing to tell.
    let again = NewEvent { id: common::random::uuid(), source: Some("mc-a/7/9".into()), ..left };
    assert_eq!(store.append_events(&[again]).await.expect("it answers"), []);
    let id = |name: &str| name.parse().expect("a node id");
    let orphans = async |live: &[(common_core::NodeId, u64)], limit: u32| {
        let mut found: Vec<u8> = store
            .orphans(live, Duration::ZERO, limit)
            .await
            .expect("it answers")
            .iter()
            .map(|presence| presence.participant.as_bytes()[0])
            .collect();
        found.sort_unstable();
        found
    };
    assert_eq!(orphans(&[(id("mc-a"), 7), (id("mc-a"), u64::MAX), (id("mc-b"), 7)], 10).await, [0_u8; 0]);
    assert_eq!(orphans(&[(id("mc-a"), 7), (id("mc-b"), 8)], 10).await, [3, 4]);
    assert_eq!(orphans(&[], 10).await, [1, 3, 4]);
    assert_eq!(orphans(&[], 2).await.len(), 2);
    let found = store.orphans(&[(id("mc-a"), 7), (id("mc-b"), 7)], Duration::ZERO, 10).await.expect("it answers");
    assert_eq!(found, [joins[2].presence.clone().expect("a join has one")]);
    // Who comes back elsewhere is there.
    store.append_events(&[moves(new.id, EventKind::ParticipantJoined, 3, "mc-b", 7)]).await.expect("it answers");
    assert_eq!(orphans(&[(id("mc-a"), 7), (id("mc-b"), 7)], 10).await, [0_u8; 0]);
    // The end of the process that it has left takes nobody away.
    let stale = moves(new.id, EventKind::ParticipantLeft, 3, "mc-a", u64::MAX);
    assert_eq!(store.append_events(&[stale]).await.expect("it answers"), []);
    let leaves: Vec<NewEvent> = [(1, "mc-a"), (3, "mc-b"), (4, "mc-b")]
        .map(|(participant, controller)| moves(new.id, EventKind::ParticipantLeft, participant, controller, 7))
        .into();
    store.append_events(&leaves).await.expect("it answers");
    assert_eq!(orphans(&[], 10).await, [0_u8; 0]);
}

/// A controller that nobody heard of for long reports again who is there: told is what is true again, and each thing once.
pub async fn who_was_taken_for_gone_is_told_to_be_there(store: &dyn Store) {
    let new = meeting(38, TenantId::from_u128(38), None);
    store.create_meeting(&new, None).await.expect("created");
    let joins = |participant| moves(new.id, EventKind::ParticipantJoined, participant, "mc-e", 7);
    let publishes = |participant| NewEvent { presence: joins(participant).presence, ..event(new.id, EventKind::StreamPublished, None) };
    store.append_events(&[joins(1), joins(2)]).await.expect("it answers");
    let lost = |participant| NewEvent { source: None, ..moves(new.id, EventKind::ParticipantLeft, participant, "mc-e", 7) };
    // It has spoken a moment ago, so it is not lost, whoever found so before.
    assert_eq!(store.append_events(&[lost(1)]).await.expect("it answers"), []);
    // Another one is, since nobody has ever heard of its process but by this join.
    let unheard = NewEvent { kind: EventKind::ParticipantLeft, source: Some("mc-e/7/gone".into()), ..joins(1) };
    assert_eq!(store.append_events(&[unheard]).await.expect("it answers"), [new.id]);
    // Of two who are told again, one was there all the time.
    let again = [joins(1), publishes(1), joins(2), publishes(2)];
    assert_eq!(store.append_events(&again).await.expect("it answers"), [new.id]);
    assert_eq!(store.append_events(&[joins(1), joins(2), publishes(2)]).await.expect("it answers"), []);
    let expected = [
        "1 meeting.created",
        "2 meeting.started",
        "3 participant.joined",
        "4 participant.joined",
        "5 participant.left",
        "6 participant.joined",
        "7 stream.published",
    ];
    assert_eq!(told(store, new.id).await, expected);
    let leaves = [1, 2].map(|participant| moves(new.id, EventKind::ParticipantLeft, participant, "mc-e", 7));
    store.append_events(&leaves).await.expect("it answers");
}

/// What a controller that asks after a freeze is told has moved.
pub async fn what_has_moved_is_found(store: &dyn Store) {
    let ids: Vec<MeetingId> = (120..124).map(|number| meeting(number, TenantId::from_u128(120), None).id).collect();
    for number in 120..124 {
        store.create_meeting(&meeting(number, TenantId::from_u128(120), None), None).await.expect("created");
    }
    let first = store.meeting(MeetingKey::Id(ids[0])).await.expect("it answers").expect("it is there").assignment;
    let (controller, start_number) = (first.controller.clone(), first.start_number);
    let moved = async || {
        let unknown = MeetingId::from_bytes([96; 16]);
        let asked: Vec<MeetingId> = ids.iter().copied().chain([unknown]).collect();
        store.moved(&asked, &controller, start_number).await.expect("it answers")
    };
    assert_eq!(moved().await, []);
    let next = |assigned_at| Assignment { assigned_at, ..assignment(2) };
    store.reassign(ids[1], &Assignment { controller: "mc-z".parse().expect("a node id"), ..next(8000) }).await.expect("it answers");
    store.reassign(ids[2], &Assignment { start_number: start_number - 1, ..next(9000) }).await.expect("it answers");
    store.end_meeting(ids[3], 1).await.expect("it answers");
    assert_eq!(moved().await, ids[1..]);
    assert_eq!(store.moved(&[], &controller, start_number).await.expect("it answers"), []);
    let newest: Vec<MeetingId> = store.newest_assignments(2).await.expect("it answers").iter().map(|it| it.id).collect();
    assert_eq!(newest, [ids[2], ids[1]]);
    assert!(store.newest_assignments(1000).await.expect("it answers").iter().all(|it| it.id != ids[3]));
}

/// What one global controller sees or hears of, none takes for gone: one that has lost sight of all controllers lets nobody go.
pub async fn who_is_seen_by_others_is_no_orphan(store: &dyn Store) {
    let new = meeting(37, TenantId::from_u128(37), None);
    store.create_meeting(&new, None).await.expect("created");
    let (long, moment) = (Duration::from_secs(3600), Duration::from_millis(1));
    let orphans = async |patience: Duration| store.orphans(&[], patience, 10).await.expect("it answers").len();
    store.append_events(&[moves(new.id, EventKind::ParticipantJoined, 1, "mc-c", u64::MAX)]).await.expect("it answers");
    assert_eq!(orphans(long).await, 0, "it has just reported");
    while orphans(moment).await == 0 {
        tokio::task::yield_now().await;
    }
    let seen: Vec<_> = ["mc-c", "mc-d"].map(|name| (name.parse().expect("a node id"), u64::MAX)).into();
    store.note_processes(&seen).await.expect("it answers");
    store.note_processes(&[]).await.expect("it answers");
    assert_eq!((orphans(long).await, orphans(Duration::ZERO).await), (0, 1));
    store.append_events(&[moves(new.id, EventKind::ParticipantLeft, 1, "mc-c", u64::MAX)]).await.expect("it answers");
}

/// However many report at once: numbers without holes, one start, each report once.
pub async fn parallel_reports_leave_no_hole(store: Arc<dyn Store>) {
    let meetings = [meeting(34, TenantId::from_u128(34), None), meeting(35, TenantId::from_u128(34), None)];
    for new in &meetings {
        store.create_meeting(new, None).await.expect("created");
    }
    let ids = [meetings[0].id, meetings[1].id];
    let tasks: Vec<_> = (0..16_u32)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..5 {
                    // Two tasks report the same, each in another order of meetings.
                    let report = |id: MeetingId| event(id, EventKind::ParticipantJoined, Some(&format!("{id}/{}/{round}", task / 2)));
                    let mut events = [report(ids[0]), report(ids[1])];
                    if task % 2 == 0 {
                        events.reverse();
                    }
                    store.append_events(&events).await.expect("it answers");
                }
                store.note_running(&ids, 1).await.expect("it answers");
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    for id in ids {
        let events = all(store.as_ref(), id).await;
        let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences, (1..=42).collect::<Vec<i64>>(), "created, started and forty joins");
        assert_eq!(events.iter().filter(|event| event.kind == EventKind::MeetingStarted).count(), 1);
        assert_eq!(events[1].kind, EventKind::MeetingStarted);
    }
}

/// A reader that follows the feed while others write misses nothing: what has a lower number is there first.
pub async fn a_follower_misses_nothing(store: Arc<dyn Store>) {
    let new = meeting(36, TenantId::from_u128(36), None);
    store.create_meeting(&new, None).await.expect("created");
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, id) = (store.clone(), new.id);
            tokio::spawn(async move {
                for _ in 0..20 {
                    store.append_events(&[event(id, EventKind::StreamPublished, None)]).await.expect("it answers");
                }
            })
        })
        .collect();
    let mut last = 0;
    while last < 81 {
        for event in store.events(new.id, last, 7).await.expect("it answers") {
            assert_eq!(event.sequence, last + 1);
            last = event.sequence;
        }
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
}
