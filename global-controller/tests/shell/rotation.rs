//! Signing keys that take turns, and API clients that are shut out, while everybody goes on working.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use global_controller::admin::Admin;
use global_controller::{Config, KeyState};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{World, eventually};

/// Tokens that live for two seconds, and keys that take over soon, so that a key's whole life is seen. What a busy machine may take long for has
/// seconds: a node's beat and then a join before a new key signs, a token's use before its end.
async fn hasty() -> World {
    World::start(|config| {
        config.cluster.sweep_interval = Duration::from_millis(50);
        config.tokens.access_life = Duration::from_secs(2);
        config.tokens.join_life = Duration::from_secs(2);
        config.tokens.key_activation = Duration::from_millis(2500);
        config.tokens.leeway = Duration::from_secs(2);
    })
    .await
}

async fn published(world: &World) -> Vec<String> {
    let keys = world.get("/.well-known/jwks.json", None).await.expect(StatusCode::OK);
    keys["keys"].as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("an id").to_owned()).collect()
}

/// `kid` of a token.
fn signed_by(token: &str) -> String {
    use base64::Engine;
    let header = token.split('.').next().expect("a header");
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    header["kid"].as_str().expect("an id").to_owned()
}

/// Nobody is refused while a key comes, takes over and the one before it goes: neither by the API nor by a node that knows the keys of its
/// last heartbeat.
#[tokio::test]
async fn a_rotation_is_noticed_by_nobody() {
    let world = Arc::new(hasty().await);
    let (_controller, _handler) = (world.controller("mc-1").await, world.handler("mh-1", "eu").await);
    let (credentials, token) = world.api_client("meetings:create meetings:join meetings:read").await;
    let asked = json!({
        "grant_type": "client_credentials",
        "client_id": credentials.client_id, "client_secret": credentials.client_secret.expose(),
    });
    let meeting = world.post("/api/v1/meetings", Some(&token), json!({"display_name": "Long"})).await.expect(StatusCode::CREATED);
    let path = format!("/api/v1/meetings/{}", meeting["meeting_id"].as_str().expect("an id"));
    let join = format!("{path}/join");
    let first = published(&world).await;
    assert_eq!(first.len(), 1);

    let over = Arc::new(AtomicBool::new(false));
    let load = {
        let (world, over) = (world.clone(), over.clone());
        tokio::spawn(async move {
            let (mut signers, mut rounds) = (BTreeSet::new(), 0);
            while !over.load(Ordering::Relaxed) {
                let answer = world.post("/api/v1/auth/token", None, asked.clone()).await.expect(StatusCode::OK);
                let token = answer["access_token"].as_str().expect("a token");
                world.get(&path, Some(token)).await.expect(StatusCode::OK);
                // As a node does: by the keys of the heartbeat before the join.
                let verifier = world.verifier().await;
                let join = world.post(&format!("{path}/join"), Some(token), json!({"display_name": "Ana"})).await.expect(StatusCode::OK);
                let join = join["join_token"].as_str().expect("a token");
                verifier.verify_join(join).expect("a node knows the key before it signs");
                signers.extend([signed_by(token), signed_by(join)]);
                rounds += 1;
            }
            (signers, rounds)
        })
    };

    let admin = Admin::open(&world.config()).await.expect("the store");
    let keys = admin.rotate_keys().await.expect("rotated");
    assert!(matches!((keys[0].state, keys[1].state), (KeyState::Waiting { .. }, KeyState::Signing)), "{keys:?}");
    let (new, old) = (keys[0].key_id.clone(), keys[1].key_id.clone());
    assert_eq!(first, [old.as_str()]);
    eventually("both are published", || async { (published(&world).await == [new.as_str(), old.as_str()]).then_some(()) }).await;
    let last = eventually("the new one signs", || async {
        let answer = world.post(&join, None, json!({"display_name": "Ben"})).await.expect(StatusCode::OK);
        let token = answer["join_token"].as_str().expect("a token").to_owned();
        (signed_by(&token) == new).then_some(token)
    })
    .await;
    world.verifier().await.verify_join(&last).expect("nodes know it");
    assert_eq!(published(&world).await.len(), 2, "tokens of the old one are about");
    eventually("the old one goes", || async { (published(&world).await == [new.as_str()]).then_some(()) }).await;
    over.store(true, Ordering::Relaxed);
    let (signers, rounds) = load.await.expect("nobody was refused");
    assert_eq!(signers, BTreeSet::from([new.clone(), old]));
    assert!(rounds >= 10, "{rounds} rounds are no load");
    let kept = admin.keys().await.expect("the store");
    assert_eq!(kept.iter().map(|key| (key.key_id.as_str(), key.state)).collect::<Vec<_>>(), [(new.as_str(), KeyState::Signing)]);
}

/// The new key is the same after a restart; what JWKS says may be kept no longer than a new key waits.
#[tokio::test]
async fn keys_outlive_a_restart() {
    let world = World::start(|_| {}).await;
    let admin = Admin::open(&world.config()).await.expect("the store");
    admin.rotate_keys().await.expect("rotated");
    eventually("both are published", || async { (published(&world).await.len() == 2).then_some(()) }).await;
    let (before, answer) = (published(&world).await, world.get("/.well-known/jwks.json", None).await);
    assert_eq!(answer.header("cache-control"), "public, max-age=10");
    let world = world.restarted().await;
    assert_eq!(published(&world).await, before);
    for _ in 2..global_controller::admin::KEYS_MAX {
        admin.rotate_keys().await.expect("rotated");
    }
    let refused = admin.rotate_keys().await.expect_err("enough is enough").to_string();
    assert!(refused.starts_with("8 keys are kept already"), "{refused}");
}

/// Whoever is shut out is so at once here and within a round elsewhere, also after a restart; tokens and new ones alike.
#[tokio::test]
async fn who_is_shut_out_stays_out() {
    let world = World::start(|_| {}).await;
    let (here, here_token) = world.api_client("meetings:read").await;
    let (there, there_token) = world.api_client("meetings:read").await;
    let (_, other) = world.api_client("meetings:read").await;
    assert!(world.global_controller.revoke_client(&here.client_id).await.expect("the store"));
    let refused = world.get("/api/v1/meetings", Some(&here_token)).await;
    assert_eq!(refused.refusal(), "401 UNAUTHORIZED: the token is not valid here");
    // By another process, as `dark-tower client revoke` or another global controller.
    let admin = Admin::open(&world.config()).await.expect("the store");
    assert!(admin.revoke_client(&there.client_id).await.expect("the store"));
    assert!(!admin.revoke_client("nobody").await.expect("the store"));
    eventually("it is noticed", || async {
        (world.get("/api/v1/meetings", Some(&there_token)).await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    for credentials in [&here, &there] {
        let asked = json!({
            "grant_type": "client_credentials",
            "client_id": credentials.client_id, "client_secret": credentials.client_secret.expose(),
        });
        let refused = world.post("/api/v1/auth/token", None, asked).await;
        assert_eq!(refused.refusal(), "401 UNAUTHORIZED: client_id or client_secret is wrong");
    }
    let world = world.restarted().await;
    for (token, status) in [(&here_token, 401), (&there_token, 401), (&other, 200)] {
        assert_eq!(world.get("/api/v1/meetings", Some(token)).await.status, status);
    }
}

/// A store that was never started on is not made by looking for it.
#[tokio::test]
async fn a_wrong_path_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = Config::default();
    config.store.path = folder.path().join("typo/gc.sqlite");
    let Err(error) = Admin::open(&config).await else { panic!("there is nothing to open") };
    assert!(error.to_string().starts_with("there is no database at "), "{error}");
    assert!(!folder.path().join("typo").exists());
}
