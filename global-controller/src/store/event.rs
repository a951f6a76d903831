//! What applications are told of the events that the store itself knows of: pure functions from records to JSON.

use serde_json::{Value, json};

use super::NewMeeting;

/// `data` of `meeting.created`.
pub fn created_data(meeting: &NewMeeting) -> Value {
    json!({
        "display_name": meeting.display_name,
        "meeting_url": meeting.meeting_url,
        "max_participants": meeting.settings.max_participants,
        "settings": {
            "enable_e2e_encryption": meeting.settings.enable_e2e_encryption,
            "require_auth": meeting.settings.require_auth,
            "recording_enabled": meeting.settings.recording_enabled,
        },
    })
}

/// `data` of events that say everything by their kind, such as `meeting.started`.
pub fn nothing() -> Value {
    json!({})
}
