//! `dark-tower join`: a participant without a face. Publishes files at their own pace, records what others publish.

mod report;
mod source;

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use client::api::{Api, ApiError, MeetingUrl};
use client::file::{FrameSource, Publishing, Recorder};
use client::roster::{LeaveReason, StateUpdate};
use client::{Client, Event, JoinError, Joined, SessionEnd, Trust};
use common::shutdown::Shutdown;
use common::telemetry::{LogConfig, init_logging};
use common_core::Code;
use common_core::media::{LATENCY_MAX, SubscriptionOptions};
use tokio::task::JoinSet;

use report::{Line, Report};
use source::Publish;

/// Exit code when the API or the controller refused.
const EXIT_REFUSED: u8 = 3;
/// Exit code when the connection was lost and could not be resumed.
const EXIT_LOST: u8 = 4;
/// Exit code when a host removed us.
const EXIT_KICKED: u8 = 5;
/// Of what is read from standard input: an address with its secret has about a hundred.
const ADDRESS_BYTES_MAX: u64 = 8192;
/// Two libraries log as errors and warnings what this program tells by itself, or what is of no consequence.
const LOG_DEFAULT: &str = "warn,rustls_platform_verifier=off,web_transport_quinn=error";

/// Joins a meeting, publishes files, records what others publish.
///
/// Without --loop and --record it leaves when all files have been published; otherwise, and with test patterns, it stays until --duration is over, the
/// meeting ends or Ctrl-C is pressed.
#[derive(clap::Args)]
#[command(after_help = "Exit codes:\n  0  ended as asked: files published, time over, Ctrl-C, meeting ended\n  1  \
    a file or folder cannot be used, or no connection\n  2  wrong usage\n  3  the API or the controller refused\n  4  the connection was \
    lost and could not be resumed\n  5  removed by a host")]
pub struct JoinArgs {
    /// The meeting's address, such as `https://meet.example/m/abcdefghij`; `-` reads it from standard input. A secret behind `#` belongs there, or in
    /// the environment: everybody on a machine can read command lines.
    #[arg(long, env = "DARK_TOWER_MEETING_URL", hide_env_values = true)]
    url: String,
    /// The name that others see.
    #[arg(long)]
    name: String,
    /// What to publish; may be given several times. A file: IVF (VP8, VP9, AV1), H.264 Annex B (with --fps) or Ogg Opus. Or a test pattern without end:
    /// test:720p30 (test:WIDTHxHEIGHT@FPS) is a picture with clock and frame number, test:tone is 440 Hz, test:sync is a picture that flashes white while a
    /// beep is heard, once a second.
    #[arg(long, value_name = "FILE|test:PATTERN")]
    publish: Vec<Publish>,
    /// Begin anew when the longest file is over.
    #[arg(long = "loop")]
    repeat: bool,
    /// Frames a second of H.264 files, which have no times of their own.
    #[arg(long)]
    fps: Option<f64>,
    /// Subscribe to everything, and write each media stream to DIR/PARTICIPANT-STREAM.ivf, .h264 or .opus.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// One JSON object a line on standard output, for programs.
    #[arg(long)]
    json: bool,
    /// Believe this certificate authority (PEM) besides the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Believe any certificate: for laboratories, where nobody listens in.
    #[arg(long)]
    insecure: bool,
    /// Leave after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// How late a recorded frame may be, in milliseconds (at most 30000).
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    latency: u32,
    /// What is logged to standard error, such as warn or dark_tower_client=debug.
    #[arg(long, default_value = LOG_DEFAULT, value_name = "FILTER", env = "DARK_TOWER__LOG__FILTER", hide_env_values = true)]
    log: String,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Runs until the end that was asked for; the exit codes are in the help text. What goes wrong is printed here.
pub async fn run(args: JoinArgs) -> anyhow::Result<ExitCode> {
    let report = Report::new(args.json);
    match join(args, report).await {
        Ok(code) => Ok(code),
        Err(error) => {
            report.warn(&format!("{error:#}"))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn join(args: JoinArgs, report: Report) -> anyhow::Result<ExitCode> {
    init_logging(&LogConfig { filter: args.log.clone(), ..LogConfig::default() });
    let shutdown = Shutdown::on_signals()?;
    let sources = source::open(&args.publish, args.fps, args.repeat, report)?;
    let trust = trust(&args)?;
    if let Some(dir) = &args.record {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }

    let meeting_url = MeetingUrl::parse(&address(&args, report).await?)?;
    let admission = match Api::new(&trust)?.join(&meeting_url, &args.name, None).await {
        Ok(admission) => admission,
        Err(ApiError::Refused { status, code, message, retry_after }) => {
            let later = retry_after.map(|it| format!("; try again in {} s", it.as_secs().max(1))).unwrap_or_default();
            report.line(&Line::Refused { code: &code, message: &format!("{message} (HTTP {status}){later}") })?;
            return Ok(ExitCode::from(EXIT_REFUSED));
        }
        Err(error @ ApiError::Unreachable { .. }) if matches!(trust, Trust::System) && meeting_url.is_https() => {
            return Err(anyhow::Error::from(error).context("a certificate of one's own needs --ca FILE, or --insecure in a laboratory"));
        }
        Err(error) => return Err(error.into()),
    };
    let mut options = admission.into_options(&args.name);
    options.trust = trust;
    options.secret = meeting_url.secret().cloned();
    options.auto_subscribe = args.record.is_some();
    let joined = match Client::new()?.join(options).await {
        Ok(joined) => joined,
        Err(JoinError::Refused { code, message }) => {
            report.line(&Line::Refused { code: code.name(), message: &message })?;
            return Ok(ExitCode::from(EXIT_REFUSED));
        }
        Err(JoinError::Encryption(error)) => {
            report.line(&Line::Refused { code: error.name(), message: &error.to_string() })?;
            return Ok(ExitCode::from(EXIT_REFUSED));
        }
        Err(error) => return Err(error.into()),
    };
    attend(args, joined, sources, shutdown, report).await
}

/// The meeting's address, from wherever it was given.
async fn address(args: &JoinArgs, report: Report) -> anyhow::Result<String> {
    if args.url != "-" {
        let is_in_sight = std::env::args().any(|argument| argument.contains('#') && argument.ends_with(&args.url));
        if is_in_sight {
            report.warn("what follows # in --url is a secret, and everybody on this machine can read it there: use --url - or DARK_TOWER_MEETING_URL")?;
        }
        return Ok(args.url.clone());
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::BufReader::new(std::io::stdin().take(ADDRESS_BYTES_MAX)).read_line(&mut line).map(|_| line)
    });
    read.await?.context("cannot read the address from standard input")
}

fn trust(args: &JoinArgs) -> anyhow::Result<Trust> {
    match (&args.ca, args.insecure) {
        (Some(path), _) => {
            let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Trust::from_pem(&pem).with_context(|| path.display().to_string())
        }
        (None, true) => Ok(Trust::Anything),
        (None, false) => Ok(Trust::System),
    }
}

/// Why the meeting ends for us.
enum End {
    AsAsked(&'static str),
    Kicked,
    Closed(SessionEnd),
}

async fn attend(
    args: JoinArgs,
    joined: Joined,
    sources: Vec<Box<dyn FrameSource>>,
    shutdown: Shutdown,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let Joined { meeting, mut events, mut records } = joined;
    let me = meeting.participant_id();
    report.line(&Line::Joined { participant_id: me, participants: meeting.roster().len() })?;
    for participant in meeting.roster().participants() {
        report.participant(participant)?;
    }

    let subscription = SubscriptionOptions {
        max_latency_ms: args.latency.min(u32::try_from(LATENCY_MAX.as_millis()).unwrap_or(u32::MAX)),
        ..SubscriptionOptions::default()
    };
    let budget = subscription.latency_budget();
    let mut recorder = args.record.as_ref().map(|dir| Recorder::start(dir.clone(), budget));
    let mut subscribing = JoinSet::new();
    if let Some(recorder) = &mut recorder {
        for stream in meeting.roster().streams() {
            recorder.know(stream.clone()).await;
            subscribe(&mut subscribing, &meeting, stream.stream_id, &subscription);
        }
    }

    let stays = args.repeat || args.record.is_some() || sources.is_empty();
    let mut publishing = Publishing::start(&meeting, sources).await?;
    for published in publishing.streams() {
        report.line(&Line::Publishing { stream_id: published.stream_id, codec: &published.codec })?;
    }
    // Everybody is taken for unmuted and without a picture until they say otherwise.
    let is_heard = publishing.streams().iter().any(|stream| stream.stream_type.is_audio());
    let is_seen = publishing.streams().iter().any(|stream| !stream.stream_type.is_audio());
    say_state(&meeting, is_heard, is_seen, report).await?;

    let over = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut was_kicked = false;
    let end = loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break End::Closed(SessionEnd::lost("the session ended")) };
                if let Event::Closed { end } = event {
                    // A kick closes with FORBIDDEN; nothing else does while one is inside.
                    break if was_kicked || end.code() == Some(Code::Forbidden) { End::Kicked } else { End::Closed(end) };
                }
                was_kicked |= matches!(&event, Event::ParticipantLeft { participant_id, reason: LeaveReason::Kicked } if *participant_id == me);
                if let (Some(recorder), Event::StreamPublished(stream)) = (&mut recorder, &event) {
                    recorder.know(stream.clone()).await;
                    subscribe(&mut subscribing, &meeting, stream.stream_id, &subscription);
                }
                if let (Some(recorder), Event::Lagged { .. }) = (&mut recorder, &event) {
                    for stream in meeting.roster().streams() {
                        recorder.know(stream.clone()).await;
                    }
                }
                report.event(&event)?;
            }
            Some(record) = records.next(), if recorder.is_some() => {
                if let Some(recorder) = &mut recorder {
                    recorder.record(record).await;
                }
            }
            Some(subscribed) = subscribing.join_next() => {
                if let Ok(Err(error)) = subscribed {
                    report.warn(&format!("a subscription keeps the default latency budget: {error}"))?;
                }
            }
            result = publishing.finished() => {
                result?;
                if !stays {
                    break End::AsAsked("all files are published");
                }
                for stream in publishing.streams() {
                    meeting.unpublish(stream.stream_id).await?;
                }
                say_state(&meeting, false, false, report).await?;
            }
            () = &mut over => break End::AsAsked("the time is over"),
            () = shutdown.drain.cancelled() => break End::AsAsked("a signal came"),
        }
    };

    let finish = async {
        let counts = publishing.end().await;
        meeting.leave().await;
        counts
    };
    let counts = tokio::select! {
        counts = finish => counts,
        () = shutdown.now.cancelled() => Vec::new(),
    };
    for (stream_id, counts) in counts {
        report.line(&Line::Published { stream_id, sent: counts.sent, dropped: counts.dropped, late_groups: counts.late_groups })?;
    }
    if let Some(mut recorder) = recorder {
        while let Some(record) = records.try_next() {
            recorder.record(record).await;
        }
        for summary in recorder.finish().await? {
            report.line(&Line::Recorded(&summary))?;
        }
        if records.dropped_groups() > 0 {
            report.warn(&format!("{} groups were cut short: this machine was too slow", records.dropped_groups()))?;
        }
    }
    let (reason, code) = match end {
        End::AsAsked(reason) => (reason.to_owned(), ExitCode::SUCCESS),
        End::Kicked => ("removed by a host".to_owned(), ExitCode::from(EXIT_KICKED)),
        End::Closed(end) if end.code() == Some(Code::Normal) => ("the meeting is over".to_owned(), ExitCode::SUCCESS),
        End::Closed(end @ SessionEnd::Closed { .. }) => (end.to_string(), ExitCode::from(EXIT_REFUSED)),
        End::Closed(end @ SessionEnd::Lost(_)) => (end.to_string(), ExitCode::from(EXIT_LOST)),
    };
    report.line(&Line::Left { reason: &reason })?;
    Ok(code)
}

/// Tells the others whether there is sound and a picture. That it fails does not end anything: the frames flow all the same.
async fn say_state(meeting: &client::Meeting, is_heard: bool, is_seen: bool, report: Report) -> anyhow::Result<()> {
    let update = StateUpdate { is_muted: Some(!is_heard), is_video_on: Some(is_seen), audio_level: None };
    if let Err(error) = meeting.update_state(update).await {
        report.warn(&format!("the others are not told what is published: {error}"))?;
    }
    Ok(())
}

/// Subscribes with the recorder's latency budget, besides everything else: the default subscription is there already.
fn subscribe(
    subscribing: &mut JoinSet<Result<(), client::RequestError>>,
    meeting: &client::Meeting,
    stream_id: common_core::StreamId,
    options: &SubscriptionOptions,
) {
    let (meeting, options) = (meeting.clone(), options.clone());
    subscribing.spawn(async move {
        match meeting.subscribe(stream_id, &options).await {
            // It was unpublished meanwhile.
            Err(error) if error.code() == Some(Code::NotFound) => Ok(()),
            result => result,
        }
    });
}
