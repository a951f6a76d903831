//! The question after a freeze or an outage: may this node go on, and with which of its meetings?

use std::sync::Arc;
use std::time::Duration;

use common_core::MeetingId;
use futures_util::future::select_all;
use proto::cluster::Revalidate;
use proto::cluster::cluster_registry_client::ClusterRegistryClient;
use tokio::time::Instant;

use super::registrar::heartbeat;
use super::{Load, Shared};
use crate::grpc::Channel;

pub(super) type Client = ClusterRegistryClient<Channel>;

/// One attempt: a connection that died while this process was frozen must not cost the whole time.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(700);
/// Between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A later process has taken over.
    Superseded,
    /// This one is the node still, without these meetings.
    GoesOn { moved: Vec<MeetingId> },
    /// Nobody answers.
    Unknown,
}

/// Asks all global controllers, and believes the first that answers.
pub(super) async fn ask_any(shared: &Arc<Shared>, clients: &[Client], within: Duration) -> Verdict {
    let deadline = Instant::now() + within;
    let ask = |client: &Client| {
        let (shared, client) = (shared.clone(), client.clone());
        Box::pin(async move {
            loop {
                if let Ok(verdict) = ask_once(&shared, client.clone()).await {
                    return verdict;
                }
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
        })
    };
    if clients.is_empty() {
        return Verdict::Unknown;
    }
    match tokio::time::timeout_at(deadline, select_all(clients.iter().map(ask))).await {
        Ok((verdict, ..)) => verdict,
        Err(_) => Verdict::Unknown,
    }
}

/// Asks one global controller once. A handler has no meetings of its own to lose, so for it a heartbeat is the question.
pub(super) async fn ask_once(shared: &Shared, mut client: Client) -> Result<Verdict, tonic::Status> {
    let (node_id, start_number) = shared.process();
    let answer = async {
        let Load::Controller(..) = shared.member.load() else {
            let reply = client.heartbeat(heartbeat(shared)).await?.into_inner();
            if reply.known {
                shared.member.apply(&reply);
            }
            return Ok(if reply.superseded { Verdict::Superseded } else { Verdict::GoesOn { moved: Vec::new() } });
        };
        let request = Revalidate {
            controller_id: node_id.to_string(),
            start_number,
            meeting_ids: shared.member.meetings().iter().map(ToString::to_string).collect(),
        };
        let answer = client.revalidate(request).await?.into_inner();
        if answer.superseded {
            return Ok(Verdict::Superseded);
        }
        // What is no id is none of ours.
        Ok(Verdict::GoesOn { moved: answer.moved_meeting_ids.iter().filter_map(|id| id.parse().ok()).collect() })
    };
    tokio::time::timeout(ATTEMPT_TIMEOUT, answer).await.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer in time")))
}
