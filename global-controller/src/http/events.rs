//! `GET /api/v1/meetings/{meeting_id}/events`: what happened in a meeting, page by page, or followed as server-sent events (WHATWG HTML section 9.2).
//!
//! A followed feed holds a place of its own (`webhooks.feeds`, of which one caller has a share), none of those for requests under way. It ends
//! when its access token does, when the API client is shut out and when the process stops; clients come back by themselves and name the last
//! event that they have.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use common_core::MeetingId;
use common_core::authority::Action;
use global_controller_core::Scope;
use serde::Serialize;
use tokio::time::{Instant, Interval};
use utoipa::{IntoParams, ToSchema};

use super::ApiError;
use super::caller::{Bearer, Caller};
use super::context;
use super::meetings::find_for;
use super::path::ApiPath;
use super::query::{parameters, whole_number};
use crate::app::App;
use crate::events::{EventBody, Follower};
use crate::store::Event;
use common::shares::{Full, Share};

/// Events on a page when the request does not say.
const PAGE_DEFAULT: u32 = 50;
/// Events on a page, and in one look of a followed feed, at most.
const PAGE_MAX: u32 = 200;
/// Between looks when nobody knocks: for what other global controllers stored, and for who was shut out.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A quiet feed says this often that it is there: well within the idle limits of HTTP/3 and of what stands between.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// What clients are told to wait before they come back.
const COME_BACK_AFTER: Duration = Duration::from_secs(2);
/// Named by a client that comes back.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// As of every answer of the API; axum says something milder of streams.
const NOT_KEPT: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
/// Tells nginx and its kind to pass each event on at once.
const NO_BUFFERING: (HeaderName, HeaderValue) = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// For the description alone; the parameters are read one by one.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters")]
struct FeedQuery {
    /// Those behind this one alone: the `sequence` of the last event that is known already.
    #[param(nullable = false, maximum = 9223372036854775807_i64, default = 0)]
    after: Option<u64>,
    /// Events on a page; a followed feed has no pages.
    #[param(nullable = false, minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
}

/// A page of what happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventPage)]
pub struct FeedPage {
    /// In order.
    events: Vec<EventBody>,
    /// Of the last event here, or `after` if there is none: to be given as `after` the next time.
    #[schema(minimum = 0, example = 3)]
    last_sequence: i64,
}

/// What happened in a meeting
///
/// In order, from the first event on or behind `after`; a page that is not full is the last one for now. Events are kept for a week unless the
/// operator decides otherwise.
///
/// With `Accept: text/event-stream` the feed is followed: what happened already comes first, then each event as it happens, with its `sequence`
/// as `id`, its `type` as `event` and the event itself as `data`. Who comes back says by `Last-Event-ID` where to go on.
#[utoipa::path(
    get, path = "/api/v1/meetings/{meeting_id}/events", operation_id = "listEvents", tag = "Events",
    params(
        ("meeting_id" = String, Path, description = "Id or code of the meeting.", example = "550e8400-e29b-41d4-a716-446655440000"),
        FeedQuery,
        ("Last-Event-ID" = Option<u64>, Header, nullable = false, description = "Goes before `after`: browsers send it when they come back to a feed."),
    ),
    responses((
        status = 200, description = "A page, or the feed.",
        content((FeedPage = "application/json"), (String = "text/event-stream")),
    )),
    security(("bearerAuth" = ["meetings:read"])),
)]
pub async fn feed(
    State(app): State<Arc<App>>,
    caller: Caller,
    path: ApiPath<String>,
    headers: HeaderMap,
    extensions: Extensions,
    uri: Uri,
) -> Result<Response, ApiError> {
    caller.permit(&app, Scope::ReadMeetings)?;
    let asked = path.read()?;
    let [after, limit] = parameters(&uri, ["after", "limit"])?;
    let after = after.as_deref().map_or(Ok(0), |text| sequence("after", text))?;
    let after = match headers.get(LAST_EVENT_ID) {
        Some(value) => sequence("Last-Event-ID", value.to_str().unwrap_or_default())?,
        None => after,
    };
    let limit = limit.as_deref().map_or(Ok(u64::from(PAGE_DEFAULT)), |text| whole_number("limit", text, 1, u64::from(PAGE_MAX)))?;
    let meeting = find_for(&app, &caller, Action::ListParticipants, &asked).await?;
    if !wants_stream(&headers) {
        let events = app.store.events(meeting.id, after, u32::try_from(limit).unwrap_or(PAGE_MAX)).await?;
        let last_sequence = events.last().map_or(after, |event| event.sequence);
        return Ok(Json(FeedPage { events: events.into_iter().map(EventBody::from).collect(), last_sequence }).into_response());
    }
    let place = app.feeds.take(caller.key(context::address(&extensions))).map_err(|full| match full {
        Full::All => ApiError::unavailable("too many feeds are followed"),
        Full::Own => ApiError::unavailable("this caller follows as many feeds as one may"),
    })?;
    let bearer = match caller {
        Caller::Bearer(bearer) => Some(bearer),
        Caller::Anonymous => None,
    };
    let feed = Feed::new(app, meeting.id, after, bearer, place);
    let events = futures_util::stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    Ok(([NO_BUFFERING, NOT_KEPT], Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL))).into_response())
}

/// Whether the client asks for server-sent events by name; `*/*` asks for no stream.
fn wants_stream(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut types = ranges.map(|range| range.split(';').next().unwrap_or_default().trim());
    types.any(|found| found.eq_ignore_ascii_case("text/event-stream"))
}

fn sequence(field: &str, text: &str) -> Result<i64, ApiError> {
    let number = whole_number(field, text, 0, i64::MAX.unsigned_abs())?;
    Ok(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A followed feed.
struct Feed {
    app: Arc<App>,
    meeting: MeetingId,
    after: i64,
    /// Read and not yet sent.
    ready: VecDeque<Event>,
    follower: Follower,
    ticks: Interval,
    ends_at: Option<Instant>,
    bearer: Option<Bearer>,
    greeted: bool,
    /// Whether there may be more in the store.
    look: bool,
    _place: Share<String>,
}

impl Feed {
    fn new(app: Arc<App>, meeting: MeetingId, after: i64, bearer: Option<Bearer>, place: Share<String>) -> Self {
        // Followed before it is looked, so that nothing falls between.
        let follower = app.bell.follow(meeting);
        let mut ticks = tokio::time::interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let left = |bearer: &Bearer| Duration::from_secs(bearer.expires_at.saturating_sub(common::clock::unix_seconds()));
        let ends_at = bearer.as_ref().map(|bearer| Instant::now() + left(bearer) + app.config.tokens.leeway);
        Self { app, meeting, after, ready: VecDeque::new(), follower, ticks, ends_at, bearer, greeted: false, look: true, _place: place }
    }

    /// What is to be sent next; `None`: the feed has ended.
    async fn next(&mut self) -> Option<sse::Event> {
        if !self.greeted {
            self.greeted = true;
            return Some(sse::Event::default().retry(COME_BACK_AFTER));
        }
        loop {
            if self.is_over() {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                self.after = event.sequence;
                return Some(told(event));
            }
            if self.look {
                let turn = tokio::select! {
                    () = self.app.stopping.cancelled() => return None,
                    () = end_at(self.ends_at) => return None,
                    turn = self.app.feed_looks.acquire() => turn,
                };
                self.look = false;
                match self.app.store.events(self.meeting, self.after, PAGE_MAX).await {
                    Ok(events) => self.ready = events.into(),
                    // It is looked again at the next tick.
                    Err(error) => tracing::debug!(meeting = %self.meeting, %error, "a feed waits for the store"),
                }
                drop(turn);
                // A full page may not be the last.
                self.look |= self.ready.len() == PAGE_MAX as usize;
                continue;
            }
            tokio::select! {
                () = self.app.stopping.cancelled() => return None,
                () = end_at(self.ends_at) => return None,
                () = self.follower.heard() => self.look = true,
                _ = self.ticks.tick() => self.look = true,
            }
        }
    }

    fn is_over(&self) -> bool {
        let expired = self.ends_at.is_some_and(|ends_at| ends_at <= Instant::now());
        let shut_out = self.bearer.as_ref().is_some_and(|bearer| self.app.revoked.has(&bearer.subject));
        expired || shut_out || self.app.stopping.is_cancelled()
    }
}

async fn end_at(ends_at: Option<Instant>) {
    match ends_at {
        Some(ends_at) => tokio::time::sleep_until(ends_at).await,
        None => std::future::pending().await,
    }
}

fn told(event: Event) -> sse::Event {
    let told = sse::Event::default().id(event.sequence.to_string()).event(event.kind.as_str());
    // JSON holds no line breaks, and numbers and texts can always be written.
    told.json_data(EventBody::from(event)).expect("an event can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_asked_for_by_name() {
        let check = |accept: &str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a header value"))]);
            assert_eq!(wants_stream(&headers), expected, "{accept}");
        };
        check("text/event-stream", true);
        check("application/json, Text/Event-Stream;q=0.9", true);
        check("application/json", false);
        check("*/*", false);
        check("text/*", false);
        assert!(!wants_stream(&HeaderMap::new()));
    }

    #[test]
    fn sequences_are_numbers() {
        assert_eq!((sequence("after", "0").ok(), sequence("after", "17").ok()), (Some(0), Some(17)));
        for bad in ["-1", "", "x", "1.5", "9223372036854775808"] {
            assert!(sequence("after", bad).is_err(), "{bad}");
        }
    }
}
