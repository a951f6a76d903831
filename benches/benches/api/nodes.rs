//! A meeting controller and a media handler as the global controller sees them: they register, beat, and take every meeting. They run in the
//! process of the load, so that the measured one pays for its own end of these calls alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::grpc::{self, Channel};
use common::tls::{NodeIdentity, NodeKind};
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::meeting_controller_service_server::{MeetingControllerService, MeetingControllerServiceServer};
use proto::cluster::{
    AssignMeeting, CheckResume, ControllerCapacity, EndMeeting, HandlerCapacity, Heartbeat, KickFromMeeting, KickedFromMeeting,
    ListParticipants, MeetingAssigned, MeetingEnded, MuteRequested, ParticipantList, RegisterMediaHandler, RegisterMeetingController,
    RequestMute, ResumeChecked,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// As in production.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// More than a run creates.
const MEETINGS_MAX: u32 = 10_000_000;
/// Of the one global controller.
const CALLS_MAX: u32 = 256;
const CONTROLLER: &str = "mc-1";
const HANDLER: &str = "mh-1";

/// Who the nodes are, and where the registry is.
pub struct Nodes {
    pub controller: NodeIdentity,
    pub handler: NodeIdentity,
    pub registry: String,
}

struct Service(Arc<AtomicU32>);

#[tonic::async_trait]
impl MeetingControllerService for Service {
    async fn assign_meeting(&self, _: Request<AssignMeeting>) -> Result<Response<MeetingAssigned>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(MeetingAssigned {}))
    }

    async fn end_meeting(&self, _: Request<EndMeeting>) -> Result<Response<MeetingEnded>, Status> {
        Ok(Response::new(MeetingEnded {}))
    }

    async fn list_participants(&self, _: Request<ListParticipants>) -> Result<Response<ParticipantList>, Status> {
        Err(Status::not_found("nobody is in a meeting"))
    }

    async fn kick_from_meeting(&self, _: Request<KickFromMeeting>) -> Result<Response<KickedFromMeeting>, Status> {
        Err(Status::not_found("nobody is in a meeting"))
    }

    async fn request_mute(&self, _: Request<RequestMute>) -> Result<Response<MuteRequested>, Status> {
        Err(Status::not_found("nobody is in a meeting"))
    }

    async fn check_resume(&self, _: Request<CheckResume>) -> Result<Response<ResumeChecked>, Status> {
        Err(Status::not_found("nobody is in a meeting"))
    }
}

impl Nodes {
    /// Registers both, and has them beat until the process ends.
    pub async fn join(self) {
        let meetings = Arc::new(AtomicU32::new(0));
        let listener = grpc::Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &self.controller).await.expect("a free port");
        let endpoint = listener.local_addr().to_string();
        let routes = Routes::new(MeetingControllerServiceServer::new(Service(meetings.clone())));
        tokio::spawn(listener.serve(routes, CALLS_MAX, CancellationToken::new()));

        let capacity = move || ControllerCapacity {
            max_meetings: MEETINGS_MAX,
            current_meetings: meetings.load(Ordering::Relaxed),
            max_participants: MEETINGS_MAX,
            current_participants: 0,
        };
        let controller = RegisterMeetingController {
            controller_id: CONTROLLER.into(),
            region: "default".into(),
            endpoint,
            capacity: Some(capacity()),
            public_url: "https://controller-1.example.com/wt".into(),
            fallback_url: "wss://controller-1.example.com/ws".into(),
            certificate_hashes: vec![vec![1; 32].into()],
            version: "1".into(),
            start_number: 1,
        };
        let mut registry = registry(&self.controller, &self.registry);
        registry.register_meeting_controller(controller).await.expect("the controller is let in");
        beat(registry, move || Heartbeat {
            controller_id: CONTROLLER.into(),
            capacity: Some(capacity()),
            start_number: 1,
            certificate_hashes: vec![vec![1; 32].into()],
            ..Heartbeat::default()
        });

        let capacity = Some(HandlerCapacity { max_participants: MEETINGS_MAX, current_participants: 0 });
        let handler = RegisterMediaHandler {
            handler_id: HANDLER.into(),
            region: "default".into(),
            endpoint: "127.0.0.1:1".into(),
            capacity,
            public_url: "https://handler-1.example.com/media".into(),
            fallback_url: String::new(),
            certificate_hashes: vec![vec![2; 32].into()],
            version: "1".into(),
            start_number: 1,
        };
        let mut registry = crate::nodes::registry(&self.handler, &self.registry);
        registry.register_media_handler(handler).await.expect("the handler is let in");
        beat(registry, move || Heartbeat {
            controller_id: HANDLER.into(),
            handler_capacity: capacity,
            start_number: 1,
            certificate_hashes: vec![vec![2; 32].into()],
            ..Heartbeat::default()
        });
    }
}

fn registry(identity: &NodeIdentity, address: &str) -> ClusterRegistryClient<Channel> {
    let name = NodeKind::GlobalController.certificate_name();
    ClusterRegistryClient::new(grpc::channel(identity, address, name).expect("an address"))
}

/// A lost beat shows in the refusals that follow, which end the run.
fn beat(mut registry: ClusterRegistryClient<Channel>, heartbeat: impl Fn() -> Heartbeat + Send + 'static) {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(BEAT_INTERVAL);
        loop {
            ticks.tick().await;
            if let Err(status) = registry.heartbeat(heartbeat()).await {
                eprintln!("a heartbeat was not taken: {status}");
            }
        }
    });
}
