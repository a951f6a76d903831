use super::*;
use crate::config::LimitsConfig;
use crate::handlers::Handlers;
use crate::node::Surroundings;
use crate::outbox::{Outgoing, outbox};
use crate::reports::Reports;
use common::tls::{ClusterAuthority, NodeKind};
use meeting_controller_core::{Credential, ResumeToken, Settings, TokenHash};
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
    let handlers = Handlers::new(identity, "eu".into(), (1, Arc::default()), (stop.clone(), tasks.clone()));
    let certificate = common::tls::Certificate::self_signed(&["localhost".to_owned()]).expect("a certificate").into();
    let surroundings = Surroundings { stopping: stop, tasks, gate: Arc::default(), parts: Default::default(), certificate };
    Node::new(limits, handlers, Reports::new(false), surroundings)
}

fn meeting(byte: u8) -> MeetingId {
    MeetingId::from_bytes([byte; 16])
}

fn settings() -> Settings {
    Settings { participants_max: 10, ..Settings::default() }
}

fn assign(node: &Arc<Node>, byte: u8) -> Result<(), crate::node::AssignError> {
    node.assign(meeting(byte), settings(), &[]).map(|_| ())
}

/// A panic ends one meeting: its sessions hear that it is our fault, it may be assigned anew, and the others go on.
#[tokio::test]
async fn a_panic_ends_one_meeting() {
    let node = node();
    for byte in [1, 2] {
        assign(&node, byte).expect("there is room");
    }
    let broken = node.meeting(meeting(1)).expect("it was assigned");
    let (session, mut outgoings) = outbox(Arc::default());
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
    assert!(node.wake(meeting(1)).is_ok_and(|awake| awake.is_some()), "it may come back");
    assert!(node.meeting(meeting(2)).is_some_and(|other| !other.inbox.is_closed()));
}

#[tokio::test]
async fn assignments_are_bounded_and_may_be_repeated() {
    let node = node();
    for byte in [1, 2, 1, 2] {
        assert_eq!(assign(&node, byte), Ok(()));
    }
    assert_eq!(assign(&node, 3), Err(crate::node::AssignError::Full));
    node.end(meeting(1)).await;
    assert_eq!(assign(&node, 1), Err(crate::node::AssignError::Ended));
    while node.meeting(meeting(1)).is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(assign(&node, 3), Ok(()));
}

/// An empty meeting is dropped after a while; who comes later finds it all the same, unless it was ended.
#[tokio::test]
async fn an_empty_meeting_sleeps_and_wakes() {
    let node = node_with(LimitsConfig { empty_meeting_timeout: std::time::Duration::ZERO, ..Default::default() });
    assign(&node, 1).expect("there is room");
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

/// What a meeting was told before it broke off holds afterwards, and for an assignment that comes again with other settings.
#[tokio::test]
async fn a_panic_forgets_no_refusals() {
    let node = node();
    let refused = ["removed".to_owned()];
    node.assign(meeting(1), settings(), &refused).expect("there is room");
    let broken = node.meeting(meeting(1)).expect("it was assigned");
    broken.inbox.send(Command::Panic).await.expect("it runs");
    assert!(broken.ask(Control::List).await.is_none());
    assert!(node.sleeps(meeting(1)) && node.meeting(meeting(1)).is_none());
    let other = Settings { participants_max: 1, ..settings() };
    assert!(node.assign(meeting(1), other, &[]).is_ok_and(|here| here.is_none()));
    let awake = node.meeting(meeting(1)).expect("it is awake");
    assert!(awake.ask(|done| Control::Refuse(vec!["too".to_owned()], done)).await.is_some());
    awake.inbox.send(Command::Panic).await.expect("it runs");
    assert!(awake.ask(Control::List).await.is_none());
    let asleep = node.dormant().take(meeting(1)).expect("it sleeps");
    assert_eq!((asleep.settings, asleep.memory.len()), (settings(), 2));
}
