//! What happened in the meetings of this node, on its way to a global controller.
//!
//! In: events, in the order in which the participants saw them. Out: batches, to the first global controller that takes them, repeated until
//! one has acknowledged them. A meeting never waits here: what does not fit is dropped, the oldest first, counted and logged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::gate::Gate;
use common::grpc::{CALL_TIMEOUT, Channel, DialError, channel};
use common::tls::{LiveIdentity, NodeKind};
use common_core::{MeetingId, NodeId};
use meeting_controller_core::{Attendance, Event};
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use proto::cluster::meeting_event::What;
use proto::cluster::{MeetingEvent, ParticipantGone, ReportEvents};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::codec;

/// Events that wait: some minutes of a full controller without any global controller, a kilobyte each.
const EVENTS_MAX: usize = 50_000;
/// Events of one call (cluster.proto).
const BATCH_MAX: usize = 256;
/// Between an attempt that failed at every global controller and the next: at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a node that stops goes on trying to get rid of what it has.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Events that wait, numbered 1, 2, 3 … in this process.
pub(crate) struct Reports {
    queue: Mutex<Queue>,
    /// Something was queued.
    more: Notify,
    /// The last one was taken.
    emptied: Notify,
    /// Up to this number all are stored, or lost.
    taken: watch::Sender<u64>,
    /// False: there is nobody to tell.
    is_wanted: bool,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<MeetingEvent>,
    last_number: u64,
    /// Since the last acknowledgement.
    dropped: u64,
}

impl Reports {
    /// Empty; for a node with or without global controllers to report to.
    pub fn new(is_wanted: bool) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), more: Notify::new(), emptied: Notify::new(), taken: watch::Sender::new(0), is_wanted })
    }

    /// Queues what happened, if it is something to report. Never waits.
    pub fn note(&self, meeting_id: MeetingId, event: &Event) {
        if let Some(what) = what(event).filter(|_| self.is_wanted) {
            self.push(meeting_id, what, false);
        }
    }

    /// Queues that somebody is there, who may have been taken for gone while no global controller heard of this node.
    pub fn note_again(&self, meeting_id: MeetingId, attendance: &Attendance) {
        if self.is_wanted {
            self.push(meeting_id, What::ParticipantJoined(codec::meeting_participant(attendance)), true);
        }
    }

    fn push(&self, meeting_id: MeetingId, what: What, again: bool) {
        let mut queue = self.queue();
        if queue.events.len() >= EVENTS_MAX {
            queue.events.pop_front();
            queue.dropped += 1;
            metrics::counter!("dark_tower_controller_events_dropped_total").increment(1);
            if queue.dropped == 1 {
                tracing::error!(waiting = EVENTS_MAX, "no global controller takes events; the oldest are dropped");
            }
        }
        queue.last_number += 1;
        let occurred_at_ms = common::clock::unix_micros() / 1000;
        let event = MeetingEvent { number: queue.last_number, meeting_id: meeting_id.to_string(), occurred_at_ms, again, what: Some(what) };
        queue.events.push_back(event);
        metrics::gauge!("dark_tower_controller_events_waiting").set(queue.events.len() as f64);
        drop(queue);
        self.more.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest, at least one. Cancel-safe.
    async fn oldest(&self, most: usize) -> Vec<MeetingEvent> {
        loop {
            let batch: Vec<MeetingEvent> = self.queue().events.iter().take(most).cloned().collect();
            if !batch.is_empty() {
                return batch;
            }
            self.more.notified().await;
        }
    }

    /// Everything up to this number has been taken; some of it may have been dropped meanwhile.
    fn taken(&self, number: u64) {
        let mut queue = self.queue();
        let rest = queue.events.partition_point(|event| event.number <= number);
        queue.events.drain(..rest);
        self.taken.send_if_modified(|taken| std::mem::replace(taken, number.max(*taken)) < number);
        metrics::gauge!("dark_tower_controller_events_waiting").set(queue.events.len() as f64);
        let dropped = std::mem::take(&mut queue.dropped);
        if dropped > 0 {
            tracing::error!(dropped, "events are taken again; so many were lost");
        }
        if queue.events.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Resolves when all that was noted up to this call is stored; at once where there is nobody to tell.
    pub fn stored(&self) -> impl Future<Output = ()> + use<> {
        let (number, mut taken) = (self.queue().last_number, self.taken.subscribe());
        async move {
            // An error means that nobody reports any more: nothing that is waited for will come.
            if taken.wait_for(|taken| *taken >= number).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue().events.len()
    }

    /// Resolves when nothing waits.
    async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Before the look, so that nothing between the two is missed.
            emptied.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// `None`: nobody but the log wants to know.
fn what(event: &Event) -> Option<What> {
    match event {
        Event::Joined { attendance, .. } => Some(What::ParticipantJoined(codec::meeting_participant(attendance))),
        Event::Left { attendance, reason, is_kept_out } => Some(What::ParticipantLeft(ParticipantGone {
            participant: Some(codec::meeting_participant(attendance)),
            reason: codec::leave_reason(*reason).into(),
            kept_out: *is_kept_out,
        })),
        Event::Published(media_stream) => Some(What::StreamPublished(media_stream.as_ref().into())),
        Event::Unpublished(media_stream) => Some(What::StreamUnpublished(media_stream.as_ref().into())),
        Event::Resumed { .. } | Event::JoinRefused { .. } | Event::Lost { .. } | Event::Denied { .. } | Event::HandlerFailed { .. } => None,
    }
}

/// Carries events to the global controllers.
pub(crate) struct Reporter {
    reports: Arc<Reports>,
    node_id: NodeId,
    start_number: u64,
    clients: Vec<ClusterRegistryClient<Channel>>,
    gate: Arc<Gate>,
    /// The one that took the last batch.
    current: usize,
    batch_max: usize,
}

impl Reporter {
    pub fn new(
        reports: Arc<Reports>,
        (node_id, start_number): (NodeId, u64),
        identity: &LiveIdentity,
        global_controllers: &[String],
        gate: Arc<Gate>,
    ) -> Result<Self, DialError> {
        let client =
            |endpoint: &String| Ok(ClusterRegistryClient::new(channel(identity, endpoint, NodeKind::GlobalController.certificate_name())?));
        let clients = global_controllers.iter().map(client).collect::<Result<_, DialError>>()?;
        Ok(Self { reports, node_id, start_number, clients, gate, current: 0, batch_max: BATCH_MAX })
    }

    /// Reports until `stop`, and then for a moment what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let reports = self.reports.clone();
        let flushed = async {
            stop.cancelled().await;
            tokio::time::timeout(FLUSH_TIMEOUT, reports.emptied()).await.is_ok()
        };
        tokio::select! {
            () = self.report(&stop) => {}
            is_done = flushed => if !is_done {
                tracing::error!(events = reports.len(), "no global controller has taken the last events; they are lost");
            }
        }
    }

    async fn report(&mut self, stop: &CancellationToken) {
        let mut pause = RETRY_MIN;
        let mut was_refused = false;
        while !self.clients.is_empty() {
            let batch = self.reports.oldest(self.batch_max).await;
            // After a freeze the question comes first whether this node may go on. One that may not reports its end, which is true.
            let _ = self.gate.passage().await;
            match self.offer(&batch).await {
                Ok(()) => {
                    if std::mem::take(&mut was_refused) {
                        tracing::info!("events are taken again");
                    }
                    pause = RETRY_MIN;
                    self.batch_max = (self.batch_max * 2).min(BATCH_MAX);
                    self.taken(&batch);
                }
                // It would be refused for ever, and all that comes after it would wait for ever: finds the one at fault.
                Err(status) if status.code() == Code::InvalidArgument && batch.len() > 1 => self.batch_max = batch.len() / 2,
                Err(status) if status.code() == Code::InvalidArgument => {
                    tracing::error!(%status, event = ?batch.first(), "no global controller understands this event; it is dropped");
                    metrics::counter!("dark_tower_controller_events_dropped_total").increment(1);
                    self.taken(&batch);
                }
                Err(status) => {
                    if !std::mem::replace(&mut was_refused, true) {
                        tracing::warn!(%status, "no global controller takes events; they wait");
                    }
                    // A store that is slow may take in time what is less; all at once it would not take in ever.
                    self.batch_max = (batch.len() / 2).max(1);
                    // Somebody who stops has no time to wait.
                    let longest = if stop.is_cancelled() { RETRY_MIN } else { pause };
                    tokio::select! {
                        () = tokio::time::sleep(longest) => {}
                        () = stop.cancelled(), if !stop.is_cancelled() => {}
                    }
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    fn taken(&self, batch: &[MeetingEvent]) {
        if let Some(last) = batch.last() {
            self.reports.taken(last.number);
        }
    }

    /// To one global controller after the other; what the last one said, if none took it.
    async fn offer(&mut self, batch: &[MeetingEvent]) -> Result<(), Status> {
        let mut last = Status::unavailable("no global controller is configured");
        for _ in 0..self.clients.len() {
            let request = ReportEvents { controller_id: self.node_id.to_string(), start_number: self.start_number, events: batch.to_vec() };
            let mut client = self.clients[self.current].clone();
            last = match tokio::time::timeout(CALL_TIMEOUT, client.report_events(request)).await {
                Ok(Ok(_)) => {
                    metrics::counter!("dark_tower_controller_events_reported_total").increment(batch.len() as u64);
                    return Ok(());
                }
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            self.current = (self.current + 1) % self.clients.len();
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone() -> What {
        What::ParticipantLeft(ParticipantGone::default())
    }

    /// Numbers go on over what was dropped, and an acknowledgement of a batch that was partly dropped takes no more than it names.
    #[tokio::test]
    async fn the_oldest_give_way() {
        let reports = Reports::new(true);
        let meeting = MeetingId::from_bytes([1; 16]);
        for _ in 0..EVENTS_MAX {
            reports.push(meeting, gone(), false);
        }
        let batch = reports.oldest(BATCH_MAX).await;
        assert_eq!((batch.len(), batch[0].number), (BATCH_MAX, 1));
        for _ in 0..10 {
            reports.push(meeting, gone(), false);
        }
        assert_eq!((reports.len(), reports.oldest(1).await[0].number), (EVENTS_MAX, 11));
        reports.taken(batch[BATCH_MAX - 1].number);
        assert_eq!(reports.oldest(1).await[0].number, BATCH_MAX as u64 + 1);
        reports.taken(u64::MAX);
        reports.emptied().await;
    }

    #[test]
    fn nobody_to_tell_is_nothing_to_keep() {
        let reports = Reports::new(false);
        let stream = common_core::media::MediaStream {
            stream_id: common_core::StreamId::from_bytes([1; 16]),
            participant_id: common_core::ParticipantId::from_bytes([1; 16]),
            stream_type: common_core::media::StreamType::Audio,
            codec: "Opus".into(),
            max_bitrate: 0,
            video: None,
            sample_rate: 0,
            channels: 0,
        };
        reports.note(MeetingId::from_bytes([1; 16]), &Event::Published(Box::new(stream)));
        assert_eq!(reports.len(), 0);
    }
}
