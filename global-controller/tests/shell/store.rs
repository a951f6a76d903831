//! The contract of the store, run over each database.

mod events;
mod requests;
mod webhooks;

use std::sync::Arc;

use common::Secret;
use common_core::MeetingId;
use global_controller::store::{
    self, Account, Assignment, EventKind, Listing, MeetingKey, NewMeeting, Settings, Status, Store, StoreError, TenantId,
};
use global_controller_core::MeetingCode;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::postgres::Postgres;

/// Patient: what is looked at is what comes of it, on a machine that may be busy with other tests. `away` has what is due in time.
const LIMITS: store::Limits = store::Limits { connections: 8, timeout: std::time::Duration::from_secs(15) };
const SETTINGS: Settings = Settings { max_participants: 7, recording_enabled: true, enable_e2e_encryption: false, require_auth: true };

fn assignment(epoch: i64) -> Assignment {
    Assignment {
        controller: "mc-1".parse().expect("a node id"),
        start_number: u64::MAX,
        controller_url: "https://mc-1.example.com/wt".into(),
        epoch,
        reason: "the only choice".into(),
        assigned_at: 1,
    }
}

fn meeting(number: u8, tenant: TenantId, host: Option<&str>) -> NewMeeting {
    NewMeeting {
        id: MeetingId::from_bytes([number; 16]),
        code: MeetingCode::from_random(u64::from(number)),
        tenant,
        host: host.map(|subject| Account { subject: subject.into(), display_name: None }),
        display_name: format!("Meeting {number}"),
        meeting_url: format!("https://example.com/m/{number}"),
        settings: SETTINGS,
        region: "eu".into(),
        created_at: i64::from(number) * 1000,
        assignment: assignment(1),
    }
}

/// Everything that is asked of an empty store. A further implementation is run through here as well.
async fn keeps_the_contract(store: Arc<dyn Store>) {
    store.ping().await.expect("it answers");
    meetings_are_found_and_ended(store.as_ref()).await;
    listings_are_bounded(store.as_ref()).await;
    of_two_assignments_one_wins(store.clone()).await;
    requests::clients_are_kept_and_shut_out(store.as_ref()).await;
    requests::keys_come_and_go(store.clone()).await;
    requests::a_request_may_be_repeated(store.as_ref()).await;
    requests::parallel_repeats_create_one_meeting(store.clone()).await;
    requests::subjects_are_kept_out(store.as_ref()).await;
    events::a_meetings_life_is_told_once(store.as_ref()).await;
    events::orphans_are_found(store.as_ref()).await;
    events::who_is_seen_by_others_is_no_orphan(store.as_ref()).await;
    events::who_was_taken_for_gone_is_told_to_be_there(store.as_ref()).await;
    events::what_has_moved_is_found(store.as_ref()).await;
    events::parallel_reports_leave_no_hole(store.clone()).await;
    events::a_follower_misses_nothing(store.clone()).await;
    webhooks::webhooks_belong_to_their_client(store.as_ref()).await;
    webhooks::calls_are_made_in_order(store.as_ref()).await;
    webhooks::parallel_takers_share_the_work(store.clone()).await;
    webhooks::what_is_old_is_purged(store.as_ref()).await;
    webhooks::the_busy_are_passed_over(store.as_ref()).await;
}

async fn meetings_are_found_and_ended(store: &dyn Store) {
    let tenant = TenantId::from_u128(1);
    let new = meeting(1, tenant, Some("ana"));
    store.create_meeting(&new, None).await.expect("created");
    let found = store.meeting(MeetingKey::Id(new.id)).await.expect("it answers").expect("it is there");
    assert_eq!((found.id, found.code, found.tenant, found.host.as_deref()), (new.id, new.code, tenant, Some("ana")));
    assert_eq!((found.display_name.as_str(), found.settings, found.region.as_str()), ("Meeting 1", SETTINGS, "eu"));
    assert_eq!((found.status, found.created_at, found.ended_at, &found.assignment), (Status::Scheduled, 1000, None, &assignment(1)));
    assert_eq!(store.meeting(MeetingKey::Code(new.code)).await.expect("it answers"), Some(found));

    // Taken ids and codes leave nothing behind.
    assert!(matches!(store.create_meeting(&new, None).await, Err(StoreError::Taken(_))));
    let clash = NewMeeting { code: new.code, ..meeting(2, tenant, Some("bob")) };
    assert!(matches!(store.create_meeting(&clash, None).await, Err(StoreError::Taken("the meeting code"))));
    assert_eq!(store.meeting(MeetingKey::Id(clash.id)).await.expect("it answers"), None);

    assert_eq!(store.note_running(&[new.id, MeetingId::from_bytes([99; 16])], 1).await.expect("it answers"), []);
    let found = store.meeting(MeetingKey::Id(new.id)).await.expect("it answers").expect("it is there");
    assert_eq!(found.status, Status::Active);
    let first = store.end_meeting(new.id, 5000).await.expect("it answers").expect("it is there");
    let second = store.end_meeting(new.id, 6000).await.expect("it answers").expect("it is there");
    assert_eq!((first.ended_at, first.already, second.ended_at, second.already), (5000, false, 5000, true));
    assert_eq!(store.end_meeting(clash.id, 5000).await.expect("it answers"), None);
    assert_eq!(store.note_running(&[new.id], 1).await.expect("it answers"), [new.id]);
    let found = store.meeting(MeetingKey::Id(new.id)).await.expect("it answers").expect("it is there");
    assert_eq!((found.status, found.ended_at), (Status::Completed, Some(5000)));
}

async fn listings_are_bounded(store: &dyn Store) {
    let tenant = TenantId::from_u128(2);
    for number in 11..=15 {
        let host = (number % 2 == 0).then_some("ana");
        store.create_meeting(&meeting(number, tenant, host), None).await.expect("created");
    }
    // Two at the same moment: the id decides, and no page loses one.
    let twin = NewMeeting { created_at: 15_000, ..meeting(16, tenant, None) };
    store.create_meeting(&twin, None).await.expect("created");
    store.end_meeting(MeetingId::from_bytes([13; 16]), 20_000).await.expect("it answers");
    let all = Listing { tenant, host: None, active: None, limit: 2, after: None };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.list_meetings(&Listing { after, ..all.clone() }).await.expect("it answers");
        assert_eq!(page.total, 6);
        seen.extend(page.meetings.iter().map(|meeting| meeting.id.as_bytes()[0]));
        after = page.meetings.last().map(|last| (last.created_at, last.id));
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, [16, 15, 14, 13, 12, 11]);
    let check = async |listing: Listing, expected: &[u8]| {
        let page = store.list_meetings(&listing).await.expect("it answers");
        let ids: Vec<u8> = page.meetings.iter().map(|meeting| meeting.id.as_bytes()[0]).collect();
        assert_eq!((ids.as_slice(), page.total, page.more), (expected, expected.len() as u64, false));
    };
    let all = Listing { limit: 200, ..all };
    check(Listing { active: Some(true), ..all.clone() }, &[16, 15, 14, 12, 11]).await;
    check(Listing { active: Some(false), ..all.clone() }, &[13]).await;
    check(Listing { host: Some("ana".into()), ..all.clone() }, &[14, 12]).await;
    check(Listing { host: Some("bob".into()), ..all.clone() }, &[]).await;
    check(Listing { tenant: TenantId::from_u128(3), ..all }, &[]).await;
}

async fn of_two_assignments_one_wins(store: Arc<dyn Store>) {
    let new = meeting(21, TenantId::from_u128(4), None);
    store.create_meeting(&new, None).await.expect("created");
    let tasks: Vec<_> = (0..8_u64)
        .map(|number| {
            let (store, id) = (store.clone(), new.id);
            tokio::spawn(async move { store.reassign(id, &Assignment { start_number: number, ..assignment(2) }).await })
        })
        .collect();
    let mut stored = Vec::new();
    for task in tasks {
        stored.push(task.await.expect("no panic").expect("it answers").expect("it is there"));
    }
    assert!(stored.iter().all(|assignment| assignment.epoch == 2 && *assignment == stored[0]), "{stored:?}");
    let stale = store.reassign(new.id, &assignment(2)).await.expect("it answers");
    assert_eq!(stale, Some(stored[0].clone()));
    assert_eq!(store.reassign(MeetingId::from_bytes([98; 16]), &assignment(2)).await.expect("it answers"), None);
}

async fn status_of(store: &dyn Store, id: MeetingId) -> Status {
    store.meeting(MeetingKey::Id(id)).await.expect("it answers").expect("it is there").status
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = store::sqlite::open(&folder.path().join("gc.sqlite"), LIMITS).await.expect("it opens");
    keeps_the_contract(Arc::new(store)).await;
}

/// However many processes start on it at once.
#[tokio::test]
async fn postgres_keeps_the_contract() {
    let server = Postgres::start().expect("a server");
    let url = Secret::new(server.url());
    let stores = futures_util::future::join_all((0..4).map(|_| store::postgres::open(&url, LIMITS))).await;
    let mut stores: Vec<_> = stores.into_iter().map(|store| store.expect("it opens")).collect();
    keeps_the_contract(Arc::new(stores.remove(0))).await;
}

/// However many processes open a file at once, one makes the schema.
#[tokio::test]
async fn sqlite_is_opened_by_many_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("gc.sqlite");
    for opened in futures_util::future::join_all((0..6).map(|_| store::sqlite::open(&path, LIMITS))).await {
        opened.expect("it opens").ping().await.expect("it answers");
    }
}

/// What the first release wrote is there under the schema of this one, and goes on from there.
#[tokio::test]
async fn sqlite_of_the_first_release_is_taken_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("gc.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let file = sqlx::SqlitePool::connect_with(options).await.expect("a file");
    let initial = include_str!("../../migrations/sqlite/0001_initial.sql");
    let initial = Migration::new(1, "initial".into(), MigrationType::Simple, initial.into_sql_str(), false);
    Migrator::with_migrations(vec![initial]).run(&file).await.expect("the first schema");
    let id = MeetingId::from_bytes([1; 16]);
    let rows = [
        format!("INSERT INTO api_clients VALUES ('client', 'hash', '{}', 'an app', 'meetings:read', 1)", TenantId::nil()),
        format!(
            "INSERT INTO rooms VALUES ('{id}', '{}', '{}', NULL, 'Old', '{{\"isRecordingEnabled\":false,\"maxParticipants\":5,\
             \"allowedRoles\":[],\"isE2eEncryptionEnabled\":false}}', 'SCHEDULED', 'eu', 1, NULL)",
            MeetingCode::from_random(1),
            TenantId::nil()
        ),
        format!("INSERT INTO assignments VALUES ('{id}', 'mc-1', '7', 'https://mc-1.example.com/wt', 1, 'the only one', 1)"),
    ];
    for row in rows {
        sqlx::query(sqlx::AssertSqlSafe(row)).execute(&file).await.expect("a row of the first release");
    }
    file.close().await;
    let store = store::sqlite::open(&path, LIMITS).await.expect("it opens");
    let client = store.api_client("client").await.expect("it answers").expect("it is there");
    assert_eq!((client.rate_limit, client.revoked_at), (None, None));
    store.append_events(&[events::event(id, EventKind::ParticipantJoined, None)]).await.expect("it answers");
    assert_eq!(events::told(&store, id).await, ["1 meeting.started", "2 participant.joined"]);
}

/// A second process finds what the first left, and the same schema.
#[tokio::test]
async fn sqlite_is_found_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("gc.sqlite");
    let new = meeting(1, TenantId::nil(), None);
    let store = store::sqlite::open(&path, LIMITS).await.expect("it opens");
    store.create_meeting(&new, None).await.expect("created");
    for entry in std::fs::read_dir(folder.path()).expect("the folder") {
        let entry = entry.expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::mode(&entry.metadata().expect("it is there").permissions());
        assert_eq!(mode & 0o077, 0, "{:?} holds keys", entry.file_name());
    }
    let again = store::sqlite::open(&path, LIMITS).await.expect("it opens again");
    assert!(again.meeting(MeetingKey::Id(new.id)).await.expect("it answers").is_some());
}
