//! Keeps this node registered at one global controller.

use std::sync::Arc;
use std::time::Duration;

use common_core::Diagnosis;
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::{Deregister, HealthStatus, Heartbeat, RegisterMediaHandler, RegisterMeetingController, Registered};
use tonic::{Code, Response, Status};

use super::course::{Course, Note, Outcome, Step};
use super::revalidation::{Client, ask_once};
use super::{Load, Shared};
use crate::clock::Clock;
use crate::grpc::{CALL_TIMEOUT, DialError, channel};
use crate::tls::{LiveIdentity, NodeKind};

/// How long a farewell may take.
const DEREGISTER_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest reason of a node's health that is told, bytes: the registry takes 512.
const REASON_BYTES_MAX: usize = 500;

pub(super) struct Registrar {
    shared: Arc<Shared>,
    endpoint: String,
    client: Client,
    clock: Clock,
    /// Whether it was told that a later process is there.
    is_warned: bool,
    /// Whether this process's heartbeats have counted there.
    was_known: bool,
}

impl Registrar {
    pub fn new(shared: Arc<Shared>, identity: &LiveIdentity, endpoint: &str) -> Result<Self, DialError> {
        let client = ClusterRegistryClient::new(channel(identity, endpoint, NodeKind::GlobalController.certificate_name())?);
        Ok(Self { shared, endpoint: endpoint.to_owned(), client, clock: Clock::start(), is_warned: false, was_known: false })
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Registers and beats until the node leaves, and says so then. A process that was superseded just stops: the id is another's.
    pub async fn run(mut self) {
        let shared = self.shared.clone();
        tokio::select! {
            () = shared.superseded.cancelled() => return,
            () = shared.left.cancelled() => {}
            () = self.stay_registered() => {}
        }
        let (node_id, start_number) = shared.process();
        let request = Deregister { node_id: node_id.to_string(), start_number };
        // Its lease ends by itself soon.
        let _ = tokio::time::timeout(DEREGISTER_TIMEOUT, self.client.deregister(request)).await;
    }

    async fn stay_registered(&mut self) {
        let mut course = Course::new(self.clock.now());
        let mut health = self.shared.health.subscribe();
        loop {
            let (due, step) = course.next();
            tokio::select! {
                () = tokio::time::sleep_until(self.clock.instant(due)) => {}
                // The node itself keeps the sender.
                Ok(()) = health.changed() => {
                    course.hurry(self.clock.now());
                    continue;
                }
            }
            // The first word of a process that was frozen is the question whether it may go on.
            if self.shared.gate.passage().await.is_err() {
                return;
            }
            let outcome = match step {
                Step::Register => self.register().await,
                Step::Beat => self.beat().await,
            };
            let (outcome, status) = outcome.map_or_else(|status| (Outcome::Away, Some(status)), |outcome| (outcome, None));
            let note = course.note(self.clock.now(), outcome, crate::random::number());
            self.tell(note, status.as_ref());
        }
    }

    /// Once per outage, and once at its end.
    fn tell(&mut self, note: Option<Note>, status: Option<&Status>) {
        let global_controller = &self.endpoint;
        if let Some(status) = status.filter(|status| status.code() == Code::FailedPrecondition) {
            if !std::mem::replace(&mut self.is_warned, true) {
                tracing::warn!(global_controller, reason = status.message(), "not let in while a later process is live");
            }
            self.shared.note_superseded(self.was_known);
            return;
        }
        match note {
            None => {}
            // It has answered, that a later process is there.
            Some(Note::Away) if status.is_none() => {}
            Some(Note::Registered) => tracing::info!(global_controller, "registered"),
            Some(Note::Forgotten) => tracing::warn!(global_controller, "not known there any more; registering again"),
            Some(Note::Away) => {
                metrics::counter!("dark_tower_registry_outages_total").increment(1);
                let status = status.map(ToString::to_string).unwrap_or_default();
                tracing::warn!(global_controller, status, "the global controller does not answer; this node keeps what it has");
            }
            Some(Note::Back { after }) => {
                tracing::info!(global_controller, away_ms = after.as_millis(), "the global controller answers again");
            }
        }
    }

    async fn register(&mut self) -> Result<Outcome, Status> {
        let it = &self.shared.presentation;
        let certificate_hashes = it.certificate.wire_hashes();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let registered: Registered = match self.shared.member.load() {
            Load::Controller(capacity, _) => {
                let request = RegisterMeetingController {
                    controller_id: it.node_id.to_string(),
                    region: it.region.clone(),
                    endpoint: it.endpoint.clone(),
                    capacity: Some(capacity),
                    public_url: it.public_url.clone(),
                    fallback_url: it.fallback_url.clone(),
                    certificate_hashes,
                    version,
                    start_number: it.start_number,
                };
                self.in_time(self.client.clone().register_meeting_controller(request)).await?
            }
            Load::Handler(capacity) => {
                let request = RegisterMediaHandler {
                    handler_id: it.node_id.to_string(),
                    region: it.region.clone(),
                    endpoint: it.endpoint.clone(),
                    capacity: Some(capacity),
                    public_url: it.public_url.clone(),
                    fallback_url: it.fallback_url.clone(),
                    certificate_hashes,
                    version,
                    start_number: it.start_number,
                };
                self.in_time(self.client.clone().register_media_handler(request)).await?
            }
        };
        if registered.lease_ms > 0 {
            self.shared.state().lease = Duration::from_millis(u64::from(registered.lease_ms));
        }
        Ok(Outcome::Registered { interval: Duration::from_millis(u64::from(registered.heartbeat_interval_ms)) })
    }

    async fn beat(&mut self) -> Result<Outcome, Status> {
        let reply = self.in_time(self.client.clone().heartbeat(heartbeat(&self.shared))).await?;
        if reply.superseded {
            self.shared.note_superseded(self.was_known);
            return Ok(Outcome::Away);
        }
        if !reply.known {
            return Ok(Outcome::Unknown);
        }
        self.was_known = true;
        self.shared.member.apply(&reply);
        if self.shared.answered() {
            // Others may have been sent elsewhere while nobody heard of this node.
            match ask_once(&self.shared, self.client.clone()).await {
                Ok(verdict) => self.shared.obey(verdict).await,
                // Asked again with the next heartbeat.
                Err(status) => tracing::debug!(global_controller = self.endpoint, %status, "cannot say what has moved"),
            }
        }
        Ok(Outcome::Known)
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(result) => result.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }
}

/// One heartbeat, as things are now.
pub(super) fn heartbeat(shared: &Shared) -> Heartbeat {
    let it = &shared.presentation;
    let Diagnosis { health, reason } = shared.member.diagnosis();
    let (capacity, handler_capacity, meetings) = match shared.member.load() {
        Load::Controller(capacity, meetings) => (Some(capacity), None, meetings),
        Load::Handler(capacity) => (None, Some(capacity), Vec::new()),
    };
    Heartbeat {
        controller_id: it.node_id.to_string(),
        capacity,
        health: health_on_wire(health).into(),
        start_number: it.start_number,
        handler_capacity,
        meetings,
        certificate_hashes: it.certificate.wire_hashes(),
        health_reason: bounded(reason),
    }
}

fn bounded(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|index| reason.is_char_boundary(*index)).unwrap_or(0);
        reason.truncate(end);
    }
    reason
}

const fn health_on_wire(health: common_core::Health) -> HealthStatus {
    match health {
        common_core::Health::Healthy => HealthStatus::Healthy,
        common_core::Health::Degraded => HealthStatus::Degraded,
        common_core::Health::Unhealthy => HealthStatus::Unhealthy,
    }
}
