//! Registration at each global controller, and a heartbeat a second.
//!
//! Fail static: without a global controller this handler keeps its sessions and serves the controllers that know it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::grpc::{CALL_TIMEOUT, Channel, DialError, channel};
use common::tls::{LiveCertificate, LiveIdentity, NodeKind};
use common_core::Moment;
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::{Deregister, HandlerCapacity, HealthStatus, Heartbeat, RegisterMediaHandler};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status};

use crate::handler::Handler;

/// Heartbeats come at what the registration's answer says, within these bounds (DESIGN section 6: each second).
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(2);
/// Between two attempts to register: short, as the first join of a fresh cluster waits for it.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long a farewell may take.
const DEREGISTER_TIMEOUT: Duration = Duration::from_millis(500);
/// Over this share of its capacity a handler is the last choice in placement.
const DEGRADED_PERCENT: u64 = 90;

/// What a registration says about this node.
#[derive(Clone, Debug)]
pub(crate) struct Presentation {
    pub node_id: String,
    pub region: String,
    pub endpoint: String,
    pub public_url: String,
    /// Its hashes are looked up for each message: they change while the process runs.
    pub certificate: LiveCertificate,
    pub start_number: u64,
}

/// When any global controller answered last, for readiness; zero: never.
#[derive(Debug, Default)]
pub(crate) struct LastBeat(AtomicU64);

impl LastBeat {
    pub fn at(&self) -> Option<Moment> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Moment::from_micros(micros)),
        }
    }

    fn set(&self, now: Moment) {
        self.0.fetch_max(now.as_micros(), Ordering::Relaxed);
    }
}

/// One global controller.
pub(crate) struct Registry {
    handler: Arc<Handler>,
    presentation: Presentation,
    last_beat: Arc<LastBeat>,
    endpoint: String,
    client: ClusterRegistryClient<Channel>,
}

impl Registry {
    pub fn new(
        handler: Arc<Handler>,
        presentation: Presentation,
        last_beat: Arc<LastBeat>,
        identity: &LiveIdentity,
        endpoint: &str,
    ) -> Result<Self, DialError> {
        let client = ClusterRegistryClient::new(channel(identity, endpoint, NodeKind::GlobalController.certificate_name())?);
        Ok(Self { handler, presentation, last_beat, endpoint: endpoint.to_owned(), client })
    }

    /// Registers, beats, registers again when it is not known any more; until `stop`, and then deregisters.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.stay_registered() => {}
            }
        }
        let request = Deregister { node_id: self.presentation.node_id.clone(), start_number: self.presentation.start_number };
        // Its lease ends by itself soon.
        let _ = tokio::time::timeout(DEREGISTER_TIMEOUT, self.client.deregister(request)).await;
    }

    /// One life of a registration.
    async fn stay_registered(&mut self) {
        let interval = match self.register().await {
            Ok(interval) => interval,
            Err(status) => {
                tracing::warn!(global_controller = self.endpoint, %status, "cannot register");
                tokio::time::sleep(RETRY_INTERVAL).await;
                return;
            }
        };
        tracing::info!(global_controller = self.endpoint, "registered");
        let mut beats = tokio::time::interval(interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            match self.beat().await {
                Ok(true) => self.last_beat.set(self.handler.now()),
                Ok(false) => {
                    tracing::warn!(global_controller = self.endpoint, "not known there any more");
                    return;
                }
                Err(status) => {
                    tracing::warn!(global_controller = self.endpoint, %status, "a heartbeat failed");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    return;
                }
            }
        }
    }

    async fn register(&mut self) -> Result<Duration, Status> {
        let it = &self.presentation;
        let request = RegisterMediaHandler {
            handler_id: it.node_id.clone(),
            region: it.region.clone(),
            endpoint: it.endpoint.clone(),
            capacity: Some(self.capacity()),
            public_url: it.public_url.clone(),
            fallback_url: String::new(),
            certificate_hashes: it.certificate.wire_hashes(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_number: it.start_number,
        };
        let answer = in_time(self.client.register_media_handler(request)).await?;
        Ok(Duration::from_millis(u64::from(answer.heartbeat_interval_ms)).clamp(INTERVAL_MIN, INTERVAL_MAX))
    }

    /// Whether this node is known there.
    async fn beat(&mut self) -> Result<bool, Status> {
        let capacity = self.capacity();
        let is_full = u64::from(capacity.current_participants) * 100 >= u64::from(capacity.max_participants) * DEGRADED_PERCENT;
        let request = Heartbeat {
            controller_id: self.presentation.node_id.clone(),
            capacity: None,
            health: if is_full { HealthStatus::Degraded } else { HealthStatus::Healthy }.into(),
            start_number: self.presentation.start_number,
            handler_capacity: Some(capacity),
            meetings: Vec::new(),
            certificate_hashes: self.presentation.certificate.wire_hashes(),
            ..Heartbeat::default()
        };
        Ok(in_time(self.client.heartbeat(request)).await?.known)
    }

    fn capacity(&self) -> HandlerCapacity {
        let current = self.handler.with(|hub| hub.participants());
        HandlerCapacity {
            max_participants: self.handler.limits.max_participants,
            current_participants: u32::try_from(current).unwrap_or(u32::MAX),
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
