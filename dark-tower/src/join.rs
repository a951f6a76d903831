//! `dark-tower join`: a participant without a face. Publishes files and test patterns at their own pace, receives, counts and records what others
//! publish, says and shows chat.

mod attend;
mod names;
mod report;
mod source;
mod subscribe;
mod table;
mod words;

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use client::api::{Api, ApiError, MeetingTickets, MeetingUrl};
use client::e2ee::Secret;
use client::{Client, JoinError, JoinOptions, Joined, TicketError, Trust};
use common::shutdown::Shutdown;
use common::telemetry::{LogConfig, init_logging};

use report::{Line, Report};
use source::Publish;
use subscribe::Wish;

use crate::output::{self, Usage};

/// What stands before complaints.
const COMMAND: &str = "dark-tower join";
/// Exit code when the API or the controller refused.
const EXIT_REFUSED: u8 = 3;
/// Exit code when the connection was lost for good.
const EXIT_LOST: u8 = 4;
/// Exit code when a host removed us.
const EXIT_KICKED: u8 = 5;
/// Longest chat message, in bytes (DESIGN section 4).
const SAY_BYTES_MAX: usize = 4096;
/// No camera makes more frames a second.
const FPS_MAX: f64 = 1_000.0;
/// Of what is read from standard input or a file: an address with its secret has about a hundred.
const INPUT_BYTES_MAX: u64 = 8192;
/// Two libraries log as errors and warnings what this program tells by itself, or what is of no consequence.
const LOG_DEFAULT: &str = "warn,rustls_platform_verifier=off,web_transport_quinn=error";

const AFTER_HELP: &str = "\
In lines for people the beginnings of ids stand in brackets behind names; --json has whole ids.

Ctrl-C or SIGTERM leaves the meeting: what is under way is sent, files are written to their end,
the others see who has left. A second one shortens that to a second. When whoever reads standard
output goes (as `| head` does), the next line ends it in the same way.

Exit codes:
  0  ended as asked: all published or said, time over, Ctrl-C, meeting ended, nobody reads the
     output any more
  1  a file or folder cannot be used, or no connection
  2  wrong usage: an argument makes no sense
  3  the API or the controller refused
  4  the connection was lost, and the way back too
  5  removed by a host

Examples:
  dark-tower join --url https://meet.example/m/abcdefghij --name Robot --publish film.ivf --loop
      a film that plays until Ctrl-C
  dark-tower join --url URL --name Pattern --publish test:720p30 --publish test:tone
      a picture with clock and frame number, and a tone, without any file
  dark-tower join --url URL --name Watcher --subscribe --stats 2
      receives everything and says every two seconds how it comes
  dark-tower join --url URL --name Recorder --record meeting --duration 3600
      an hour of the meeting as files in the folder meeting
  dark-tower join --url URL --name Scribe --subscribe none --chat --json
      chat as objects on standard output; what is typed is said
  dark-tower join --url URL --name Sealed --e2ee-secret meeting.key --subscribe
      an encrypted meeting, with its secret in a file";

/// Joins a meeting: publishes files or test patterns, receives, records, counts, chats.
///
/// It leaves when all files have been published and everything of --say is said. With --loop,
/// --record, --subscribe, --chat or a test pattern, and when it has nothing to publish or to say,
/// it stays until --duration is over, the meeting ends or Ctrl-C is pressed. When the connection
/// is lost it comes back by itself, for up to two minutes, if it must as a new participant.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, next_line_help = true, verbatim_doc_comment)]
pub struct JoinArgs {
    /// The meeting's address, such as `https://meet.example/m/abcdefghij`; - reads it from standard
    /// input. A secret behind # belongs there, or in the environment: everybody on a machine can
    /// read command lines.
    #[arg(long, env = "DARK_TOWER_MEETING_URL", hide_env_values = true, help_heading = "Meeting", verbatim_doc_comment)]
    url: String,
    /// The name that others see, of at most 64 characters.
    #[arg(long, value_parser = display_name, help_heading = "Meeting")]
    name: String,
    /// Leave after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true, help_heading = "Meeting")]
    duration: Option<Duration>,

    /// What to publish; may be given several times. A file: IVF (VP8, VP9, AV1), H.264 Annex B
    /// (with --fps) or Ogg Opus. Or a test pattern without end: test:720p30 (also
    /// test:WIDTHxHEIGHT@FPS) is a picture with clock and frame number, test:tone is 440 Hz,
    /// test:sync a picture that flashes white while a beep is heard, once a second.
    #[arg(long, value_name = "FILE|test:PATTERN", help_heading = "Publishing", verbatim_doc_comment)]
    publish: Vec<Publish>,
    /// Begin anew when the longest file is over.
    #[arg(long = "loop", help_heading = "Publishing")]
    repeat: bool,
    /// Frames a second of H.264 files, which have no times of their own.
    #[arg(long, value_name = "NUMBER", value_parser = frame_rate, allow_negative_numbers = true, help_heading = "Publishing")]
    fps: Option<f64>,

    /// What to receive: all, audio, video, none, a media stream or participant by id (the whole,
    /// or the 8 characters that lines show), or a participant by name; may be given several times.
    /// Alone it means all. What comes is counted, and told at the end.
    #[arg(
        long,
        value_name = "all|audio|video|none|ID|NAME",
        num_args = 0..=1,
        default_missing_value = "all",
        help_heading = "Receiving",
        verbatim_doc_comment
    )]
    subscribe: Vec<Wish>,
    /// Write each media stream that is received to DIR/PARTICIPANT-STREAM.ivf, .h264 or .opus.
    /// Receives everything unless --subscribe says less.
    #[arg(long, value_name = "DIR", help_heading = "Receiving", verbatim_doc_comment)]
    record: Option<PathBuf>,
    /// How late a received frame may be, in milliseconds (at most 30000); 10000 for recordings, 500
    /// otherwise.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=30_000), help_heading = "Receiving", verbatim_doc_comment)]
    latency: Option<u32>,

    /// Say each line of standard input as chat. Chat is shown whether or not this is given.
    #[arg(long, help_heading = "Chat")]
    chat: bool,
    /// Say this after joining; may be given several times.
    #[arg(long, value_name = "TEXT", value_parser = words_to_say, help_heading = "Chat")]
    say: Vec<String>,

    /// The meeting's secret, where it does not stand behind the # of the address: a file that holds
    /// it, or - for a line of standard input. It is never taken from the command line itself, which
    /// everybody on a machine can read.
    #[arg(long, value_name = "FILE|-", help_heading = "End-to-end encryption", verbatim_doc_comment)]
    e2ee_secret: Option<PathBuf>,

    /// One JSON object a line on standard output, for programs.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Say every so many seconds (5 unless a number follows) how publishing and receiving go:
    /// bitrate, frames, delay, jitter, what limits it, drops by cause.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = interval,
        num_args = 0..=1,
        default_missing_value = "5",
        help_heading = "Output",
        verbatim_doc_comment
    )]
    stats: Option<Duration>,
    /// What is logged to standard error, such as dark_tower_client=debug; warnings otherwise.
    #[arg(
        long,
        default_value = LOG_DEFAULT,
        hide_default_value = true,
        value_name = "FILTER",
        value_parser = crate::dev::log_filter,
        env = "DARK_TOWER__LOG__FILTER",
        hide_env_values = true,
        help_heading = "Output"
    )]
    log: String,

    /// Believe this certificate authority (PEM) besides the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "Trust")]
    ca: Option<PathBuf>,
    /// Believe any certificate: for laboratories, where nobody listens in.
    #[arg(long, help_heading = "Trust")]
    insecure: bool,
}

impl JoinArgs {
    /// What is wanted of others: what was asked for, else everything to be recorded, else nothing.
    fn wishes(&self) -> Vec<Wish> {
        if self.subscribe.is_empty() && self.record.is_some() { vec![Wish::All] } else { self.subscribe.clone() }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    const RIGHT: &str = "a number of seconds is needed, such as 60 or 0.5";
    let seconds: f64 = text.parse().map_err(|_| RIGHT.to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| RIGHT.to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    seconds(text)
        .and_then(|interval| if interval < Duration::from_millis(100) { Err("at least 0.1 is needed".to_owned()) } else { Ok(interval) })
}

fn frame_rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= FPS_MAX);
    rate.ok_or_else(|| format!("a number of frames a second is needed, above 0 and at most {FPS_MAX}, such as 30 or 29.97"))
}

fn display_name(text: &str) -> Result<String, String> {
    common_core::name::parse_name(text).map(str::to_owned).map_err(|error| error.to_string())
}

fn words_to_say(text: &str) -> Result<String, String> {
    match text.len() {
        _ if text.trim().is_empty() => Err("there is nothing to say in it".to_owned()),
        length if length > SAY_BYTES_MAX => Err(format!("{length} bytes are over the limit of {SAY_BYTES_MAX} of a chat message")),
        _ => Ok(text.to_owned()),
    }
}

/// Runs until the end that was asked for; the exit codes are in the help text. What goes wrong is told here.
pub async fn run(args: JoinArgs) -> anyhow::Result<ExitCode> {
    let report = Report::new(args.json);
    Ok(join(args, report).await.unwrap_or_else(|error| output::end(COMMAND, &error)))
}

/// What single arguments do not show: how they go together.
fn check(args: &JoinArgs) -> Result<(), Usage> {
    let readers = [args.chat, args.url == "-", args.e2ee_secret.as_deref() == Some("-".as_ref())];
    if readers.into_iter().filter(|wants| *wants).count() > 1 {
        let problem = "only one of --chat, --url - and --e2ee-secret - can have standard input; DARK_TOWER_MEETING_URL takes the address";
        return Err(Usage(problem.to_owned()));
    }
    if args.record.is_some() && !args.subscribe.is_empty() && args.subscribe.iter().all(|wish| *wish == Wish::None) {
        return Err(Usage("--record with --subscribe none would write nothing: leave --subscribe out, or say what to receive".to_owned()));
    }
    Ok(())
}

/// A meeting's address as people are sent it.
fn meeting_url(text: &str) -> Result<MeetingUrl, Usage> {
    MeetingUrl::parse(text).map_err(|error| Usage(format!("--url: {error}")))
}

async fn join(args: JoinArgs, report: Report) -> anyhow::Result<ExitCode> {
    init_logging(&LogConfig { filter: args.log.clone(), ..LogConfig::default() });
    check(&args)?;
    let given = if args.url == "-" { None } else { Some(given_address(&args, report)?) };
    let shutdown = Shutdown::on_signals()?;
    let sources = source::open(&args.publish, args.fps, args.repeat, report)?;
    if let Some(dir) = &args.record {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let entered = tokio::select! {
        entered = enter(&args, given) => entered?,
        () = shutdown.drain.cancelled() => {
            report.line(&Line::Left { reason: "a signal came" })?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match entered {
        Ok(joined) => attend::attend(args, joined, sources, shutdown, report).await,
        Err(Refused { code, message }) => {
            report.line(&Line::Refused { code: &code, message: &message })?;
            Ok(ExitCode::from(EXIT_REFUSED))
        }
    }
}

/// Somebody said no.
struct Refused {
    code: String,
    message: String,
}

/// From the address to the meeting.
async fn enter(args: &JoinArgs, given: Option<MeetingUrl>) -> anyhow::Result<Result<Joined, Refused>> {
    let trust = trust(args)?;
    let meeting_url = match given {
        Some(given) => given,
        None => match first_line().await.context("cannot read the address from standard input")?.trim() {
            "" => return Err(Usage("--url -: standard input has no address".to_owned()).into()),
            line => meeting_url(line)?,
        },
    };
    // Before anybody is asked: what is wrong on this side is told first.
    let secret = secret(args, meeting_url.secret()).await?;
    let api = Api::new(&trust)?;
    let admission = match api.join(&meeting_url, &args.name, None).await {
        Ok(admission) => admission,
        Err(ApiError::Refused { status, code, message, retry_after }) => {
            let later = retry_after.map(|it| format!("; try again in {} s", it.as_secs().max(1))).unwrap_or_default();
            return Ok(Err(Refused { code, message: format!("{message} (HTTP {status}){later}") }));
        }
        Err(error @ ApiError::Unreachable { .. }) if matches!(trust, Trust::System) && meeting_url.is_https() => {
            return Err(anyhow::Error::from(error).context("a certificate of one's own needs --ca FILE, or --insecure in a laboratory"));
        }
        Err(error) => return Err(error.into()),
    };
    let options = JoinOptions {
        trust,
        secret,
        auto_subscribe: subscribe::is_everything(&args.wishes()),
        tickets: Some(Arc::new(MeetingTickets::new(api, meeting_url, &args.name, None))),
        ..admission.into_options(&args.name)
    };
    match Client::new()?.join(options).await {
        Ok(joined) => Ok(Ok(joined)),
        Err(JoinError::Refused { code, message }) => Ok(Err(Refused { code: code.name().to_owned(), message })),
        Err(JoinError::Encryption(error)) => Ok(Err(Refused { code: error.name().to_owned(), message: error.to_string() })),
        Err(JoinError::Ticket(TicketError::Refused { code, message })) => Ok(Err(Refused { code, message })),
        Err(error) => Err(error.into()),
    }
}

/// The meeting's address, from the command line or the environment.
fn given_address(args: &JoinArgs, report: Report) -> Result<MeetingUrl, Usage> {
    let is_in_sight = std::env::args().any(|argument| argument.contains('#') && argument.ends_with(&args.url));
    if is_in_sight {
        report.warn(
            "what follows # in --url is a secret, and everybody on this machine can read it there: use --url - or DARK_TOWER_MEETING_URL",
        );
    }
    meeting_url(&args.url)
}

/// The first line of standard input, read in a thread that a signal may leave behind: nothing else can wait for a terminal.
async fn first_line() -> anyhow::Result<String> {
    let (line, read) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let outcome = std::io::BufReader::new(std::io::stdin().take(INPUT_BYTES_MAX)).read_line(&mut text);
        // Nobody waits any more after a signal.
        let _ = line.send(outcome.map(|_| text));
    });
    Ok(read.await??)
}

/// The meeting's secret: what `--e2ee-secret` leads to, else what stands behind the `#` of the address.
async fn secret(args: &JoinArgs, of_address: Option<&Secret>) -> anyhow::Result<Option<Secret>> {
    let Some(path) = &args.e2ee_secret else { return Ok(of_address.cloned()) };
    let is_typed = path.as_os_str() == "-";
    let text = if is_typed {
        first_line().await.context("cannot read the secret from standard input")?
    } else {
        let read = std::fs::File::open(path).and_then(|file| std::io::read_to_string(file.take(INPUT_BYTES_MAX)));
        read.with_context(|| format!("cannot read {}", path.display()))?
    };
    // As it stands in a link, or bare.
    let text = text.trim().trim_start_matches('#').trim_start_matches("k=");
    match Secret::from_text(text) {
        Ok(secret) => Ok(Some(secret)),
        Err(error) if is_typed => Err(Usage(format!("--e2ee-secret: {error}")).into()),
        Err(error) => Err(error).with_context(|| format!("{} holds no secret of a meeting", path.display())),
    }
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
