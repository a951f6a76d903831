//! The cluster as operators see it: who is there and how, where new meetings go and why, where the newest ones went.
//!
//! In: a call of an operator or of another global controller. Out: the view at one moment, beside the newest assignments of the store. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::grpc::caller_among;
use common::tls::NodeKind;
use common_core::{MeetingId, Moment, NodeId};
use global_controller_core::cluster::{ClusterView, Node};
use proto::cluster::cluster_admin_server::ClusterAdmin;
use proto::cluster::node_status::{Kind, State};
use proto::cluster::{self, AssignmentStatus, ClusterStatus, NodeStatus, StatusRequest};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::cluster::health_on_wire;

/// Assignments in one answer: more than anybody reads, and a message of 4 MiB holds.
const MEETINGS_MAX: u32 = 1000;

/// The service.
pub struct Admin {
    app: Arc<App>,
}

impl Admin {
    /// Shows what `app` knows.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    async fn assignments(&self, limit: u32, running_at: &BTreeMap<MeetingId, Vec<NodeId>>) -> Result<Vec<AssignmentStatus>, String> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        // What is wrong with the store stands in the log: this answer may be shown to more people.
        let newest = self.app.store.newest_assignments(limit.min(MEETINGS_MAX)).await.map_err(|_| "not available".to_owned())?;
        let status = |it: crate::store::AssignedMeeting| AssignmentStatus {
            meeting_id: it.id.to_string(),
            code: it.code.to_string(),
            controller_id: it.assignment.controller.to_string(),
            epoch: it.assignment.epoch.unsigned_abs(),
            reason: it.assignment.reason,
            assigned_at_ms: it.assignment.assigned_at.unsigned_abs(),
            participant_count: self.app.cluster.participant_count(it.id),
            running_at: running_at.get(&it.id).into_iter().flatten().map(ToString::to_string).collect(),
        };
        Ok(newest.into_iter().map(status).collect())
    }
}

#[tonic::async_trait]
impl ClusterAdmin for Admin {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<ClusterStatus>, Status> {
        caller_among(&request, &[NodeKind::Operator, NodeKind::GlobalController])?;
        let (nodes, is_settled) = self.app.cluster.look(|view, now| (nodes(view, now), view.is_settled(now)));
        let mut running_at: BTreeMap<MeetingId, Vec<NodeId>> = BTreeMap::new();
        for (controller, meeting) in self.app.cluster.running() {
            running_at.entry(meeting).or_default().push(controller);
        }
        let assignments = self.assignments(request.into_inner().meetings_max, &running_at).await;
        let store_problem = assignments.as_ref().err().cloned().or(self.app.store_state().err()).unwrap_or_default();
        Ok(Response::new(ClusterStatus {
            global_controller_id: self.app.config.node_id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_settled,
            nodes,
            meetings: assignments.unwrap_or_default(),
            store_problem,
        }))
    }
}

/// By kind, region and id.
fn nodes(view: &ClusterView, now: Moment) -> Vec<NodeStatus> {
    let verdicts: BTreeMap<&NodeId, String> = view.controller_candidates(now).iter().map(|it| (it.id, it.verdict())).collect();
    let controllers = view.controllers().map(|(id, node)| {
        let capacity = node.load.capacity;
        NodeStatus {
            controller_capacity: Some(cluster::ControllerCapacity {
                max_meetings: capacity.meetings_max,
                current_meetings: capacity.meetings,
                max_participants: capacity.participants_max,
                current_participants: capacity.participants,
            }),
            placement_verdict: verdicts.get(id).cloned().unwrap_or_default(),
            ..status(view, now, id, node, Kind::MeetingController)
        }
    });
    let verdicts: BTreeMap<&NodeId, &str> = view.handler_candidates(now).iter().map(|it| (it.id, it.verdict())).collect();
    let handlers = view.handlers().map(|(id, node)| NodeStatus {
        handler_capacity: Some(cluster::HandlerCapacity {
            max_participants: node.load.participants_max,
            current_participants: node.load.participants,
        }),
        placement_verdict: verdicts.get(id).copied().unwrap_or_default().to_owned(),
        ..status(view, now, id, node, Kind::MediaHandler)
    });
    let mut all: Vec<NodeStatus> = controllers.chain(handlers).collect();
    all.sort_by(|a, b| (a.kind, &a.region, &a.node_id).cmp(&(b.kind, &b.region, &b.node_id)));
    all
}

fn status<L>(view: &ClusterView, now: Moment, id: &NodeId, node: &Node<L>, kind: Kind) -> NodeStatus {
    let state = match (view.is_live(now, node.beat_at), node.draining) {
        // Who has said that it leaves is not lost when it has gone.
        (_, true) => State::Draining,
        (false, false) => State::Lost,
        (true, false) => State::Live,
    };
    NodeStatus {
        node_id: id.to_string(),
        kind: kind.into(),
        state: state.into(),
        region: node.record.region.clone(),
        endpoint: node.record.endpoint.clone(),
        public_url: node.record.public_url.clone(),
        version: node.record.version.clone(),
        start_number: node.record.start_number,
        health: health_on_wire(node.health).into(),
        health_reason: node.health_reason.clone(),
        silent_ms: u32::try_from(now.since(node.beat_at).as_millis()).unwrap_or(u32::MAX),
        ..NodeStatus::default()
    }
}
