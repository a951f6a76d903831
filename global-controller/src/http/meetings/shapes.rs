//! Meetings as they stand in requests and answers.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::join::Invitation;
use crate::store::{Meeting, Settings};
use crate::timestamp::rfc3339;

/// A meeting to be made.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = CreateMeeting, example = json!({
    "display_name": "Team Standup", "max_participants": 100,
    "settings": {"enable_e2e_encryption": true, "require_auth": false, "recording_enabled": false},
}))]
pub struct CreateBody {
    /// What people call it: 1 to 64 characters, none of them a control character.
    #[schema(
        required,
        nullable = false,
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub display_name: Option<String>,
    /// Participants at once; 100 if absent.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    #[serde(default, deserialize_with = "max_participants")]
    pub max_participants: Option<i64>,
    /// How it is run.
    pub settings: Option<SettingsBody>,
    /// The account that owns the meeting and is its host, if the access token has the scope `participants:act-as`; else it changes nothing.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "ana@example.com")]
    pub user_id: Option<String>,
    /// Where it should be run; the API's own region if absent or not known.
    #[schema(max_length = 63, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "us-west-1")]
    pub region: Option<String>,
}

/// How a meeting is run; what is absent is off.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[schema(as = MeetingSettings)]
pub struct SettingsBody {
    /// Whether clients encrypt what they send for each other; servers forward it unread.
    pub enable_e2e_encryption: Option<bool>,
    /// Whether one may join with an access token only.
    pub require_auth: Option<bool>,
    /// Whether recordings are made.
    pub recording_enabled: Option<bool>,
}

/// A meeting that was just made, and the way in for its host.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedMeeting)]
pub struct CreateAnswer {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    pub meeting_id: String,
    /// The page to join it by; ends in the meeting's code.
    #[schema(example = "https://darktower.example.com/m/k3vq7xw2ma")]
    pub meeting_url: String,
    /// The way in; its join token lets the host in.
    #[serde(flatten)]
    pub invitation: Invitation,
    /// When it was made.
    #[schema(example = "2025-01-16T12:00:00Z", format = DateTime)]
    pub created_at: String,
}

/// How a meeting is run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeetingSettingsKept)]
pub struct SettingsAnswer {
    /// Whether clients encrypt what they send for each other.
    pub enable_e2e_encryption: bool,
    /// Whether one may join with an access token only.
    pub require_auth: bool,
    /// Whether recordings are made.
    pub recording_enabled: bool,
}

/// A meeting.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Meeting)]
pub struct MeetingAnswer {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    pub meeting_id: String,
    /// What people call it.
    #[schema(example = "Team Standup")]
    pub display_name: String,
    /// Who is in it now; at most two seconds old.
    #[schema(example = 5)]
    pub participant_count: u32,
    /// Participants at once.
    #[schema(example = 100)]
    pub max_participants: u32,
    /// When it was made.
    #[schema(example = "2025-01-16T12:00:00Z", format = DateTime)]
    pub created_at: String,
    /// Where it was placed first.
    #[schema(example = "us-west-1")]
    pub meeting_controller_region: String,
    /// Signaling over WebTransport.
    #[schema(example = "https://us-west-1.darktower.example.com/wt")]
    pub meeting_controller_url: String,
    /// The page to join it by.
    #[schema(example = "https://darktower.example.com/m/k3vq7xw2ma")]
    pub meeting_url: String,
    /// How it is run.
    pub settings: SettingsAnswer,
    /// When it ended; absent while it has not.
    #[schema(nullable = false, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// When a meeting ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndedMeeting)]
pub struct EndAnswer {
    /// Its id.
    #[schema(example = "550e8400-e29b-41d4-a716-446655440000", format = Uuid)]
    pub meeting_id: String,
    /// Now, or when it was ended first.
    #[schema(example = "2025-01-16T12:45:00Z", format = DateTime)]
    pub ended_at: String,
}

impl MeetingAnswer {
    /// A meeting as it is kept, with who is in it now.
    pub fn of(app: &App, meeting: &Meeting) -> Self {
        Self {
            meeting_id: meeting.id.to_string(),
            participant_count: app.cluster.participant_count(meeting.id),
            max_participants: meeting.settings.max_participants,
            created_at: rfc3339(meeting.created_at / 1000),
            meeting_controller_url: meeting.assignment.controller_url.clone(),
            meeting_controller_region: meeting.region.clone(),
            meeting_url: app.meeting_url(meeting.code),
            settings: meeting.settings.into(),
            ended_at: meeting.ended_at.map(|at| rfc3339(at / 1000)),
            display_name: meeting.display_name.clone(),
        }
    }
}

impl From<Settings> for SettingsAnswer {
    fn from(settings: Settings) -> Self {
        let Settings { enable_e2e_encryption, require_auth, recording_enabled, .. } = settings;
        Self { enable_e2e_encryption, require_auth, recording_enabled }
    }
}

/// `max_participants`: a whole number as JSON has it, where `5` and `5.0` are the same; its range is checked with the other fields.
fn max_participants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    struct WholeNumber;

    impl<'de> Visitor<'de> for WholeNumber {
        type Value = Option<i64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number between 1 and 1000")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(number))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(i64::try_from(number).unwrap_or(i64::MAX)))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
            if number.fract() == 0.0 { Ok(Some(number as i64)) } else { Err(E::invalid_value(de::Unexpected::Float(number), &self)) }
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    }

    deserializer.deserialize_option(WholeNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_however_they_are_written() {
        let check = |text: &str, expected: Option<Option<i64>>| {
            let body = serde_json::from_str::<CreateBody>(&format!("{{\"max_participants\": {text}}}"));
            assert_eq!(body.ok().map(|body| body.max_participants), expected, "{text}");
        };
        check("5", Some(Some(5)));
        check("5.0", Some(Some(5)));
        check("-1", Some(Some(-1)));
        check("1e300", Some(Some(i64::MAX)));
        check("18446744073709551615", Some(Some(i64::MAX)));
        check("null", Some(None));
        check("5.5", None);
        check("\"5\"", None);
        check("true", None);
    }
}
