//! The cluster as tasks share it: the core's view behind a lock, a clock, and a channel to each controller.
//!
//! In: registrations and heartbeats from the registry, wishes from the API. Out: addresses to hand to clients, calls to controllers. No
//! lock is held across an await.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::clock::Clock;
use common::grpc::Channel;
use common::tls::LiveIdentity;
use common_core::departures::Process;
use common_core::{MeetingId, Moment, NodeId};
use global_controller_core::cluster::{
    BeatError, ClusterView, ControllerBeat, ControllerLoad, HandlerBeat, Node, NodeRecord, RegisterError, Rules, Standing,
};
use global_controller_core::placement::{ControllerCapacity, Health, NoPlacement, Placement, Wish, place};
use global_controller_core::ranking::{HandlerCapacity, rank_handlers};
use proto::cluster::meeting_controller_service_client::MeetingControllerServiceClient;
use proto::cluster::{
    AssignMeeting, CheckResume, ControllerEntry, EndMeeting, HandlerEntry, HealthStatus, KickFromMeeting, KickedFromMeeting,
    ListParticipants, MeetingConfig, MeetingParticipant, RequestMute,
};
use thiserror::Error;

/// Handlers that a client is told of: one to use, two in reserve.
const HANDLERS_MAX: usize = 3;
/// Meetings of which is remembered that their controller was told: about 100 bytes each. Beyond that all are forgotten, which costs a call each.
const TOLD_MAX: usize = 50_000;
/// For so long it is taken for granted that a controller still has an empty meeting that it was told of.
const TOLD_LIFE: Duration = Duration::from_secs(600);
/// Longest answer of a controller, bytes: a thousand participants with 32 media streams each.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why a controller did not do what it was asked for.
#[derive(Debug, Error)]
pub enum CallError {
    /// It is not registered, or its endpoint is no address.
    #[error("{0} cannot be called")]
    NoChannel(NodeId),
    /// It took too long.
    #[error("{0} did not answer in time")]
    TimedOut(NodeId),
    /// It refused, or cannot be reached.
    #[error("{0}: {1}")]
    Refused(NodeId, tonic::Status),
}

impl CallError {
    /// Whether the controller has said no, rather than nothing that helps.
    fn is_answer(&self) -> bool {
        use tonic::Code::{FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted};
        match self {
            Self::Refused(_, status) => matches!(status.code(), FailedPrecondition | InvalidArgument | NotFound | ResourceExhausted),
            Self::NoChannel(_) | Self::TimedOut(_) => false,
        }
    }
}

/// A controller that was chosen for a meeting, which counts there from then on; unless it is [taken](Self::is_taken), no longer than this.
pub struct Placed<'a> {
    cluster: &'a Cluster,
    /// Which.
    pub controller: Controller,
    /// Why.
    pub placement: Placement,
    taken: bool,
}

impl Placed<'_> {
    /// The controller has the meeting.
    pub fn is_taken(&mut self) {
        self.taken = true;
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        // Also where whoever asked did not wait for the answer.
        self.cluster.view().0.note_told(&self.controller.id, self.taken);
    }
}

/// A controller as clients are told of it.
#[derive(Clone, Debug)]
pub struct Controller {
    /// Its id.
    pub id: NodeId,
    /// What it said of itself.
    pub record: NodeRecord,
}

/// The handlers that a client may dial while it joins, best first.
#[derive(Clone, Debug, Default)]
pub struct Handlers {
    /// Their ids, for the token.
    pub ids: Vec<NodeId>,
    /// Their URLs, in the same order.
    pub urls: Vec<String>,
    /// Hashes of their self-signed certificates.
    pub certificate_hashes: Vec<[u8; 32]>,
}

/// What is known of the controller to which a meeting was assigned.
#[derive(Debug)]
pub enum Assigned {
    /// It is there: send them.
    Live(Controller),
    /// It is there, but may have forgotten the meeting, in which nobody was for long: tell it again first.
    Forgetful(Controller),
    /// It is too early to say: this process has just started, and the controller has yet to register.
    Unsettled,
    /// It is gone: assign the meeting anew.
    Gone,
}

/// How many nodes are live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveNodes {
    /// Meeting controllers.
    pub controllers: usize,
    /// Media handlers.
    pub handlers: usize,
}

/// See the module.
pub struct Cluster {
    clock: Clock,
    view: Mutex<ClusterView>,
    identity: LiveIdentity,
    channels: Mutex<BTreeMap<NodeId, Dialled>>,
    /// Which process of a controller was told of a meeting, and when.
    told: Mutex<BTreeMap<MeetingId, (u64, Moment)>>,
    call_timeout: Duration,
}

struct Dialled {
    endpoint: String,
    channel: Channel,
}

impl Cluster {
    /// An empty cluster that starts to listen now.
    pub fn new(identity: LiveIdentity, rules: Rules, call_timeout: Duration) -> Self {
        let clock = Clock::start();
        let view = Mutex::new(ClusterView::new(rules, clock.now()));
        Self { clock, view, identity, channels: Mutex::default(), told: Mutex::default(), call_timeout }
    }

    /// The view and the moment of looking at it.
    fn view(&self) -> (MutexGuard<'_, ClusterView>, Moment) {
        // The view's methods do not panic half-way, so what a panicking holder left behind is whole.
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        // Whoever looks first after a freeze of this process must not find that everybody else was silent.
        view.touch(now);
        (view, now)
    }

    fn channels(&self) -> MutexGuard<'_, BTreeMap<NodeId, Dialled>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<MeetingId, (u64, Moment)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`ClusterView::register_controller`]; also prepares a channel to it.
    pub fn register_controller(&self, id: NodeId, record: NodeRecord, capacity: ControllerCapacity) -> Result<(), RegisterNodeError> {
        let endpoint = record.endpoint.clone();
        let channel = common::grpc::channel(&self.identity, &endpoint, id.as_str())?;
        let (mut view, now) = self.view();
        view.register_controller(now, id.clone(), record, capacity).inspect_err(count_superseded)?;
        let mut channels = self.channels();
        // A channel that stands to the same place is worth keeping.
        if channels.get(&id).is_none_or(|dialled| dialled.endpoint != endpoint) {
            channels.insert(id, Dialled { endpoint, channel });
        }
        Ok(())
    }

    /// See [`ClusterView::register_handler`].
    pub fn register_handler(&self, id: NodeId, record: NodeRecord, capacity: HandlerCapacity) -> Result<(), RegisterNodeError> {
        let (mut view, now) = self.view();
        Ok(view.register_handler(now, id, record, capacity).inspect_err(count_superseded)?)
    }

    /// See [`ClusterView::beat_controller`].
    pub fn beat_controller(&self, id: &NodeId, start_number: u64, beat: ControllerBeat) -> Result<(), BeatError> {
        let (mut view, now) = self.view();
        view.beat_controller(now, id, start_number, beat)
    }

    /// See [`ClusterView::beat_handler`].
    pub fn beat_handler(&self, id: &NodeId, start_number: u64, beat: HandlerBeat) -> Result<(), BeatError> {
        let (mut view, now) = self.view();
        view.beat_handler(now, id, start_number, beat)
    }

    /// Whether a controller's process has to yield to a later one.
    pub fn yields(&self, id: &NodeId, start_number: u64) -> bool {
        let (view, now) = self.view();
        view.controller_yields(now, id, start_number).is_err()
    }

    /// See [`ClusterView::deregister`].
    pub fn deregister(&self, id: &NodeId, start_number: u64) {
        self.view().0.deregister(id, start_number);
    }

    /// The handlers that stay, for controllers.
    pub fn directory(&self) -> Vec<HandlerEntry> {
        let (view, now) = self.view();
        let entry = |(id, node): (&NodeId, &Node<HandlerCapacity>)| HandlerEntry {
            handler_id: id.to_string(),
            region: node.record.region.clone(),
            endpoint: node.record.endpoint.clone(),
            public_url: node.record.public_url.clone(),
            fallback_url: node.record.fallback_url.clone(),
            certificate_hashes: node.record.certificate_hashes.iter().map(|hash| hash.to_vec().into()).collect(),
            health: health_on_wire(node.health).into(),
            start_number: node.record.start_number,
        };
        view.directory(now).map(entry).collect()
    }

    /// Whose lease holds, those that leave included: for handlers.
    pub fn controllers(&self) -> Vec<ControllerEntry> {
        let (view, now) = self.view();
        let entry = |(id, node): (&NodeId, &Node<ControllerLoad>)| ControllerEntry {
            controller_id: id.to_string(),
            start_number: node.record.start_number,
        };
        view.live_controllers(now).map(entry).collect()
    }

    /// Whether it is known who is live: not for a while after a start or a freeze of this process.
    pub fn is_settled(&self) -> bool {
        let (view, now) = self.view();
        view.is_settled(now)
    }

    /// Looks at the whole view at one moment, for operators.
    pub fn look<T>(&self, look: impl FnOnce(&ClusterView, Moment) -> T) -> T {
        let (view, now) = self.view();
        look(&view, now)
    }

    /// To be called at least once a second: notes that this process is awake, and forgets the long lost.
    pub fn pulse(&self) {
        {
            let (mut view, now) = self.view();
            let forgotten = view.forget_lost(now);
            // Under the view's lock: a node that registers again right now keeps its new channel.
            let mut channels = self.channels();
            for id in forgotten {
                tracing::info!(node = %id, "forgotten: silent for long");
                // A handler may have been named like a controller that is there.
                if view.controller(&id).is_none() {
                    channels.remove(&id);
                }
            }
        }
        let live = self.live_nodes();
        for (kind, count) in [("meeting-controller", live.controllers), ("media-handler", live.handlers)] {
            metrics::gauge!("dark_tower_nodes_live", "kind" => kind).set(count as f64);
        }
    }

    /// How many are there.
    pub fn live_nodes(&self) -> LiveNodes {
        let (view, now) = self.view();
        LiveNodes { controllers: view.live_controllers(now).count(), handlers: view.directory(now).count() }
    }

    /// What is known of the controller `id` in its process `start_number`, to which `meeting` was assigned.
    pub fn assigned(&self, meeting: MeetingId, id: &NodeId, start_number: u64) -> Assigned {
        let (view, now) = self.view();
        match view.standing(now, id, start_number) {
            // Nobody new goes to one that cannot serve them; who is there stays together with whoever comes.
            Standing::Live(node) if node.health == Health::Unhealthy && !node.load.runs(meeting) => Assigned::Gone,
            Standing::Live(node) => {
                let controller = Controller { id: id.clone(), record: node.record.clone() };
                let told = self.told().get(&meeting).copied();
                let is_told = told.is_some_and(|(process, at)| process == start_number && now.since(at) <= TOLD_LIFE);
                if is_told || node.load.runs(meeting) { Assigned::Live(controller) } else { Assigned::Forgetful(controller) }
            }
            Standing::Unsettled => Assigned::Unsettled,
            Standing::Gone => Assigned::Gone,
        }
    }

    /// The live controllers with someone in a meeting.
    pub fn controllers_of(&self, meeting: MeetingId) -> Vec<Controller> {
        let (view, now) = self.view();
        let running = view.live_controllers(now).filter(|(_, node)| node.load.runs(meeting));
        running.map(|(id, node)| Controller { id: id.clone(), record: node.record.clone() }).collect()
    }

    /// Chooses a controller other than those `tried`, and counts the meeting there.
    pub fn place(&self, meeting: MeetingId, region: &str, tried: &[NodeId]) -> Result<Placed<'_>, NoPlacement> {
        let seed = common::random::number();
        let (mut view, now) = self.view();
        let placement = {
            let mut candidates = view.controller_candidates(now);
            candidates.retain(|candidate| !tried.contains(candidate.id));
            place(&candidates, &Wish { meeting, region: Some(region) }, seed)?
        };
        view.note_placed(&placement.controller);
        let record = view.controller(&placement.controller).map(|node| node.record.clone()).unwrap_or_default();
        let controller = Controller { id: placement.controller.clone(), record };
        Ok(Placed { cluster: self, controller, placement, taken: false })
    }

    /// The handlers for a meeting whose controller is in `region`.
    pub fn handlers(&self, meeting: MeetingId, region: &str) -> Handlers {
        let (view, now) = self.view();
        let candidates = view.handler_candidates(now);
        let mut handlers = Handlers::default();
        for id in rank_handlers(&candidates, meeting, region, HANDLERS_MAX) {
            if let Some(node) = view.handler(id) {
                handlers.ids.push(id.clone());
                handlers.urls.push(node.record.public_url.clone());
                handlers.certificate_hashes.extend_from_slice(&node.record.certificate_hashes);
            }
        }
        handlers
    }

    /// How many take part, at most two heartbeats ago.
    pub fn participant_count(&self, meeting: MeetingId) -> u32 {
        let (view, now) = self.view();
        view.participant_count(now, meeting)
    }

    /// Which controllers have someone in which meetings.
    pub fn running(&self) -> Vec<(NodeId, MeetingId)> {
        let (view, now) = self.view();
        view.running(now).map(|(id, meeting)| (id.clone(), meeting)).collect()
    }

    /// Whether it is known who is live, and the processes of controllers that are.
    pub fn processes(&self) -> (bool, Vec<Process>) {
        let (view, now) = self.view();
        let live = view.live_controllers(now).map(|(id, node)| (id.clone(), node.record.start_number)).collect();
        (view.is_settled(now), live)
    }

    /// Tells a controller of a meeting.
    pub async fn assign_meeting(&self, controller: &Controller, meeting: MeetingId, config: MeetingConfig) -> Result<(), CallError> {
        let mut client = self.client(&controller.id)?;
        let message = AssignMeeting { meeting_id: meeting.to_string(), config: Some(config) };
        let called = self.call(&controller.id, client.assign_meeting(message)).await;
        self.note_call(&controller.id, called.as_ref().err());
        called?;
        let now = self.clock.now();
        let mut told = self.told();
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(meeting, (controller.record.start_number, now));
        Ok(())
    }

    /// Has a controller end a meeting.
    pub async fn end_meeting(&self, controller: &NodeId, meeting: MeetingId) -> Result<(), CallError> {
        self.told().remove(&meeting);
        let mut client = self.client(controller)?;
        self.call(controller, client.end_meeting(EndMeeting { meeting_id: meeting.to_string() })).await.map(drop)
    }

    /// Who is in a meeting at a controller; `None`: it does not run there.
    pub async fn list_participants(&self, controller: &NodeId, meeting: MeetingId) -> Result<Option<Vec<MeetingParticipant>>, CallError> {
        let mut client = self.client(controller)?;
        let call = client.list_participants(ListParticipants { meeting_id: meeting.to_string() });
        Ok(found(self.call(controller, call).await)?.map(|list| list.participants))
    }

    /// Has a controller remove someone from a meeting; `None`: it does not run there.
    pub async fn kick(&self, controller: &NodeId, kick: KickFromMeeting) -> Result<Option<KickedFromMeeting>, CallError> {
        let mut client = self.client(controller)?;
        found(self.call(controller, client.kick_from_meeting(kick)).await)
    }

    /// Has a controller ask a participant to turn something off; `None`: there is none of that id.
    pub async fn request_mute(&self, controller: &NodeId, request: RequestMute) -> Result<Option<MeetingParticipant>, CallError> {
        let mut client = self.client(controller)?;
        Ok(found(self.call(controller, client.request_mute(request)).await)?.and_then(|answer| answer.participant))
    }

    /// Who resumes with a token at a controller, by the token's hash; `None`: nobody.
    pub async fn check_resume(&self, controller: &NodeId, check: CheckResume) -> Result<Option<MeetingParticipant>, CallError> {
        let mut client = self.client(controller)?;
        Ok(found(self.call(controller, client.check_resume(check)).await)?.and_then(|answer| answer.participant))
    }

    /// Whether a controller takes meetings, whatever it says of itself.
    fn note_call(&self, controller: &NodeId, error: Option<&CallError>) {
        let answered = error.is_none_or(CallError::is_answer);
        let (mut view, now) = self.view();
        if view.note_call(now, controller, answered) {
            match error {
                Some(error) => tracing::warn!(%controller, %error, "beats, but does not answer: passed over for a while"),
                None => tracing::info!(%controller, "answers again"),
            }
        }
    }

    fn client(&self, controller: &NodeId) -> Result<MeetingControllerServiceClient<Channel>, CallError> {
        let channel = self.channels().get(controller).map(|dialled| dialled.channel.clone());
        let channel = channel.ok_or_else(|| CallError::NoChannel(controller.clone()))?;
        Ok(MeetingControllerServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }

    async fn call<T>(
        &self,
        controller: &NodeId,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(self.call_timeout, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(CallError::Refused(controller.clone(), status)),
            Err(_) => Err(CallError::TimedOut(controller.clone())),
        }
    }
}

/// NOT_FOUND is an answer.
fn found<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(CallError::Refused(_, status)) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a node is not registered.
#[derive(Debug, Error)]
pub enum RegisterNodeError {
    /// See [`RegisterError`].
    #[error(transparent)]
    View(#[from] RegisterError),
    /// It could not be called back.
    #[error(transparent)]
    Dial(#[from] common::grpc::DialError),
}

fn count_superseded(error: &RegisterError) {
    if let RegisterError::Superseded(_) = error {
        metrics::counter!("dark_tower_superseded_total").increment(1);
    }
}

/// Health as it stands on the wire.
pub fn health_on_wire(health: Health) -> HealthStatus {
    match health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Degraded => HealthStatus::Degraded,
        Health::Unhealthy => HealthStatus::Unhealthy,
    }
}
