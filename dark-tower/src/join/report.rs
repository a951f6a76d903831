//! What `dark-tower join` prints: a line for people, or a JSON object a line for programs. Names of strangers are escaped. Lines for people have
//! names and the beginnings of ids, objects whole ids.

use std::io::Write;

use client::file::Recording;
use client::roster::{LeaveReason, StateUpdate};
use client::{Event, Participant};
use common_core::StreamId;
use common_core::media::MediaStream;
use serde_json::{Value, json};

use super::names::{Names, short, shown_name};
use super::subscribe::Received;
use crate::output::{OutputError, complain};

/// What happened here (events of the meeting are [`Event`]s).
pub(super) enum Line<'a> {
    Joined { me: &'a Participant, participants: usize },
    Refused { code: &'a str, message: &'a str },
    Publishing { stream_id: StreamId, codec: &'a str },
    Published { stream_id: StreamId, sent: u64, dropped: u64, late_groups: u64 },
    Received { stream_id: StreamId, from: &'a str, received: Received },
    Recorded(&'a Recording),
    Left { reason: &'a str },
}

/// Prints to standard output; warnings go to standard error.
#[derive(Clone, Copy)]
pub(super) struct Report {
    json: bool,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Where standard error is closed, nobody is told.
    pub(super) fn warn(&self, text: &str) {
        complain(super::COMMAND, text);
    }

    pub(super) fn line(&self, line: &Line<'_>) -> Result<(), OutputError> {
        if let (Line::Refused { code, message }, false) = (line, self.json) {
            self.warn(&format!("refused: {message} [{code}]"));
            return Ok(());
        }
        let (words, value) = describe_line(line);
        self.print(&words, &value)
    }

    /// Somebody who was here before us.
    pub(super) fn participant(&self, participant: &Participant, names: &Names) -> Result<(), OutputError> {
        let (words, value) = describe_participant("participant_present", "is here", participant);
        self.print(&words, &value)?;
        for stream in participant.streams.values() {
            let (words, value) = describe_stream(stream, names);
            self.print(&words, &value)?;
        }
        Ok(())
    }

    /// Events that nobody at a terminal needs have no line.
    pub(super) fn event(&self, event: &Event, names: &Names) -> Result<(), OutputError> {
        match describe_event(event, names) {
            Some((words, value)) => self.print(&words, &value),
            None => Ok(()),
        }
    }

    /// Statistics, as the table or the object that was made of them.
    pub(super) fn stats(&self, (words, value): (String, Value)) -> Result<(), OutputError> {
        self.print(&words, &value)
    }

    fn print(&self, words: &str, value: &Value) -> Result<(), OutputError> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{value}")?;
        } else {
            writeln!(out, "{words}")?;
        }
        // Whoever reads waits for whole lines, in a pipe too.
        Ok(out.flush()?)
    }
}

fn shown(text: &str) -> String {
    common_core::name::escape(text, 200)
}

fn describe_line(line: &Line<'_>) -> (String, Value) {
    match line {
        Line::Joined { me, participants } => {
            let others = match participants {
                0 => "nobody else is here".to_owned(),
                1 => "one other is here".to_owned(),
                more => format!("{more} others are here"),
            };
            (
                format!("joined as {} ({}); {others}", shown_name(&me.name), short(me.participant_id)),
                json!({"event": "joined", "participant_id": me.participant_id.to_string(), "name": me.name, "participants": participants}),
            )
        }
        Line::Refused { code, message } => {
            (format!("refused: {message} [{code}]"), json!({"event": "refused", "code": code, "message": message}))
        }
        Line::Publishing { stream_id, codec } => (
            format!("publishing {codec} ({})", short(stream_id)),
            json!({"event": "publishing", "stream_id": stream_id.to_string(), "codec": codec}),
        ),
        Line::Published { stream_id, sent, dropped, late_groups } => (
            format!("published ({}): {sent} records, {dropped} dropped, {late_groups} groups late", short(stream_id)),
            json!({"event": "published", "stream_id": stream_id.to_string(), "records": sent, "dropped": dropped, "late_groups": late_groups}),
        ),
        Line::Received { stream_id, from, received } => (
            format!(
                "received {} of {from} ({}): {} frames in {} records, {} bytes",
                if received.is_audio { "sound" } else { "pictures" },
                short(stream_id),
                received.frames,
                received.records,
                received.bytes
            ),
            json!({
                "event": "received",
                "stream_id": stream_id.to_string(),
                "participant_id": received.participant_id.map(|id| id.to_string()),
                "is_audio": received.is_audio,
                "frames": received.frames,
                "key_frames": received.key_frames,
                "records": received.records,
                "bytes": received.bytes,
            }),
        ),
        Line::Recorded(summary) => (
            format!(
                "recorded {}: {} frames in {} records, {} bytes, {} missing",
                summary.path.display(),
                summary.frames,
                summary.records,
                summary.bytes,
                summary.missing
            ),
            json!({
                "event": "recorded",
                "path": summary.path.to_string_lossy(),
                "participant_id": summary.participant_id.to_string(),
                "stream_id": summary.stream_id.to_string(),
                "codec": summary.codec.name(),
                "frames": summary.frames,
                "records": summary.records,
                "bytes": summary.bytes,
                "missing": summary.missing,
                "first_sequence": summary.first_sequence,
                "last_sequence": summary.last_sequence,
                "sha256": summary.sha256,
            }),
        ),
        Line::Left { reason } => (format!("left: {reason}"), json!({"event": "left", "reason": reason})),
    }
}

fn describe_participant(event: &str, verb: &str, participant: &Participant) -> (String, Value) {
    (
        format!("{} ({}) {verb}", shown_name(&participant.name), short(participant.participant_id)),
        json!({"event": event, "participant_id": participant.participant_id.to_string(), "name": participant.name, "role": participant.role}),
    )
}

fn describe_stream(stream: &MediaStream, names: &Names) -> (String, Value) {
    let (width, height) = stream.video.as_ref().map_or((0, 0), |video| (video.width, video.height));
    let size = if width > 0 { format!(" {width}x{height}") } else { String::new() };
    (
        format!("{} publishes {}{size} ({})", names.of(stream.participant_id), shown(&stream.codec), short(stream.stream_id)),
        json!({
            "event": "stream_published",
            "participant_id": stream.participant_id.to_string(),
            "name": names.plain(stream.participant_id),
            "stream_id": stream.stream_id.to_string(),
            "codec": stream.codec,
            "is_audio": stream.stream_type.is_audio(),
            "width": width,
            "height": height,
        }),
    )
}

fn describe_event(event: &Event, names: &Names) -> Option<(String, Value)> {
    Some(match event {
        Event::ParticipantJoined(participant) => describe_participant("participant_joined", "joined", participant),
        Event::ParticipantLeft { participant_id, reason } => {
            let how = match reason {
                LeaveReason::Voluntary => "left",
                LeaveReason::Kicked => "was removed by a host",
                LeaveReason::ConnectionLost => "is gone: the connection was lost",
                LeaveReason::MeetingEnded => "is gone: the meeting is over",
            };
            let id = participant_id.to_string();
            (
                format!("{} {how}", names.of(*participant_id)),
                json!({"event": "participant_left", "participant_id": id, "name": names.plain(*participant_id), "reason": reason.name()}),
            )
        }
        Event::StreamPublished(stream) => describe_stream(stream, names),
        Event::StreamUnpublished { participant_id, stream_id } => (
            format!("{} no longer publishes ({})", names.of(*participant_id), short(stream_id)),
            json!({"event": "stream_unpublished", "participant_id": participant_id.to_string(), "stream_id": stream_id.to_string()}),
        ),
        Event::StateChanged { participant_id, update } => {
            // Levels come twice a second.
            update.is_muted.or(update.is_video_on)?;
            (
                format!("{}: {}", names.of(*participant_id), state_words(update)),
                json!({
                    "event": "state_changed",
                    "participant_id": participant_id.to_string(),
                    "is_muted": update.is_muted,
                    "is_video_on": update.is_video_on,
                }),
            )
        }
        Event::Chat(chat) => (
            format!("{}: {}", sender(chat), common_core::name::escape(&chat.content, 4_096)),
            json!({
                "event": "chat",
                "sequence": chat.sequence,
                "sender_id": chat.sender_id,
                "sender_name": chat.sender_name,
                "content": chat.content,
                "sent_at_ms": chat.sent_at_ms,
            }),
        ),
        Event::ChatUndecryptable(chat) => (
            format!("{}: a message that cannot be decrypted", sender(chat)),
            json!({"event": "chat_undecryptable", "sequence": chat.sequence, "sender_id": chat.sender_id, "sender_name": chat.sender_name}),
        ),
        Event::Undecryptable { stream_id, records } => (
            format!("{records} records of ({}) cannot be decrypted", short(stream_id)),
            json!({"event": "undecryptable", "stream_id": stream_id.to_string(), "records": records}),
        ),
        Event::MuteRequested { microphone, camera, reason } => (
            format!("asked to be quiet (microphone: {microphone}, camera: {camera}): {}", shown(reason)),
            json!({"event": "mute_requested", "microphone": microphone, "camera": camera, "reason": reason}),
        ),
        Event::PublisherBehind { stream_id } => (
            format!("the uplink is too slow for ({}): a group was broken off", short(stream_id)),
            json!({"event": "publisher_behind", "stream_id": stream_id.to_string()}),
        ),
        Event::Reconnecting { reason } => (format!("reconnecting: {reason}"), json!({"event": "reconnecting", "reason": reason})),
        Event::Resumed => ("resumed".to_owned(), json!({"event": "resumed"})),
        Event::Rejoined { before, now } => (
            format!("joined anew, as ({}); the place of ({}) was lost", short(now), short(before)),
            json!({"event": "rejoined", "participant_id": now.to_string(), "before": before.to_string()}),
        ),
        Event::NotRestored { stream_id, error } => (
            format!("({}) could not be renewed: {}", short(stream_id), shown(&error.to_string())),
            json!({"event": "not_restored", "stream_id": stream_id.to_string(), "code": error.code().map(common_core::Code::name)}),
        ),
        Event::MediaLost { reason } => (format!("no media: {}", shown(reason)), json!({"event": "media_lost", "reason": reason})),
        Event::MediaServerChanged { url } => (format!("media over {}", shown(url)), json!({"event": "media_server", "url": url})),
        Event::Lagged { missed } => (format!("{missed} events were missed"), json!({"event": "lagged", "missed": missed})),
        // Nobody at a terminal needs them, or they are told at the end.
        _ => return None,
    })
}

/// Who says it, as the message has it: who said something long ago may be gone. One name may be that of many.
fn sender(chat: &proto::v1::ChatMessage) -> String {
    format!("{} ({})", shown_name(&chat.sender_name), shown_name(&short(&chat.sender_id)))
}

/// What has changed, in words; what has not is left out.
fn state_words(update: &StateUpdate) -> String {
    let word = |is_on: bool| if is_on { "on" } else { "off" };
    let microphone = update.is_muted.map(|is_muted| format!("microphone {}", word(!is_muted)));
    let camera = update.is_video_on.map(|is_on| format!("camera {}", word(is_on)));
    microphone.into_iter().chain(camera).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use common_core::ParticipantId;

    use super::*;

    #[test]
    fn a_change_of_state_is_told_in_words() {
        for (is_muted, is_video_on, words) in
            [(Some(false), Some(true), "microphone on, camera on"), (Some(true), None, "microphone off"), (None, Some(false), "camera off")]
        {
            assert_eq!(state_words(&StateUpdate { is_muted, is_video_on, audio_level: None }), words);
        }
    }

    /// People are called by their names, with enough of an id to tell two of one name apart.
    #[test]
    fn lines_have_names_and_short_ids() {
        let participant_id = ParticipantId::from_bytes([0xab; 16]);
        let ana = Participant { name: "Ana".into(), ..Participant::unknown(participant_id) };
        let mut names = Names::default();
        let words = |event: &Event, names: &Names| describe_event(event, names).expect("it has a line").0;
        let joined = Event::ParticipantJoined(ana.clone());
        names.before(&joined);
        assert_eq!(words(&joined, &names), "Ana (abababab) joined");
        let update = StateUpdate { is_muted: Some(true), is_video_on: None, audio_level: None };
        assert_eq!(words(&Event::StateChanged { participant_id, update }, &names), "Ana (abababab): microphone off");
        let left = Event::ParticipantLeft { participant_id, reason: LeaveReason::Kicked };
        assert_eq!(words(&left, &names), "Ana (abababab) was removed by a host");
        assert_eq!(describe_line(&Line::Joined { me: &ana, participants: 0 }).0, "joined as Ana (abababab); nobody else is here");
    }

    /// A line of a stranger's making must not move the terminal or break the line.
    #[test]
    fn strangers_cannot_write_lines() {
        let chat = proto::v1::ChatMessage {
            sender_id: "\u{1b}cdef0123456789".into(),
            sender_name: "a\r\nb".into(),
            content: "x\u{1b}[2J\n".into(),
            sequence: 3,
            ..Default::default()
        };
        let (words, value) = describe_event(&Event::Chat(chat), &Names::default()).expect("chat has a line");
        assert_eq!(words, "a\\r\\nb (\\u{1b}cdef012): x\\u{1b}[2J\\n");
        assert_eq!(value.to_string().lines().count(), 1);
        assert_eq!((&value["event"], &value["sequence"]), (&json!("chat"), &json!(3)));
    }
}
