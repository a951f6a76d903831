//! One telemetry stream per handler in use: figures for participants, and a sign of life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common_core::{MeetingId, NodeId, ParticipantId};
use meeting_controller_core::message::StreamQuality;
use proto::cluster::{MediaTelemetry, TelemetryRequest};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Handler, Handlers, stood_still};

/// Reports come once a second: three missing ones are no accident.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Between two attempts to open the stream.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Who wants figures.
pub(crate) trait TelemetrySink: Send + Sync {
    /// A second's figures of one meeting; must not block.
    fn figures(&self, meeting_id: MeetingId, figures: Vec<(ParticipantId, StreamQuality)>);
}

impl Handlers {
    /// Listens to a handler from now on, until it is listed no more.
    pub fn listen_to(self: &Arc<Self>, handler: &Arc<Handler>) {
        let mut telemetry = self.telemetry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !telemetry.contains_key(&handler.id) {
            let stop = self.stop.child_token();
            telemetry.insert(handler.id.clone(), stop.clone());
            self.tasks.spawn(listen(self.clone(), handler.id.clone(), stop));
        }
    }
}

async fn listen(handlers: Arc<Handlers>, id: NodeId, stop: CancellationToken) {
    loop {
        // The entry may be a newer one by now: another endpoint, a restart.
        let Some(handler) = handlers.find(&id) else { return };
        tokio::select! {
            () = stop.cancelled() => return,
            end = listen_once(&handlers, &handler) => {
                let reason = match end {
                    End::Renewal => continue,
                    End::Broken(reason) => reason,
                };
                // What broke while this process stood still is not the handler's fault.
                if handlers.gate.is_open() {
                    let was_reachable = handler.is_reachable();
                    handler.note(false);
                    if was_reachable {
                        tracing::warn!(handler = %id, reason, "telemetry broke off");
                        handlers.changed();
                    }
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY_INTERVAL) => {}
        }
    }
}

/// How a stream of reports ended.
enum End {
    /// In order, after reports: one of the two ends makes its connections anew. The next stream begins at once.
    Renewal,
    /// Otherwise, and why.
    Broken(String),
}

/// Listens until the stream ends.
async fn listen_once(handlers: &Handlers, handler: &Handler) -> End {
    // Of the connection that the stream is about to take: when we get another identity, it has no more than a few seconds.
    let renewed = handlers.identity.replaced();
    let mut client = handler.client.clone();
    let mut reports = match tokio::time::timeout(SILENCE_MAX, client.telemetry(TelemetryRequest {})).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return End::Broken(status.to_string()),
        Err(_) => return End::Broken("no answer".to_owned()),
    };
    let mut has_reported = false;
    loop {
        let due = Instant::now() + SILENCE_MAX;
        let next = tokio::select! {
            () = renewed.cancelled() => return End::Renewal,
            next = tokio::time::timeout_at(due, reports.message()) => next,
        };
        match next {
            Ok(Ok(Some(report))) => {
                has_reported = true;
                if !handler.is_reachable() {
                    handler.note(true);
                    handlers.changed();
                }
                if let Some(sink) = handlers.sink.get() {
                    let mut by_meeting: BTreeMap<MeetingId, Vec<(ParticipantId, StreamQuality)>> = BTreeMap::new();
                    for (meeting_id, participant_id, quality) in report.streams.iter().filter_map(figure) {
                        by_meeting.entry(meeting_id).or_default().push((participant_id, quality));
                    }
                    by_meeting.into_iter().for_each(|(meeting_id, figures)| sink.figures(meeting_id, figures));
                }
            }
            Ok(Ok(None)) if has_reported => return End::Renewal,
            Ok(Ok(None)) => return End::Broken("the handler ended it".to_owned()),
            Ok(Err(status)) => return End::Broken(status.to_string()),
            // Reports may have come, and wait to be read.
            Err(_) if stood_still(due, Instant::now()) || !handlers.gate.is_open() => {}
            Err(_) => return End::Broken("no report".to_owned()),
        }
    }
}

/// `None`: nothing to tell, or not understood.
fn figure(it: &MediaTelemetry) -> Option<(MeetingId, ParticipantId, StreamQuality)> {
    let quality = StreamQuality {
        stream_id: it.stream_id.parse().ok()?,
        available_bitrate: it.available_bitrate,
        packet_loss: if it.packet_loss.is_finite() { it.packet_loss.clamp(0.0, 1.0) } else { 0.0 },
        rtt_ms: it.rtt_ms,
    };
    // Of who has no media session (yet) nothing is known.
    let is_known = quality.available_bitrate > 0 || quality.rtt_ms > 0 || quality.packet_loss > 0.0;
    is_known.then_some((it.meeting_id.parse().ok()?, it.participant_id.parse().ok()?, quality))
}
