//! The same meeting over WebSocket.

use proto::v1;
use proto::v1::ErrorCode;
use proto::v1::client_message::Body as Ask;
use proto::v1::server_message::Body as Say;

use crate::client::Client;
use crate::world::World;

async fn dial(world: &World) -> Client {
    Client::websocket(world.controller.fallback_url(), &world.certificate, Some("darktower.v1")).await.expect("it is upgraded")
}

#[tokio::test]
async fn both_transports_meet() {
    let world = World::start().await;
    let mut ana = world.join("Ana").await;
    let mut bo = dial(&world).await;
    bo.join(&world.token("Bo"), true).await.expect("the token is good");
    assert_eq!(bo.joined.existing_participants[0].participant_id, ana.id);
    let stream = bo.publish().await;
    let published = |say: &Say| if let Say::StreamPublished(it) = say { it.stream.as_ref().map(|it| it.stream_id.clone()) } else { None };
    assert_eq!(ana.event("a media stream", published).await, stream);
    let said = bo.say("hello").await;
    let heard = |say: &Say| if let Say::Chat(chat) = say { Some(chat.clone()) } else { None };
    assert_eq!(ana.event("chat", heard).await, said);
    let unasked = |say: &Say| if let Say::Pong(pong) = say { Some(pong.sent_at_us) } else { None };
    assert_eq!(bo.event("an unasked pong", unasked).await, 0);
    bo.done(Ask::Leave(v1::Leave {})).await;
    assert_eq!(bo.end().await.0, 1000);
}

#[tokio::test]
async fn codes_are_websockets_own_range() {
    let world = World::start().await;
    let mut client = dial(&world).await;
    assert_eq!(client.join("no token", true).await, Err(ErrorCode::Unauthorized));
    assert_eq!(client.end().await.0, 4002);
    for bytes in [Vec::new(), vec![0; 64 * 1024 + 1], vec![0; 1024 * 1024]] {
        let mut client = dial(&world).await;
        client.send_bytes(bytes).await;
        assert_eq!(client.end().await.0, 4001);
    }
}

/// Silence is no join.
#[tokio::test]
async fn who_does_not_join_in_time_is_closed() {
    let world = World::start_with(crate::world::impatient()).await;
    assert_eq!(dial(&world).await.end().await.0, 4001);
    // The same where not even a stream is opened.
    let session = Client::session(world.controller.public_url(), &world.certificate).await;
    let closed = format!("{:?}", session.closed().await);
    assert!(closed.contains("no JoinRequest came in time"), "{closed}");
}

/// Before the join, only the join's own time counts; after it, silence ends a session as one that may be resumed.
#[tokio::test]
async fn silence_counts_from_the_join() {
    let mut config = crate::world::config();
    // As long as may be below the second after which the client answers a ping: a join on a busy machine is not to be taken for silence.
    config.limits.silence_timeout = std::time::Duration::from_millis(700);
    let world = World::start_with(config).await;
    let mut client = dial(&world).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    client.join(&world.token("Ana"), true).await.expect("there is time");
    assert_eq!(client.end().await.0, 4011);
}

/// A page of another origin is refused; a native client, which states none, is not.
#[tokio::test]
async fn origins_are_checked_on_both_transports() {
    let mut config = crate::world::config();
    config.public.origins = vec!["https://meet.example".into()];
    let world = World::start_with(config).await;
    for (origin, expected) in [("https://meet.example", None), ("https://evil.example", Some(403))] {
        let dialled = Client::upgrade(
            world.controller.fallback_url(),
            &world.certificate,
            &[("sec-websocket-protocol", "darktower.v1"), ("origin", origin)],
        )
        .await;
        assert_eq!(dialled.err(), expected, "{origin}");
        let session = Client::session_from(world.controller.public_url(), &world.certificate, Some(origin)).await;
        let status = session.err().map(|error| format!("{error:?}"));
        assert_eq!(status.as_ref().map(|it| it.contains("403")), expected.map(|_| true), "{origin}: {status:?}");
    }
    let elsewhere = world.controller.public_url().replace("/wt", "/elsewhere");
    let error = Client::session_from(&elsewhere, &world.certificate, None).await.err().map(|error| format!("{error:?}"));
    assert!(error.as_ref().is_some_and(|it| it.contains("404")), "{error:?}");
    world.join("Ana").await;
}

#[tokio::test]
async fn another_subprotocol_is_refused() {
    let world = World::start().await;
    for offered in [None, Some("darktower.json.v1")] {
        let refused = Client::websocket(world.controller.fallback_url(), &world.certificate, offered).await;
        assert_eq!(refused.map(|_| ()), Err(400), "{offered:?}");
    }
}
