//! What the global controller may ask of this node.

use std::sync::Arc;

use common::grpc::caller;
use common::tls::NodeKind;
use common_core::MeetingId;
use meeting_controller_core::Settings;
use proto::cluster::meeting_controller_service_server::MeetingControllerService;
use proto::cluster::{AssignMeeting, EndMeeting, MeetingAssigned, MeetingEnded};
use tonic::{Request, Response, Status};

use crate::node::{AssignError, Node};

/// Participants of a meeting whose assignment states no number (DESIGN section 3).
const PARTICIPANTS_DEFAULT: u32 = 100;
/// The largest meeting (DESIGN section 3).
const PARTICIPANTS_MAX: u32 = 1000;

/// The service, for nodes that show a global controller's certificate.
pub(crate) struct Service {
    pub node: Arc<Node>,
}

#[tonic::async_trait]
impl MeetingControllerService for Service {
    async fn assign_meeting(&self, request: Request<AssignMeeting>) -> Result<Response<MeetingAssigned>, Status> {
        caller(&request, NodeKind::GlobalController)?;
        let AssignMeeting { meeting_id, config } = request.into_inner();
        let (meeting_id, config) = (parse(&meeting_id)?, config.unwrap_or_default());
        let stated = if config.max_participants == 0 { PARTICIPANTS_DEFAULT } else { config.max_participants };
        let settings = Settings {
            participants_max: usize::try_from(stated.min(PARTICIPANTS_MAX)).unwrap_or(usize::MAX),
            is_end_to_end_encrypted: config.enable_e2e_encryption,
        };
        self.node.assign(meeting_id, settings).map_err(|error| match error {
            AssignError::Full => Status::resource_exhausted(error.to_string()),
            AssignError::Ended => Status::failed_precondition(error.to_string()),
            AssignError::Stopping => Status::unavailable(error.to_string()),
        })?;
        Ok(Response::new(MeetingAssigned {}))
    }

    async fn end_meeting(&self, request: Request<EndMeeting>) -> Result<Response<MeetingEnded>, Status> {
        caller(&request, NodeKind::GlobalController)?;
        self.node.end(parse(&request.into_inner().meeting_id)?).await;
        Ok(Response::new(MeetingEnded {}))
    }

    async fn list_participants(
        &self,
        request: Request<proto::cluster::ListParticipants>,
    ) -> Result<Response<proto::cluster::ParticipantList>, Status> {
        let _ = request;
        Err(Status::unimplemented("not served yet"))
    }

    async fn kick_from_meeting(
        &self,
        request: Request<proto::cluster::KickFromMeeting>,
    ) -> Result<Response<proto::cluster::KickedFromMeeting>, Status> {
        let _ = request;
        Err(Status::unimplemented("not served yet"))
    }

    async fn request_mute(&self, request: Request<proto::cluster::RequestMute>) -> Result<Response<proto::cluster::MuteRequested>, Status> {
        let _ = request;
        Err(Status::unimplemented("not served yet"))
    }

    async fn check_resume(&self, request: Request<proto::cluster::CheckResume>) -> Result<Response<proto::cluster::ResumeChecked>, Status> {
        let _ = request;
        Err(Status::unimplemented("not served yet"))
    }
}

fn parse(meeting_id: &str) -> Result<MeetingId, Status> {
    meeting_id.parse().map_err(|error: common_core::id::IdError| Status::invalid_argument(error.to_string()))
}
