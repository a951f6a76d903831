//! People in a meeting by the Rust client, as an application uses it: each has a camera and notes when which picture of whom
//! arrived, so that a test can say how long nothing did.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use client::{Client, Event, Events, Frame, JoinOptions, Meeting, Publisher, Records, SessionEnd, StreamDescription};
use common_core::StreamId;
use common_core::frame::FrameKind;
use common_core::media::StreamType;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use crate::eventually;

/// 25 pictures a second: a gap of one is far below every bound that tests have.
const PICTURE_INTERVAL: Duration = Duration::from_millis(40);
/// A key frame each two seconds, as publishers of ours have it; more when one is asked for.
const GROUP_PICTURES: u64 = 50;
/// Small, so that dozens of cameras leave the machine time for what is tested.
const PICTURE_BYTES: usize = 600;
/// What is noted: half an hour of ten cameras.
const SIGHTINGS_MAX: usize = 500_000;

/// One picture that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// When.
    pub at: Instant,
    /// Of whom.
    pub stream_id: StreamId,
    /// Key frame or not.
    pub kind: FrameKind,
    /// Its number.
    pub sequence: u64,
    /// Which group stream brought it.
    pub group: u64,
}

#[derive(Default)]
struct Notes {
    sightings: Mutex<Vec<Sighting>>,
    events: Mutex<Vec<(Instant, Event)>>,
}

/// A participant with a camera and open eyes.
pub struct Person {
    /// To act.
    pub meeting: Meeting,
    /// What it publishes.
    pub stream_id: StreamId,
    notes: Arc<Notes>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Person {
    /// Joins, subscribes to everybody, and publishes from now on.
    pub async fn join(options: JoinOptions) -> anyhow::Result<Self> {
        let joined = Client::new()?.join(options).await?;
        let publisher = joined.meeting.publish(StreamDescription::new(StreamType::VideoCamera, "VP9")).await?;
        let (stream_id, notes) = (publisher.stream().stream_id, Arc::new(Notes::default()));
        let filming = tokio::spawn(film(publisher, joined.events, notes.clone()));
        let looking = tokio::spawn(look(joined.records, notes.clone()));
        let tasks = [filming, looking].map(AbortOnDropHandle::new);
        Ok(Self { meeting: joined.meeting, stream_id, notes, _tasks: tasks })
    }

    /// Every picture so far, in the order of arrival.
    pub fn sightings(&self) -> Vec<Sighting> {
        self.notes.sightings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the client told so far, and when.
    pub fn events(&self) -> Vec<(Instant, Event)> {
        self.notes.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the meeting ended for this participant; `None`: it has not.
    pub fn end(&self) -> Option<(Instant, SessionEnd)> {
        self.events().into_iter().find_map(|(at, event)| match event {
            Event::Closed { end } => Some((at, end)),
            _ => None,
        })
    }

    /// Waits for a picture of `stream_id` that arrives from now on; says how long that took.
    pub async fn sees(&self, stream_id: StreamId, within: Duration) -> anyhow::Result<Duration> {
        let (from, what) = (Instant::now(), format!("a picture of {stream_id}"));
        let seen = eventually(&what, within, || async {
            let sightings = self.notes.sightings.lock().unwrap_or_else(PoisonError::into_inner);
            let newest = sightings.iter().rev().take_while(|it| it.at >= from).filter(|it| it.stream_id == stream_id).last().copied();
            newest.with_context(|| format!("{} pictures so far; {:?}", sightings.len(), self.events().last()))
        });
        Ok(seen.await?.at - from)
    }

    /// The longest time without a picture of `stream_id` that ended after `from`; `None`: none has come since.
    pub fn longest_gap(&self, stream_id: StreamId, from: Instant) -> Option<Duration> {
        let of: Vec<Sighting> = self.sightings().into_iter().filter(|it| it.stream_id == stream_id).collect();
        of.windows(2).filter(|pair| pair[1].at > from).map(|pair| pair[1].at - pair[0].at).max()
    }

    /// The first picture of each group that began to arrive after `from`.
    pub fn beginnings(&self, from: Instant) -> Vec<Sighting> {
        let mut groups = std::collections::BTreeMap::new();
        for sighting in self.sightings() {
            groups.entry(sighting.group).or_insert(sighting);
        }
        groups.into_values().filter(|first| first.at > from).collect()
    }

    /// The URL of the handler over which its media goes, and since when, as its client said last.
    pub fn handler(&self) -> Option<(Instant, String)> {
        self.events().into_iter().rev().find_map(|(at, event)| match event {
            Event::MediaServerChanged { url } => Some((at, url)),
            _ => None,
        })
    }
}

/// Each sees the other by now.
pub async fn see_each_other(one: &Person, other: &Person, within: Duration) -> anyhow::Result<()> {
    tokio::try_join!(one.sees(other.stream_id, within), other.sees(one.stream_id, within))?;
    Ok(())
}

/// Publishes at a steady pace, a key frame when one is due, asked for, or needed after a frame that was not taken.
async fn film(mut publisher: Publisher, mut events: Events, notes: Arc<Notes>) {
    let mut pace = tokio::time::interval(PICTURE_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (payload, mut until_key) = (Bytes::from(vec![0x5A; PICTURE_BYTES]), 0);
    loop {
        pace.tick().await;
        while let Some(event) = events.try_next() {
            if matches!(event, Event::KeyFrameRequested { .. }) {
                until_key = 0;
            }
            notes.events.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), event));
        }
        let is_key = until_key == 0;
        let sent = publisher.send(Frame::video(is_key, common::clock::unix_micros(), payload.clone()));
        until_key = if sent.is_err() {
            0
        } else if is_key {
            GROUP_PICTURES - 1
        } else {
            until_key - 1
        };
    }
}

async fn look(mut records: Records, notes: Arc<Notes>) {
    while let Some(record) = records.next().await {
        let header = record.header;
        let (stream_id, kind, sequence) = (header.stream_id, header.kind, header.sequence);
        let sighting = Sighting { at: Instant::now(), stream_id, kind, sequence, group: record.group };
        let mut sightings = notes.sightings.lock().unwrap_or_else(PoisonError::into_inner);
        if sightings.len() < SIGHTINGS_MAX {
            sightings.push(sighting);
        }
    }
}
