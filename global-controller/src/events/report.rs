//! Reads what a controller reports. In: protobuf of a node with a valid certificate. Out: events to be stored, or which field is wrong.

use common_core::grant::Role;
use common_core::media::STREAMS_PER_PARTICIPANT_MAX;
use common_core::name::parse_name;
use common_core::{MeetingId, NodeId, ParticipantId, StreamId};
use proto::cluster::{MeetingEvent, MeetingParticipant, ParticipantGone, meeting_event::What};
use proto::v1::{LeaveReason, MediaStream};
use serde_json::{Value, json};
use thiserror::Error;

use super::left;
use crate::store::{EventKind, NewEvent, Presence, UnixMillis};

/// Events in one report.
const EVENTS_MAX: usize = 256;
/// Longest subject of a token or id of an account, bytes: 128 characters of up to four bytes.
const SUBJECT_BYTES_MAX: usize = 512;
/// Longest name of a codec, bytes; WebCodecs strings are about thirty long.
const CODEC_BYTES_MAX: usize = 128;

/// A report is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct WrongEvent {
    field: &'static str,
    problem: String,
}

/// What a report says.
#[derive(Debug, Default)]
pub struct Reported {
    /// In order.
    pub events: Vec<NewEvent>,
    /// Subjects that were removed, and stay out.
    pub kicked: Vec<(MeetingId, String)>,
}

/// Reads a report that `controller` makes at `now` from its process `start_number`.
pub fn read(controller: &NodeId, start_number: u64, events: Vec<MeetingEvent>, now: UnixMillis) -> Result<Reported, WrongEvent> {
    if events.len() > EVENTS_MAX {
        return Err(wrong("events", "are too many"));
    }
    let mut reported = Reported::default();
    for event in events {
        let reader = Reader { controller, start_number, meeting: parse("meeting_id", &event.meeting_id)? };
        // A clock that is ahead must not keep an event for ever.
        let occurred_at = UnixMillis::try_from(event.occurred_at_ms).unwrap_or(now).min(now);
        let source = format!("{controller}/{start_number}/{}", event.number);
        let mut retold = Vec::new();
        let (kind, data, presence) = match event.what {
            Some(What::ParticipantJoined(participant)) => {
                let joined = reader.joined(&participant)?;
                if event.again {
                    retold = reader.retold(&participant, joined.2.as_ref())?;
                }
                joined
            }
            Some(What::ParticipantLeft(gone)) => {
                if gone.kept_out {
                    let subject = gone.participant.as_ref().map(|it| it.subject.clone()).unwrap_or_default();
                    reported.kicked.push((reader.meeting, bounded("subject", subject, SUBJECT_BYTES_MAX)?));
                }
                reader.left(&gone)?
            }
            Some(What::StreamPublished(stream)) => (EventKind::StreamPublished, published(&stream)?, None),
            Some(What::StreamUnpublished(stream)) => (EventKind::StreamUnpublished, unpublished(&stream)?, None),
            None => return Err(wrong("what", "is missing, or not known to this release")),
        };
        reported.events.push(NewEvent {
            id: common::random::uuid(),
            meeting: reader.meeting,
            kind,
            occurred_at,
            data,
            source: Some(source.clone()),
            presence,
        });
        reported.events.extend(retold.into_iter().zip(1..).map(|((kind, data, presence), number)| NewEvent {
            id: common::random::uuid(),
            meeting: reader.meeting,
            kind,
            occurred_at,
            data,
            source: Some(format!("{source}/{number}")),
            presence,
        }));
    }
    Ok(reported)
}

struct Reader<'a> {
    controller: &'a NodeId,
    start_number: u64,
    meeting: MeetingId,
}

type Read = (EventKind, Value, Option<Presence>);

impl Reader<'_> {
    fn joined(&self, joined: &MeetingParticipant) -> Result<Read, WrongEvent> {
        let (participant, data) = participant(Some(joined))?;
        let presence = self.presence(participant, &data);
        Ok((EventKind::ParticipantJoined, data, Some(presence)))
    }

    /// Of somebody who is reported again after an outage: the media streams, which are told if the join has to be.
    fn retold(&self, joined: &MeetingParticipant, presence: Option<&Presence>) -> Result<Vec<Read>, WrongEvent> {
        let streams = joined.participant.as_ref().map(|participant| participant.streams.as_slice()).unwrap_or_default();
        if streams.len() > STREAMS_PER_PARTICIPANT_MAX {
            return Err(wrong("streams", "are too many"));
        }
        let whose = presence.map(|presence| presence.participant.to_string()).unwrap_or_default();
        let told = |stream: &MediaStream| {
            let stream = MediaStream { participant_id: whose.clone(), ..stream.clone() };
            Ok((EventKind::StreamPublished, published(&stream)?, presence.cloned()))
        };
        streams.iter().map(told).collect()
    }

    fn left(&self, gone: &ParticipantGone) -> Result<Read, WrongEvent> {
        let (participant, data) = participant(gone.participant.as_ref())?;
        let reason = LeaveReason::try_from(gone.reason).map_err(|_| wrong("reason", "is not known to this release"))?;
        let presence = self.presence(participant, &data);
        Ok((EventKind::ParticipantLeft, left(data, reason.as_str_name()), Some(presence)))
    }

    fn presence(&self, participant: ParticipantId, data: &Value) -> Presence {
        let (controller, start_number) = (self.controller.clone(), self.start_number);
        Presence { meeting: self.meeting, participant, controller, start_number, data: data.to_string() }
    }
}

/// What applications are told of a participant.
fn participant(reported: Option<&MeetingParticipant>) -> Result<(ParticipantId, Value), WrongEvent> {
    let reported = reported.and_then(|it| it.participant.as_ref()).ok_or_else(|| wrong("participant", "is missing"))?;
    let id: ParticipantId = parse("participant_id", &reported.participant_id)?;
    let name = parse_name(&reported.name).map_err(|error| wrong("name", error))?;
    let role = Role::from_name(&reported.role).ok_or_else(|| wrong("role", "must be host or attendee"))?;
    let mut data = json!({"participant_id": id.to_string(), "display_name": name, "role": role.as_str()});
    if !reported.user_id.is_empty() {
        data["user_id"] = bounded("user_id", reported.user_id.clone(), SUBJECT_BYTES_MAX)?.into();
    }
    Ok((id, data))
}

fn published(stream: &MediaStream) -> Result<Value, WrongEvent> {
    let mut data = unpublished(stream)?;
    let stream_type =
        proto::v1::StreamType::try_from(stream.stream_type).map_err(|_| wrong("stream_type", "is not known to this release"))?;
    data["stream_type"] = stream_type.as_str_name().into();
    let codec = stream.metadata.as_ref().map(|metadata| metadata.codec.clone()).unwrap_or_default();
    data["codec"] = bounded("codec", codec, CODEC_BYTES_MAX)?.into();
    Ok(data)
}

fn unpublished(stream: &MediaStream) -> Result<Value, WrongEvent> {
    let participant: ParticipantId = parse("participant_id", &stream.participant_id)?;
    let stream: StreamId = parse("stream_id", &stream.stream_id)?;
    Ok(json!({"participant_id": participant.to_string(), "stream_id": stream.to_string()}))
}

fn wrong(field: &'static str, problem: impl std::fmt::Display) -> WrongEvent {
    WrongEvent { field, problem: problem.to_string() }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(field: &'static str, text: &str) -> Result<T, WrongEvent> {
    text.parse().map_err(|error| wrong(field, error))
}

fn bounded(field: &'static str, text: String, bytes_max: usize) -> Result<String, WrongEvent> {
    if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(wrong(field, format_args!("must be 1 to {bytes_max} bytes without control characters")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEETING: &str = "550e8400-e29b-41d4-a716-446655440000";
    const PARTICIPANT: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const STREAM: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    const NOW: UnixMillis = 1_737_028_800_000;

    fn somebody() -> MeetingParticipant {
        let participant = proto::v1::Participant {
            participant_id: PARTICIPANT.into(),
            name: "Ana".into(),
            role: "attendee".into(),
            user_id: "ana@example.com".into(),
            ..Default::default()
        };
        MeetingParticipant { participant: Some(participant), subject: "ana@example.com".into(), connected: true }
    }

    fn event(what: What) -> MeetingEvent {
        MeetingEvent { number: 4, meeting_id: MEETING.into(), occurred_at_ms: 1_737_028_799_000, again: false, what: Some(what) }
    }

    fn read_one(event: MeetingEvent) -> Result<Reported, WrongEvent> {
        read(&"mc-1".parse().expect("a node id"), 7, vec![event], NOW)
    }

    #[test]
    fn joins_leaves_and_streams_are_told_as_the_contract_says() {
        let joined = read_one(event(What::ParticipantJoined(somebody()))).expect("it is good").events.remove(0);
        let told = json!({"participant_id": PARTICIPANT, "display_name": "Ana", "role": "attendee", "user_id": "ana@example.com"});
        assert_eq!((joined.kind, &joined.data, joined.occurred_at), (EventKind::ParticipantJoined, &told, NOW - 1000));
        assert_eq!(joined.source.as_deref(), Some("mc-1/7/4"));
        let presence = joined.presence.expect("somebody is there");
        assert_eq!((presence.participant.to_string().as_str(), presence.data), (PARTICIPANT, told.to_string()));

        for (reason, name, kicked) in [
            (LeaveReason::Voluntary, "VOLUNTARY", 0),
            (LeaveReason::Kicked, "KICKED", 1),
            (LeaveReason::ConnectionLost, "CONNECTION_LOST", 0),
            (LeaveReason::MeetingEnded, "MEETING_ENDED", 0),
        ] {
            let gone = ParticipantGone { participant: Some(somebody()), reason: reason.into(), kept_out: kicked > 0 };
            let reported = read_one(event(What::ParticipantLeft(gone))).expect("it is good");
            assert_eq!((&reported.events[0].data["reason"], reported.kicked.len()), (&name.into(), kicked));
            assert!(reported.kicked.iter().all(|(_, subject)| subject == "ana@example.com"));
        }

        let metadata = proto::v1::StreamMetadata { codec: "VP9".into(), ..Default::default() };
        let stream = MediaStream { stream_id: STREAM.into(), stream_type: 1, metadata: Some(metadata), participant_id: PARTICIPANT.into() };
        let data = |what| read_one(event(what)).expect("it is good").events.remove(0).data;
        let expected = json!({"participant_id": PARTICIPANT, "stream_id": STREAM, "stream_type": "VIDEO_CAMERA", "codec": "VP9"});
        assert_eq!(data(What::StreamPublished(stream.clone())), expected);
        assert_eq!(data(What::StreamUnpublished(stream)), json!({"participant_id": PARTICIPANT, "stream_id": STREAM}));
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Spoil = fn(&mut proto::v1::Participant);
        let spoil = |spoil: Spoil| {
            let mut joined = somebody();
            spoil(joined.participant.as_mut().expect("somebody"));
            event(What::ParticipantJoined(joined))
        };
        let check = |event: MeetingEvent, expected: &str| {
            assert!(read_one(event.clone()).expect_err(expected).to_string().starts_with(expected), "{event:?}");
        };
        check(MeetingEvent { meeting_id: "x".into(), ..event(What::ParticipantJoined(somebody())) }, "meeting_id: ");
        check(MeetingEvent { what: None, ..event(What::ParticipantJoined(somebody())) }, "what: is missing");
        check(spoil(|it| it.participant_id.clear()), "participant_id: ");
        check(spoil(|it| it.name = "x".repeat(65)), "name: ");
        check(spoil(|it| it.role = "king".into()), "role: ");
        check(spoil(|it| it.user_id = "x".repeat(513)), "user_id: ");
        let gone = ParticipantGone { participant: Some(somebody()), reason: 9, kept_out: false };
        check(event(What::ParticipantLeft(gone)), "reason: ");
        let nobody = MeetingParticipant { subject: String::new(), ..somebody() };
        let gone = ParticipantGone { participant: Some(nobody), reason: LeaveReason::Kicked.into(), kept_out: true };
        check(event(What::ParticipantLeft(gone)), "subject: ");
        let many = vec![event(What::ParticipantJoined(somebody())); EVENTS_MAX + 1];
        assert!(read(&"mc-1".parse().expect("a node id"), 7, many, NOW).is_err());
    }

    #[test]
    fn a_clock_that_is_ahead_is_not_believed() {
        let ahead = MeetingEvent { occurred_at_ms: u64::MAX, ..event(What::ParticipantJoined(somebody())) };
        assert_eq!(read_one(ahead).expect("it is good").events[0].occurred_at, NOW);
    }
}
