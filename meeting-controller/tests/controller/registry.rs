//! Registration, heartbeats, and what they bring.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::grpc::{Listener, caller_is};
use common::tls::{Certificate, ClusterAuthority, NodeKind};
use common::token::TokenSigner;
use proto::cluster::cluster_registry_server::{ClusterRegistry, ClusterRegistryServer};
use proto::cluster::{
    Deregister, Deregistered, EventsReported, Heartbeat, HeartbeatReply, MeetingEvent, RegisterMediaHandler, RegisterMeetingController,
    Registered, ReportEvents, TokenKey,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::world::{config, eventually};

/// What a global controller has heard.
#[derive(Debug, Default)]
pub struct Heard {
    registrations: Vec<RegisterMeetingController>,
    beats: Vec<Heartbeat>,
    deregistered: bool,
    forgets: bool,
    /// As they came, repeats included.
    pub reports: Vec<ReportEvents>,
    /// Takes no events: answers this instead, or, if that is OK, takes them and loses the answer.
    pub refuses_events: Option<tonic::Code>,
    /// Takes no more than so many at once: the store behind it is slow.
    pub takes_at_most: Option<usize>,
}

impl Heard {
    /// Events that were taken, without repeats; their numbers go up by one.
    pub fn events(&self) -> Vec<MeetingEvent> {
        let mut events: Vec<MeetingEvent> = Vec::new();
        for event in self.reports.iter().flat_map(|report| &report.events) {
            if event.number > events.len() as u64 {
                assert_eq!(event.number, events.len() as u64 + 1, "no event is passed over");
                events.push(event.clone());
            }
        }
        events
    }
}

#[derive(Clone)]
struct Registry {
    heard: Arc<Mutex<Heard>>,
    reply: HeartbeatReply,
}

/// A global controller that stands at an address.
pub struct TestFront {
    pub address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

impl TestFront {
    pub async fn start(authority: &ClusterAuthority, reply: HeartbeatReply) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let registry = Registry { heard: heard.clone(), reply };
        let identity = authority.issue(&"gc-1".parse().expect("a node id"), NodeKind::GlobalController).expect("a certificate");
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address"), identity).await.expect("a free port");
        let address = listener.local_addr();
        tokio::spawn(listener.serve(Routes::new(ClusterRegistryServer::new(registry)), 64, CancellationToken::new()));
        Self { address, heard }
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no test panics with it")
    }
}

#[tonic::async_trait]
impl ClusterRegistry for Registry {
    async fn register_meeting_controller(&self, request: Request<RegisterMeetingController>) -> Result<Response<Registered>, Status> {
        caller_is(&request, NodeKind::MeetingController, &request.get_ref().controller_id)?;
        self.heard.lock().expect("no test panics with it").registrations.push(request.into_inner());
        Ok(Response::new(Registered { heartbeat_interval_ms: 100, lease_ms: 3000 }))
    }

    async fn register_media_handler(&self, _: Request<RegisterMediaHandler>) -> Result<Response<Registered>, Status> {
        Err(Status::unimplemented("there are none in this test"))
    }

    async fn revalidate(&self, _: Request<proto::cluster::Revalidate>) -> Result<Response<proto::cluster::Revalidated>, Status> {
        Ok(Response::new(proto::cluster::Revalidated::default()))
    }

    async fn heartbeat(&self, request: Request<Heartbeat>) -> Result<Response<HeartbeatReply>, Status> {
        caller_is(&request, NodeKind::MeetingController, &request.get_ref().controller_id)?;
        let mut heard = self.heard.lock().expect("no test panics with it");
        heard.beats.push(request.into_inner());
        let known = !std::mem::take(&mut heard.forgets);
        Ok(Response::new(HeartbeatReply { known, ..self.reply.clone() }))
    }

    async fn deregister(&self, request: Request<Deregister>) -> Result<Response<Deregistered>, Status> {
        caller_is(&request, NodeKind::MeetingController, &request.get_ref().node_id)?;
        self.heard.lock().expect("no test panics with it").deregistered = true;
        Ok(Response::new(Deregistered {}))
    }

    async fn report_events(&self, request: Request<ReportEvents>) -> Result<Response<EventsReported>, Status> {
        caller_is(&request, NodeKind::MeetingController, &request.get_ref().controller_id)?;
        let mut heard = self.heard.lock().expect("no test panics with it");
        if heard.takes_at_most.is_some_and(|most| request.get_ref().events.len() > most) {
            return Err(Status::unavailable("the store is not available"));
        }
        match heard.refuses_events {
            None => heard.reports.push(request.into_inner()),
            Some(tonic::Code::Ok) => {
                heard.reports.push(request.into_inner());
                return Err(Status::unavailable("taken, and the answer is lost"));
            }
            Some(code) => return Err(Status::new(code, "asked to refuse")),
        }
        Ok(Response::new(EventsReported {}))
    }
}

/// A controller registers, beats, learns the keys, registers again when it was forgotten, and takes its leave.
#[tokio::test]
async fn a_registration_lives_by_heartbeats() {
    common::tls::install_crypto_provider();
    let authority = ClusterAuthority::generate().expect("an authority");
    let issue = |id: &str, kind| authority.issue(&id.parse().expect("a node id"), kind).expect("a certificate");
    let signer = TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8()).expect("a fresh key serves");
    let key = TokenKey { key_id: signer.key_id().into(), public_key: signer.public_key().to_vec().into() };
    let front = TestFront::start(&authority, HeartbeatReply { token_keys: vec![key], ..Default::default() }).await;
    let mut config = config();
    config.cluster.global_controllers = vec![front.address.to_string()];
    let certificate = Certificate::self_signed(&["127.0.0.1".into()]).expect("a certificate");
    let controller =
        meeting_controller::start(config, issue("mc-1", NodeKind::MeetingController), certificate.clone()).await.expect("it starts");
    let heard = || front.heard();
    let is_ready = |name: &str| controller.readiness().iter().any(|it| it.name.ends_with(name) && (it.check)().is_ok());
    eventually("the registration", || is_ready("registered") && is_ready("token keys")).await;
    {
        let heard = heard();
        let registration = &heard.registrations[0];
        assert_eq!((registration.controller_id.as_str(), registration.public_url.as_str()), ("mc-1", controller.public_url()));
        assert_eq!(registration.endpoint, controller.grpc_address().to_string());
        assert_eq!(registration.fallback_url, format!("wss://{}/ws", controller.public_address()));
        assert_eq!(registration.certificate_hashes[0], certificate.sha256().to_vec());
        assert_eq!(heard.beats[0].start_number, registration.start_number);
    }
    heard().forgets = true;
    eventually("another registration", || heard().registrations.len() == 2).await;
    let stopping = tokio::time::timeout(Duration::from_secs(8), controller.stop());
    stopping.await.expect("it stops in time");
    assert!(heard().deregistered);
}
