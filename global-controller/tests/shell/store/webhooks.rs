//! Webhooks: what is due to them, in order, to one caller at a time.

use std::sync::Arc;

use global_controller::store::{ANONYMOUS_TENANT, ApiClient, Delivery, EventKind, MeetingKey, NewEvent, Store, TenantId, Webhook};
use global_controller_core::Scopes;
use uuid::Uuid;

use super::events::{event, moves};
use super::meeting;

const EVERYTHING: i64 = (1 << EventKind::ALL.len()) - 1;
/// Later than everything that these tests tell of.
const NOW: i64 = 10_000_000;

async fn client(store: &dyn Store, id: &str, tenant: TenantId) {
    let client = ApiClient {
        id: id.into(),
        secret_hash: "$argon2id$".into(),
        tenant,
        name: "an app".into(),
        scopes: Scopes::all(),
        rate_limit: Some(7),
        created_at: 1,
        revoked_at: None,
    };
    store.create_api_client(&client).await.expect("created");
}

fn webhook(number: u128, client: &str, tenant: TenantId, events: i64) -> Webhook {
    Webhook {
        id: Uuid::from_u128(number),
        client: client.into(),
        tenant,
        url: format!("https://example.com/{number}"),
        events,
        secret: "whsec_".into(),
        created_at: i64::try_from(number).expect("a small number"),
        delivered_at: None,
        failing: None,
    }
}

/// `webhook sequence attempts` of what is due at `now`, taken until `lease_until`.
async fn taken(store: &dyn Store, now: i64, lease_until: i64) -> Vec<String> {
    let mut taken: Vec<String> = take(store, now, lease_until).await.iter().map(brief).collect();
    taken.sort();
    taken
}

async fn take(store: &dyn Store, now: i64, lease_until: i64) -> Vec<Delivery> {
    store.take_deliveries(now, lease_until, 100, &[]).await.expect("it answers")
}

fn brief(delivery: &Delivery) -> String {
    format!("{} {} {}", delivery.webhook.id.as_u128(), delivery.event.sequence, delivery.attempts)
}

pub async fn webhooks_belong_to_their_client(store: &dyn Store) {
    let tenant = TenantId::from_u128(41);
    client(store, "client-41", tenant).await;
    client(store, "client-42", tenant).await;
    let all: Vec<Webhook> = (411..=413).map(|number| webhook(number, "client-41", tenant, EVERYTHING)).collect();
    for new in all.iter().rev() {
        assert!(store.create_webhook(new, 3).await.expect("it answers"));
    }
    assert!(!store.create_webhook(&webhook(414, "client-41", tenant, EVERYTHING), 3).await.expect("it answers"), "it has three");
    assert!(!store.create_webhook(&webhook(414, "nobody", tenant, EVERYTHING), 3).await.expect("it answers"));
    assert_eq!(store.webhooks("client-41").await.expect("it answers"), all);
    assert_eq!(store.webhooks("client-42").await.expect("it answers"), []);
    assert!(!store.delete_webhook("client-42", all[0].id).await.expect("it answers"), "it is another's");
    assert!(store.delete_webhook("client-41", all[0].id).await.expect("it answers"));
    assert!(!store.delete_webhook("client-41", all[0].id).await.expect("it answers"));
    assert_eq!(store.webhooks("client-41").await.expect("it answers"), all[1..]);

    // With its client a webhook is gone, and what was due to it; none comes after that.
    store.create_meeting(&meeting(41, tenant, None), None).await.expect("created");
    assert_eq!(taken(store, NOW, NOW).await, ["412 1 0", "413 1 0"]);
    assert!(store.revoke_api_client("client-41", 50).await.expect("it answers"));
    assert_eq!(store.webhooks("client-41").await.expect("it answers"), []);
    assert_eq!(taken(store, NOW, NOW).await, [""; 0]);
    assert!(!store.create_webhook(&all[0], 3).await.expect("it answers"));
}

pub async fn calls_are_made_in_order(store: &dyn Store) {
    let tenant = TenantId::from_u128(43);
    client(store, "client-43", tenant).await;
    let joins = EventKind::ParticipantJoined.bit() | EventKind::MeetingEnded.bit();
    let hooks = [webhook(431, "client-43", tenant, EVERYTHING), webhook(432, "client-43", tenant, joins)];
    for hook in &hooks {
        assert!(store.create_webhook(hook, 9).await.expect("it answers"));
    }
    let (one, other, foreign) = (meeting(43, tenant, None), meeting(44, tenant, None), meeting(45, TenantId::from_u128(44), None));
    for new in [&one, &foreign] {
        store.create_meeting(new, None).await.expect("created");
    }
    let joined = event(one.id, EventKind::ParticipantJoined, None);
    store.append_events(&[joined.clone(), event(one.id, EventKind::ParticipantLeft, None)]).await.expect("it answers");
    // Of each webhook the oldest; leased, nothing else is due, and after the lease the same.
    assert_eq!(taken(store, NOW, NOW + 100).await, ["431 1 0", "432 3 0"]);
    assert_eq!(taken(store, NOW + 99, NOW + 200).await, [""; 0]);
    let again = take(store, NOW + 100, NOW + 200).await;
    assert_eq!(again.iter().map(brief).collect::<Vec<_>>().len(), 2);
    // Another meeting has a queue of its own.
    store.create_meeting(&other, None).await.expect("created");
    assert_eq!(taken(store, NOW + 100, NOW + 200).await, ["431 1 0"]);
    let other_created = store.events(other.id, 0, 1).await.expect("it answers").remove(0);
    store.delivered(hooks[0].id, other_created.id, NOW + 101).await.expect("it answers");

    let created = again.iter().find(|delivery| delivery.webhook.id == hooks[0].id).expect("it was taken");
    assert_eq!((created.event.kind, created.event.meeting), (EventKind::MeetingCreated, one.id));
    assert_eq!(created.webhook.url, hooks[0].url);
    // A failure delays the whole queue of this webhook, and no other's.
    store.not_delivered(hooks[0].id, created.event.id, NOW + 110, Some(NOW + 300), "refused").await.expect("it answers");
    store.not_delivered(hooks[0].id, created.event.id, NOW + 115, Some(NOW + 300), "refused again").await.expect("it answers");
    store.delivered(hooks[1].id, joined.id, NOW + 120).await.expect("it answers");
    assert_eq!(taken(store, NOW + 299, NOW + 299).await, [""; 0]);
    let shown = store.webhooks("client-43").await.expect("it answers");
    assert_eq!((shown[0].delivered_at, shown[0].failing.clone()), (Some(NOW + 101), Some((NOW + 110, "refused again".into()))));
    assert_eq!((shown[1].delivered_at, shown[1].failing.clone()), (Some(NOW + 120), None));
    // Told by somebody whose lease had run out: nothing is skipped by it.
    store.delivered(hooks[1].id, joined.id, NOW + 130).await.expect("it answers");
    assert_eq!(store.webhooks("client-43").await.expect("it answers")[1].delivered_at, Some(NOW + 120));

    assert_eq!(taken(store, NOW + 300, NOW + 400).await, ["431 1 2"]);
    store.delivered(hooks[0].id, created.event.id, NOW + 310).await.expect("it answers");
    assert_eq!(store.webhooks("client-43").await.expect("it answers")[0].failing, None);
    let started = take(store, NOW + 310, NOW + 400).await.remove(0);
    assert_eq!((brief(&started), started.event.kind), ("431 2 0".to_owned(), EventKind::MeetingStarted));
    // Given up: the next one is due.
    store.not_delivered(hooks[0].id, started.event.id, NOW + 320, None, "too long").await.expect("it answers");
    assert_eq!(taken(store, NOW + 320, NOW + 320).await, ["431 3 0"]);
    store.end_meeting(one.id, NOW).await.expect("it answers");
    assert_eq!(taken(store, NOW + 330, NOW + 330).await, ["431 3 0", "432 5 0"]);
    // What is dropped takes its queue along; the other's goes on to its end.
    assert!(store.delete_webhook("client-43", hooks[1].id).await.expect("it answers"));
    for expected in ["431 3 0", "431 4 0", "431 5 0"] {
        let due = take(store, NOW + 340, NOW + 400).await;
        assert_eq!(due.iter().map(brief).collect::<Vec<_>>(), [expected]);
        store.delivered(hooks[0].id, due[0].event.id, NOW + 340).await.expect("it answers");
    }
    assert_eq!(taken(store, NOW + 1000, NOW + 1000).await, [""; 0]);
    // Nobody hears of another tenant's meeting, but everybody of those without an owner.
    store.create_meeting(&meeting(46, ANONYMOUS_TENANT, None), None).await.expect("created");
    assert_eq!(taken(store, NOW, NOW).await, ["431 1 0"]);
    assert!(store.revoke_api_client("client-43", 1).await.expect("it answers"));
}

/// However many take at once, a call is one's alone, and every event of a meeting is told in order.
pub async fn parallel_takers_share_the_work(store: Arc<dyn Store>) {
    let tenant = TenantId::from_u128(47);
    client(store.as_ref(), "client-47", tenant).await;
    let hook = webhook(471, "client-47", tenant, EVERYTHING);
    assert!(store.create_webhook(&hook, 9).await.expect("it answers"));
    for number in 50..60 {
        store.create_meeting(&meeting(number, tenant, None), None).await.expect("created");
    }
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for round in 0..6_u8 {
                for number in 50..60 {
                    let id = meeting(number, TenantId::nil(), None).id;
                    let kind = if round % 2 == 0 { EventKind::ParticipantJoined } else { EventKind::ParticipantLeft };
                    store.append_events(&[moves(id, kind, 1, "mc-1", 1)]).await.expect("it answers");
                }
            }
        }
    });
    // Created, started, six moves: eight events of each of ten meetings.
    let told: Arc<std::sync::Mutex<Vec<(u8, i64)>>> = Arc::default();
    let takers: Vec<_> = (0..6)
        .map(|_| {
            let (store, told, id) = (store.clone(), told.clone(), hook.id);
            tokio::spawn(async move {
                while told.lock().expect("no panic").len() < 80 {
                    for delivery in store.take_deliveries(NOW, NOW + 1, 3, &[]).await.expect("it answers") {
                        told.lock().expect("no panic").push((delivery.event.meeting.as_bytes()[0], delivery.event.sequence));
                        store.delivered(id, delivery.event.id, NOW).await.expect("it answers");
                    }
                }
            })
        })
        .collect();
    writer.await.expect("no panic");
    for taker in takers {
        taker.await.expect("no panic");
    }
    let told = told.lock().expect("no panic");
    for number in 50..60_u8 {
        let sequences: Vec<i64> = told.iter().filter(|(meeting, _)| *meeting == number).map(|(_, sequence)| *sequence).collect();
        assert_eq!(sequences, (1..=8).collect::<Vec<i64>>(), "meeting {number}");
    }
}

/// What is old goes, unless somebody is still to be told of it; numbers go on where they were.
pub async fn what_is_old_is_purged(store: &dyn Store) {
    // What the webhooks of other tests left behind.
    while store.purge(i64::MIN, i64::MIN, 100).await.expect("it answers") > 0 {}
    let tenant = TenantId::from_u128(48);
    client(store, "client-48", tenant).await;
    let hook = webhook(481, "client-48", tenant, EventKind::ParticipantLeft.bit());
    assert!(store.create_webhook(&hook, 9).await.expect("it answers"));
    let new = meeting(61, tenant, None);
    store.create_meeting(&new, None).await.expect("created");
    let old = |kind: EventKind| NewEvent { occurred_at: -1000, ..event(new.id, kind, None) };
    let left = old(EventKind::ParticipantLeft);
    store.append_events(&[old(EventKind::ParticipantJoined), left.clone(), old(EventKind::StreamPublished)]).await.expect("it answers");
    assert_eq!(store.purge(-999, -999, 1).await.expect("it answers"), 1);
    assert_eq!(store.purge(-999, -999, 100).await.expect("it answers"), 2);
    let kept = |events: Vec<global_controller::store::Event>| events.iter().map(|event| event.sequence).collect::<Vec<i64>>();
    assert_eq!(kept(store.events(new.id, 0, 100).await.expect("it answers")), [1, 4]);
    store.delivered(hook.id, left.id, NOW).await.expect("it answers");
    assert_eq!(store.purge(-999, -999, 100).await.expect("it answers"), 1);
    store.end_meeting(new.id, NOW).await.expect("it answers");
    assert_eq!(kept(store.events(new.id, 0, 100).await.expect("it answers")), [1, 6]);
    assert!(store.meeting(MeetingKey::Id(new.id)).await.expect("it answers").is_some());

    // What a dropped webhook was to be told of holds nothing back.
    store.append_events(&[old(EventKind::ParticipantLeft)]).await.expect("it answers");
    assert_eq!(store.purge(-999, -999, 100).await.expect("it answers"), 0);
    assert!(store.delete_webhook("client-48", hook.id).await.expect("it answers"));
    while store.purge(-999, -999, 100).await.expect("it answers") > 0 {}
    assert_eq!(kept(store.events(new.id, 0, 100).await.expect("it answers")), [1, 6]);
}

/// Who is busy waits, and holds up nobody else.
pub async fn the_busy_are_passed_over(store: &dyn Store) {
    let tenant = TenantId::from_u128(49);
    client(store, "client-49", tenant).await;
    for number in [491, 492] {
        assert!(store.create_webhook(&webhook(number, "client-49", tenant, EVERYTHING), 9).await.expect("it answers"));
    }
    let before = store.deliveries_pending().await.expect("it answers");
    let new = meeting(149, tenant, None);
    store.create_meeting(&new, None).await.expect("created");
    assert_eq!(store.deliveries_pending().await.expect("it answers"), before + 2);
    let take = |busy: &'static [u128]| async move {
        let busy: Vec<Uuid> = busy.iter().map(|number| Uuid::from_u128(*number)).collect();
        let taken = store.take_deliveries(NOW, NOW + 1, 100, &busy).await.expect("it answers");
        taken.iter().map(brief).collect::<Vec<String>>()
    };
    assert_eq!(take(&[491, 492]).await, Vec::<String>::new());
    assert_eq!(take(&[491]).await, ["492 1 0"]);
    assert_eq!(take(&[]).await, ["491 1 0"]);
    for number in [491, 492] {
        assert!(store.delete_webhook("client-49", Uuid::from_u128(number)).await.expect("it answers"));
    }
    assert_eq!(store.deliveries_pending().await.expect("it answers"), before);
}
