//! A cluster in one test: an authority, one controller, handlers, and a signer of tokens.

use std::time::Duration;

use common::clock::unix_seconds;
use common::grpc::Channel;
use common::tls::{Certificate, ClusterAuthority, NodeKind};
use common::token::{ISSUER, JOIN_AUDIENCE, JoinClaims, TokenSigner};
use meeting_controller::Running;
use meeting_controller::config::Config;
use proto::cluster::meeting_controller_service_client::MeetingControllerServiceClient;
use proto::cluster::{AssignMeeting, EndMeeting, HeartbeatReply, MeetingConfig, TokenKey};

use crate::client::{Client, PATIENCE};
use crate::handler::TestHandler;
use crate::registry::TestFront;

/// The meeting that every world starts with.
pub const MEETING: &str = "550e8400-e29b-41d4-a716-446655440000";

pub struct World {
    pub authority: ClusterAuthority,
    pub certificate: Certificate,
    pub signer: TokenSigner,
    pub handler: TestHandler,
    pub controller: Running,
    pub front: MeetingControllerServiceClient<Channel>,
}

/// A configuration for loopback.
pub fn config() -> Config {
    let mut config = Config::default();
    config.cluster.grpc_bind = "127.0.0.1:0".parse().expect("an address");
    config.public.bind = "127.0.0.1:0".parse().expect("an address");
    config
}

/// [`config`] for those who do not join in time: long enough for a stream to be opened before it is over.
pub fn impatient() -> Config {
    let mut config = config();
    config.limits.join_timeout = Duration::from_millis(1_500);
    config
}

/// [`config`] for those who wait until nobody is expected back any more.
pub fn short_window() -> Config {
    let mut config = config();
    config.limits.reconnect_window = Duration::from_millis(300);
    config
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(config()).await
    }

    pub async fn start_with(config: Config) -> Self {
        common::tls::install_crypto_provider();
        canary::watch();
        let authority = ClusterAuthority::generate().expect("an authority");
        Self::start_in(authority, config).await
    }

    /// With so many global controllers that are reported to.
    pub async fn start_reporting<const FRONTS: usize>(mut config: Config) -> (Self, [TestFront; FRONTS]) {
        common::tls::install_crypto_provider();
        canary::watch();
        let authority = ClusterAuthority::generate().expect("an authority");
        let mut fronts = Vec::new();
        for _ in 0..FRONTS {
            // It knows no handlers, which takes none away at once.
            fronts.push(TestFront::start(&authority, HeartbeatReply::default()).await);
        }
        config.cluster.global_controllers = fronts.iter().map(|front| front.address.to_string()).collect();
        let world = Self::start_in(authority, config).await;
        (world, fronts.try_into().unwrap_or_else(|_| panic!("as many as were started")))
    }

    async fn start_in(authority: ClusterAuthority, config: Config) -> Self {
        let identity = authority.issue(&config.node_id, NodeKind::MeetingController).expect("a certificate");
        let certificate = Certificate::self_signed(&["localhost".into(), "127.0.0.1".into()]).expect("a certificate");
        let controller = meeting_controller::start(config, identity, certificate.clone()).await.expect("it starts");
        let gc = authority.issue(&"gc-9".parse().expect("a node id"), NodeKind::GlobalController).expect("a certificate");
        let channel = common::grpc::channel(&gc, &controller.grpc_address().to_string(), "mc-1").expect("a channel");
        let handler = TestHandler::start(&authority, "mh-1");
        let signer = TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8()).expect("a fresh key serves");
        let mut world = Self { authority, certificate, signer, handler, controller, front: MeetingControllerServiceClient::new(channel) };
        world.list(&[]);
        world.assign(MEETING, MeetingConfig { max_participants: 10, ..Default::default() }).await.expect("there is room");
        world
    }

    /// The directory is this world's handler and `more`.
    pub fn list(&self, more: &[&TestHandler]) {
        let handlers = std::iter::once(&self.handler).chain(more.iter().copied()).map(TestHandler::entry).collect();
        self.apply(handlers);
    }

    pub fn apply(&self, handlers: Vec<proto::cluster::HandlerEntry>) {
        let key = TokenKey { key_id: self.signer.key_id().into(), public_key: self.signer.public_key().to_vec().into() };
        self.controller.apply_registry(&HeartbeatReply { known: true, handlers, token_keys: vec![key], ..HeartbeatReply::default() });
    }

    pub async fn assign(&mut self, meeting_id: &str, config: MeetingConfig) -> Result<(), tonic::Status> {
        let request = AssignMeeting { meeting_id: meeting_id.into(), config: Some(config) };
        self.front.assign_meeting(request).await.map(|_| ())
    }

    pub async fn end(&mut self, meeting_id: &str) {
        self.front.end_meeting(EndMeeting { meeting_id: meeting_id.into() }).await.expect("it is allowed");
    }

    pub fn claims(&self, name: &str) -> JoinClaims {
        let now = unix_seconds();
        JoinClaims {
            iss: ISSUER.into(),
            aud: JOIN_AUDIENCE.into(),
            sub: name.to_lowercase(),
            jti: common::random::token(),
            iat: now,
            exp: now + 60,
            meeting_id: MEETING.into(),
            role: if name == "Host" { "host" } else { "attendee" }.into(),
            name: name.into(),
            account: false,
            resumes: None,
            handlers: Vec::new(),
        }
    }

    pub fn token(&self, name: &str) -> String {
        self.signer.sign_join(&self.claims(name)).expect("it is signed")
    }

    /// A client over WebTransport that has not joined.
    pub async fn dial(&self) -> Client {
        Client::webtransport(self.controller.public_url(), &self.certificate).await
    }

    /// A client over WebTransport that has joined.
    pub async fn join(&self, name: &str) -> Client {
        let mut client = self.dial().await;
        client.join(&self.token(name), true).await.expect("the token is good");
        client
    }
}

/// Waits until `what` holds; the one place where these tests wait.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not come about in {PATIENCE:?}");
}
