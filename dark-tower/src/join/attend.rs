//! From joining to leaving: what happens in the meeting is told, what is asked for is done.

use std::process::ExitCode;
use std::time::Duration;

use client::file::{FrameSource, PublishError, Publishing, Recorder, Recording, RecordingError};
use client::roster::{LeaveReason, StateUpdate};
use client::{Event, Events, Joined, Meeting, PublisherCounts, ReceivedRecord, Records, RequestError, SessionEnd};
use common::shutdown::Shutdown;
use common_core::media::{LATENCY_DEFAULT, MediaStream, SubscriptionOptions};
use common_core::{Code, StreamId};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::names::Names;
use super::report::{Line, Report};
use super::subscribe::{Tally, Wish, is_everything, is_wanted, subscribe};
use super::words::{self, Words};
use super::{EXIT_KICKED, EXIT_LOST, EXIT_REFUSED, JoinArgs, table};
use crate::output::OutputError;

/// Latency budget of a recording, where nobody waits for the frames.
const RECORDING_LATENCY: Duration = Duration::from_secs(10);

/// From a second signal on, so long may the goodbye take: a round trip or two, and a little patience less than a person's.
const HURRIED_GOODBYE: Duration = Duration::from_secs(1);

/// Why the meeting ends for us.
enum End {
    AsAsked(&'static str),
    Refused(String),
    Kicked,
    Closed(SessionEnd),
}

impl End {
    fn signalled() -> Self {
        Self::AsAsked("a signal came")
    }

    /// In words, and as an exit code.
    fn verdict(self) -> (String, ExitCode) {
        match self {
            Self::AsAsked(reason) => (reason.to_owned(), ExitCode::SUCCESS),
            Self::Refused(reason) => (reason, ExitCode::from(EXIT_REFUSED)),
            Self::Kicked => ("removed by a host".to_owned(), ExitCode::from(EXIT_KICKED)),
            Self::Closed(end) if end.code() == Some(Code::Normal) => ("the meeting is over".to_owned(), ExitCode::SUCCESS),
            Self::Closed(end @ SessionEnd::Closed { .. }) => (end.to_string(), ExitCode::from(EXIT_REFUSED)),
            Self::Closed(end @ SessionEnd::Lost(_)) => (end.to_string(), ExitCode::from(EXIT_LOST)),
        }
    }
}

/// What is received, and what becomes of it.
struct Inflow {
    wishes: Vec<Wish>,
    options: SubscriptionOptions,
    /// The default subscription, which the controller makes by itself, is not what is wanted.
    is_explicit: bool,
    recorder: Option<Recorder>,
    tally: Tally,
    subscribing: JoinSet<Result<(), RequestError>>,
}

impl Inflow {
    fn new(args: &JoinArgs) -> Self {
        let wishes = args.wishes();
        let default = if args.record.is_some() { RECORDING_LATENCY } else { LATENCY_DEFAULT };
        let latency = args.latency.unwrap_or(u32::try_from(default.as_millis()).unwrap_or(u32::MAX));
        let options = SubscriptionOptions { max_latency_ms: latency, ..SubscriptionOptions::default() };
        let is_explicit = !is_everything(&wishes) || args.record.is_some() || args.latency.is_some();
        let budget = options.latency_budget();
        let recorder = args.record.as_ref().map(|dir| Recorder::start(dir.clone(), budget));
        Self { wishes, options, is_explicit, recorder, tally: Tally::default(), subscribing: JoinSet::new() }
    }

    /// A media stream is there.
    async fn meet(&mut self, meeting: &Meeting, stream: &MediaStream) {
        if !is_wanted(&self.wishes, stream, &meeting.roster()) {
            return;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.know(stream.clone()).await;
        }
        if self.is_explicit {
            subscribe(&mut self.subscribing, meeting, stream.stream_id, &self.options);
        }
    }

    async fn meet_all(&mut self, meeting: &Meeting) {
        for stream in meeting.roster().streams() {
            self.meet(meeting, stream).await;
        }
    }

    async fn record(&mut self, meeting: &Meeting, record: ReceivedRecord) {
        self.tally.record(&record, &meeting.roster());
        if let Some(recorder) = &mut self.recorder {
            recorder.record(record).await;
        }
    }

    /// Takes what still waits, and writes the files to their end.
    async fn finish(&mut self, meeting: &Meeting, records: &mut Records) -> Result<Vec<Recording>, RecordingError> {
        while let Some(record) = records.try_next() {
            self.record(meeting, record).await;
        }
        match self.recorder.take() {
            Some(recorder) => recorder.finish().await,
            None => Ok(Vec::new()),
        }
    }
}

/// Takes part until something ends it. Whatever that is, the others hear a goodbye, and what was recorded is whole.
pub(super) async fn attend(
    args: JoinArgs,
    joined: Joined,
    sources: Vec<Box<dyn FrameSource>>,
    shutdown: Shutdown,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let Joined { meeting, mut events, mut records } = joined;
    let mut stay = Stay::new(&args, meeting, report);
    let prepared = tokio::select! {
        prepared = stay.prepare(&args, sources) => prepared,
        () = shutdown.drain.cancelled() => Ok(Some(End::signalled())),
    };
    let end = match prepared {
        Ok(None) => stay.take_part(&args, &mut events, &mut records, &shutdown).await,
        Ok(Some(end)) => Ok(end),
        Err(error) => Err(error),
    };
    let counts = goodbye(stay.publishing.take(), &stay.meeting, &shutdown).await;
    let recordings = stay.inflow.finish(&stay.meeting, &mut records).await;
    let end = end?;
    stay.account(counts, recordings?, &records)?;
    let (reason, code) = end.verdict();
    report.line(&Line::Left { reason: &reason })?;
    Ok(code)
}

/// Ends the sending and leaves; from a second signal on within a second.
async fn goodbye(publishing: Option<Publishing>, meeting: &Meeting, shutdown: &Shutdown) -> Vec<(StreamId, PublisherCounts)> {
    let counts = match publishing {
        Some(publishing) => tokio::select! {
            counts = publishing.end() => counts,
            () = shutdown.now.cancelled() => Vec::new(),
        },
        None => Vec::new(),
    };
    let hurry = async {
        shutdown.now.cancelled().await;
        tokio::time::sleep(HURRIED_GOODBYE).await;
    };
    tokio::select! {
        () = meeting.leave() => {}
        () = hurry => {}
    }
    counts
}

/// A participant between joining and leaving.
struct Stay {
    meeting: Meeting,
    report: Report,
    names: Names,
    inflow: Inflow,
    publishing: Option<Publishing>,
    /// Goes on when all is published and said.
    stays: bool,
}

impl Stay {
    fn new(args: &JoinArgs, meeting: Meeting, report: Report) -> Self {
        let has_nothing_to_do = args.publish.is_empty() && args.say.is_empty();
        let stays = args.repeat || args.record.is_some() || !args.subscribe.is_empty() || args.chat || has_nothing_to_do;
        let mut names = Names::default();
        names.fill(&meeting.me(), &meeting.roster());
        Self { meeting, report, names, inflow: Inflow::new(args), publishing: None, stays }
    }

    /// Tells who is here, publishes, says what is to be said; the end, if that was all.
    async fn prepare(&mut self, args: &JoinArgs, sources: Vec<Box<dyn FrameSource>>) -> anyhow::Result<Option<End>> {
        let (meeting, report) = (&self.meeting, self.report);
        let roster = meeting.roster();
        report.line(&Line::Joined { me: &meeting.me(), participants: roster.len() })?;
        for participant in roster.participants() {
            report.participant(participant, &self.names)?;
        }
        self.inflow.meet_all(meeting).await;
        let publishing = match Publishing::start(meeting, sources).await {
            Ok(publishing) => self.publishing.insert(publishing),
            Err(error @ PublishError::Request { error: RequestError::Refused { .. }, .. }) => {
                return Ok(Some(End::Refused(error.to_string())));
            }
            Err(error) => return Err(error.into()),
        };
        for published in publishing.streams() {
            report.line(&Line::Publishing { stream_id: published.stream_id, codec: &published.codec })?;
        }
        // Everybody is taken for unmuted and without a picture until they say otherwise.
        let is_heard = publishing.streams().iter().any(|stream| stream.stream_type.is_audio());
        let is_seen = publishing.streams().iter().any(|stream| !stream.stream_type.is_audio());
        say_state(meeting, is_heard, is_seen, report).await;
        let mut is_all_said = true;
        for text in &args.say {
            is_all_said &= say(meeting, text, report).await;
        }
        Ok(match (self.stays || !args.publish.is_empty(), is_all_said) {
            (true, _) => None,
            (false, true) => Some(End::AsAsked("all is said")),
            (false, false) => Some(End::Refused("not all was said".to_owned())),
        })
    }

    async fn take_part(&mut self, args: &JoinArgs, events: &mut Events, records: &mut Records, shutdown: &Shutdown) -> anyhow::Result<End> {
        let mut speaking = JoinSet::new();
        if args.chat {
            speaking.spawn(speak(self.meeting.clone(), self.report));
        }
        let mut stats = args.stats.map(tokio::time::interval);
        if let Some(stats) = &mut stats {
            stats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first tick is at once, and there is nothing to tell yet.
            stats.tick().await;
        }
        let over = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        let mut was_kicked = false;
        loop {
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { return Ok(End::Closed(SessionEnd::lost("the session ended"))) };
                    match &event {
                        // A kick closes with FORBIDDEN; nothing else does while one is inside.
                        Event::Closed { end } if was_kicked || end.code() == Some(Code::Forbidden) => return Ok(End::Kicked),
                        Event::Closed { end } => return Ok(End::Closed(end.clone())),
                        Event::ParticipantLeft { participant_id, reason: LeaveReason::Kicked } => {
                            was_kicked |= *participant_id == self.meeting.participant_id();
                        }
                        _ => {}
                    }
                    self.heed(&event).await?;
                }
                Some(record) = records.next() => self.inflow.record(&self.meeting, record).await,
                Some(subscribed) = self.inflow.subscribing.join_next() => {
                    if let Ok(Err(error)) = subscribed {
                        self.report.warn(&format!("a subscription was not granted: {error}"));
                    }
                }
                result = finished(&mut self.publishing) => {
                    result?;
                    if !self.stays {
                        return Ok(End::AsAsked("all files are published"));
                    }
                    for stream in self.publishing.iter().flat_map(Publishing::streams) {
                        // What the meeting knows no longer need not be taken back.
                        let _ = self.meeting.unpublish(stream.stream_id).await;
                    }
                    say_state(&self.meeting, false, false, self.report).await;
                }
                Some(spoken) = speaking.join_next() => spoken?,
                () = next_tick(&mut stats) => self.report.stats(table::describe(&self.meeting.stats(), &self.meeting.roster()))?,
                () = &mut over => return Ok(End::AsAsked("the time is over")),
                () = shutdown.drain.cancelled() => return Ok(End::signalled()),
            }
        }
    }

    /// Does what an event asks for, and tells it.
    async fn heed(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::StreamPublished(stream) => self.inflow.meet(&self.meeting, stream).await,
            Event::ParticipantJoined(participant) => {
                for stream in participant.streams.values() {
                    self.inflow.meet(&self.meeting, stream).await;
                }
            }
            Event::Lagged { .. } => self.inflow.meet_all(&self.meeting).await,
            _ => {}
        }
        self.names.before(event);
        let told = self.report.event(event, &self.names);
        self.names.after(event);
        if matches!(event, Event::Lagged { .. } | Event::Rejoined { .. }) {
            self.names.fill(&self.meeting.me(), &self.meeting.roster());
        }
        Ok(told?)
    }

    /// Tells what became of everything.
    fn account(&self, counts: Vec<(StreamId, PublisherCounts)>, recordings: Vec<Recording>, records: &Records) -> Result<(), OutputError> {
        for (stream_id, counts) in counts {
            let PublisherCounts { sent, dropped, late_groups, .. } = counts;
            self.report.line(&Line::Published { stream_id, sent, dropped, late_groups })?;
        }
        for (stream_id, received) in self.inflow.tally.received() {
            let from = received.participant_id.map_or_else(|| "somebody".to_owned(), |id| self.names.of(id));
            self.report.line(&Line::Received { stream_id, from: &from, received })?;
        }
        for recording in &recordings {
            self.report.line(&Line::Recorded(recording))?;
        }
        if records.dropped_groups() > 0 {
            self.report.warn(&format!("{} groups were cut short: this machine was too slow", records.dropped_groups()));
        }
        Ok(())
    }
}

/// Waits until all is published, and for ever if nothing is.
async fn finished(publishing: &mut Option<Publishing>) -> Result<(), PublishError> {
    match publishing {
        Some(publishing) => publishing.finished().await,
        None => std::future::pending().await,
    }
}

/// Says every line of standard input, one after the other; a slow answer holds nothing else up.
async fn speak(meeting: Meeting, report: Report) {
    let mut lines = words::of_standard_input();
    while let Some(words) = lines.recv().await {
        match words {
            Words::Say(text) => drop(say(&meeting, &text, report).await),
            Words::Unfit => report.warn("a line that is no text, or longer than 4096 bytes, was not said"),
        }
    }
}

async fn next_tick(stats: &mut Option<tokio::time::Interval>) {
    match stats {
        Some(stats) => drop(stats.tick().await),
        None => std::future::pending().await,
    }
}

/// Says it; that it fails is told, and ends nothing. Answers whether it was said.
async fn say(meeting: &Meeting, text: &str, report: Report) -> bool {
    let said = meeting.chat(text).await;
    if let Err(error) = &said {
        report.warn(&format!("not said: {error}"));
    }
    said.is_ok()
}

/// Tells the others whether there is sound and a picture. That it fails does not end anything: the frames flow all the same.
async fn say_state(meeting: &Meeting, is_heard: bool, is_seen: bool, report: Report) {
    let update = StateUpdate { is_muted: Some(!is_heard), is_video_on: Some(is_seen), audio_level: None };
    if let Err(error) = meeting.update_state(update).await {
        report.warn(&format!("the others are not told what is published: {error}"));
    }
}
