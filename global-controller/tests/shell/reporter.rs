//! A controller's reports of what happens in meetings, made by hand.

use common::grpc::Channel;
use common::tls::NodeKind;
use common_core::ParticipantId;
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::meeting_event::What;
use proto::cluster::{MeetingEvent, MeetingParticipant, ParticipantGone, ReportEvents};
use proto::v1::{LeaveReason, MediaStream, StreamMetadata, StreamType};
use serde_json::{Value, json};
use tonic::Status;

use crate::world::World;

/// `mc-1`, in the process that the world's controller of that name says it is.
pub struct Reporter {
    registry: ClusterRegistryClient<Channel>,
    number: u64,
}

impl Reporter {
    pub fn new(world: &World) -> Self {
        Self { registry: world.registry(&world.identity("mc-1", NodeKind::MeetingController)), number: 0 }
    }

    /// The next report of `what` in a meeting.
    pub fn event(&mut self, meeting: &Value, what: What) -> MeetingEvent {
        self.number += 1;
        let meeting_id = meeting["meeting_id"].as_str().expect("an id").to_owned();
        MeetingEvent { number: self.number, meeting_id, occurred_at_ms: common::clock::unix_millis(), again: false, what: Some(what) }
    }

    pub async fn send(&mut self, events: Vec<MeetingEvent>) -> Result<(), Status> {
        let report = ReportEvents { controller_id: "mc-1".into(), start_number: 7, events };
        self.registry.report_events(report).await.map(drop)
    }

    pub async fn joins(&mut self, meeting: &Value, name: &str) {
        let event = self.event(meeting, What::ParticipantJoined(somebody(name)));
        self.send(vec![event]).await.expect("it is stored");
    }

    pub async fn leaves(&mut self, meeting: &Value, name: &str, reason: LeaveReason) {
        let gone = ParticipantGone { participant: Some(somebody(name)), reason: reason.into(), kept_out: reason == LeaveReason::Kicked };
        let event = self.event(meeting, What::ParticipantLeft(gone));
        self.send(vec![event]).await.expect("it is stored");
    }

    pub async fn publishes(&mut self, meeting: &Value, name: &str) {
        let metadata = Some(StreamMetadata { codec: "VP9".into(), ..StreamMetadata::default() });
        let (stream_id, participant_id) = (id_of("a camera"), id_of(name));
        let stream = MediaStream { stream_id, stream_type: StreamType::VideoCamera.into(), metadata, participant_id };
        let events = vec![self.event(meeting, What::StreamPublished(stream.clone())), self.event(meeting, What::StreamUnpublished(stream))];
        self.send(events).await.expect("they are stored");
    }
}

/// An account of that name.
pub fn somebody(name: &str) -> MeetingParticipant {
    let participant = proto::v1::Participant {
        participant_id: id_of(name),
        name: name.into(),
        role: "attendee".into(),
        user_id: name.to_lowercase(),
        ..Default::default()
    };
    MeetingParticipant { participant: Some(participant), subject: name.to_lowercase(), connected: true }
}

/// What is told of them.
pub fn told_of(name: &str) -> Value {
    json!({"participant_id": id_of(name), "display_name": name, "role": "attendee", "user_id": name.to_lowercase()})
}

/// The same id for the same name.
pub fn id_of(name: &str) -> String {
    let mut bytes = [b'.'; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    ParticipantId::from_bytes(bytes).to_string()
}
