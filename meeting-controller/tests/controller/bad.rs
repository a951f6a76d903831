//! What strangers and broken clients get: the documented code, and nobody else notices.

use common::clock::unix_seconds;
use common::token::{JoinClaims, TokenSigner};
use prost::Message as _;
use proto::v1;
use proto::v1::ErrorCode;
use proto::v1::client_message::Body as Ask;
use proto::v1::server_message::Body as Say;

use crate::client::{Client, request};
use crate::world::World;

/// The session's last error and its close code.
async fn farewell(client: &mut Client) -> (Option<v1::ErrorMessage>, u32) {
    let (code, _) = client.end().await;
    let error =
        client.unread.iter().rev().find_map(|message| if let Some(Say::Error(error)) = &message.body { Some(error.clone()) } else { None });
    (error, code)
}

#[tokio::test]
async fn bad_tokens_are_unauthorized() {
    let world = World::start().await;
    let mut bystander = world.join("Bystander").await;
    let now = unix_seconds();
    let stranger = TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8()).expect("a fresh key serves");
    let sign = |claims: &JoinClaims| world.signer.sign_join(claims).expect("it is signed");
    let spent = world.token("Ana");
    world.dial().await.join(&spent, true).await.expect("the first use is good");
    let tokens = [
        String::new(),
        "a.b.c".to_owned(),
        spent,
        stranger.sign_join(&world.claims("Ana")).expect("it is signed"),
        sign(&JoinClaims { exp: now - 60, iat: now - 120, ..world.claims("Ana") }),
        sign(&JoinClaims { meeting_id: common::random::uuid().to_string(), ..world.claims("Ana") }),
        sign(&JoinClaims { iat: now + 300, exp: now + 600, ..world.claims("Ana") }),
    ];
    for token in tokens {
        let mut client = world.dial().await;
        assert_eq!(client.join(&token, true).await, Err(ErrorCode::Unauthorized), "{token}");
        assert_eq!(farewell(&mut client).await.1, 2);
    }
    let mut client = world.dial().await;
    assert_eq!(client.resume("guessed").await, Err(ErrorCode::Unauthorized));
    assert!(matches!(bystander.call(Ask::Ping(v1::Ping::default())).await, Say::Pong(_)));
}

/// Of many joins with one token at once, exactly one succeeds.
#[tokio::test]
async fn a_token_is_good_once_even_in_parallel() {
    let world = World::start().await;
    let token = world.token("Ana");
    let mut attempts = Vec::new();
    for _ in 0..8 {
        let (mut client, token) = (world.dial().await, token.clone());
        attempts.push(tokio::spawn(async move {
            let outcome = client.join(&token, true).await;
            (client, outcome)
        }));
    }
    let mut outcomes = Vec::new();
    for attempt in attempts {
        outcomes.push(attempt.await.expect("no panic"));
    }
    assert_eq!(outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Ok(()) | Err(ErrorCode::Unauthorized))));
}

#[tokio::test]
async fn lengths_out_of_bounds_end_the_session() {
    let world = World::start().await;
    for prefix in [[0; 4], [0xff; 4], [0, 1, 0, 1]] {
        let mut client = world.dial().await;
        client.send_raw(&prefix).await;
        let (error, code) = farewell(&mut client).await;
        assert_eq!((error.map(|it| it.code()), code), (Some(ErrorCode::InvalidRequest), 1), "{prefix:?}");
    }
    let mut joined = world.join("Ana").await;
    joined.send_raw(&[0; 4]).await;
    assert_eq!(farewell(&mut joined).await.1, 1);
}

#[tokio::test]
async fn what_is_no_message_ends_the_session() {
    let world = World::start().await;
    let mut client = world.dial().await;
    client.send_bytes(vec![0xff; 16]).await;
    let (error, code) = farewell(&mut client).await;
    assert_eq!((error.map(|it| it.code()), code), (Some(ErrorCode::InvalidRequest), 1));

    let mut client = world.dial().await;
    client.send_bytes(v1::ClientMessage { version: 2, request_id: 5, body: None }.encode_to_vec()).await;
    let (error, code) = farewell(&mut client).await;
    assert_eq!((error.expect("an error").details["supported"].as_str(), code), ("1", 1));

    let mut client = world.dial().await;
    assert_eq!(client.refused(Ask::Ping(v1::Ping::default())).await, ErrorCode::InvalidRequest);
    assert_eq!(farewell(&mut client).await.1, 1);
}

/// A body from the future is refused, and the session lives.
#[tokio::test]
async fn an_unknown_body_is_only_refused() {
    let world = World::start().await;
    let mut ana = world.join("Ana").await;
    // Field 100 of length 0, which no version 1 knows.
    let mut bytes = v1::ClientMessage { version: 1, request_id: 77, body: None }.encode_to_vec();
    bytes.extend_from_slice(&[0xa2, 0x06, 0x00]);
    ana.send_bytes(bytes).await;
    assert!(matches!(ana.reply(77).await, Say::Error(error) if error.code() == ErrorCode::InvalidRequest));
    assert!(matches!(ana.call(Ask::Ping(v1::Ping::default())).await, Say::Pong(_)));
}

/// Silence before the join, with a stream and without.
#[tokio::test]
async fn who_does_not_join_in_time_is_closed() {
    let world = World::start_with(crate::world::impatient()).await;
    let session = Client::session(world.controller.public_url(), &world.certificate).await;
    let closed = session.closed().await;
    assert!(closed.to_string().contains("code=1"), "{closed}");
    let mut client = world.dial().await;
    // Half a length: the stream is seen, and no message comes.
    client.send_raw(&[0, 0]).await;
    assert_eq!(client.end().await.0, 1);
}

#[tokio::test]
async fn bad_names_and_unknown_meetings() {
    let mut world = World::start().await;
    let nameless = |name: &str| {
        let token = world.signer.sign_join(&JoinClaims { name: String::new(), ..world.claims("Ana") }).expect("it is signed");
        v1::JoinRequest { participant_name: name.into(), ..request(&token) }
    };
    for name in ["a\u{1b}[31m", &"x".repeat(65)] {
        assert_eq!(world.dial().await.try_join(nameless(name)).await, Err(ErrorCode::InvalidRequest), "{name:?}");
        let named = v1::JoinRequest { participant_name: name.into(), ..request(&world.token("Ana")) };
        assert_eq!(world.dial().await.try_join(named).await, Err(ErrorCode::InvalidRequest), "{name:?}");
    }
    world.dial().await.try_join(nameless(" ")).await.expect("a guest needs no name");
    let join = nameless("Ana");
    world.dial().await.try_join(join.clone()).await.expect("a name from the request serves");
    let spent = v1::JoinRequest { participant_name: "x".repeat(65), ..join };
    assert_eq!(world.dial().await.try_join(spent).await, Err(ErrorCode::Unauthorized));
    let other = common::random::uuid().to_string();
    let claims = JoinClaims { meeting_id: other.clone(), ..world.claims("Ana") };
    let join = v1::JoinRequest { meeting_id: other.clone(), ..request(&world.signer.sign_join(&claims).expect("it is signed")) };
    let mut client = world.dial().await;
    assert_eq!(client.try_join(join.clone()).await, Err(ErrorCode::NotFound));
    assert_eq!(client.end().await.0, 4);
    world.assign(&other, Default::default()).await.expect("there is room");
    world.dial().await.try_join(join).await.expect("the same token serves once the meeting is here");
}
