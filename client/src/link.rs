//! The participant's way to a handler: dials, says hello, reads groups, and finds another handler when one fails.
//!
//! In: [`Offer`]s from signaling. Out: the present [`Link`] for publishers, records, events.
//! Make before break: the old session is kept until the new one stands, and a while longer for groups under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common_core::{Code, FrameKind, Moment};
use proto::v1::{self, media_server_message};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::{Backoff, random};
use crate::dial::{DialError, Dialer};
use crate::encryption::Encryption;
use crate::end::SessionEnd;
use crate::event::Event;
use crate::media::{ControlSender, MediaConnection, MediaControl, RecordReader};
use crate::options::JoinOptions;
use crate::paused::Paused;
use crate::records::{Pushed, RecordQueue};
use crate::session::Requests;
use crate::silence::{CHECK_INTERVAL, Silence};

/// How long an old session is kept for groups under way: a publisher starts on the new one at its next key frame.
const RETIRE_AFTER: Duration = Duration::from_secs(5);

/// A handler that signaling names, with a token for it.
pub(crate) struct Offer {
    pub(crate) info: v1::MediaServerInfo,
    /// The token is another participant's than that of the session in use, which is worth nothing from now on.
    pub(crate) is_anew: bool,
}

/// A session with a handler on which media flows.
#[derive(Clone)]
pub(crate) struct Link {
    /// Counts the sessions of this meeting, from 1.
    pub(crate) number: u64,
    pub(crate) connection: MediaConnection,
    pub(crate) control: ControlSender,
}

/// A handler that was dialled while joining.
pub(crate) type Standby = AbortOnDropHandle<Result<MediaConnection, DialError>>;

/// Dials a handler before its token is known.
pub(crate) fn standby(dialer: &Dialer, options: &JoinOptions) -> Option<(String, Standby)> {
    let url = options.media_handler_urls.first()?.clone();
    let (dialer, trust, dialled) = (dialer.clone(), options.trust_for(&options.certificate_hashes), url.clone());
    let dial = async move { MediaConnection::open(&dialer, &dialled, &trust).await };
    Some((url, AbortOnDropHandle::new(tokio::spawn(dial))))
}

/// Keeps a link standing until the channel of offers closes.
pub(crate) struct LinkKeeper {
    pub(crate) dialer: Dialer,
    pub(crate) options: Arc<JoinOptions>,
    pub(crate) requests: Requests,
    pub(crate) offers: mpsc::Receiver<Offer>,
    pub(crate) link: watch::Sender<Option<Link>>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) records: Arc<RecordQueue>,
    pub(crate) encryption: Option<Arc<Encryption>>,
    pub(crate) paused: Arc<Paused>,
    pub(crate) standby: Option<(String, Standby)>,
}

/// The session that is in use.
struct Current {
    connection: MediaConnection,
    control: MediaControl,
    silence: Silence,
    began: Instant,
    /// Dropping it ends the reading.
    _reader: AbortOnDropHandle<()>,
}

type Attempt = AbortOnDropHandle<Result<(MediaConnection, MediaControl), String>>;

/// Which handler an attempt is for.
enum Wanted {
    /// The one that signaling named, with its token.
    This(v1::MediaServerInfo),
    /// Any but the one with this URL; empty: any.
    Other(String),
    /// Any but the one of this session, unless that speaks again.
    InsteadOf(MediaConnection),
}

/// What the keeper woke up for.
enum Step {
    Offer(Option<Offer>),
    Control(Result<v1::MediaServerMessage, SessionEnd>),
    Attempted(Result<(MediaConnection, MediaControl), String>),
    Tick,
}

impl LinkKeeper {
    pub(crate) async fn run(mut self) {
        let origin = Instant::now();
        let now = || Moment::from_micros(u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX));
        let groups = Arc::new(AtomicU64::new(0));
        let mut current: Option<Current> = None;
        let mut attempt: Option<Attempt> = None;
        let mut backoff = Backoff::default();
        let mut number = 0;
        // The attempt under way was begun because the session in use fell silent; should it speak again, it stays.
        let mut by_silence = false;
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                offer = self.offers.recv() => Step::Offer(offer),
                message = next_control(&mut current) => Step::Control(message),
                attempted = finish(&mut attempt) => Step::Attempted(attempted),
                _ = ticks.tick() => Step::Tick,
            };
            match step {
                Step::Offer(None) => break,
                Step::Offer(Some(Offer { info, is_anew })) => {
                    let stands = current.as_ref().is_some_and(|it| it.connection.url() == info.media_handler_url);
                    // After a resume the live session stays as it is if the handler is the same (DESIGN section 4).
                    if is_anew || !(stands && attempt.is_none()) {
                        by_silence = false;
                        backoff = Backoff::default();
                        attempt = Some(self.attempt(Wanted::This(info), &mut backoff));
                    }
                }
                Step::Control(Ok(message)) => {
                    if let Some(current) = &mut current {
                        current.silence.heard(now());
                    }
                    self.control(message);
                }
                Step::Control(Err(end)) => {
                    let failed = current.take().map(|it| {
                        backoff.ended_after(it.began.elapsed());
                        it.connection.url().to_owned()
                    });
                    self.link.send_replace(None);
                    self.tell(Event::MediaLost { reason: end.to_string() });
                    if attempt.is_none() {
                        attempt = Some(self.attempt(Wanted::Other(failed.unwrap_or_default()), &mut backoff));
                    }
                }
                Step::Attempted(Ok((connection, control))) => {
                    attempt = None;
                    by_silence = false;
                    number += 1;
                    let inlet = Inlet { records: self.records.clone(), encryption: self.encryption.clone() };
                    let reader = AbortOnDropHandle::new(tokio::spawn(read_groups(connection.clone(), inlet, groups.clone())));
                    let link = Link { number, connection: connection.clone(), control: control.sender() };
                    let url = connection.url().to_owned();
                    self.paused.clear();
                    let old = current.replace(Current {
                        connection,
                        control,
                        silence: Silence::new(now()),
                        began: Instant::now(),
                        _reader: reader,
                    });
                    self.link.send_replace(Some(link));
                    self.tell(Event::MediaServerChanged { url });
                    if let Some(old) = old {
                        tokio::spawn(retire(old));
                    }
                }
                Step::Attempted(Err(reason)) => {
                    tracing::debug!(%reason, "no session with a handler");
                    if current.is_none() {
                        self.tell(Event::MediaLost { reason });
                    }
                    attempt = if std::mem::take(&mut by_silence) && current.is_some() {
                        // The next tick tells whether it is silent still.
                        None
                    } else {
                        // Any handler now: the one that failed may be back, and may be the only one.
                        Some(self.attempt(Wanted::Other(String::new()), &mut backoff))
                    };
                }
                Step::Tick => {
                    let Some(current) = &mut current else { continue };
                    let silent = current.silence.check(current.connection.packets_received(), now());
                    match (silent, &attempt) {
                        (true, None) => {
                            let silent = current.connection.clone();
                            backoff.ended_after(current.began.elapsed());
                            by_silence = true;
                            attempt = Some(self.attempt(Wanted::InsteadOf(silent), &mut backoff));
                        }
                        (false, Some(_)) if by_silence => {
                            by_silence = false;
                            attempt = None;
                        }
                        _ => {}
                    }
                }
            }
        }
        self.link.send_replace(None);
        if let Some(current) = current {
            current.connection.close(Code::Normal, "").await;
        }
    }

    /// Waits as `backoff` says, asks for a token unless there is one, dials unless that handler stands by, says hello.
    fn attempt(&mut self, wanted: Wanted, backoff: &mut Backoff) -> Attempt {
        let wait = backoff.next_wait(random());
        let (dialer, options, requests, standby) = (self.dialer.clone(), self.options.clone(), self.requests.clone(), self.standby.take());
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let (info, silent) = match wanted {
                Wanted::This(info) => (Ok(info), None),
                Wanted::Other(failed_url) => (requests.media_server(failed_url).await, None),
                Wanted::InsteadOf(silent) => {
                    let packets = silent.packets_received();
                    (requests.media_server(silent.url().to_owned()).await, Some((silent, packets)))
                }
            };
            let info = info.map_err(|error| error.to_string())?;
            let connection = match standby {
                Some((url, dialled)) if url == info.media_handler_url => match dialled.await {
                    Ok(Ok(connection)) => connection,
                    // It failed before there was a token; once more with what the controller says about its certificates.
                    _ => dial(&dialer, &options, &info).await?,
                },
                _ => dial(&dialer, &options, &info).await?,
            };
            // The hello is what replaces the old session: a handler that was frozen, and not dead, speaks again by now.
            if silent.is_some_and(|(silent, packets)| silent.packets_received() != packets) {
                return Err("the session that was silent speaks again".to_owned());
            }
            let control = connection.hello(&info.connection_token).await.map_err(|end| end.to_string())?;
            Ok((connection, control))
        }))
    }

    fn control(&self, message: v1::MediaServerMessage) {
        use media_server_message::Body;
        let id = |text: &str| proto::convert::id("stream_id", text).inspect_err(|error| tracing::warn!(%error, "from the handler")).ok();
        match message.body {
            Some(Body::KeyFrame(request)) => {
                if let Some(stream_id) = id(&request.stream_id) {
                    self.tell(Event::KeyFrameRequested { stream_id });
                }
            }
            Some(Body::LayerControl(layer)) => {
                if let Some(stream_id) = id(&layer.stream_id) {
                    self.paused.set(stream_id, layer.paused);
                    self.tell(Event::LayerPaused { stream_id, paused: layer.paused });
                }
            }
            Some(Body::Report(report)) => {
                let report = crate::convert::report(report);
                if let Some(stream_id) = id(&report.stream_id) {
                    self.records.report(stream_id, report.clone());
                }
                self.tell(Event::SubscriptionReport(report));
            }
            Some(Body::Error(error)) => {
                tracing::warn!(code = error.code, message = %common_core::name::escape(&error.message, 200), "the handler reports an error");
            }
            Some(Body::Welcome(_) | Body::Pong(_)) | None => {}
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

async fn dial(dialer: &Dialer, options: &JoinOptions, info: &v1::MediaServerInfo) -> Result<MediaConnection, String> {
    let trust = options.trust_for(&info.certificate_hashes);
    MediaConnection::open(dialer, &info.media_handler_url, &trust).await.map_err(|error| error.to_string())
}

async fn next_control(current: &mut Option<Current>) -> Result<v1::MediaServerMessage, SessionEnd> {
    match current {
        Some(current) => current.control.next().await,
        None => std::future::pending().await,
    }
}

async fn finish(attempt: &mut Option<Attempt>) -> Result<(MediaConnection, MediaControl), String> {
    match attempt {
        Some(running) => running.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

async fn retire(old: Current) {
    tokio::time::sleep(RETIRE_AFTER).await;
    old.connection.close(Code::Normal, "").await;
}

/// Where received records go.
#[derive(Clone)]
struct Inlet {
    records: Arc<RecordQueue>,
    encryption: Option<Arc<Encryption>>,
}

/// Accepts group streams and reads each in a task of its own; QUIC's stream limit bounds how many.
async fn read_groups(connection: MediaConnection, inlet: Inlet, groups: Arc<AtomicU64>) {
    let mut readers = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_stream() => match accepted {
                Ok(stream) => {
                    let group = groups.fetch_add(1, Ordering::Relaxed);
                    readers.spawn(read_group(RecordReader::new(stream, group), inlet.clone()));
                }
                Err(_) => break,
            },
            // Finished readers are let go of.
            Some(_) = readers.join_next() => {}
        }
    }
    // What came whole before the end is delivered.
    while readers.join_next().await.is_some() {}
}

async fn read_group(mut reader: RecordReader, inlet: Inlet) {
    loop {
        match reader.next().await {
            Ok(Some(record)) => {
                let (kind, id) = (record.header.kind, record.header.stream_id);
                let record = match &inlet.encryption {
                    Some(encryption) => encryption.open(record, Instant::now()),
                    None => Some(record),
                };
                if record.is_none() {
                    inlet.records.undecryptable(id);
                }
                match record.map(|record| inlet.records.push(record)) {
                    Some(Pushed::Taken) => {}
                    Some(Pushed::Full) => return reader.stop(Code::Expired),
                    Some(Pushed::Closed) => return reader.stop(Code::Normal),
                    // What comes behind a lost picture cannot be decoded; a lost packet of sound is a packet.
                    None if kind == FrameKind::Audio => {}
                    None => return reader.stop(Code::StreamError),
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "a group ends early");
                return reader.stop(Code::StreamError);
            }
        }
    }
}
