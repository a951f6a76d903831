use super::*;
use crate::config::LimitsConfig;
use crate::handlers::Handlers;
use crate::outbox::{Outgoing, outbox};
use common::tls::{ClusterAuthority, NodeKind};
use meeting_controller_core::{Credential, ResumeToken, TokenHash};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

fn node() -> Arc<Node> {
    node_with(LimitsConfig { max_meetings: 2, ..Default::default() })
}

fn node_with(limits: LimitsConfig) -> Arc<Node> {
    common::tls::install_crypto_provider();
    let authority = ClusterAuthority::generate().expect("an authority");
    let identity = authority.issue(&"mc-1".parse().expect("a node id"), NodeKind::MeetingController).expect("a certificate");
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let handlers = Handlers::new(identity, "eu".into(), stop.clone(), tasks.clone());
    Node::new(limits, handlers, stop, tasks)
}

fn meeting(byte: u8) -> MeetingId {
    MeetingId::from_bytes([byte; 16])
}

const SETTINGS: Settings = Settings { participants_max: 10, is_end_to_end_encrypted: false };

/// A panic ends one meeting: its sessions hear that it is our fault, it may be assigned anew, and the others go on.
#[tokio::test]
async fn a_panic_ends_one_meeting() {
    let node = node();
    for byte in [1, 2] {
        node.assign(meeting(byte), SETTINGS).expect("there is room");
    }
    let broken = node.meeting(meeting(1)).expect("it was assigned");
    let (session, mut outgoings) = outbox();
    let resume = Credential::Resume(TokenHash([0; 32]));
    let join = Join {
        session: SessionKey(1),
        request_id: 1,
        credential: resume,
        participant_name: String::new(),
        capabilities: Default::default(),
        auto_subscribe: false,
        chat_after_sequence: 0,
        e2ee_key_id: String::new(),
        resume_token: ResumeToken { text: String::new(), hash: TokenHash([1; 32]) },
        stamp: node.stamp(),
    };
    broken.inbox.send(Command::Panic).await.expect("it runs");
    // Queued behind the panic, and dropped by it.
    let _ = broken.inbox.send(Command::Join { join: Box::new(join), handlers: Vec::new(), outbox: session }).await;
    assert!(matches!(outgoings.next().await, Outgoing::Close { code: Code::InternalError, .. }));
    while node.meeting(meeting(1)).is_some() {
        tokio::task::yield_now().await;
    }
    node.assign(meeting(1), SETTINGS).expect("it may come back");
    assert!(node.meeting(meeting(2)).is_some_and(|other| !other.inbox.is_closed()));
}

#[tokio::test]
async fn assignments_are_bounded_and_may_be_repeated() {
    let node = node();
    for byte in [1, 2, 1, 2] {
        assert_eq!(node.assign(meeting(byte), SETTINGS), Ok(()));
    }
    assert_eq!(node.assign(meeting(3), SETTINGS), Err(crate::node::AssignError::Full));
    node.end(meeting(1)).await;
    assert_eq!(node.assign(meeting(1), SETTINGS), Err(crate::node::AssignError::Ended));
    while node.meeting(meeting(1)).is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.assign(meeting(3), SETTINGS), Ok(()));
}

/// An empty meeting is dropped after a while; who comes later finds it all the same, unless it was ended.
#[tokio::test]
async fn an_empty_meeting_sleeps_and_wakes() {
    let node = node_with(LimitsConfig { empty_meeting_timeout: std::time::Duration::ZERO, ..Default::default() });
    node.assign(meeting(1), SETTINGS).expect("there is room");
    while node.meeting(meeting(1)).is_some() {
        tokio::task::yield_now().await;
    }
    assert!(node.wake(meeting(1)).is_ok_and(|awake| awake.is_some()));
    assert!(node.wake(meeting(2)).is_ok_and(|unknown| unknown.is_none()));
    node.end(meeting(1)).await;
    while node.meeting(meeting(1)).is_some() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(node.wake(meeting(1)), Ok(None) | Err(crate::node::AssignError::Ended)));
}
