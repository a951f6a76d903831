//! The cluster in words. In: what a global controller answers. Out: JSON whose names stay as they are, and tables for people.

use std::fmt;

use proto::cluster::node_status::{Kind, State};
use proto::cluster::{AssignmentStatus, ClusterStatus, HealthStatus, NodeStatus};
use serde::Serialize;

use crate::operator::table;

/// The whole cluster.
#[derive(Serialize)]
pub struct Report {
    global_controller: String,
    version: String,
    /// False: the global controller has just started or woken, and does not know yet who is there.
    is_settled: bool,
    /// Empty: none.
    store_problem: String,
    /// What somebody should look at, in words; empty: all is well.
    pub needs_operator: Vec<String>,
    meeting_controllers: Vec<Node>,
    media_handlers: Vec<Node>,
    /// Newest assignments first.
    meetings: Vec<Meeting>,
}

#[derive(Serialize)]
struct Node {
    node_id: String,
    region: String,
    /// `live`, `lost` or `draining`.
    state: &'static str,
    /// `healthy`, `degraded` or `unhealthy`.
    health: &'static str,
    health_reason: String,
    /// Of a controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    meetings: Option<Share>,
    participants: Share,
    silent_ms: u32,
    version: String,
    start_number: u64,
    endpoint: String,
    public_url: String,
    /// Whether what is new goes there, and if not, why not.
    takes_new: String,
}

#[derive(Clone, Copy, Serialize)]
struct Share {
    now: u32,
    max: u32,
}

#[derive(Serialize)]
struct Meeting {
    meeting_id: String,
    code: String,
    controller: String,
    epoch: u64,
    reason: String,
    assigned_at: String,
    participants: u32,
    running_at: Vec<String>,
}

impl From<ClusterStatus> for Report {
    fn from(status: ClusterStatus) -> Self {
        let (controllers, handlers): (Vec<NodeStatus>, Vec<NodeStatus>) =
            status.nodes.into_iter().partition(|node| node.kind() == Kind::MeetingController);
        let meeting_controllers: Vec<Node> = controllers.into_iter().map(Node::from).collect();
        let media_handlers: Vec<Node> = handlers.into_iter().map(Node::from).collect();
        let mut needs_operator: Vec<String> = meeting_controllers.iter().chain(&media_handlers).filter_map(Node::problem).collect();
        for (nodes, kind) in [(&meeting_controllers, "meeting controller"), (&media_handlers, "media handler")] {
            if !nodes.iter().any(Node::takes) {
                needs_operator.push(format!("no {kind} takes anything new"));
            }
        }
        if !status.store_problem.is_empty() {
            needs_operator.push(format!("the store: {}", status.store_problem));
        }
        Self {
            global_controller: status.global_controller_id,
            version: status.version,
            is_settled: status.is_settled,
            store_problem: status.store_problem,
            needs_operator,
            meeting_controllers,
            media_handlers,
            meetings: status.meetings.into_iter().map(Meeting::from).collect(),
        }
    }
}

impl From<NodeStatus> for Node {
    fn from(node: NodeStatus) -> Self {
        let state = match node.state() {
            State::Live => "live",
            State::Lost => "lost",
            State::Draining => "draining",
        };
        let health = match node.health() {
            HealthStatus::Healthy => "healthy",
            HealthStatus::Degraded => "degraded",
            HealthStatus::Unhealthy => "unhealthy",
        };
        let meetings = node.controller_capacity.as_ref().map(|it| Share { now: it.current_meetings, max: it.max_meetings });
        let of_controller = node.controller_capacity.as_ref().map(|it| Share { now: it.current_participants, max: it.max_participants });
        let of_handler = node.handler_capacity.as_ref().map(|it| Share { now: it.current_participants, max: it.max_participants });
        Self {
            state,
            health,
            meetings,
            participants: of_controller.or(of_handler).unwrap_or(Share { now: 0, max: 0 }),
            node_id: node.node_id,
            region: node.region,
            health_reason: node.health_reason,
            silent_ms: node.silent_ms,
            version: node.version,
            start_number: node.start_number,
            endpoint: node.endpoint,
            public_url: node.public_url,
            takes_new: node.placement_verdict,
        }
    }
}

impl From<AssignmentStatus> for Meeting {
    fn from(it: AssignmentStatus) -> Self {
        Self {
            assigned_at: global_controller::admin::rfc3339_millis(i64::try_from(it.assigned_at_ms).unwrap_or(i64::MAX)),
            meeting_id: it.meeting_id,
            code: it.code,
            controller: it.controller_id,
            epoch: it.epoch,
            reason: it.reason,
            participants: it.participant_count,
            running_at: it.running_at,
        }
    }
}

impl Node {
    /// Whether anything new may go there, even if only when no other can take it.
    fn takes(&self) -> bool {
        !self.takes_new.starts_with("no")
    }

    /// What somebody should look at. Who leaves is on its way, and no trouble.
    fn problem(&self) -> Option<String> {
        match (self.state, self.health) {
            ("lost", _) => Some(format!("{} is lost: silent for {} s", self.node_id, self.silent_ms / 1000)),
            ("draining", _) | (_, "healthy") => None,
            (_, health) => Some(format!("{} is {health}: {}", self.node_id, self.health_reason)),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.now, self.max)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settled = if self.is_settled { "" } else { ", which does not know yet who is there" };
        writeln!(f, "As {} (version {}) sees it{settled}:\n", self.global_controller, self.version)?;
        let silent = |node: &Node| format!("{}.{} s", node.silent_ms / 1000, node.silent_ms % 1000 / 100);
        let cell = str::to_owned;
        let rows: Vec<[String; 9]> = self
            .meeting_controllers
            .iter()
            .map(|it| {
                let meetings = it.meetings.map(|share| share.to_string()).unwrap_or_default();
                let (state, health, people) = (cell(it.state), cell(it.health), it.participants.to_string());
                let (id, region, version) = (it.node_id.clone(), it.region.clone(), it.version.clone());
                [id, region, state, health, meetings, people, silent(it), version, it.takes_new.clone()]
            })
            .collect();
        let head = ["CONTROLLER", "REGION", "STATE", "HEALTH", "MEETINGS", "PEOPLE", "SILENT", "VERSION", "NEW MEETINGS"];
        writeln!(f, "{}", table(head, &rows))?;
        let rows: Vec<[String; 8]> = self
            .media_handlers
            .iter()
            .map(|it| {
                let (state, health, people) = (cell(it.state), cell(it.health), it.participants.to_string());
                [it.node_id.clone(), it.region.clone(), state, health, people, silent(it), it.version.clone(), it.takes_new.clone()]
            })
            .collect();
        writeln!(f, "{}", table(["HANDLER", "REGION", "STATE", "HEALTH", "PEOPLE", "SILENT", "VERSION", "NEW PEOPLE"], &rows))?;
        if !self.meetings.is_empty() {
            let rows: Vec<[String; 6]> = self
                .meetings
                .iter()
                .map(|it| {
                    let people = if it.running_at.is_empty() {
                        it.participants.to_string()
                    } else {
                        format!("{} at {}", it.participants, it.running_at.join(", "))
                    };
                    [it.code.clone(), it.controller.clone(), it.epoch.to_string(), people, it.assigned_at.clone(), it.reason.clone()]
                })
                .collect();
            writeln!(f, "{}", table(["MEETING", "CONTROLLER", "EPOCH", "PEOPLE", "ASSIGNED", "WHY THERE"], &rows))?;
        }
        if self.needs_operator.is_empty() {
            return writeln!(f, "All is well.");
        }
        writeln!(f, "Needs an operator:")?;
        self.needs_operator.iter().try_for_each(|problem| writeln!(f, "- {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use proto::cluster::{ControllerCapacity, HandlerCapacity};

    use super::*;

    fn node(id: &str, kind: Kind, state: State, health: HealthStatus, reason: &str, verdict: &str) -> NodeStatus {
        let controller = ControllerCapacity { max_meetings: 1000, current_meetings: 12, max_participants: 5000, current_participants: 34 };
        let handler = HandlerCapacity { max_participants: 10_000, current_participants: 34 };
        NodeStatus {
            node_id: id.into(),
            kind: kind.into(),
            state: state.into(),
            region: "eu".into(),
            version: "0.1.0".into(),
            health: health.into(),
            health_reason: reason.into(),
            silent_ms: 432,
            controller_capacity: (kind == Kind::MeetingController).then_some(controller),
            handler_capacity: (kind == Kind::MediaHandler).then_some(handler),
            placement_verdict: verdict.into(),
            ..NodeStatus::default()
        }
    }

    fn status(nodes: Vec<NodeStatus>, store_problem: &str) -> Report {
        let meeting = AssignmentStatus {
            meeting_id: "550e8400-e29b-41d4-a716-446655440000".into(),
            code: "abcdefghij".into(),
            controller_id: "mc-1".into(),
            epoch: 2,
            reason: "mc-1 (in the wished region; the only choice)".into(),
            assigned_at_ms: 1_737_028_800_000,
            participant_count: 3,
            running_at: vec!["mc-1".into()],
        };
        Report::from(ClusterStatus {
            global_controller_id: "gc-1".into(),
            version: "0.1.0".into(),
            is_settled: true,
            nodes,
            meetings: vec![meeting],
            store_problem: store_problem.into(),
        })
    }

    #[test]
    fn people_read_tables() {
        use HealthStatus::{Degraded, Healthy};
        let report = status(
            vec![
                node("mc-1", Kind::MeetingController, State::Live, Healthy, "", "yes"),
                node("mc-2", Kind::MeetingController, State::Lost, Healthy, "", "no: its lease has run out"),
                node("mc-3", Kind::MeetingController, State::Draining, Healthy, "", "no: it is leaving"),
                node(
                    "mh-1",
                    Kind::MediaHandler,
                    State::Live,
                    Degraded,
                    "9100 of 10000 participants",
                    "only if no healthy one in the region can: it is degraded",
                ),
            ],
            "",
        );
        let expected = "\
As gc-1 (version 0.1.0) sees it:

CONTROLLER  REGION  STATE     HEALTH   MEETINGS  PEOPLE   SILENT  VERSION  NEW MEETINGS
mc-1        eu      live      healthy  12/1000   34/5000  0.4 s   0.1.0    yes
mc-2        eu      lost      healthy  12/1000   34/5000  0.4 s   0.1.0    no: its lease has run out
mc-3        eu      draining  healthy  12/1000   34/5000  0.4 s   0.1.0    no: it is leaving

HANDLER  REGION  STATE  HEALTH    PEOPLE    SILENT  VERSION  NEW PEOPLE
mh-1     eu      live   degraded  34/10000  0.4 s   0.1.0    only if no healthy one in the region can: it is degraded

MEETING     CONTROLLER  EPOCH  PEOPLE     ASSIGNED              WHY THERE
abcdefghij  mc-1        2      3 at mc-1  2025-01-16T12:00:00Z  mc-1 (in the wished region; the only choice)

Needs an operator:
- mc-2 is lost: silent for 0 s
- mh-1 is degraded: 9100 of 10000 participants
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn somebody_is_called_when_nothing_works_any_more_and_not_before() {
        use HealthStatus::Healthy;
        let controller = || node("mc-1", Kind::MeetingController, State::Live, Healthy, "", "yes");
        let handler = || node("mh-1", Kind::MediaHandler, State::Live, Healthy, "", "yes");
        let needs = |nodes, store| status(nodes, store).needs_operator;
        assert_eq!(needs(vec![controller(), handler()], ""), [""; 0]);
        assert_eq!(needs(vec![controller(), handler()], "not available"), ["the store: not available"]);
        let none = ["no meeting controller takes anything new", "no media handler takes anything new"];
        assert_eq!(needs(vec![], ""), none);
        let leaving = node("mc-1", Kind::MeetingController, State::Draining, Healthy, "", "no: it is leaving");
        assert_eq!(needs(vec![leaving, handler()], ""), [none[0]]);
    }

    /// Programs read names that stay.
    #[test]
    fn programs_read_json() {
        let report = status(vec![node("mc-1", Kind::MeetingController, State::Live, HealthStatus::Healthy, "", "yes")], "");
        let json = serde_json::to_value(report).expect("JSON");
        let node = &json["meeting_controllers"][0];
        assert_eq!((&node["state"], &node["meetings"]["now"], &node["takes_new"]), (&"live".into(), &12.into(), &"yes".into()));
        assert_eq!(json["meetings"][0]["reason"], "mc-1 (in the wished region; the only choice)");
        assert_eq!(json["needs_operator"], serde_json::json!(["no media handler takes anything new"]));
    }
}
