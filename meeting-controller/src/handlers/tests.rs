use super::*;
use common::tls::{ClusterAuthority, NodeKind};

fn handlers() -> Arc<Handlers> {
    common::tls::install_crypto_provider();
    let authority = ClusterAuthority::generate().expect("an authority");
    let identity = authority.issue(&"mc-1".parse().expect("a node id"), NodeKind::MeetingController).expect("a certificate");
    Handlers::new(identity, "eu".into(), (1, Arc::default()), (CancellationToken::new(), TaskTracker::new()))
}

fn entry(id: &str, region: &str, health: HealthStatus) -> HandlerEntry {
    HandlerEntry {
        handler_id: id.into(),
        region: region.into(),
        endpoint: "127.0.0.1:1".into(),
        health: health.into(),
        start_number: 1,
        ..Default::default()
    }
}

/// The handler that the client is dialling already, else a healthy one nearby, else a degraded one nearby, else one elsewhere.
#[tokio::test]
async fn choices_have_a_stated_order() {
    let handlers = handlers();
    use HealthStatus::{Degraded, Healthy, Unhealthy};
    handlers.apply(&[entry("a", "us", Healthy), entry("b", "eu", Healthy), entry("c", "eu", Degraded), entry("d", "eu", Unhealthy)], true);
    let check = |preferred: &[&str], except: Option<&str>, expected: Option<&str>| {
        let preferred: Vec<NodeId> = preferred.iter().map(|id| id.parse().expect("a node id")).collect();
        let except = except.map(|id| id.parse().expect("a node id"));
        let chosen = handlers.choose(&preferred, except.as_ref());
        assert_eq!(chosen.as_ref().map(|handler| handler.id.as_str()), expected, "{preferred:?} {except:?}");
    };
    check(&[], None, Some("b"));
    check(&["a"], None, Some("a"));
    check(&["d", "a"], None, Some("a"));
    check(&["unknown"], None, Some("b"));
    check(&["a"], Some("a"), Some("b"));
    handlers.find(&"b".parse().expect("a node id")).expect("it is listed").note(false);
    check(&["b"], None, Some("c"));
    check(&["b"], Some("c"), Some("a"));
}

/// A global controller that has just started does not know yet who is there, and one that knows nobody at all is wrong: neither takes a
/// handler away, however long it goes on.
#[tokio::test]
async fn who_knows_nothing_takes_nothing_away() {
    let handlers = handlers();
    let began = Instant::now();
    let at = |seconds| began + Duration::from_secs(seconds);
    let (a, b) = (entry("a", "eu", HealthStatus::Healthy), entry("b", "eu", HealthStatus::Healthy));
    handlers.apply_at(at(0), &[a.clone(), b.clone()], true);
    (1..=30).for_each(|second| handlers.apply_at(at(second), std::slice::from_ref(&b), false));
    (31..=60).for_each(|second| handlers.apply_at(at(second), &[], true));
    let is_known = |id: &str| handlers.find(&id.parse().expect("a node id")).is_some();
    assert!(is_known("a") && is_known("b"));
    (61..=65).for_each(|second| handlers.apply_at(at(second), std::slice::from_ref(&b), true));
    assert!(is_known("a"));
    handlers.apply_at(at(66), &[b], true);
    assert!(!is_known("a") && is_known("b"));
}

/// Meetings keep the handlers that they know when all of them are lost at once, and operators are told the truth meanwhile.
#[tokio::test]
async fn that_all_are_lost_is_said() {
    let handlers = handlers();
    let a = entry("a", "eu", HealthStatus::Healthy);
    let steps: [(&[HandlerEntry], bool, bool); 6] = [
        (std::slice::from_ref(&a), true, true),
        // It has just started: nothing is known.
        (&[], false, true),
        (&[], true, false),
        // It starts again, and has heard nobody.
        (&[], false, false),
        (std::slice::from_ref(&a), false, true),
        (&[], true, false),
    ];
    for (step, (entries, is_settled, expected)) in steps.into_iter().enumerate() {
        handlers.apply(entries, is_settled);
        assert_eq!(handlers.any_healthy(), expected, "step {step}");
        assert!(handlers.choose(&[], None).is_some(), "step {step}");
    }
}

/// A controller that was frozen does not take its handlers for dead, whose answers wait to be read.
#[test]
fn who_stood_still_blames_nobody() {
    let due = tokio::time::Instant::now();
    assert!(!stood_still(due, due) && !stood_still(due + OWN_PAUSE, due) && !stood_still(due, due + OWN_PAUSE));
    assert!(stood_still(due, due + OWN_PAUSE + Duration::from_millis(1)));
}

#[tokio::test]
async fn a_restart_is_a_change() {
    let handlers = handlers();
    handlers.apply(&[entry("a", "eu", HealthStatus::Healthy)], true);
    let before = *handlers.changes().borrow();
    handlers.apply(&[HandlerEntry { start_number: 2, ..entry("a", "eu", HealthStatus::Healthy) }], true);
    assert!(*handlers.changes().borrow() > before);
}

/// A pause of the global controller starts everyone's time again; only lists that keep coming take a handler away.
#[tokio::test]
async fn a_pause_takes_nothing_away() {
    let handlers = handlers();
    let began = Instant::now();
    let at = |seconds| began + Duration::from_secs(seconds);
    let (a, b) = (entry("a", "eu", HealthStatus::Healthy), entry("b", "eu", HealthStatus::Healthy));
    handlers.apply_at(at(0), &[a, b.clone()], true);
    let is_known = || handlers.find(&"a".parse().expect("a node id")).is_some();
    handlers.apply_at(at(60), std::slice::from_ref(&b), true);
    assert!(is_known());
    (61..=66).for_each(|second| handlers.apply_at(at(second), std::slice::from_ref(&b), true));
    assert!(!is_known());
}
