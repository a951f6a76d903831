//! Sessions that are lost, and participants that come back.

use std::time::Duration;

use proto::v1;
use proto::v1::client_message::Body as Ask;
use proto::v1::server_message::Body as Say;
use proto::v1::{ErrorCode, LeaveReason};

use crate::client::subscribe;
use crate::world::World;

fn left(say: &Say) -> Option<(String, LeaveReason)> {
    match say {
        Say::ParticipantLeft(it) => Some((it.participant_id.clone(), it.reason())),
        _ => None,
    }
}

/// Back in time: the same id, streams and subscriptions, what was said meanwhile, and nobody else is told.
#[tokio::test]
async fn back_within_the_window() {
    let world = World::start().await;
    let (mut ana, mut bo) = (world.join("Ana").await, world.join("Bo").await);
    let (own, other) = (ana.publish().await, bo.publish().await);
    ana.done(subscribe(&other)).await;
    let (id, token) = (ana.id.clone(), ana.resume_token.clone());
    ana.vanish();
    bo.say("meanwhile").await;
    let mut back = world.dial().await;
    back.resume(&token).await.expect("it is in time");
    assert_eq!(back.id, id);
    let oneself = &back.joined.existing_participants[0];
    assert_eq!((&oneself.participant_id, &oneself.streams[0].stream_id), (&id, &own));
    assert_eq!(back.joined.subscriptions, [other]);
    assert_eq!(back.joined.chat[0].content, "meanwhile");
    assert!(back.joined.media_server.is_some() && back.resume_token != token);
    assert_eq!(world.handler.known().generations[&id], 2);
    assert!(matches!(bo.call(Ask::Ping(v1::Ping::default())).await, Say::Pong(_)));
    let is_about_ana = |message: &v1::ServerMessage| matches!(message.body, Some(Say::ParticipantLeft(_) | Say::ParticipantJoined(_)));
    assert!(!bo.unread.iter().any(is_about_ana), "nobody else is told");
}

#[tokio::test]
async fn too_late_is_gone() {
    let world = World::start_with(crate::world::short_window()).await;
    let (ana, mut bo) = (world.join("Ana").await, world.join("Bo").await);
    let (id, token) = (ana.id.clone(), ana.resume_token.clone());
    ana.vanish();
    assert_eq!(bo.event("the leave", left).await, (id, LeaveReason::ConnectionLost));
    assert_eq!(world.dial().await.resume(&token).await, Err(ErrorCode::Unauthorized));
}

/// A resume token is good once; the one before it until the first message on the session that replaced it.
#[tokio::test]
async fn resume_tokens_are_renewed() {
    let world = World::start().await;
    let mut first = world.join("Ana").await;
    let mut second = world.dial().await;
    second.resume(&first.resume_token).await.expect("the old session still stands; it is replaced");
    assert_eq!(first.end().await.0, 12);
    // As if the answer to the second had been lost.
    let mut third = world.dial().await;
    third.resume(&first.resume_token).await.expect("nothing was said on the second");
    assert_eq!(second.end().await.0, 12);
    assert_eq!(world.dial().await.resume(&second.resume_token).await, Err(ErrorCode::Unauthorized));
    assert!(matches!(third.call(Ask::Ping(v1::Ping::default())).await, Say::Pong(_)));
    assert_eq!(world.dial().await.resume(&first.resume_token).await, Err(ErrorCode::Unauthorized));
    world.dial().await.resume(&third.resume_token).await.expect("the newest is good");
}

/// Who stops reading and writing without closing is lost after the silence, not after QUIC's patience.
#[tokio::test]
async fn silence_is_noticed() {
    let mut config = crate::world::short_window();
    // Longer than the keep-alives of those who live.
    config.limits.silence_timeout = Duration::from_millis(2500);
    let world = World::start_with(config).await;
    let mut bo = world.join("Bo").await;
    // A runtime of its own that is stopped: its sockets stay open, and nothing answers any more.
    let (url, certificate, token) = (world.controller.public_url().to_owned(), world.certificate.clone(), world.token("Ana"));
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let frozen = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _client = runtime.block_on(async {
            let mut client = crate::client::Client::webtransport(&url, &certificate).await;
            client.join(&token, true).await.expect("the token is good");
            ready.send(client.id.clone()).expect("the test waits");
            client
        });
        // Ends when the test does.
        let _ = stopped.recv();
    });
    let id = is_ready.await.expect("it joined");
    assert_eq!(bo.event("the leave", left).await, (id, LeaveReason::ConnectionLost));
    drop(stop);
    frozen.join().expect("no panic");
}
