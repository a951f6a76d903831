//! What meeting controllers ask of this handler, over mTLS (DESIGN section 6).
//!
//! A controller speaks for the participants it registered and for no others; one with a higher generation takes over.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use common::shares::{Share, Shares};
use common::tls::{LiveCertificate, NodeKind};
use common_core::media::STREAMS_PER_PARTICIPANT_MAX;
use common_core::{Code, Generation, MeetingId, NodeId, ParticipantId, StreamId};
use media_handler_core::hub::{Destination, RegisterError, RouteError, StreamTelemetry};
use media_handler_core::{Fate, Key, Session};
use proto::cluster::media_handler_service_server::MediaHandlerService;
use proto::cluster::{
    MediaRouted, MediaTelemetry, MediaUnrouted, ParticipantRemoved, RegisterParticipant, RegisterParticipantResponse, RemoveParticipant,
    RouteMediaCommand, RoutingOptions, TelemetryReport, TelemetryRequest, UnrouteMedia,
};
use proto::convert::{self, FieldError};
use proto::v1::ErrorCode;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::handler::Handler;
use crate::path::available_bitrate;

/// The largest command: a route to a thousand participants with options, or a participant with 32 media streams.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Calls at once of one controller: one for each of its meetings, when many begin together, and its stream of telemetry.
pub(crate) const CALLS_MAX: u32 = 256;
/// Telemetry streams at a time, of all controllers together: one each, with room for those that dial anew.
const TELEMETRY_STREAMS_MAX: usize = 256;
/// Of these by one controller: the one in use, and those that it has lost and that are not over yet.
const TELEMETRY_STREAMS_PER_CONTROLLER: usize = 4;
/// Reports waiting for a controller that is slow to read; more are left out, as the next one says it again.
const REPORTS_MAX: usize = 4;
/// Destinations one command may name in a list: a whole meeting.
const DESTINATIONS_MAX: usize = 1000;

pub(crate) struct Service {
    handler: Arc<Handler>,
    public_url: String,
    certificate: LiveCertificate,
    telemetry_streams: Shares<NodeId>,
}

impl Service {
    pub fn new(handler: Arc<Handler>, public_url: String, certificate: LiveCertificate) -> Self {
        Self { handler, public_url, certificate, telemetry_streams: Shares::new(TELEMETRY_STREAMS_MAX, TELEMETRY_STREAMS_PER_CONTROLLER) }
    }
}

#[tonic::async_trait]
impl MediaHandlerService for Service {
    async fn register_participant(&self, request: Request<RegisterParticipant>) -> Result<Response<RegisterParticipantResponse>, Status> {
        let owner = common::grpc::caller(&request, NodeKind::MeetingController)?;
        let request = request.into_inner();
        let address = address(&request.meeting_id, &request.participant_id)?;
        at_most("streams", request.streams.len(), STREAMS_PER_PARTICIPANT_MAX)?;
        let streams = request
            .streams
            .into_iter()
            .map(|stream| convert::media_stream(address.1, &stream.stream_id, stream.stream_type, stream.metadata))
            .collect::<Result<Vec<_>, _>>()
            .map_err(invalid)?;
        let (now, generation) = (self.handler.now(), Generation(request.generation));
        let token = request.issue_token.then(common::random::token);
        self.handler
            .with(|hub| {
                hub.register_participant(now, &owner, address, generation, streams)?;
                hub.note_process(address, request.controller_start_number);
                if let Some(token) = &token {
                    hub.issue_token(now, address, crate::token_hash(token));
                }
                Ok(())
            })
            .map_err(register_status)?;
        self.handler.changed();
        Ok(Response::new(RegisterParticipantResponse {
            connection_token: token.unwrap_or_default(),
            media_handler_url: self.public_url.clone(),
            certificate_hashes: self.certificate.wire_hashes(),
            fallback_url: String::new(),
        }))
    }

    async fn remove_participant(&self, request: Request<RemoveParticipant>) -> Result<Response<ParticipantRemoved>, Status> {
        let owner = common::grpc::caller(&request, NodeKind::MeetingController)?;
        let request = request.into_inner();
        let address = address(&request.meeting_id, &request.participant_id)?;
        let code = ErrorCode::try_from(request.code).map_or(Code::InternalError, Code::from);
        let reason = common_core::name::escape(&request.reason, 128);
        let now = self.handler.now();
        self.handler
            .with(|hub| hub.remove_participant(now, &owner, address, Generation(request.generation), code, &reason))
            .map_err(register_status)?;
        Ok(Response::new(ParticipantRemoved {}))
    }

    async fn route_media(&self, request: Request<RouteMediaCommand>) -> Result<Response<MediaRouted>, Status> {
        let owner = common::grpc::caller(&request, NodeKind::MeetingController)?;
        let request = request.into_inner();
        refuse_unimplemented(request.options.unwrap_or_default(), &request.origin_handler)?;
        let (meeting, stream) = source(&request.meeting_id, &request.source_stream_id)?;
        at_most("destination_participant_ids", request.destination_participant_ids.len(), DESTINATIONS_MAX)?;
        at_most("destinations", request.destinations.len(), DESTINATIONS_MAX)?;
        let mut destinations = Vec::<Destination>::new();
        for id in &request.destination_participant_ids {
            destinations.push((convert::id("destination_participant_ids", id).map_err(invalid)?, Default::default()));
        }
        for destination in request.destinations {
            let id = convert::id("destinations.participant_id", &destination.participant_id).map_err(invalid)?;
            destinations.push((id, convert::subscription_options(destination.options).map_err(invalid)?));
        }
        let now = self.handler.now();
        self.handler.with(|hub| hub.route_media(now, &owner, meeting, stream, destinations)).map_err(route_status)?;
        Ok(Response::new(MediaRouted {}))
    }

    async fn unroute_media(&self, request: Request<UnrouteMedia>) -> Result<Response<MediaUnrouted>, Status> {
        let owner = common::grpc::caller(&request, NodeKind::MeetingController)?;
        let request = request.into_inner();
        let (meeting, stream) = source(&request.meeting_id, &request.source_stream_id)?;
        at_most("destination_participant_ids", request.destination_participant_ids.len(), DESTINATIONS_MAX)?;
        let destinations = request
            .destination_participant_ids
            .iter()
            .map(|id| convert::id("destination_participant_ids", id))
            .collect::<Result<Vec<ParticipantId>, _>>()
            .map_err(invalid)?;
        let now = self.handler.now();
        self.handler.with(|hub| hub.unroute_media(now, &owner, meeting, stream, &destinations)).map_err(route_status)?;
        Ok(Response::new(MediaUnrouted {}))
    }

    type TelemetryStream = Pin<Box<dyn Stream<Item = Result<TelemetryReport, Status>> + Send>>;

    async fn telemetry(&self, request: Request<TelemetryRequest>) -> Result<Response<Self::TelemetryStream>, Status> {
        let owner = common::grpc::caller(&request, NodeKind::MeetingController)?;
        let place = self.telemetry_streams.take(owner.clone()).map_err(|_| Status::resource_exhausted("too many telemetry streams"))?;
        let stop = common::grpc::until_renewed(&request)?;
        let (reports, stream) = mpsc::channel(REPORTS_MAX);
        let reporter = Reporter { handler: self.handler.clone(), owner, before: BTreeMap::new(), paths: BTreeMap::new() };
        self.handler.tasks.spawn(reporter.run(reports, stop, place));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// Makes one controller's reports.
struct Reporter {
    handler: Arc<Handler>,
    owner: NodeId,
    /// Bytes at the last report, by media stream, participant and side.
    before: BTreeMap<(StreamId, ParticipantId, bool), u64>,
    /// Packets sent and lost at the last report.
    paths: BTreeMap<Key<Session>, (u64, u64)>,
}

/// A session's path in the second that ended now.
#[derive(Clone, Copy, Default)]
struct Path {
    packet_loss: f32,
    rtt_ms: u32,
    available_bitrate: u32,
}

impl Reporter {
    async fn run(mut self, reports: mpsc::Sender<Result<TelemetryReport, Status>>, stop: CancellationToken, _place: Share<NodeId>) {
        let interval = self.handler.limits.telemetry_interval;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = reports.closed() => return,
                _ = ticks.tick() => {}
            }
            let report = self.report(interval.as_secs_f64());
            if let Err(mpsc::error::TrySendError::Closed(_)) = reports.try_send(Ok(report)) {
                return;
            }
        }
    }

    fn report(&mut self, seconds: f64) -> TelemetryReport {
        let streams = self.handler.with(|hub| hub.telemetry(&self.owner));
        let sessions: std::collections::BTreeSet<_> = streams.iter().filter_map(|stream| stream.session).collect();
        let mut now = BTreeMap::new();
        let mut paths = BTreeMap::new();
        for session in sessions {
            let Some(connection) = self.handler.path(session) else { continue };
            let (path, packets) = measure(&connection, self.paths.get(&session).copied().unwrap_or_default());
            paths.insert(session, path);
            now.insert(session, packets);
        }
        self.paths = now;
        let (before, timestamp) = (std::mem::take(&mut self.before), common::clock::unix_millis());
        let streams = streams.into_iter().map(|stream| {
            let key = (stream.media_stream, stream.participant, stream.publishes);
            let bytes = if stream.publishes { stream.bytes_received } else { stream.bytes_sent };
            self.before.insert(key, bytes);
            let fresh = bytes.saturating_sub(before.get(&key).copied().unwrap_or(bytes));
            let path = stream.session.and_then(|session| paths.get(&session).copied()).unwrap_or_default();
            // A float to integer cast saturates.
            telemetry(stream, path, (fresh as f64 * 8.0 / seconds) as u32, timestamp)
        });
        TelemetryReport { streams: streams.collect() }
    }
}

fn telemetry(stream: StreamTelemetry, path: Path, bitrate: u32, timestamp: u64) -> MediaTelemetry {
    let fates = Fate::ALL.map(|fate| (fate, stream.fates.of(fate)));
    MediaTelemetry {
        stream_id: stream.media_stream.to_string(),
        bytes_sent: stream.bytes_sent,
        bytes_received: stream.bytes_received,
        packet_loss: path.packet_loss,
        bitrate,
        jitter_ms: stream.jitter_ms,
        timestamp,
        meeting_id: stream.meeting.to_string(),
        participant_id: stream.participant.to_string(),
        publishes: stream.publishes,
        rtt_ms: path.rtt_ms,
        available_bitrate: path.available_bitrate,
        fates: fates.into_iter().filter(|(_, records)| *records > 0).map(|(fate, records)| (fate.name().to_owned(), records)).collect(),
    }
}

/// What QUIC knows of a path, and the packets sent and lost on it so far.
fn measure(connection: &quinn::Connection, (sent, lost): (u64, u64)) -> (Path, (u64, u64)) {
    let path = connection.stats().path;
    let (sent_now, lost_now) = (path.sent_packets.saturating_sub(sent), path.lost_packets.saturating_sub(lost));
    let packet_loss = if sent_now == 0 { 0.0 } else { (lost_now as f32 / sent_now as f32).min(1.0) };
    let it =
        Path { packet_loss, rtt_ms: u32::try_from(path.rtt.as_millis()).unwrap_or(u32::MAX), available_bitrate: available_bitrate(&path) };
    (it, (path.sent_packets, path.lost_packets))
}

/// `target_bitrate` is accepted: it caps the layer, and a media stream here is forwarded in the one layer that is asked for.
fn refuse_unimplemented(options: RoutingOptions, origin_handler: &str) -> Result<(), Status> {
    let reason = if options.transcode || !options.target_codec.is_empty() {
        "this handler forwards payloads as they are: it does not transcode"
    } else if options.mix_audio {
        "this handler forwards payloads as they are: it does not mix"
    } else if !origin_handler.is_empty() {
        "this handler forwards what is published on it: it does not pull from others"
    } else {
        return Ok(());
    };
    Err(Status::unimplemented(reason))
}

/// A list of a command, by its field: controllers are ours, and a mistake in one must not cost a handler its memory.
fn at_most(field: &str, length: usize, max: usize) -> Result<(), Status> {
    if length <= max { Ok(()) } else { Err(Status::invalid_argument(format!("{field}: {length} are over the limit of {max}"))) }
}

fn address(meeting: &str, participant: &str) -> Result<(MeetingId, ParticipantId), Status> {
    Ok((convert::id("meeting_id", meeting).map_err(invalid)?, convert::id("participant_id", participant).map_err(invalid)?))
}

fn source(meeting: &str, stream: &str) -> Result<(MeetingId, StreamId), Status> {
    Ok((convert::id("meeting_id", meeting).map_err(invalid)?, convert::id("source_stream_id", stream).map_err(invalid)?))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn invalid(error: FieldError) -> Status {
    Status::invalid_argument(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn register_status(error: RegisterError) -> Status {
    let text = error.to_string();
    match error {
        RegisterError::OtherController => Status::permission_denied(text),
        RegisterError::Stale { .. } => Status::failed_precondition(text),
        RegisterError::Taken(_) => Status::already_exists(text),
        RegisterError::TooManyStreams => Status::invalid_argument(text),
        RegisterError::Full | RegisterError::FullOfStreams => Status::resource_exhausted(text),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn route_status(error: RouteError) -> Status {
    let text = error.to_string();
    match error {
        RouteError::UnknownStream(_) | RouteError::UnknownParticipant(_) => Status::not_found(text),
        RouteError::OtherController(_) => Status::permission_denied(text),
        RouteError::TooMany(_) | RouteError::Full => Status::resource_exhausted(text),
    }
}
