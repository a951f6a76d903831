//! Repeatable requests, subjects that are kept out, API clients and keys.

use std::sync::Arc;

use common_core::MeetingId;
use global_controller::store::{
    Account, ApiClient, ClientChange, IDEMPOTENCY_LIFE_MS, IdempotencyKey, MeetingKey, Repeated, SigningKey, Store, StoreError, TenantId,
};
use global_controller_core::{MeetingCode, Scopes};

use super::meeting;

fn key(name: &str, fingerprint: u8, created_at: i64) -> IdempotencyKey {
    IdempotencyKey { caller: "client".into(), operation: "create".into(), key: name.into(), fingerprint: [fingerprint; 32], created_at }
}

pub async fn a_request_may_be_repeated(store: &dyn Store) {
    let first = key("a", 1, 1000);
    assert_eq!(store.recall(&first).await.expect("it answers"), Repeated::New);
    assert_eq!(store.remember(&first, "x").await.expect("it answers"), Repeated::New);
    let repeat = key("a", 1, 2000);
    assert_eq!(store.remember(&repeat, "y").await.expect("it answers"), Repeated::Same("x".into()));
    assert_eq!(store.recall(&repeat).await.expect("it answers"), Repeated::Same("x".into()));
    assert_eq!(store.recall(&key("a", 2, 2000)).await.expect("it answers"), Repeated::Different);
    assert_eq!(store.remember(&key("a", 2, 2000), "y").await.expect("it answers"), Repeated::Different);
    // Another caller's, another operation's, another's altogether.
    for other in [
        IdempotencyKey { caller: "b".into(), ..first.clone() },
        IdempotencyKey { operation: "join".into(), ..first.clone() },
        key("b", 1, 1000),
    ] {
        assert_eq!(store.recall(&other).await.expect("it answers"), Repeated::New);
    }
    // Its day is over, purged or not.
    let last = key("a", 2, 1000 + IDEMPOTENCY_LIFE_MS - 1);
    assert_eq!(store.recall(&last).await.expect("it answers"), Repeated::Different);
    let next_day = key("a", 2, 1000 + IDEMPOTENCY_LIFE_MS);
    assert_eq!(store.recall(&next_day).await.expect("it answers"), Repeated::New);
    assert_eq!(store.remember(&next_day, "z").await.expect("it answers"), Repeated::New);
    assert_eq!(store.recall(&next_day).await.expect("it answers"), Repeated::Same("z".into()));
    assert_eq!(store.purge(i64::MIN, next_day.created_at, 10).await.expect("it answers"), 0);
    assert_eq!(store.purge(i64::MIN, next_day.created_at + 1, 10).await.expect("it answers"), 1);
    assert_eq!(store.recall(&next_day).await.expect("it answers"), Repeated::New);

    // A meeting and its key are one: a clash leaves neither.
    let tenant = TenantId::from_u128(71);
    let new = meeting(71, tenant, Some("ana"));
    let create = key("m", 1, 5000);
    assert_eq!(store.create_meeting(&new, Some(&create)).await.expect("created"), Repeated::New);
    let second = meeting(72, tenant, Some("ana"));
    let same = Repeated::Same(new.id.to_string());
    assert_eq!(store.create_meeting(&second, Some(&create)).await.expect("it answers"), same);
    let other_body = key("m", 2, 5000);
    assert_eq!(store.create_meeting(&second, Some(&other_body)).await.expect("it answers"), Repeated::Different);
    assert_eq!(store.meeting(MeetingKey::Id(second.id)).await.expect("it answers"), None);
    let clash = global_controller::store::NewMeeting { code: new.code, ..second };
    let fresh = key("n", 1, 5000);
    assert!(matches!(store.create_meeting(&clash, Some(&fresh)).await, Err(StoreError::Taken("the meeting code"))));
    assert_eq!(store.recall(&fresh).await.expect("it answers"), Repeated::New);
}

/// However often a request is made at once, one meeting comes of it.
pub async fn parallel_repeats_create_one_meeting(store: Arc<dyn Store>) {
    let tenant = TenantId::from_u128(73);
    let tasks: Vec<_> = (0..12_u8)
        .map(|number| {
            let store = store.clone();
            let mut new = meeting(80 + number, tenant, Some("ana"));
            new.code = MeetingCode::from_random(0x7300 + u64::from(number));
            tokio::spawn(async move {
                let repeated = store.create_meeting(&new, Some(&key("race", 1, 9000))).await.expect("it answers");
                (new.id, repeated)
            })
        })
        .collect();
    let (mut created, mut told) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.expect("no panic") {
            (id, Repeated::New) => created.push(id.to_string()),
            (_, Repeated::Same(id)) => told.push(id),
            (_, Repeated::Different) => panic!("the bodies are the same"),
        }
    }
    assert_eq!((created.len(), told.len()), (1, 11));
    assert!(told.iter().all(|id| *id == created[0]));
    let listing = global_controller::store::Listing { tenant, host: None, active: None, limit: 50, after: None };
    assert_eq!(store.list_meetings(&listing).await.expect("it answers").total, 1);
}

pub async fn subjects_are_kept_out(store: &dyn Store) {
    let new = meeting(74, TenantId::from_u128(74), None);
    store.create_meeting(&new, None).await.expect("created");
    for (subject, now) in [("ana", 1), ("bob", 2), ("ana", 3)] {
        store.refuse_subject(new.id, subject, now).await.expect("it answers");
    }
    assert_eq!(store.refused_subjects(new.id).await.expect("it answers"), ["bob", "ana"]);
    assert!(store.is_refused(new.id, "ana").await.expect("it answers"));
    assert!(!store.is_refused(new.id, "eve").await.expect("it answers"));
    let nowhere = MeetingId::from_bytes([96; 16]);
    store.refuse_subject(nowhere, "ana", 1).await.expect("it answers");
    assert!(!store.is_refused(nowhere, "ana").await.expect("it answers"));
    assert!(store.refused_subjects(nowhere).await.expect("it answers").is_empty());
}

pub async fn clients_are_kept_and_shut_out(store: &dyn Store) {
    let client = |id: &str, created_at: i64, rate_limit: Option<u32>| ApiClient {
        id: id.into(),
        secret_hash: "$argon2id$".into(),
        tenant: TenantId::from_u128(5),
        name: "an app".into(),
        scopes: Scopes::all(),
        rate_limit,
        created_at,
        revoked_at: None,
    };
    let (second, first) = (client("client", 2, None), client("older", 1, Some(u32::MAX)));
    for new in [&second, &first] {
        store.create_api_client(new).await.expect("created");
        assert_eq!(store.api_client(&new.id).await.expect("it answers").as_ref(), Some(new));
    }
    // PostgreSQL keeps no NUL in a text.
    for unknown in ["nobody", "", "client\0", "Client", "client "] {
        assert_eq!(store.api_client(unknown).await.expect("it answers"), None, "{unknown:?}");
    }
    assert!(matches!(store.create_api_client(&second).await, Err(StoreError::Taken(_))));
    assert_eq!(store.api_clients().await.expect("it answers"), [first.clone(), second.clone()]);

    assert!(!store.revoke_api_client("nobody", 10).await.expect("it answers"));
    assert!(store.revoke_api_client("client", 10).await.expect("it answers"));
    assert!(store.revoke_api_client("client", 20).await.expect("it answers"), "a second time changes nothing");
    let revoked = ApiClient { revoked_at: Some(10), ..second };
    assert_eq!(store.api_client("client").await.expect("it answers"), Some(revoked.clone()));
    assert_eq!(store.api_clients().await.expect("it answers"), [first, revoked]);
    assert_eq!(store.revoked_since(10).await.expect("it answers"), ["client"]);
    assert!(store.revoked_since(11).await.expect("it answers").is_empty());

    let change = ClientChange { scopes: Some("meetings:read".parse().expect("a scope")), rate_limit: None };
    assert!(store.change_api_client("older", &change).await.expect("it answers"));
    let changed = store.api_client("older").await.expect("it answers").expect("it is there");
    assert_eq!((changed.scopes.to_string().as_str(), changed.rate_limit), ("meetings:read", Some(u32::MAX)));
    for limit in [Some(7), None] {
        let change = ClientChange { scopes: None, rate_limit: Some(limit) };
        assert!(store.change_api_client("older", &change).await.expect("it answers"));
        let changed = store.api_client("older").await.expect("it answers").expect("it is there");
        assert_eq!((changed.scopes.to_string().as_str(), changed.rate_limit), ("meetings:read", limit));
    }
    for nobody in ["nobody", "client"] {
        assert!(!store.change_api_client(nobody, &change).await.expect("it answers"), "{nobody} is not there, or shut out");
    }

    let ana = |name: Option<&str>| Account { subject: "ana".into(), display_name: name.map(Into::into) };
    for name in [None, Some("Ana"), Some("Anna"), None] {
        store.upsert_user(TenantId::from_u128(5), &ana(name), 1).await.expect("upserted");
    }
}

/// However many start at once, there is one first key.
pub async fn keys_come_and_go(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..8_u8)
        .map(|number| {
            let store = store.clone();
            let key = SigningKey { key_id: format!("key-{number}"), pkcs8: vec![number, 0, 255], created_at: i64::from(number) };
            tokio::spawn(async move { store.signing_keys(&key).await.expect("it answers") })
        })
        .collect();
    let mut kept = Vec::new();
    for task in tasks {
        kept.push(task.await.expect("no panic"));
    }
    assert!(kept.iter().all(|keys| keys.len() == 1 && *keys == kept[0]), "{kept:?}");
    let first = kept.remove(0).remove(0);
    let newer = SigningKey { key_id: "newer".into(), pkcs8: vec![], created_at: 100 };
    store.add_signing_key(&newer).await.expect("added");
    assert!(matches!(store.add_signing_key(&newer).await, Err(StoreError::Taken(_))));
    assert_eq!(store.signing_keys(&newer).await.expect("it answers"), [newer.clone(), first.clone()]);
    store.drop_signing_keys(&["nobody's".into(), first.key_id]).await.expect("dropped");
    assert_eq!(store.signing_keys(&newer).await.expect("it answers"), [newer]);
}
