//! Sends a meeting to a controller, and later joins to the controller that has it.
//!
//! In: a meeting, a region. Out: a controller that has been told of the meeting, or why there is none. A controller that does not answer is
//! passed over; the assignment is stored by its epoch, so that of two that assign at once both end up with the same one.

use common_core::{MeetingId, NodeId};
use global_controller_core::placement::NoPlacement;
use proto::cluster::MeetingConfig;
use thiserror::Error;

use crate::cluster::{Assigned, Cluster, Controller};
use crate::store::{Assignment, Meeting, Settings, Store, StoreError};

/// Controllers that are asked before giving up: two that hang cost less than the two seconds of a client's patience.
const ATTEMPTS_MAX: usize = 3;

/// Why a meeting has no controller.
#[derive(Debug, Error)]
pub enum AssignError {
    /// Nobody can take it.
    #[error(transparent)]
    NoPlacement(#[from] NoPlacement),
    /// Those that could did not answer.
    #[error("no meeting controller answers")]
    NoAnswer,
    /// This process has just started and does not know yet who is there.
    #[error("the cluster is coming back; try again in a moment")]
    Unsettled,
    /// The meeting is not in the store any more.
    #[error("the meeting is gone")]
    Vanished,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Chooses a controller for a meeting, other than those `tried`, and tells it; `epoch` becomes the assignment's. Nothing is stored yet.
pub async fn assign(
    cluster: &Cluster,
    meeting: MeetingId,
    config: MeetingConfig,
    region: &str,
    epoch: i64,
    mut tried: Vec<NodeId>,
) -> Result<(Controller, Assignment), AssignError> {
    for _ in 0..ATTEMPTS_MAX {
        let mut placed = match cluster.place(meeting, region, &tried) {
            Ok(placed) => placed,
            Err(_) if !tried.is_empty() => return Err(AssignError::NoAnswer),
            Err(error) => return Err(error.into()),
        };
        match cluster.assign_meeting(&placed.controller, meeting, config.clone()).await {
            Ok(()) => {
                placed.is_taken();
                let (controller, placement) = (placed.controller.clone(), &placed.placement);
                tracing::info!(%meeting, epoch, placement = %placement, "meeting assigned");
                metrics::counter!("dark_tower_assignments_total", "outcome" => "assigned").increment(1);
                let assignment = Assignment {
                    controller: controller.id.clone(),
                    start_number: controller.record.start_number,
                    controller_url: controller.record.public_url.clone(),
                    epoch,
                    reason: placement.to_string(),
                    assigned_at: crate::timestamp::now_millis(),
                };
                return Ok((controller, assignment));
            }
            Err(error) => {
                tracing::warn!(%meeting, %error, "a controller did not take a meeting");
                metrics::counter!("dark_tower_assignments_total", "outcome" => "failed").increment(1);
                tried.push(placed.controller.id.clone());
            }
        }
    }
    Err(AssignError::NoAnswer)
}

/// The controller for new joins of a stored meeting: the assigned one, or another if that is gone.
pub async fn settle(cluster: &Cluster, store: &dyn Store, meeting: &Meeting) -> Result<Controller, AssignError> {
    let mut assigned = meeting.assignment.clone();
    let mut tried: Vec<NodeId> = Vec::new();
    // A second look, if another global controller was faster than we.
    for _ in 0..2 {
        match cluster.assigned(meeting.id, &assigned.controller, assigned.start_number) {
            Assigned::Live(controller) => return Ok(controller),
            Assigned::Unsettled => return Err(AssignError::Unsettled),
            Assigned::Gone => {}
            Assigned::Forgetful(controller) => {
                match cluster.assign_meeting(&controller, meeting.id, config_of(store, meeting).await?).await {
                    Ok(()) => return Ok(controller),
                    Err(error) => {
                        tracing::warn!(meeting = %meeting.id, %error, "a controller does not take its empty meeting back");
                        tried.push(controller.id);
                    }
                }
            }
        }
        let config = config_of(store, meeting).await?;
        let (controller, wanted) = assign(cluster, meeting.id, config, &meeting.region, assigned.epoch + 1, tried.clone()).await?;
        let stored = store.reassign(meeting.id, &wanted).await?.ok_or(AssignError::Vanished)?;
        if stored == wanted {
            return Ok(controller);
        }
        // A lost race is fine: the winner's assignment is as good as ours, so use it.
        assigned = stored;
    }
    Err(AssignError::NoAnswer)
}

/// What a controller is told of a stored meeting: those who were removed stay out wherever it goes on.
async fn config_of(store: &dyn Store, meeting: &Meeting) -> Result<MeetingConfig, StoreError> {
    Ok(config(&meeting.display_name, &meeting.settings, store.refused_subjects(meeting.id).await?))
}

/// What a controller is told of a meeting.
pub fn config(display_name: &str, settings: &Settings, refused_subjects: Vec<String>) -> MeetingConfig {
    MeetingConfig {
        display_name: display_name.to_owned(),
        max_participants: settings.max_participants,
        enable_e2e_encryption: settings.enable_e2e_encryption,
        recording_enabled: settings.recording_enabled,
        refused_subjects,
    }
}
