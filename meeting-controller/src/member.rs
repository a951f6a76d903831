//! What this node tells global controllers of itself, and what it does with their answers.

use std::sync::Arc;
use std::time::Duration;

use common::membership::{Load, Member};
use common_core::{Diagnosis, MeetingId};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use meeting_controller_core::EndCause;
use meeting_controller_core::health::Signs;
use proto::cluster::HeartbeatReply;

use crate::actor::{Control, MeetingHandle};
use crate::node::Node;

/// A meeting that is busy for longer than this tells who is there with its next change instead.
const RETELL_TIMEOUT: Duration = Duration::from_secs(5);

/// The node as the registry sees it.
pub(crate) struct Registered(pub Arc<Node>);

impl Member for Registered {
    fn load(&self) -> Load {
        Load::Controller(self.0.capacity(), self.0.loads())
    }

    fn diagnosis(&self) -> Diagnosis {
        let (node, capacity) = (&self.0, self.0.capacity());
        Signs {
            dead: node.parts.dead(),
            lacks_keys: node.is_heard() && node.verifier().is_empty(),
            has_handler: node.handlers.any_healthy(),
            meetings: (capacity.current_meetings, capacity.max_meetings),
            participants: (capacity.current_participants, capacity.max_participants),
            lag: node.gate.lag(),
            events_waiting: node.reports.len(),
            is_certificate_expired: node.certificate.is_expired(),
        }
        .diagnose()
    }

    fn apply(&self, reply: &HeartbeatReply) {
        self.0.apply(reply);
    }

    fn meetings(&self) -> Vec<MeetingId> {
        self.0.every_meeting()
    }

    /// Everybody in them is sent back to the API; what was still to be said to them is not said any more.
    fn let_go(&self, meetings: Vec<MeetingId>) -> BoxFuture<'_, ()> {
        meetings.iter().for_each(|meeting| drop(self.0.dormant().take(*meeting)));
        let here: Vec<MeetingHandle> = meetings.into_iter().filter_map(|meeting| self.0.meeting(meeting)).collect();
        async move { drop(join_all(here.iter().map(|meeting| meeting.end(EndCause::Moved))).await) }.boxed()
    }

    /// Whoever was taken for gone is reported to be there.
    fn is_back(&self) {
        let meetings = self.0.all_meetings();
        self.0.tasks.spawn(async move {
            for meeting in meetings {
                let _ = tokio::time::timeout(RETELL_TIMEOUT, meeting.ask(Control::Retell)).await;
            }
        });
    }
}
