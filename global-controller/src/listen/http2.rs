//! HTTP/2 on one connection (RFC 9113): hyper, with bounds on silence and on readers that do not read.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ConnectInfo;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::activity::{Activity, UnderWay, Watch};
use super::answer::{Pace, Paced};
use super::http1::HEAD_LIMIT_FACTOR;
use super::patient::Patient;
use super::tcp::Served;
use crate::config::LimitsConfig;

/// Pings to a connection, so that one whose peer is gone is closed also while an answer waits for something to say.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Received and not yet read, one stream and one connection, bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Answered and not yet sent, one stream, bytes.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Streams that were reset before they were served; more end the connection (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 20;
/// Streams that we reset for errors of the peer's; more end the connection (CVE-2024-27316 and its kin).
const ERRORS_MAX: usize = 100;

tokio::task_local! {
    /// Of the answer on this task's stream.
    static PACE: Arc<Pace>;
}

fn builder(limits: &LimitsConfig, activity: &Arc<Activity>) -> Builder<Streams> {
    let mut builder = Builder::new(Streams { activity: activity.clone(), write_timeout: limits.write_timeout });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.requests_per_connection)
        .max_header_list_size(limits.head_bytes.saturating_mul(HEAD_LIMIT_FACTOR))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(ERRORS_MAX)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits.read_timeout);
    builder
}

/// Serves one connection to its end.
pub async fn serve<S>(stream: S, remote: SocketAddr, alternative: HeaderValue, served: Served, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = served.limits;
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(Patient::new(stream, limits.write_timeout));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (router, alternative) = (served.router.clone(), alternative.clone());
        async move {
            request.extensions_mut().insert(ConnectInfo(remote));
            let mut response = router.oneshot(request.map(axum::body::Body::new)).await?;
            response.headers_mut().insert(header::ALT_SVC, alternative);
            Ok::<_, Infallible>(response.map(|body| Paced::new(body, PACE.try_with(Arc::clone).ok())))
        }
    });
    let mut connection = std::pin::pin!(builder(&limits, &activity).serve_connection(io, service));
    let mut watch = Watch::default();
    let mut looks = tokio::time::interval_at(Instant::now() + limits.read_timeout, limits.read_timeout);
    let mut is_stopping = false;
    let mut given_up = None;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%remote, %error, "an HTTP/2 connection ended");
                }
                return;
            }
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // What is still on its way of answers that were given has a while to get there.
            () = tokio::time::sleep_until(given_up.unwrap_or_else(Instant::now)), if given_up.is_some() => {
                return tracing::debug!(%remote, "an idle HTTP/2 connection was closed");
            }
            _ = looks.tick(), if given_up.is_none() => {
                if watch.is_idle(&activity, 0) {
                    given_up = Some(Instant::now() + limits.write_timeout);
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Runs the streams of one connection.
#[derive(Clone)]
struct Streams {
    activity: Arc<Activity>,
    write_timeout: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let pace = Arc::new(Pace::default());
        let stream = Box::pin(PACE.scope(pace.clone(), stream));
        let write_timeout = self.write_timeout;
        let under_way = self.activity.begin();
        tokio::spawn(Stream { stream, pace, write_timeout, timer: None, seen: None, _under_way: under_way });
    }
}

/// A request and its answer; given up, and so reset, when the reader lets a piece of the answer wait for too long.
struct Stream<F> {
    stream: Pin<Box<F>>,
    pace: Arc<Pace>,
    write_timeout: Duration,
    /// Made when the reader first has to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// What the timer runs for.
    seen: Option<u32>,
    _under_way: UnderWay,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let offered = self.pace.offered();
        if offered != self.seen {
            self.seen = offered;
            if offered.is_some() {
                let deadline = Instant::now() + self.write_timeout;
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(deadline),
                    None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
                }
            }
        }
        match &mut self.timer {
            Some(timer) if offered.is_some() => {
                ready!(timer.as_mut().poll(cx));
                tracing::debug!("an HTTP/2 answer was not read in time");
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }
}
