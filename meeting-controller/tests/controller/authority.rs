//! Who may do what, through the real doors: each action on something of one's own, of the same meeting and of another, over both transports
//! and in both roles, answers as the table of `common_core::authority` says, and another meeting's id as nobody's.

use std::time::{Duration, Instant};

use common_core::authority::{Action, Actor, Denied, Relation, permit};
use common_core::grant::Role;
use prost::Message as _;
use proto::cluster::MeetingConfig;
use proto::v1;
use proto::v1::client_message::Body as Ask;
use proto::v1::server_message::Body as Say;

use crate::client::{Client, request, subscribe};
use crate::world::{MEETING, World};

/// The other meeting.
const ELSEWHERE: &str = "550e8400-e29b-41d4-a716-446655440001";

#[derive(Clone, Copy, Debug)]
enum Door {
    WebTransport,
    WebSocket,
}

impl Door {
    async fn dial(self, world: &World) -> Client {
        match self {
            Door::WebTransport => world.dial().await,
            Door::WebSocket => {
                let url = world.controller.fallback_url();
                Client::websocket(url, &world.certificate, Some("darktower.v1")).await.expect("it is upgraded")
            }
        }
    }

    async fn join(self, world: &World, name: &str) -> Client {
        self.join_in(world, MEETING, name).await
    }

    async fn join_in(self, world: &World, meeting: &str, name: &str) -> Client {
        let mut client = self.dial(world).await;
        client.try_join(wish(world, meeting, name)).await.expect("the token is good");
        client
    }
}

fn wish(world: &World, meeting: &str, name: &str) -> v1::JoinRequest {
    let claims = common::token::JoinClaims { meeting_id: meeting.into(), ..world.claims(name) };
    v1::JoinRequest { meeting_id: meeting.into(), ..request(&world.signer.sign_join(&claims).expect("it is signed")) }
}

/// What a request names, by its relation to whoever makes it.
struct Named {
    own: String,
    same: String,
    other: String,
}

impl Named {
    fn by(&self, relation: Relation) -> &str {
        match relation {
            Relation::Own => &self.own,
            Relation::SameMeeting => &self.same,
            Relation::OtherMeeting => &self.other,
        }
    }
}

/// What is asked for, what it may name, and how it is said.
type Row<'a> = (Action, &'a Named, fn(&str) -> Ask);

fn nobodys() -> String {
    common::random::uuid().to_string()
}

fn unpublish(id: &str) -> Ask {
    Ask::Unpublish(v1::UnpublishStream { stream_id: id.into() })
}

fn unsubscribe(id: &str) -> Ask {
    Ask::Unsubscribe(v1::UnsubscribeStream { stream_id: id.into() })
}

fn quality(id: &str) -> Ask {
    Ask::Quality(v1::StreamQualityUpdate { stream_id: id.into(), ..Default::default() })
}

fn kick(id: &str) -> Ask {
    Ask::Kick(v1::KickParticipant { participant_id: id.into() })
}

fn relay(id: &str) -> Ask {
    Ask::Relay(v1::RelayMessage { target_id: id.into(), kind: "offer".into(), ..Default::default() })
}

/// Asks, and holds the answer to the table. The reply's bytes but for the request's id, and how long they took.
async fn ask(client: &mut Client, actor: Actor, (action, relation): (Action, Relation), body: Ask) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let said = client.call(body).await;
    let took = began.elapsed();
    let what = format!("{} {}: {}", actor.name(), action.name(), relation.name());
    match (permit(actor, action, relation), &said) {
        (Ok(()), Say::Error(error)) => panic!("{what} is allowed, and was answered {error:?}"),
        (Ok(()), _) => {}
        (Err(denied), Say::Error(error)) => assert_eq!(said_by(&denied), *error, "{what}"),
        (Err(denied), other) => panic!("{what} is {denied}, and was answered {other:?}"),
    }
    (v1::ServerMessage { version: 1, request_id: 0, body: Some(said) }.encode_to_vec(), took)
}

fn said_by(denied: &Denied) -> v1::ErrorMessage {
    v1::ErrorMessage { code: denied.code.number().try_into().expect("a small number"), message: denied.reason.into(), ..Default::default() }
}

async fn matrix(door: Door, role: Role) {
    let mut world = World::start().await;
    world.assign(ELSEWHERE, MeetingConfig::default()).await.expect("there is room");
    let (name, actor) = match role {
        Role::Host => ("Host", Actor::Participant(Role::Host)),
        Role::Attendee => ("Ana", Actor::Participant(Role::Attendee)),
    };
    let mut me = door.join(&world, name).await;
    let (mut bo, mut cy) = (door.join(&world, "Bo").await, door.join_in(&world, ELSEWHERE, "Cy").await);
    let (taken, left, theirs) = (bo.publish().await, bo.publish().await, cy.publish().await);
    me.done(subscribe(&taken)).await;
    let streams = Named { own: me.publish().await, same: left.clone(), other: theirs.clone() };
    let subscriptions = Named { own: taken, same: left, other: theirs };
    let people = Named { own: me.id.clone(), same: bo.id.clone(), other: cy.id.clone() };

    // What is refused before what is done: a kick comes last, as it leaves nobody to name.
    let rows: [Row<'_>; 6] = [
        (Action::Relay, &people, relay),
        (Action::ReportQuality, &subscriptions, quality),
        (Action::Subscribe, &streams, subscribe),
        (Action::Unsubscribe, &subscriptions, unsubscribe),
        (Action::Unpublish, &streams, unpublish),
        (Action::Kick, &people, kick),
    ];
    for (action, named, body) in rows {
        let absent = ask(&mut me, actor, (action, Relation::OtherMeeting), body(&nobodys())).await;
        let other = ask(&mut me, actor, (action, Relation::OtherMeeting), body(&named.other)).await;
        assert_eq!(absent.0, other.0, "{}: another meeting's and nobody's look alike", action.name());
        eprintln!("{door:?} {} {}: nobody's after {:?}, another meeting's after {:?}", actor.name(), action.name(), absent.1, other.1);
        // What one subscribes to is one's own to end: it is there until the last of these.
        let order =
            if action == Action::Subscribe { [Relation::Own, Relation::SameMeeting] } else { [Relation::SameMeeting, Relation::Own] };
        for relation in order {
            if action == Action::Unsubscribe && relation == Relation::SameMeeting {
                me.done(unsubscribe(&named.same)).await;
            }
            ask(&mut me, actor, (action, relation), body(named.by(relation))).await;
        }
    }
    // What names nobody is done with oneself, or with one's meeting.
    let plain = [
        (Action::Publish, Relation::Own, Ask::Publish(crate::client::publish(&nobodys()))),
        (Action::ChangeState, Relation::Own, Ask::State(v1::UpdateState { is_muted: Some(true), ..Default::default() })),
        (Action::Chat, Relation::SameMeeting, Ask::Chat(v1::SendChat { client_message_id: "1".into(), content: "hello".into() })),
        (Action::Ping, Relation::Own, Ask::Ping(v1::Ping { sent_at_us: 1 })),
        (Action::RequestMediaServer, Relation::Own, Ask::MediaServer(v1::RequestMediaServer::default())),
        (Action::Join, Relation::Own, Ask::Join(wish(&world, MEETING, name))),
        (Action::Leave, Relation::Own, Ask::Leave(v1::Leave {})),
    ];
    for (action, relation, body) in plain {
        ask(&mut me, actor, (action, relation), body).await;
    }
    // Nothing of that has reached the other meeting.
    cy.say("hello").await;
    assert!(cy.unread.iter().all(|message| matches!(message.body, Some(Say::Pong(_)))), "{:?}", cy.unread);
}

#[tokio::test]
async fn a_host_over_webtransport() {
    matrix(Door::WebTransport, Role::Host).await;
}

#[tokio::test]
async fn a_host_over_websocket() {
    matrix(Door::WebSocket, Role::Host).await;
}

#[tokio::test]
async fn an_attendee_over_webtransport() {
    matrix(Door::WebTransport, Role::Attendee).await;
}

#[tokio::test]
async fn an_attendee_over_websocket() {
    matrix(Door::WebSocket, Role::Attendee).await;
}

/// A first message that is refused: its reply, held to the table, and the close behind it.
async fn refused(door: Door, world: &World, (actor, action, relation): (Actor, Action, Relation), body: Ask) -> Vec<u8> {
    let mut client = door.dial(world).await;
    let (bytes, _) = ask(&mut client, actor, (action, relation), body).await;
    let code = permit(actor, action, relation).expect_err("it is refused").code;
    let expected = match door {
        Door::WebTransport => code.number(),
        Door::WebSocket => u32::from(code.websocket()),
    };
    assert_eq!(client.end().await.0, expected, "{}", action.name());
    bytes
}

/// Who has not joined can do nothing but join; a token opens the meeting that it is for, and one of another meeting is worth as much as
/// none at all, whichever meetings there are.
#[tokio::test]
async fn strangers_get_nothing() {
    let mut world = World::start().await;
    world.assign(ELSEWHERE, MeetingConfig::default()).await.expect("there is room");
    for door in [Door::WebTransport, Door::WebSocket] {
        let (mut bo, cy) = (door.join(&world, "Bo").await, door.join_in(&world, ELSEWHERE, "Cy").await);
        let stream = bo.publish().await;
        for (action, body) in [
            (Action::Publish, Ask::Publish(crate::client::publish(&nobodys()))),
            (Action::Unpublish, unpublish(&stream)),
            (Action::Subscribe, subscribe(&stream)),
            (Action::Unsubscribe, unsubscribe(&stream)),
            (Action::ReportQuality, quality(&stream)),
            (Action::Chat, Ask::Chat(v1::SendChat { client_message_id: "1".into(), content: "hello".into() })),
            (Action::ChangeState, Ask::State(v1::UpdateState::default())),
            (Action::Leave, Ask::Leave(v1::Leave {})),
            (Action::Ping, Ask::Ping(v1::Ping::default())),
            (Action::Kick, kick(&bo.id)),
            (Action::Relay, relay(&bo.id)),
            (Action::RequestMediaServer, Ask::MediaServer(v1::RequestMediaServer::default())),
        ] {
            refused(door, &world, (Actor::Stranger, action, Relation::OtherMeeting), body).await;
        }

        let join = (Actor::Stranger, Action::Join, Relation::OtherMeeting);
        let nowhere = nobodys();
        let mut answers = Vec::new();
        for (token, meeting) in [("a.b.c", MEETING), ("", MEETING), ("a.b.c", nowhere.as_str())] {
            let wish = v1::JoinRequest { meeting_id: meeting.into(), ..request(token) };
            answers.push(refused(door, &world, join, Ask::Join(wish)).await);
        }
        for meeting in [ELSEWHERE, nowhere.as_str()] {
            let wish = v1::JoinRequest { meeting_id: meeting.into(), ..wish(&world, MEETING, "Mallory") };
            answers.push(refused(door, &world, join, Ask::Join(wish)).await);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "no token, another meeting's, no such meeting: one answer");

        let resume = (Actor::Stranger, Action::Resume, Relation::OtherMeeting);
        let mut answers = Vec::new();
        for (token, meeting) in
            [("made up", MEETING), (&*cy.resume_token, MEETING), (&*bo.resume_token, ELSEWHERE), (&*bo.resume_token, &nowhere)]
        {
            let wish = v1::JoinRequest { meeting_id: meeting.into(), resume_token: token.into(), ..Default::default() };
            answers.push(refused(door, &world, resume, Ask::Join(wish)).await);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "no token, another meeting's, no such meeting: one answer");
        bo.done(Ask::Leave(v1::Leave {})).await;
    }
}

/// Who was removed does not come back by any of what it had.
#[tokio::test]
async fn who_was_removed_gets_nothing() {
    let world = World::start().await;
    for (door, name) in [(Door::WebTransport, "Dee"), (Door::WebSocket, "Eve")] {
        let (mut host, mut dee) = (door.join(&world, "Host").await, door.join(&world, name).await);
        let (unspent, resume_token) = (wish(&world, MEETING, name), dee.resume_token.clone());
        host.done(kick(&dee.id)).await;
        dee.end().await;
        let resume = v1::JoinRequest { meeting_id: MEETING.into(), resume_token, ..Default::default() };
        refused(door, &world, (Actor::Stranger, Action::Resume, Relation::OtherMeeting), Ask::Join(resume)).await;
        for again in [unspent, wish(&world, MEETING, name)] {
            refused(door, &world, (Actor::Removed, Action::Join, Relation::SameMeeting), Ask::Join(again)).await;
        }
        host.done(Ask::Leave(v1::Leave {})).await;
    }
}
