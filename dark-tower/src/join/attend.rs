//! From joining to leaving: what happens in the meeting is told, what is asked for is done.

use std::process::ExitCode;
use std::time::Duration;

use client::file::{FrameSource, Publishing, Recorder};
use client::roster::{LeaveReason, StateUpdate};
use client::{Event, Joined, Meeting, ReceivedRecord, Records, RequestError, SessionEnd};
use common::shutdown::Shutdown;
use common_core::Code;
use common_core::media::{LATENCY_DEFAULT, MediaStream, SubscriptionOptions};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::report::{Line, Report};
use super::subscribe::{Tally, Wish, is_everything, is_wanted, subscribe};
use super::words::{self, Words};
use super::{EXIT_KICKED, EXIT_LOST, EXIT_REFUSED, JoinArgs, table};

/// Latency budget of a recording, where nobody waits for the frames.
const RECORDING_LATENCY: Duration = Duration::from_secs(10);

/// Why the meeting ends for us.
enum End {
    AsAsked(&'static str),
    Kicked,
    Closed(SessionEnd),
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

    async fn finish(mut self, meeting: &Meeting, records: &mut Records, report: Report) -> anyhow::Result<()> {
        while let Some(record) = records.try_next() {
            self.record(meeting, record).await;
        }
        for (stream_id, received) in self.tally.received() {
            report.line(&Line::Received { stream_id, received })?;
        }
        if let Some(recorder) = self.recorder {
            for recording in recorder.finish().await? {
                report.line(&Line::Recorded(&recording))?;
            }
        }
        if records.dropped_groups() > 0 {
            report.warn(&format!("{} groups were cut short: this machine was too slow", records.dropped_groups()))?;
        }
        Ok(())
    }
}

/// Takes part until something ends it.
pub(super) async fn attend(
    args: JoinArgs,
    joined: Joined,
    sources: Vec<Box<dyn FrameSource>>,
    shutdown: Shutdown,
    report: Report,
) -> anyhow::Result<ExitCode> {
    let Joined { meeting, mut events, mut records } = joined;
    report.line(&Line::Joined { participant_id: meeting.participant_id(), participants: meeting.roster().len() })?;
    for participant in meeting.roster().participants() {
        report.participant(participant)?;
    }
    let mut inflow = Inflow::new(&args);
    inflow.meet_all(&meeting).await;

    let has_nothing_to_do = sources.is_empty() && args.say.is_empty();
    let stays = args.repeat || args.record.is_some() || !args.subscribe.is_empty() || args.chat || has_nothing_to_do;
    let mut publishing = Publishing::start(&meeting, sources).await?;
    for published in publishing.streams() {
        report.line(&Line::Publishing { stream_id: published.stream_id, codec: &published.codec })?;
    }
    // Everybody is taken for unmuted and without a picture until they say otherwise.
    let is_heard = publishing.streams().iter().any(|stream| stream.stream_type.is_audio());
    let is_seen = publishing.streams().iter().any(|stream| !stream.stream_type.is_audio());
    say_state(&meeting, is_heard, is_seen, report).await?;
    let mut is_all_said = true;
    for text in &args.say {
        is_all_said &= say(&meeting, text, report).await?;
    }
    if !stays && publishing.streams().is_empty() {
        meeting.leave().await;
        let (reason, code) =
            if is_all_said { ("all is said", ExitCode::SUCCESS) } else { ("not all was said", ExitCode::from(EXIT_REFUSED)) };
        report.line(&Line::Left { reason })?;
        return Ok(code);
    }

    let mut speaking = JoinSet::new();
    if args.chat {
        speaking.spawn(speak(meeting.clone(), report));
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
    let end = loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { break End::Closed(SessionEnd::lost("the session ended")) };
                match &event {
                    // A kick closes with FORBIDDEN; nothing else does while one is inside.
                    Event::Closed { end } if was_kicked || end.code() == Some(Code::Forbidden) => break End::Kicked,
                    Event::Closed { end } => break End::Closed(end.clone()),
                    Event::ParticipantLeft { participant_id, reason: LeaveReason::Kicked } => {
                        was_kicked |= *participant_id == meeting.participant_id();
                    }
                    Event::StreamPublished(stream) => inflow.meet(&meeting, stream).await,
                    Event::ParticipantJoined(participant) => {
                        for stream in participant.streams.values() {
                            inflow.meet(&meeting, stream).await;
                        }
                    }
                    Event::Lagged { .. } => inflow.meet_all(&meeting).await,
                    _ => {}
                }
                report.event(&event)?;
            }
            Some(record) = records.next() => inflow.record(&meeting, record).await,
            Some(subscribed) = inflow.subscribing.join_next() => {
                if let Ok(Err(error)) = subscribed {
                    report.warn(&format!("a subscription was not granted: {error}"))?;
                }
            }
            result = publishing.finished() => {
                result?;
                if !stays {
                    break End::AsAsked("all files are published");
                }
                for stream in publishing.streams() {
                    // What the meeting knows no longer need not be taken back.
                    let _ = meeting.unpublish(stream.stream_id).await;
                }
                say_state(&meeting, false, false, report).await?;
            }
            Some(spoken) = speaking.join_next() => spoken??,
            () = next_tick(&mut stats) => report.stats(table::describe(&meeting.stats(), &meeting.roster()))?,
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
    inflow.finish(&meeting, &mut records, report).await?;
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

/// Says every line of standard input, one after the other; a slow answer holds nothing else up.
async fn speak(meeting: Meeting, report: Report) -> anyhow::Result<()> {
    let mut lines = words::of_standard_input();
    while let Some(words) = lines.recv().await {
        match words {
            Words::Say(text) => drop(say(&meeting, &text, report).await?),
            Words::Unfit => report.warn("a line that is no text, or longer than 4096 bytes, was not said")?,
        }
    }
    Ok(())
}

async fn next_tick(stats: &mut Option<tokio::time::Interval>) {
    match stats {
        Some(stats) => drop(stats.tick().await),
        None => std::future::pending().await,
    }
}

/// Says it; that it fails is told, and ends nothing. Answers whether it was said.
async fn say(meeting: &Meeting, text: &str, report: Report) -> anyhow::Result<bool> {
    match meeting.chat(text).await {
        Ok(_) => Ok(true),
        Err(error) => {
            report.warn(&format!("not said: {error}"))?;
            Ok(false)
        }
    }
}

/// Tells the others whether there is sound and a picture. That it fails does not end anything: the frames flow all the same.
async fn say_state(meeting: &Meeting, is_heard: bool, is_seen: bool, report: Report) -> anyhow::Result<()> {
    let update = StateUpdate { is_muted: Some(!is_heard), is_video_on: Some(is_seen), audio_level: None };
    if let Err(error) = meeting.update_state(update).await {
        report.warn(&format!("the others are not told what is published: {error}"))?;
    }
    Ok(())
}
