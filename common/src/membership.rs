//! A node's place in the cluster: registered at each global controller, with a heartbeat a second, health that is told when it changes, and the
//! question after a freeze or an outage whether it may go on.
//!
//! In: what the node carries and how it is ([`Member`]). Out: what global controllers say, and whether this process has been superseded. Fail
//! static: without any global controller the node keeps what it has; it yields to a later process of its id and to nothing else.

mod course;
mod registrar;
mod revalidation;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common_core::departures::Process;
use common_core::{Diagnosis, Health, MeetingId, NodeId};
use futures_util::future::{BoxFuture, FutureExt, ready};
use proto::cluster::{ControllerCapacity, HandlerCapacity, HeartbeatReply, MeetingLoad};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Readiness;
use crate::gate::{FREEZE, Gate, TICK, Tick};
use crate::grpc::DialError;
use crate::tls::{LiveCertificate, LiveIdentity};
use registrar::Registrar;
use revalidation::Verdict;

/// Between looks at the node's own health.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a node that woke asks whether it may go on, before it goes on unasked: nobody answers, and people wait.
pub const REVALIDATE_WITHIN: Duration = Duration::from_secs(2);
/// How long meetings that have moved on may take to be let go.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a process waits, where it has not been let in yet, for the end of the lease of a later one, which may be dead and have had a clock
/// that was ahead: lease and grace of any sensible configuration, twice.
const SUPERSEDED_PATIENCE: Duration = Duration::from_secs(20);
/// Until a global controller has said how long its leases are.
const LEASE: Duration = Duration::from_secs(3);
/// All farewells together.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(600);

/// What a registration says about this node.
#[derive(Clone, Debug)]
pub struct Presentation {
    /// As in its certificate.
    pub node_id: NodeId,
    /// Where it stands.
    pub region: String,
    /// `host:port` of its gRPC.
    pub endpoint: String,
    /// For clients.
    pub public_url: String,
    /// For clients without UDP; empty: none.
    pub fallback_url: String,
    /// Its hashes are read anew for each call.
    pub certificate: LiveCertificate,
    /// See [`start_number`].
    pub start_number: u64,
}

/// Of this process: greater than that of any process before it, unless the clock was set back meanwhile.
pub fn start_number() -> u64 {
    crate::clock::unix_micros()
}

/// What a node carries, by its kind.
#[derive(Clone, Debug)]
pub enum Load {
    /// Of a meeting controller: capacity, and meetings with someone in them.
    Controller(ControllerCapacity, Vec<MeetingLoad>),
    /// Of a media handler.
    Handler(HandlerCapacity),
}

/// The node that is registered.
pub trait Member: Send + Sync + 'static {
    /// What it carries now.
    fn load(&self) -> Load;
    /// How it is now.
    fn diagnosis(&self) -> Diagnosis;
    /// Takes over what a global controller says.
    fn apply(&self, reply: &HeartbeatReply);
    /// Every meeting that this node would let somebody into, those without anybody included.
    fn meetings(&self) -> Vec<MeetingId> {
        Vec::new()
    }
    /// These meetings have moved on to others, or ended; resolves when nothing of them is left that could still be sent. Of a node without
    /// meetings of its own there is nothing to let go: whoever has them withdraws them.
    fn let_go(&self, _meetings: Vec<MeetingId>) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
    /// Global controllers may have taken this node for gone, and have heard now that it is there.
    fn is_back(&self) {}
}

/// A node's membership. Clones share it.
#[derive(Clone)]
pub struct Membership(Arc<Shared>);

struct Shared {
    presentation: Presentation,
    member: Arc<dyn Member>,
    gate: Arc<Gate>,
    is_wanted: bool,
    state: Mutex<State>,
    /// How the node was at the last look.
    health: watch::Sender<Diagnosis>,
    superseded: CancellationToken,
    left: CancellationToken,
    farewells: TaskTracker,
}

struct State {
    started_at: Instant,
    /// When any global controller last answered a heartbeat.
    answered_at: Option<Instant>,
    lease: Duration,
    /// It is not known whether meetings have moved meanwhile.
    is_unvalidated: bool,
}

impl Membership {
    /// Registers at all of `global_controllers`, and watches over this process, until [`leave`](Self::leave). Nowhere if there are none.
    pub fn start(
        presentation: Presentation,
        member: Arc<dyn Member>,
        gate: Arc<Gate>,
        identity: &LiveIdentity,
        global_controllers: &[String],
    ) -> Result<Self, DialError> {
        let state = State { started_at: Instant::now(), answered_at: None, lease: LEASE, is_unvalidated: false };
        let shared = Arc::new(Shared {
            presentation,
            health: watch::Sender::new(Diagnosis::default()),
            member,
            gate,
            is_wanted: !global_controllers.is_empty(),
            state: Mutex::new(state),
            superseded: CancellationToken::new(),
            left: CancellationToken::new(),
            farewells: TaskTracker::new(),
        });
        let dial = |endpoint: &String| Registrar::new(shared.clone(), identity, endpoint);
        let registrars = global_controllers.iter().map(dial).collect::<Result<Vec<_>, _>>()?;
        let clients = registrars.iter().map(Registrar::client).collect();
        for registrar in registrars {
            shared.farewells.spawn(registrar.run());
        }
        if shared.is_wanted {
            shared.gate.tick();
            tokio::spawn(watch_over(shared.clone(), clients));
        }
        Ok(Self(shared))
    }

    /// Resolves when a later process of this node's id has taken over: this one has to end. Cancel-safe.
    pub async fn superseded(&self) {
        self.0.superseded.cancelled().await;
    }

    /// Tells every global controller that this node leaves, so that nobody new is sent here; at most `LEAVE_TIMEOUT`.
    pub async fn leave(&self) {
        self.0.left.cancel();
        self.0.farewells.close();
        // Who does not hear it notices when the lease is over.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.0.farewells.wait()).await;
    }

    /// How the node was at the last look.
    pub fn health(&self) -> Diagnosis {
        self.0.health.borrow().clone()
    }

    /// Whether this node is registered, not superseded, awake and not unhealthy.
    pub fn readiness(&self, registered: &'static str, healthy: &'static str) -> Vec<Readiness> {
        let (registration, health) = (self.clone(), self.clone());
        let mut checks = Vec::new();
        if self.0.is_wanted {
            checks.push(Readiness::new(registered, move || registration.0.is_registered()));
        }
        checks.push(Readiness::new(healthy, move || {
            let found = health.0.member.diagnosis();
            if found.health == Health::Unhealthy { Err(found.reason) } else { Ok(()) }
        }));
        checks
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Plain values: nothing is half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self) -> Process {
        (self.presentation.node_id.clone(), self.presentation.start_number)
    }

    fn is_registered(&self) -> Result<(), String> {
        if self.superseded.is_cancelled() {
            return Err("superseded by a later process of this node id".to_owned());
        }
        if !self.gate.is_open() {
            return Err("was frozen, and has not found out yet whether it may go on".to_owned());
        }
        let state = self.state();
        match state.answered_at {
            Some(at) if at.elapsed() <= state.lease => Ok(()),
            Some(at) => Err(format!("no global controller has answered for {} s", at.elapsed().as_secs())),
            None => Err("not registered yet".to_owned()),
        }
    }

    /// A global controller knows this node. Returns whether others may have taken its place meanwhile: then it has to ask.
    fn answered(&self) -> bool {
        let mut state = self.state();
        let lease = state.lease;
        let before = state.answered_at.replace(Instant::now());
        if before.is_some_and(|before| before.elapsed() > lease) {
            state.is_unvalidated = true;
        }
        state.is_unvalidated
    }

    /// A global controller says that a later process is there: ends this one, unless it may be the shadow of a dead one.
    fn note_superseded(&self, was_known: bool) {
        let running_for = self.state().started_at.elapsed();
        if !is_shadow(was_known, running_for) {
            self.yield_now();
        }
    }

    fn yield_now(&self) {
        if !self.superseded.is_cancelled() {
            let (node, start_number) = self.process();
            tracing::error!(%node, start_number, "a later process of this node id has taken over: this one ends");
            metrics::counter!("dark_tower_yielded_total").increment(1);
            self.gate.close_for_good();
            self.superseded.cancel();
        }
    }

    /// Acts on what was found out.
    async fn obey(&self, verdict: Verdict) {
        match verdict {
            Verdict::Superseded => self.yield_now(),
            Verdict::GoesOn { moved } => {
                {
                    let mut state = self.state();
                    state.is_unvalidated = false;
                    state.answered_at = Some(Instant::now());
                }
                if !moved.is_empty() {
                    tracing::warn!(meetings = moved.len(), "meetings have moved on while this node was away; they are let go");
                    metrics::counter!("dark_tower_meetings_let_go_total").increment(moved.len() as u64);
                    self.member.let_go(moved).await;
                }
                self.member.is_back();
            }
            Verdict::Unknown => {
                // Asked again by the first heartbeat that gets through.
                self.state().is_unvalidated = true;
                tracing::warn!("no global controller answers; this node goes on as it was");
            }
        }
    }

    /// Looks how the node is; a change is logged, and told at once.
    fn examine(&self) {
        let found = self.member.diagnosis();
        metrics::gauge!("dark_tower_health").set(f64::from(found.health as u8));
        self.health.send_if_modified(|known| {
            if known.health != found.health {
                if found.health == Health::Healthy {
                    tracing::info!(before = %known.health, "healthy again");
                } else {
                    tracing::warn!(before = %known.health, health = %found.health, reason = found.reason, "health has changed");
                }
            }
            // Numbers in a reason move; they go with the next heartbeat.
            let is_news = known.health != found.health;
            *known = found;
            is_news
        });
    }
}

/// Whether the later process that a global controller knows may be a dead one, whose clock was ahead, and whose lease holds there still. It says
/// nothing that another global controller has let this one in already: leases do not end everywhere at once.
const fn is_shadow(was_known: bool, running_for: Duration) -> bool {
    !was_known && running_for.as_millis() < SUPERSEDED_PATIENCE.as_millis()
}

/// Ticks, looks at the node's health, and asks after a freeze whether this node may go on. Nothing passes the gate meanwhile.
async fn watch_over(shared: Arc<Shared>, clients: Vec<revalidation::Client>) {
    let mut examined_at: Option<Instant> = None;
    loop {
        if let Tick::Late(late) = shared.gate.tick() {
            tracing::warn!(late_ms = late.as_millis(), "this process was frozen; it asks whether it may go on");
            metrics::counter!("dark_tower_freezes_total").increment(1);
            let began = Instant::now();
            let verdict = revalidation::ask_any(&shared, &clients, REVALIDATE_WITHIN).await;
            // Meetings are let go within a moment; one that hangs must not hold up all others.
            let _ = tokio::time::timeout(LET_GO_TIMEOUT, shared.obey(verdict)).await;
            let took = began.elapsed();
            tracing::info!(took_ms = took.as_millis(), "asked whether this process may go on");
            // Else it was frozen again meanwhile, and what it heard may be old.
            if took < REVALIDATE_WITHIN + LET_GO_TIMEOUT + FREEZE {
                shared.gate.open();
            }
            continue;
        }
        if examined_at.is_none_or(|at| at.elapsed() >= HEALTH_INTERVAL) {
            examined_at = Some(Instant::now());
            shared.examine();
        }
        tokio::select! {
            () = shared.left.cancelled() => break,
            () = shared.superseded.cancelled() => break,
            () = tokio::time::sleep(TICK) => {}
        }
    }
    shared.gate.unwatch();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dead process whose clock was ahead ends nobody: not where its lease ends later than elsewhere, either.
    #[test]
    fn only_where_a_process_was_known_is_a_later_one_believed_at_once() {
        assert!(is_shadow(false, Duration::ZERO) && is_shadow(false, SUPERSEDED_PATIENCE - Duration::from_millis(1)));
        assert!(!is_shadow(false, SUPERSEDED_PATIENCE) && !is_shadow(true, Duration::ZERO));
    }
}
