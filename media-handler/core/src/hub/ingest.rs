//! The publishers' side: records arrive on ingress QUIC streams, enter their groups' logs, and wake who is owed them.

use bytes::Bytes;
use common_core::{Code, FrameHeader, FrameKind, Moment, StreamId};

use super::{Hub, end_cursor, release};
use crate::arena::Key;
use crate::fate::Fate;
use crate::key_frames::Need;
use crate::session::{End, Session};
use crate::source::{Place, Source, audio_group_is_over};
use crate::subscription::{Cursor, Following};

/// Why a record is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its id, or its sender, is not known yet: try again when a registration came, for a while.
    Unknown,
    /// Not now and not later: the ingress stream is stopped with this code.
    Stop(Code),
}

/// One QUIC stream that a publisher sends on; a shell keeps it and hands it in.
#[derive(Debug)]
pub struct Ingress {
    number: u64,
    pub(super) session: Key<Session>,
    tracks: Vec<Track>,
    /// Index of the track whose record came last.
    current: usize,
    /// Payload of its record under way.
    pub(super) under_way: u64,
}

/// One frame id on an ingress stream.
#[derive(Debug)]
struct Track {
    frame_id: StreamId,
    source: Key<Source>,
    /// Where its records go; none while its key frame is missing.
    group: Option<u64>,
    /// Whether the frame goes on with the next record.
    inside_frame: bool,
    /// Payload bytes of its record that have not come.
    missing: u32,
    /// Whether something came that its listeners were not woken for.
    touched: bool,
    /// Whether that is a header and nothing behind it.
    only_header: bool,
}

impl Hub {
    /// A new ingress stream of `session`.
    pub fn open_ingress(&mut self, session: Key<Session>) -> Ingress {
        self.ingresses_begun += 1;
        Ingress { number: self.ingresses_begun, session, tracks: Vec::new(), current: 0, under_way: 0 }
    }

    /// A record begins: `raw` are its header's bytes as they came.
    pub fn begin(&mut self, ingress: &mut Ingress, now: Moment, header: &FrameHeader, raw: Bytes) -> Result<(), Refusal> {
        let index = self.track(ingress, header)?;
        self.count_under_way(ingress, header.payload_length)?;
        ingress.current = index;
        let track = &mut ingress.tracks[index];
        let source = self.sources.get_mut(track.source).ok_or(Refusal::Unknown)?;
        source.meter(header, now);
        source.bytes_received += raw.len() as u64;
        let place = source.place(ingress.number, track.group, track.inside_frame, header, now, &self.limits);
        track.inside_frame = !header.ends_frame();
        track.missing = header.payload_length;
        track.touched = true;
        track.only_header = true;
        let (source_key, before) = (track.source, track.group);
        track.group = match place {
            Place::Orphan => None,
            Place::Group(number) => Some(number),
            Place::NewGroup => {
                self.groups_begun += 1;
                Some(source.open_group(ingress.number, self.groups_begun, now))
            }
        };
        if place == Place::NewGroup {
            // Sound has one group at a time; a picture's older group may still be coming in on another stream.
            let left = if source.is_audio { source.groups.iter().rev().nth(1) } else { before.and_then(|before| source.group(before)) };
            let left = left.filter(|group| source.is_audio || group.writer == ingress.number).map(|group| group.number);
            self.totals.groups += 1;
            let surplus =
                source.groups.front().map(|group| group.number).filter(|_| source.groups.len() > self.limits.groups_per_source_max);
            if let Some(left) = left {
                self.close_group(source_key, left, now);
            }
            if let Some(surplus) = surplus {
                self.break_group(source_key, surplus, now);
            }
        }
        self.enter(source_key, ingress.number, ingress.tracks[index].group, place, header, raw, now);
        Ok(())
    }

    /// More payload of the record that began last on this stream.
    pub fn payload(&mut self, ingress: &mut Ingress, bytes: Bytes) -> Result<(), Refusal> {
        let Some(track) = ingress.tracks.get_mut(ingress.current) else { return Ok(()) };
        if track.missing as usize <= bytes.len() {
            self.count_under_way(ingress, 0)?;
        }
        let Some(track) = ingress.tracks.get_mut(ingress.current) else { return Ok(()) };
        track.missing = track.missing.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        track.touched = true;
        let joins = std::mem::take(&mut track.only_header);
        // The media stream was unpublished meanwhile.
        let source = self.sources.get_mut(track.source).ok_or(Refusal::Stop(Code::NotFound))?;
        source.bytes_received += bytes.len() as u64;
        if let Some(group) = track.group.and_then(|number| source.group_mut(number)).filter(|group| group.writer == ingress.number) {
            group.append(bytes, joins);
        }
        Ok(())
    }

    /// Wakes the subscribers of what came since the last call. To be called after each batch of events.
    pub fn flush(&mut self, ingress: &mut Ingress, now: Moment) {
        for track in &mut ingress.tracks {
            track.only_header = false;
            if std::mem::take(&mut track.touched) {
                if let Some(number) = track.group {
                    self.wake_listeners(track.source, number, now);
                }
                self.release(track.source, now);
            }
        }
    }

    /// The stream is over, finished or broken off. A frame that is not whole by then never will be.
    pub fn end_ingress(&mut self, mut ingress: Ingress, now: Moment) {
        // Nothing is under way any more, so there is nothing to refuse.
        let _ = self.count_under_way(&mut ingress, 0);
        for track in &ingress.tracks {
            let Some(number) = track.group else { continue };
            let Some(source) = self.sources.get_mut(track.source) else { continue };
            let is_its = source.group(number).is_some_and(|group| group.writer == ingress.number);
            if is_its && (track.missing > 0 || track.inside_frame) {
                self.break_group(track.source, number, now);
            } else if is_its {
                self.close_group(track.source, number, now);
            }
            self.release(track.source, now);
        }
    }

    /// Ends a group of sound that fell silent or is as long as groups get.
    pub(super) fn end_silent_group(&mut self, key: Key<Source>, now: Moment) {
        let open = self.sources.get(key).and_then(|source| source.groups.back()).filter(|group| !group.closed);
        let is_over = open.is_none_or(|group| {
            audio_group_is_over(group, now, &self.limits) && group.last().is_none_or(|last| last.is_whole() && last.ends_frame)
        });
        if is_over {
            if let Some(number) = open.map(|group| group.number) {
                self.close_group(key, number, now);
                self.release(key, now);
            }
            self.sounding.remove(&key);
        }
    }

    /// Which track of the ingress stream a record belongs to, with its source alive and its sender allowed.
    fn track(&mut self, ingress: &mut Ingress, header: &FrameHeader) -> Result<usize, Refusal> {
        let known = ingress.tracks.iter().position(|track| track.frame_id == header.stream_id);
        if let Some(index) = known
            && let Some(source) = self.sources.get(ingress.tracks[index].source)
        {
            return check_kind(source, header).map(|()| index);
        }
        // A track is that permission: it stands as long as its source does, which goes with its publisher and its publication.
        let key = self.may_send(ingress.session, header.stream_id)?;
        check_kind(self.sources.get(key).ok_or(Refusal::Unknown)?, header)?;
        let track = Track {
            frame_id: header.stream_id,
            source: key,
            group: None,
            inside_frame: false,
            missing: 0,
            touched: false,
            only_header: false,
        };
        if let Some(index) = known {
            ingress.tracks[index] = track;
            return Ok(index);
        }
        if ingress.tracks.len() >= self.limits.ids_per_ingress_max {
            return Err(Refusal::Stop(Code::InvalidRequest));
        }
        ingress.tracks.push(track);
        Ok(ingress.tracks.len() - 1)
    }

    /// Puts a record's header into its group, and settles for each listener whether it takes the record.
    #[expect(clippy::too_many_arguments, reason = "one record's particulars, at one call site")]
    fn enter(&mut self, key: Key<Source>, writer: u64, number: Option<u64>, place: Place, header: &FrameHeader, raw: Bytes, now: Moment) {
        let Self { sources, subscriptions, sessions, limits, sounding, wakes, .. } = self;
        let Some(source) = sources.get_mut(key) else { return };
        let listeners = std::mem::take(&mut source.listeners);
        let mut group = number.and_then(|number| source.group_mut(number));
        if let Some(group) = &mut group {
            group.writer = writer;
            group.closed = false;
            group.begin(header, raw, now);
        }
        for listener in &listeners {
            let Some(subscription) = subscriptions.get_mut(*listener) else { continue };
            if subscription.session.is_none() {
                subscription.fates.add(Fate::Closed, 1);
                continue;
            }
            if subscription.source != key {
                subscription.fates.add(Fate::Layer, 1);
                continue;
            }
            let Some(group) = &mut group else {
                subscription.fates.add(Fate::NoKeyFrame, 1);
                continue;
            };
            if place != Place::NewGroup {
                if subscription.reads(group.number) {
                    continue;
                }
                if subscription.following != Following::Group(group.number) {
                    subscription.fates.add(Fate::NoKeyFrame, 1);
                    continue;
                }
            }
            group.readers += 1;
            subscription.following = Following::Group(group.number);
            subscription.cursors.push(Cursor::new(group.number, group.end() - 1, now));
            if let Some(parked) = subscription.parked.take()
                && let Some(session) = subscription.session.and_then(|session| sessions.get_mut(session))
            {
                session.end_parked(&parked, Code::Expired, now);
                session.wake(wakes);
            }
        }
        if source.is_audio {
            sounding.insert(key);
        }
        // An all-intra publisher must not grow a stalled subscriber's list without end.
        for listener in listeners.iter().filter(|_| place == Place::NewGroup) {
            let Some(subscription) = subscriptions.get_mut(*listener) else { continue };
            if subscription.source == key && subscription.cursors.len() > limits.groups_per_subscription_max {
                let cursor = subscription.cursors.remove(0);
                let mut session = subscription.session.and_then(|session| sessions.get_mut(session));
                let end = End::Reset(Code::Expired);
                if end_cursor(&mut subscription.fates, cursor, Some(&mut *source), session.as_deref_mut(), Fate::Expired, end)
                    && let Some(session) = session
                {
                    session.wake(wakes);
                }
            }
        }
        source.listeners = listeners;
    }

    /// Tells the listeners that stand in a group that it has more, or is over.
    fn wake_listeners(&mut self, key: Key<Source>, number: u64, now: Moment) {
        let Self { sources, subscriptions, sessions, limits, wakes, .. } = self;
        let Some(source) = sources.get_mut(key) else { return };
        let listeners = std::mem::take(&mut source.listeners);
        // Most often empty, and then nothing is allocated.
        let mut overrun = Vec::new();
        if let Some(group) = source.group(number) {
            for listener in &listeners {
                let Some(subscription) = subscriptions.get_mut(*listener).filter(|subscription| subscription.source == key) else {
                    continue;
                };
                let Some(cursor) = subscription.cursors.iter_mut().rev().find(|cursor| cursor.group == number) else { continue };
                if cursor.blocked.is_some() {
                    // Its QUIC stream wakes the task; unless the subscriber lags behind by too much.
                    if let Some(session) = subscription.session
                        && let Some(state) = sessions.get_mut(session)
                    {
                        state.count_lag(cursor, group);
                        if state.lag > limits.lag_bytes_max {
                            overrun.push(session);
                        }
                    }
                } else if !subscription.is_ready
                    && let Some(session) = subscription.session
                    && let Some(state) = sessions.get_mut(session)
                {
                    subscription.is_ready = true;
                    state.ready.push(*listener);
                    state.wake(wakes);
                }
            }
        }
        source.listeners = listeners;
        for session in overrun {
            self.shed(session, now);
        }
    }

    /// No more records for this group, for now.
    fn close_group(&mut self, key: Key<Source>, number: u64, now: Moment) {
        let Some(group) = self.sources.get_mut(key).and_then(|source| source.group_mut(number)) else { return };
        if !std::mem::replace(&mut group.closed, true) {
            self.wake_listeners(key, number, now);
        }
    }

    /// The publisher's stream ended inside a frame of this group: whoever reads it is reset, and the part leaves the log.
    fn break_group(&mut self, key: Key<Source>, number: u64, now: Moment) {
        let Hub { sources, subscriptions, sessions, wakes, .. } = self;
        let Some(source) = sources.get_mut(key) else { return };
        let listeners = std::mem::take(&mut source.listeners);
        let mut lost = false;
        for listener in &listeners {
            let Some(subscription) = subscriptions.get_mut(*listener).filter(|subscription| subscription.source == key) else { continue };
            while let Some(index) = subscription.cursors.iter().position(|cursor| cursor.group == number) {
                let cursor = subscription.cursors.remove(index);
                let mut session = subscription.session.and_then(|session| sessions.get_mut(session));
                let end = End::Reset(Code::StreamError);
                if end_cursor(&mut subscription.fates, cursor, Some(&mut *source), session.as_deref_mut(), Fate::Closed, end)
                    && let Some(session) = session
                {
                    session.wake(wakes);
                }
            }
            if subscription.following == Following::Group(number) {
                subscription.following = Following::Waiting;
                lost = true;
            }
        }
        source.listeners = listeners;
        let is_audio = source.is_audio;
        if let Some(group) = source.group_mut(number) {
            group.drop_part_frame();
            group.closed = true;
            if group.end() == 0 {
                source.groups.retain(|group| group.number != number);
            }
        }
        release(source, subscriptions, key, now, &self.limits);
        if lost && !is_audio {
            self.want_key_frame(key, Need::Broken, now);
        }
    }
}

/// Sound carries sound and pictures pictures.
fn check_kind(source: &Source, header: &FrameHeader) -> Result<(), Refusal> {
    if (header.kind == FrameKind::Audio) == source.is_audio { Ok(()) } else { Err(Refusal::Stop(Code::InvalidRequest)) }
}
