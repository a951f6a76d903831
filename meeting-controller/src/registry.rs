//! Registration at each global controller, and a heartbeat a second: what this node is, and what it is told in return.
//!
//! Fail static: without a global controller this node keeps its meetings, keys and directory.

use std::sync::Arc;
use std::time::Duration;

use common::grpc::{CALL_TIMEOUT, Channel, DialError, channel};
use common::tls::{LiveCertificate, LiveIdentity, NodeKind};
use common_core::NodeId;
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::{Deregister, HealthStatus, Heartbeat, RegisterMeetingController};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::node::Node;

/// Between heartbeats, whatever a reply says about it (DESIGN section 6), and within these bounds.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(2);
/// Between two attempts to register: short, as the first join of a fresh cluster waits for it.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long a farewell may take.
const DEREGISTER_TIMEOUT: Duration = Duration::from_millis(500);

/// What a registration says about this node.
#[derive(Clone, Debug)]
pub(crate) struct Presentation {
    pub node_id: NodeId,
    pub region: String,
    pub endpoint: String,
    pub public_url: String,
    pub fallback_url: String,
    /// Its hashes are looked up for each message: they change while the process runs.
    pub certificate: LiveCertificate,
    pub start_number: u64,
}

/// One global controller.
pub(crate) struct Registry {
    node: Arc<Node>,
    presentation: Presentation,
    endpoint: String,
    client: ClusterRegistryClient<Channel>,
}

impl Registry {
    pub fn new(node: Arc<Node>, presentation: Presentation, identity: &LiveIdentity, endpoint: &str) -> Result<Self, DialError> {
        let client = ClusterRegistryClient::new(channel(identity, endpoint, NodeKind::GlobalController.certificate_name())?);
        Ok(Self { node, presentation, endpoint: endpoint.to_owned(), client })
    }

    /// Registers, beats, registers again when it is not known any more; until `stop`, and then deregisters.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.stay_registered() => {}
            }
        }
        let request = Deregister { node_id: self.presentation.node_id.to_string(), start_number: self.presentation.start_number };
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
                Ok(true) => {}
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
        let request = RegisterMeetingController {
            controller_id: it.node_id.to_string(),
            region: it.region.clone(),
            endpoint: it.endpoint.clone(),
            capacity: Some(self.node.capacity()),
            public_url: it.public_url.clone(),
            fallback_url: it.fallback_url.clone(),
            certificate_hashes: it.certificate.wire_hashes(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_number: it.start_number,
        };
        let answer = in_time(self.client.register_meeting_controller(request)).await?;
        let stated = Duration::from_millis(u64::from(answer.heartbeat_interval_ms));
        Ok(stated.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX))
    }

    /// Whether this node is known there.
    async fn beat(&mut self) -> Result<bool, Status> {
        // Without any handler a new meeting is better off elsewhere.
        let health = if self.node.handlers.any_healthy() { HealthStatus::Healthy } else { HealthStatus::Degraded };
        let request = Heartbeat {
            controller_id: self.presentation.node_id.to_string(),
            capacity: Some(self.node.capacity()),
            health: health.into(),
            start_number: self.presentation.start_number,
            handler_capacity: None,
            meetings: self.node.loads(),
            certificate_hashes: self.presentation.certificate.wire_hashes(),
            ..Heartbeat::default()
        };
        let reply = in_time(self.client.heartbeat(request)).await?;
        if reply.known {
            self.node.apply(&reply);
        }
        Ok(reply.known)
    }
}

async fn in_time<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
