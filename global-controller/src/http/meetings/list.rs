//! `GET /api/v1/meetings`: a tenant's meetings, newest first, page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common_core::MeetingId;
use global_controller_core::Scope;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::shapes::MeetingAnswer;
use super::user_id;
use crate::app::App;
use crate::http::ApiError;
use crate::http::caller::Caller;
use crate::http::query::{flag, parameters, whole_number};
use crate::store::{Listing, UnixMillis};

/// Meetings on a page when the request does not say.
const LIST_DEFAULT: u32 = 50;
/// Meetings on a page at most.
const LIST_MAX: u32 = 200;

/// What the query may say, for the description; [`parameters`] reads it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is read by its derived description alone")]
struct ListQuery {
    /// Those that this account owns alone. Believed if it is the token's own subject, or if the token has the scope `participants:act-as`; else it
    /// changes nothing.
    #[param(nullable = false, min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    user_id: Option<String>,
    /// `true`: those that have not ended; `false`: those that have. Both if absent.
    #[param(nullable = false)]
    active: Option<bool>,
    /// Meetings on a page.
    #[param(nullable = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, pattern = "^[A-Za-z0-9_-]{32}$")]
    cursor: Option<String>,
}

/// A part of the list, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MeetingList)]
pub struct ListAnswer {
    /// Newest first.
    meetings: Vec<MeetingAnswer>,
    /// How many there are in all, on every page.
    #[schema(example = 1)]
    total: u64,
    /// Asks for the next page; absent on the last one.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// List meetings
///
/// The meetings of the caller's tenant, newest first, in pages.
#[utoipa::path(
    get, path = "/api/v1/meetings", operation_id = "listMeetings", tag = "Meetings",
    params(ListQuery),
    responses((status = 200, description = "A page of the list.", body = ListAnswer)),
    security(("bearerAuth" = ["meetings:read"])),
)]
pub async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Json<ListAnswer>, ApiError> {
    let actor = caller.permit(&app, Scope::ReadMeetings)?;
    let [owner, active, limit, after] = parameters(&uri, ["user_id", "active", "limit", "cursor"])?;
    let limit = limit.map(|text| whole_number("limit", &text, 1, LIST_MAX.into())).transpose()?;
    let listing = Listing {
        tenant: actor.tenant,
        host: caller.believed(owner.map(user_id).transpose()?),
        active: active.map(|text| flag("active", &text)).transpose()?,
        limit: limit.and_then(|limit| limit.try_into().ok()).unwrap_or(LIST_DEFAULT),
        after: after.as_deref().map(cursor).transpose()?,
    };
    let page = app.store.list_meetings(&listing).await?;
    let last = page.meetings.last().filter(|_| page.more);
    Ok(Json(ListAnswer {
        next_cursor: last.map(|meeting| next_cursor(meeting.created_at, meeting.id)),
        total: page.total,
        meetings: page.meetings.iter().map(|meeting| MeetingAnswer::of(&app, meeting)).collect(),
    }))
}

/// A cursor is the creation time and id of the last meeting seen; clients must not read it.
fn next_cursor(created_at: UnixMillis, id: MeetingId) -> String {
    let mut bytes = created_at.to_be_bytes().to_vec();
    bytes.extend_from_slice(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn cursor(text: &str) -> Result<(UnixMillis, MeetingId), ApiError> {
    let bytes: Option<[u8; 24]> = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or_else(|| ApiError::invalid_field("cursor", "is none that was given out"))?;
    let (time, id) = bytes.split_at(8);
    let (time, id) = (time.try_into().expect("eight bytes"), id.try_into().expect("sixteen bytes"));
    Ok((UnixMillis::from_be_bytes(time), MeetingId::from_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let id = MeetingId::from_bytes([9; 16]);
        assert_eq!(cursor(&next_cursor(1_737_028_800_123, id)).ok(), Some((1_737_028_800_123, id)));
        for bad in ["", "x", "AAAA", "%"] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }
}
