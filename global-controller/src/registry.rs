//! The registry that nodes call by gRPC: registration, heartbeat, leave, what happened in meetings. A node speaks only for the id in its certificate.
//!
//! In: protobuf messages of strangers with a valid certificate. Out: the core's inputs, or a status that names the wrong field.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::grpc::{caller_is, caller_is_among};
use common::tls::{Holder, NodeKind};
use common_core::MeetingId;
use global_controller_core::cluster::{BeatError, ControllerBeat, HandlerBeat, NodeRecord, RegisterError};
use global_controller_core::placement::{ControllerCapacity, Health};
use global_controller_core::ranking::HandlerCapacity;
use http::Uri;
use proto::cluster::cluster_registry_server::ClusterRegistry;
use proto::cluster::{
    self, Deregister, Deregistered, EventsReported, Heartbeat, HeartbeatReply, RegisterMediaHandler, RegisterMeetingController, Registered,
    ReportEvents, Revalidate, Revalidated,
};
use tonic::{Request, Response, Status};

use crate::cluster::{Cluster, RegisterNodeError};
use crate::events::{ReportError, Reports};
use crate::keys::SigningKeys;
use crate::store::Store;

/// Longest text of a registration, bytes: a URL with a long name fits twice.
const TEXT_BYTES_MAX: usize = 512;
/// Certificates that a node may have at once: the current one and the next, for two names.
const HASHES_MAX: usize = 4;
/// Meetings in one heartbeat: more than a controller carries, and a message of 4 MiB holds.
const MEETINGS_MAX: usize = 50_000;

/// Meetings looked up in one statement.
const LOOKUP_MAX: usize = 1000;
/// Who beats and leaves.
const NODES: [NodeKind; 2] = [NodeKind::MeetingController, NodeKind::MediaHandler];

/// What nodes are told to keep to.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Between heartbeats.
    pub interval: Duration,
    /// Until a silent node is lost.
    pub lease: Duration,
}

/// The service.
pub struct Registry {
    cluster: Arc<Cluster>,
    keys: Arc<SigningKeys>,
    lease: Lease,
    reports: Reports,
    store: Arc<dyn Store>,
}

impl Registry {
    /// A registry that hands out the public part of `keys`, and looks up in `store` what was assigned where.
    pub fn new(cluster: Arc<Cluster>, keys: Arc<SigningKeys>, lease: Lease, reports: Reports, store: Arc<dyn Store>) -> Self {
        Self { cluster, keys, lease, reports, store }
    }

    fn registered(&self) -> Response<Registered> {
        let millis = |length: Duration| u32::try_from(length.as_millis()).unwrap_or(u32::MAX);
        Response::new(Registered { heartbeat_interval_ms: millis(self.lease.interval), lease_ms: millis(self.lease.lease) })
    }

    /// To a controller the handlers, to a handler the controllers.
    fn reply(&self, beaten: Result<(), BeatError>, is_controller: bool) -> Response<HeartbeatReply> {
        let known = beaten.is_ok();
        Response::new(HeartbeatReply {
            known,
            handlers: if known && is_controller { self.cluster.directory() } else { Vec::new() },
            controllers: if known && !is_controller { self.cluster.controllers() } else { Vec::new() },
            token_keys: self.keys.token_keys(),
            superseded: matches!(beaten, Err(BeatError::Superseded(_))),
            is_settled: self.cluster.is_settled(),
        })
    }
}

#[tonic::async_trait]
impl ClusterRegistry for Registry {
    async fn register_meeting_controller(&self, request: Request<RegisterMeetingController>) -> Result<Response<Registered>, Status> {
        let id = caller_is(&request, NodeKind::MeetingController, &request.get_ref().controller_id)?;
        let message = request.into_inner();
        let capacity = controller_capacity(message.capacity)?;
        let record = NodeRecord {
            region: text("region", message.region)?,
            endpoint: endpoint(message.endpoint)?,
            public_url: url("public_url", message.public_url, "https")?,
            fallback_url: optional_url("fallback_url", message.fallback_url, "wss")?,
            certificate_hashes: hashes(&message.certificate_hashes)?,
            version: short("version", message.version)?,
            start_number: message.start_number,
        };
        tracing::info!(controller = %id, region = %record.region, url = %record.public_url, "meeting controller registers");
        self.cluster.register_controller(id, record, capacity).map_err(refuse)?;
        Ok(self.registered())
    }

    async fn register_media_handler(&self, request: Request<RegisterMediaHandler>) -> Result<Response<Registered>, Status> {
        let id = caller_is(&request, NodeKind::MediaHandler, &request.get_ref().handler_id)?;
        let message = request.into_inner();
        let capacity = handler_capacity(message.capacity)?;
        let record = NodeRecord {
            region: text("region", message.region)?,
            endpoint: endpoint(message.endpoint)?,
            public_url: url("public_url", message.public_url, "https")?,
            fallback_url: optional_url("fallback_url", message.fallback_url, "wss")?,
            certificate_hashes: hashes(&message.certificate_hashes)?,
            version: short("version", message.version)?,
            start_number: message.start_number,
        };
        tracing::info!(handler = %id, region = %record.region, url = %record.public_url, "media handler registers");
        self.cluster.register_handler(id, record, capacity).map_err(refuse)?;
        Ok(self.registered())
    }

    async fn report_events(&self, request: Request<ReportEvents>) -> Result<Response<EventsReported>, Status> {
        let id = caller_is(&request, NodeKind::MeetingController, &request.get_ref().controller_id)?;
        let ReportEvents { start_number, events, .. } = request.into_inner();
        match self.reports.take(&id, start_number, events).await {
            Ok(()) => Ok(Response::new(EventsReported {})),
            Err(ReportError::Wrong(error)) => Err(Status::invalid_argument(error.to_string())),
            // The controller keeps them and comes again.
            Err(ReportError::Store(error)) => {
                tracing::warn!(controller = %id, %error, "what happened in meetings was not stored");
                Err(Status::unavailable("the store is not available"))
            }
        }
    }

    async fn revalidate(&self, request: Request<Revalidate>) -> Result<Response<Revalidated>, Status> {
        let id = caller_is(&request, NodeKind::MeetingController, &request.get_ref().controller_id)?;
        let Revalidate { start_number, meeting_ids, .. } = request.into_inner();
        if meeting_ids.len() > MEETINGS_MAX {
            return Err(wrong("meeting_ids", "are too many"));
        }
        if self.cluster.yields(&id, start_number) {
            tracing::warn!(controller = %id, start_number, "a frozen process woke after a later one had taken its place");
            return Ok(Response::new(Revalidated { superseded: true, moved_meeting_ids: Vec::new() }));
        }
        let parse = |text: &String| text.parse().map_err(|error| wrong("meeting_ids", &format!("{error}")));
        let meetings: Vec<MeetingId> = meeting_ids.iter().map(parse).collect::<Result<_, _>>()?;
        let mut moved = Vec::new();
        for some in meetings.chunks(LOOKUP_MAX) {
            let found = self.store.moved(some, &id, start_number).await;
            moved.extend(found.map_err(|_| Status::unavailable("the store is not available"))?);
        }
        tracing::info!(controller = %id, meetings = meetings.len(), moved = moved.len(), "a controller has revalidated");
        Ok(Response::new(Revalidated { superseded: false, moved_meeting_ids: moved.iter().map(ToString::to_string).collect() }))
    }

    async fn heartbeat(&self, request: Request<Heartbeat>) -> Result<Response<HeartbeatReply>, Status> {
        let claimed = &request.get_ref().controller_id;
        let Holder { id, kind } = caller_is_among(&request, &NODES, claimed)?;
        let is_controller = kind == NodeKind::MeetingController;
        let beat = request.into_inner();
        let health = health(beat.health)?;
        let health_reason = short("health_reason", beat.health_reason)?;
        let certificate_hashes = hashes(&beat.certificate_hashes)?;
        let known = if is_controller {
            let capacity = controller_capacity(beat.capacity)?;
            let meetings = meetings(beat.meetings)?;
            let beaten = ControllerBeat { health, health_reason, capacity, meetings, certificate_hashes };
            self.cluster.beat_controller(&id, beat.start_number, beaten)
        } else {
            let capacity = handler_capacity(beat.handler_capacity)?;
            self.cluster.beat_handler(&id, beat.start_number, HandlerBeat { health, health_reason, capacity, certificate_hashes })
        };
        Ok(self.reply(known, is_controller))
    }

    async fn deregister(&self, request: Request<Deregister>) -> Result<Response<Deregistered>, Status> {
        let claimed = &request.get_ref().node_id;
        let Holder { id, .. } = caller_is_among(&request, &NODES, claimed)?;
        tracing::info!(node = %id, "node leaves");
        self.cluster.deregister(&id, request.get_ref().start_number);
        Ok(Response::new(Deregistered {}))
    }
}

fn refuse(error: RegisterNodeError) -> Status {
    match error {
        RegisterNodeError::View(error @ RegisterError::TooMany) => Status::resource_exhausted(error.to_string()),
        RegisterNodeError::View(RegisterError::Superseded(error)) => Status::failed_precondition(error.to_string()),
        RegisterNodeError::Dial(error) => Status::invalid_argument(format!("endpoint: {error}")),
    }
}

fn wrong(field: &str, problem: &str) -> Status {
    Status::invalid_argument(format!("{field}: {problem}"))
}

fn short(field: &str, text: String) -> Result<String, Status> {
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(wrong(field, "must be at most 512 bytes without control characters"));
    }
    Ok(text)
}

fn text(field: &str, text: String) -> Result<String, Status> {
    if text.is_empty() {
        return Err(wrong(field, "must not be empty"));
    }
    short(field, text)
}

fn endpoint(endpoint: String) -> Result<String, Status> {
    let authority: Option<http::uri::Authority> = endpoint.parse().ok();
    match authority.and_then(|authority| authority.port_u16()) {
        Some(port) if port > 0 => text("endpoint", endpoint),
        _ => Err(wrong("endpoint", "must be host:port")),
    }
}

fn url(field: &str, url: String, scheme: &str) -> Result<String, Status> {
    let parsed: Option<Uri> = url.parse().ok();
    match parsed {
        Some(uri) if uri.scheme_str() == Some(scheme) && uri.host().is_some_and(|host| !host.is_empty()) => text(field, url),
        _ => Err(wrong(field, &format!("must be a {scheme}:// URL"))),
    }
}

fn optional_url(field: &str, text: String, scheme: &str) -> Result<String, Status> {
    if text.is_empty() { Ok(text) } else { url(field, text, scheme) }
}

fn hashes(hashes: &[Bytes]) -> Result<Vec<[u8; 32]>, Status> {
    let bad = || wrong("certificate_hashes", "must be at most 4 of 32 bytes each");
    if hashes.len() > HASHES_MAX {
        return Err(bad());
    }
    hashes.iter().map(|hash| hash.as_ref().try_into().map_err(|_| bad())).collect()
}

fn controller_capacity(capacity: Option<cluster::ControllerCapacity>) -> Result<ControllerCapacity, Status> {
    let capacity = capacity.ok_or_else(|| wrong("capacity", "is missing"))?;
    Ok(ControllerCapacity {
        meetings_max: capacity.max_meetings,
        meetings: capacity.current_meetings,
        participants_max: capacity.max_participants,
        participants: capacity.current_participants,
    })
}

fn handler_capacity(capacity: Option<cluster::HandlerCapacity>) -> Result<HandlerCapacity, Status> {
    let capacity = capacity.ok_or_else(|| wrong("handler_capacity", "is missing"))?;
    Ok(HandlerCapacity { participants_max: capacity.max_participants, participants: capacity.current_participants })
}

fn health(health: i32) -> Result<Health, Status> {
    match cluster::HealthStatus::try_from(health) {
        Ok(cluster::HealthStatus::Healthy) => Ok(Health::Healthy),
        Ok(cluster::HealthStatus::Degraded) => Ok(Health::Degraded),
        Ok(cluster::HealthStatus::Unhealthy) => Ok(Health::Unhealthy),
        Err(_) => Err(wrong("health", "is none of HEALTHY, DEGRADED, UNHEALTHY")),
    }
}

fn meetings(meetings: Vec<cluster::MeetingLoad>) -> Result<BTreeMap<MeetingId, u32>, Status> {
    if meetings.len() > MEETINGS_MAX {
        return Err(wrong("meetings", "are too many"));
    }
    let load = |load: cluster::MeetingLoad| {
        let id: MeetingId = load.meeting_id.parse().map_err(|error| wrong("meetings.meeting_id", &format!("{error}")))?;
        Ok((id, load.participant_count))
    };
    meetings.into_iter().map(load).collect()
}
