//! What the global controller may ask of this node.

use std::sync::Arc;

use common::grpc::caller;
use common::tls::NodeKind;
use common_core::{MeetingId, ParticipantId};
use meeting_controller_core::message::MuteWish;
use meeting_controller_core::{Settings, TokenHash};
use proto::cluster::meeting_controller_service_server::MeetingControllerService;
use proto::cluster::{
    AssignMeeting, CheckResume, EndMeeting, KickFromMeeting, KickedFromMeeting, ListParticipants, MeetingAssigned, MeetingEnded,
    MuteRequested, ParticipantList, RequestMute, ResumeChecked,
};
use tonic::{Request, Response, Status};

use crate::actor::{Control, Kicked, MeetingHandle, MuteError};
use crate::codec::meeting_participant;
use crate::node::{AssignError, Node};

/// The largest command: an assignment with as many refused subjects as a meeting remembers.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Calls at once of one global controller: the API's questions about who is in which meeting, each answered in milliseconds.
pub(crate) const CALLS_MAX: u32 = 256;
/// Participants of a meeting whose assignment states no number (DESIGN section 3).
const PARTICIPANTS_DEFAULT: u32 = 100;
/// The largest meeting (DESIGN section 3).
const PARTICIPANTS_MAX: u32 = 1000;
/// Subjects kept out that an assignment may bring: what a meeting remembers.
const REFUSED_SUBJECTS_MAX: usize = 10_000;
/// Lives of a meeting that a command follows: it may fall asleep, or break off, just now.
const LIVES_MAX: usize = 3;
/// Why somebody should be quiet, in bytes: a sentence.
const REASON_BYTES_MAX: usize = 1024;

/// The service, for nodes that show a global controller's certificate.
pub(crate) struct Service {
    pub node: Arc<Node>,
}

impl Service {
    /// The meeting, if it is awake.
    fn awake(&self, meeting_id: &str) -> Result<MeetingHandle, Status> {
        self.node.meeting(id(meeting_id)?).ok_or_else(not_here)
    }

    /// A process that was frozen answers nobody before it knows whether it may go on.
    async fn awake_enough(&self) -> Result<(), Status> {
        self.node.gate.passage().await.map_err(|error| Status::unavailable(error.to_string()))
    }

    async fn kick(&self, meeting_id: MeetingId, participant_id: Option<ParticipantId>, subject: Option<String>) -> Result<Kicked, Status> {
        for _ in 0..LIVES_MAX {
            if let Some(meeting) = self.node.meeting(meeting_id) {
                let ask = |done| Control::Kick { participant_id, subject: subject.clone(), done };
                if let Some(kicked) = meeting.ask(ask).await {
                    return kicked.map_err(|error| Status::invalid_argument(error.to_string()));
                }
            } else {
                let subject = subject.filter(|subject| self.node.refuse_asleep(meeting_id, std::slice::from_ref(subject)));
                return subject.map(|subject| Kicked { subject: Some(subject), ..Kicked::default() }).ok_or_else(not_here);
            }
        }
        Err(not_here())
    }
}

#[tonic::async_trait]
impl MeetingControllerService for Service {
    async fn assign_meeting(&self, request: Request<AssignMeeting>) -> Result<Response<MeetingAssigned>, Status> {
        caller(&request, NodeKind::GlobalController)?;
        self.awake_enough().await?;
        let AssignMeeting { meeting_id, config } = request.into_inner();
        let (meeting_id, config) = (id(&meeting_id)?, config.unwrap_or_default());
        let stated = if config.max_participants == 0 { PARTICIPANTS_DEFAULT } else { config.max_participants };
        let settings = Settings {
            display_name: config.display_name,
            participants_max: usize::try_from(stated.min(PARTICIPANTS_MAX)).unwrap_or(usize::MAX),
            is_end_to_end_encrypted: config.enable_e2e_encryption,
            may_be_recorded: config.recording_enabled,
        };
        let mut refused = config.refused_subjects;
        refused.truncate(REFUSED_SUBJECTS_MAX);
        for _ in 0..LIVES_MAX {
            let here = self.node.assign(meeting_id, settings.clone(), &refused).map_err(|error| match error {
                AssignError::Full => Status::resource_exhausted(error.to_string()),
                AssignError::Ended => Status::failed_precondition(error.to_string()),
                AssignError::Stopping => Status::unavailable(error.to_string()),
            })?;
            let is_told = match here {
                Some(meeting) if !refused.is_empty() => meeting.ask(|done| Control::Refuse(refused.clone(), done)).await.is_some(),
                _ => true,
            };
            if is_told {
                return Ok(Response::new(MeetingAssigned {}));
            }
        }
        Err(Status::unavailable("this meeting breaks off again and again"))
    }

    async fn end_meeting(&self, request: Request<EndMeeting>) -> Result<Response<MeetingEnded>, Status> {
        caller(&request, NodeKind::GlobalController)?;
        self.awake_enough().await?;
        self.node.end(id(&request.into_inner().meeting_id)?).await;
        Ok(Response::new(MeetingEnded {}))
    }

    async fn list_participants(&self, request: Request<ListParticipants>) -> Result<Response<ParticipantList>, Status> {
        caller(&request, NodeKind::GlobalController)?;
        self.awake_enough().await?;
        let meeting = self.awake(&request.into_inner().meeting_id)?;
        let attendances = meeting.ask(Control::List).await.ok_or_else(not_here)?;
        Ok(Response::new(ParticipantList { participants: attendances.iter().map(meeting_participant).collect() }))
    }

    async fn kick_from_meeting(&self, request: Request<KickFromMeeting>) -> Result<Response<KickedFromMeeting>, Status> {
        caller(&request, NodeKind::GlobalController)?;
        self.awake_enough().await?;
        let KickFromMeeting { meeting_id, participant_id, subject } = request.into_inner();
        if participant_id.is_empty() && subject.is_empty() {
            return Err(Status::invalid_argument("participant_id, subject: one of them is needed"));
        }
        let participant_id = (!participant_id.is_empty()).then(|| id(&participant_id)).transpose()?;
        let kicked = self.kick(id(&meeting_id)?, participant_id, Some(subject).filter(|subject| !subject.is_empty())).await?;
        Ok(Response::new(KickedFromMeeting {
            participant_ids: kicked.participants.iter().map(ToString::to_string).collect(),
            subject: kicked.subject.unwrap_or_default(),
        }))
    }

    async fn request_mute(&self, request: Request<RequestMute>) -> Result<Response<MuteRequested>, Status> {
        caller(&request, NodeKind::GlobalController)?;
        self.awake_enough().await?;
        let RequestMute { meeting_id, participant_id, microphone, camera, reason } = request.into_inner();
        if !(microphone || camera) {
            return Err(Status::invalid_argument("microphone, camera: one of them is needed"));
        }
        if reason.len() > REASON_BYTES_MAX {
            return Err(Status::invalid_argument(format!("reason: at most {REASON_BYTES_MAX} bytes")));
        }
        let (meeting, participant_id) = (self.awake(&meeting_id)?, id(&participant_id)?);
        let wish = MuteWish { microphone, camera, reason };
        let asked = meeting.ask(|done| Control::AskToMute { participant_id, wish, done }).await.ok_or_else(not_here)?;
        let attendance = asked.map_err(|error| match error {
            MuteError::Unknown => Status::not_found(error.to_string()),
            MuteError::Lost => Status::unavailable(error.to_string()),
        })?;
        Ok(Response::new(MuteRequested { participant: Some(meeting_participant(&attendance)) }))
    }

    async fn check_resume(&self, request: Request<CheckResume>) -> Result<Response<ResumeChecked>, Status> {
        caller(&request, NodeKind::GlobalController)?;
        self.awake_enough().await?;
        let CheckResume { meeting_id, token_hash } = request.into_inner();
        let hash: [u8; 32] = token_hash.as_ref().try_into().map_err(|_| Status::invalid_argument("token_hash: 32 bytes are needed"))?;
        let meeting = self.awake(&meeting_id)?;
        let found = meeting.ask(|done| Control::CheckResume(TokenHash(hash), done)).await.flatten();
        let attendance = found.ok_or_else(|| Status::not_found("nobody resumes with this token"))?;
        Ok(Response::new(ResumeChecked { participant: Some(meeting_participant(&attendance)) }))
    }
}

fn not_here() -> Status {
    Status::not_found("this meeting does not run here")
}

fn id<T: std::str::FromStr<Err = common_core::id::IdError>>(text: &str) -> Result<T, Status> {
    text.parse().map_err(|error: T::Err| Status::invalid_argument(error.to_string()))
}
