//! The subscribers' side: plans the next writes of a session, most urgent first, and learns what QUIC took of them.
//!
//! The shell's loop: [`Hub::step`], do what the batch says without waiting, `step` again with the outcomes in it, until
//! there is nothing to do. The hub is free for others while the shell writes.

use std::cmp::Reverse;
use std::ops::Range;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use common_core::{Code, Moment};

use super::{Hub, end_cursor};
use crate::arena::Key;
use crate::fate::Fate;
use crate::group::Position;
use crate::session::{End, Session};
use crate::source::Source;
use crate::subscription::{Block, Cursor, Following, Parked, Slot, Subscription};

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// QUIC took that many bytes: at least one, if there was one; none of an [empty write](Write::is_trial), for which it had room.
    Written(usize),
    /// QUIC takes none for now, and will wake the task.
    Blocked,
    /// The group's stream cannot be opened for now; QUIC will wake the task.
    Opening,
    /// The subscriber stopped the stream, or the session is gone.
    Stopped,
}

/// Bytes for one group stream.
#[derive(Debug)]
pub struct Write {
    subscription: Key<Subscription>,
    /// None: of a late group's, which is left open.
    group: Option<u64>,
    /// Which stream; the shell opens it at the slot's first write.
    pub slot: Slot,
    /// The stream's priority, higher first, to be set when it is opened.
    pub priority: i32,
    /// How old what it carries may get on its way.
    pub budget: Duration,
    /// Where the bytes are in [`Batch::chunks`].
    pub chunks: Range<usize>,
    /// To be filled in by the shell.
    pub outcome: Outcome,
}

impl Write {
    /// Whether it has no bytes, and only tells whether QUIC would take some.
    pub fn is_trial(&self) -> bool {
        self.group.is_none()
    }
}

/// What a session's task is to do now. Kept from step to step, so that nothing is allocated in a steady flow.
#[derive(Debug, Default)]
pub struct Batch {
    /// Group streams to end, before anything is written.
    pub endings: Vec<(Slot, End)>,
    /// Most urgent first.
    pub writes: Vec<Write>,
    /// The bytes of the writes.
    pub chunks: Vec<Bytes>,
    /// When to step again if nothing else happens before.
    pub deadline: Option<Moment>,
    /// Records that became whole by the writes that this step learned of.
    pub records: u64,
    /// Bytes that this step may still plan before the subscriber's cap: of pictures, of sound.
    room: [u64; 2],
    order: Vec<(Reverse<Urgency>, u32, Key<Subscription>)>,
}

impl Batch {
    /// Whether there is nothing to do before the deadline.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.endings.is_empty()
    }
}

/// Whether it is sound, the subscriber's priority, which group of the hub is its newest.
type Urgency = (bool, u32, u64);

/// What a subscriber that is closed for taking nothing is told.
const STALLED: &str = "nothing was read for too long";
/// How far sound may go over a subscriber's cap, so that pictures do not hold it up.
const SOUND_AHEAD: Duration = Duration::from_secs(1);
/// Group numbers of the hub that a stream's priority can tell apart: 2²¹, far more than are ever under way at once.
const PRIORITY_GROUPS: u64 = 1 << 21;
/// The highest priority a subscription's option counts for: it shares 31 bits with the group number, below sound.
const PRIORITY_OPTION_MAX: u32 = (1 << 10) - 2;

impl Hub {
    /// Learns the outcomes of `batch`'s writes and plans the next. `waker` is woken when there is more to do. `again`:
    /// what was blocked is tried again, as the first step of each run of the task does.
    pub fn step(&mut self, key: Key<Session>, now: Moment, batch: &mut Batch, waker: &Waker, again: bool) {
        batch.records = self.learn(key, now, batch);
        if self.sessions.get(key).is_some_and(|session| session.lag > self.limits.lag_bytes_max) {
            self.shed(key, now);
        }
        batch.writes.clear();
        batch.chunks.clear();
        batch.endings.clear();
        batch.deadline = None;
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.woken = false;
        if session.delivery_waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            session.delivery_waker = Some(waker.clone());
        }
        // So it is after most writes: all that there was has been taken.
        if session.is_at_rest() {
            return;
        }
        // The shell ends streams before it writes, so their slots can be taken at once.
        let is_freed = session.free_slots(&mut batch.endings);
        if again || (is_freed && session.is_starved) {
            self.retry(key, now, again);
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        batch.room = session.sending.map_or([u64::MAX; 2], |sending| [Duration::ZERO, SOUND_AHEAD].map(|more| sending.room(now, more)));
        let mut ready = std::mem::take(&mut session.ready);
        // Where two are as urgent, the one that was ready first.
        batch
            .order
            .extend((0..).zip(ready.drain(..)).map(|(place, subscription)| (Reverse(self.urgency(subscription)), place, subscription)));
        batch.order.sort_unstable();
        // Its memory is used again.
        if let Some(session) = self.sessions.get_mut(key) {
            session.ready = ready;
        }
        for index in 0..batch.order.len() {
            let (_, _, subscription) = batch.order[index];
            if batch.writes.len() < self.limits.writes_max {
                self.plan(key, subscription, now, batch);
            } else if let Some(session) = self.sessions.get_mut(key) {
                session.ready.push(subscription);
            }
        }
        batch.order.clear();
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.free_slots(&mut batch.endings) && session.is_starved {
            // The batch is not empty, so the next step follows at once, and finds them ready.
            self.retry(key, now, false);
        }
        if batch.is_empty() {
            batch.deadline = self.deadline(key, now);
        }
    }

    /// Makes ready again what was blocked: all of it, or what waits for a slot.
    fn retry(&mut self, key: Key<Session>, now: Moment, all: bool) {
        let Self { subscriptions, sessions, limits, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return };
        session.is_starved = false;
        let mut blocked = std::mem::take(&mut session.blocked);
        blocked.retain(|subscription| {
            let Some(state) = subscriptions.get_mut(*subscription).filter(|state| state.session == Some(key)) else { return false };
            let (mut is_freed, mut is_blocked) = (false, state.parked.is_some());
            if let Some(parked) = state.parked.as_mut().filter(|_| all) {
                parked.is_due = true;
                if parked.is_blocked {
                    session.note_blocked(now, limits);
                }
            }
            for cursor in &mut state.cursors {
                if cursor.blocked.is_some() {
                    session.due_at = now;
                }
                if cursor.blocked == Some(Block::Path) {
                    // Until just now: QUIC wakes the task as soon as there is room.
                    session.note_blocked(now, limits);
                }
                let is_starved = cursor.slot.is_none() && cursor.blocked == Some(Block::NoStream);
                if cursor.blocked.is_some() && (all || is_starved) {
                    session.unblock(cursor);
                    is_freed = true;
                }
                is_blocked |= cursor.blocked.is_some();
            }
            // With all of them, also those whose cursors are gone meanwhile: planning finds out.
            if (is_freed || all) && !std::mem::replace(&mut state.is_ready, true) {
                session.ready.push(*subscription);
            }
            state.is_blocked = is_blocked;
            is_blocked
        });
        session.blocked = blocked;
    }

    /// Takes the outcomes in; how many records became whole.
    fn learn(&mut self, key: Key<Session>, now: Moment, batch: &Batch) -> u64 {
        let mut records = 0;
        for write in &batch.writes {
            let Self { sources, subscriptions, sessions, limits, .. } = self;
            let Some(session) = sessions.get_mut(key) else { break };
            // It may have moved to a newer session while the shell wrote.
            let Some(subscription) = subscriptions.get_mut(write.subscription).filter(|state| state.session == Some(key)) else { continue };
            let Some(source) = sources.get_mut(subscription.source) else { continue };
            let Some(number) = write.group else {
                self.learn_trial(key, now, write);
                continue;
            };
            let at = subscription.cursors.iter().position(|cursor| cursor.group == number && cursor.slot == Some(write.slot));
            // None: the cursor was ended while the shell wrote.
            let Some(index) = at else { continue };
            match write.outcome {
                Outcome::Written(bytes) => {
                    let cursor = &mut subscription.cursors[index];
                    cursor.taken += bytes as u64;
                    // The window of a new stream takes bytes though nobody reads: while others are blocked that is no sign.
                    let is_sign = std::mem::take(&mut cursor.was_blocked) || now.since(session.due_at) >= limits.stall_sure;
                    match session.echo_bytes.checked_sub(bytes as u64) {
                        // A reset made the room: nobody need have read anything.
                        Some(left) => session.echo_bytes = left,
                        None if is_sign => (session.echo_bytes, session.stalled_since) = (0, None),
                        None => session.echo_bytes = 0,
                    }
                    subscription.bytes_sent += bytes as u64;
                    if let Some(sending) = &mut session.sending {
                        sending.count(now, bytes as u64);
                    }
                    let Some(group) = source.group(number) else { continue };
                    let whole = group.advance(&mut cursor.position, bytes);
                    subscription.fates.add(Fate::Delivered, whole);
                    records += whole;
                    let goes_on = group.has_bytes(&cursor.position) || (group.closed && cursor.position.record == group.end());
                    if subscription.burst_until.is_some() && !is_behind(subscription, source) {
                        subscription.burst_until = None;
                    }
                    if goes_on && !std::mem::replace(&mut subscription.is_ready, true) {
                        session.ready.push(write.subscription);
                    }
                }
                Outcome::Blocked | Outcome::Opening => {
                    let by = if write.outcome == Outcome::Opening { Block::NoStream } else { Block::Path };
                    let cursor = &mut subscription.cursors[index];
                    if let Some(group) = source.group(number) {
                        session.block(cursor, group, by);
                    }
                    if !std::mem::replace(&mut subscription.is_blocked, true) {
                        session.blocked.push(write.subscription);
                    }
                    if now.since(session.due_at) >= limits.stall_rest {
                        // Nothing was due for long, so nothing could be taken.
                        session.stalled_since = None;
                    }
                    session.due_at = now;
                    session.note_blocked(now, limits);
                    let since = *session.stalled_since.get_or_insert(now);
                    if now.since(since) >= limits.stall_max {
                        self.close(key, Code::Expired, STALLED);
                    }
                    self.expire(write.subscription, now, None);
                }
                Outcome::Stopped => {
                    let cursor = subscription.cursors.remove(index);
                    // Sound goes on with its next record, on another stream.
                    let lost = subscription.following == Following::Group(cursor.group) && !subscription.is_audio;
                    if lost {
                        subscription.following = Following::Waiting;
                    }
                    let end = End::Reset(Code::Normal);
                    end_cursor(&mut subscription.fates, cursor, Some(source), Some(session), Fate::Closed, end);
                    if lost {
                        self.ask_after_loss(write.subscription, now);
                    }
                    self.count_stop(key, now);
                }
            }
        }
        records
    }

    /// Learns whether QUIC would take bytes of a late group's stream. If so its subscriber reads again, or its path carries something
    /// again; and a key frame is wanted for the subscription.
    fn learn_trial(&mut self, key: Key<Session>, now: Moment, write: &Write) {
        let Self { subscriptions, sessions, limits, wakes, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return };
        let Some(subscription) = subscriptions.get_mut(write.subscription) else { return };
        // None: a key frame began while the shell wrote.
        let Some(parked) = subscription.parked.as_mut().filter(|parked| parked.slot == write.slot) else { return };
        let is_stopped = write.outcome == Outcome::Stopped;
        parked.is_blocked = matches!(write.outcome, Outcome::Blocked | Outcome::Opening);
        let is_echo = session.echo_bytes > 0 && !is_stopped;
        // Another group's reset made the room.
        let is_no_sign = is_echo && session.stalled_since.is_some_and(|since| now.since(since) >= limits.stall_sure);
        if parked.is_blocked || is_no_sign {
            let is_over = session.stalled_since.is_some_and(|since| now.since(since) >= limits.stall_max);
            // Something was due until lately.
            if is_over && now.since(session.due_at) < limits.stall_rest {
                self.close(key, Code::Expired, STALLED);
            }
            return;
        }
        let Some(parked) = subscription.parked.take() else { return };
        if !is_echo {
            session.stalled_since = None;
        }
        session.end_parked(&parked, if is_stopped { Code::Normal } else { Code::Expired }, now);
        session.wake(wakes);
        self.ask_after_loss(write.subscription, now);
        if is_stopped {
            self.count_stop(key, now);
        }
    }

    /// The subscriber stopped a group stream. Too many, and its session is closed.
    fn count_stop(&mut self, key: Key<Session>, now: Moment) {
        let stops = self.sessions.get_mut(key).and_then(|session| session.stops.as_mut());
        if stops.is_some_and(|stops| !stops.admits(now)) {
            self.close(key, Code::RateLimited, "too many streams were stopped in too short a time");
        }
    }

    /// Sound first, then by the subscriber's priority, then the newest group.
    fn urgency(&self, key: Key<Subscription>) -> Urgency {
        let Some(subscription) = self.subscriptions.get(key) else { return (false, 0, 0) };
        let newest = self.sources.get(subscription.source).and_then(|source| source.groups.back());
        (subscription.is_audio, subscription.options.priority, newest.map_or(0, |group| group.ordinal))
    }

    /// Plans one write for each group of a subscription that has bytes due, newest group first, and ends those that are over.
    fn plan(&mut self, key: Key<Session>, subscription_key: Key<Subscription>, now: Moment, batch: &mut Batch) {
        let Self { sources, subscriptions, sessions, limits, .. } = self;
        let Some(session) = sessions.get_mut(key) else { return };
        let Some(subscription) = subscriptions.get_mut(subscription_key).filter(|state| state.session == Some(key)) else { return };
        let Some(source) = sources.get_mut(subscription.source) else { return };
        subscription.is_ready = false;
        let mut is_held = false;
        if let Some(parked) = &mut subscription.parked
            && std::mem::take(&mut parked.is_due)
        {
            batch.writes.push(Write {
                subscription: subscription_key,
                group: None,
                slot: parked.slot,
                priority: 0,
                budget: subscription.budget,
                chunks: batch.chunks.len()..batch.chunks.len(),
                outcome: Outcome::Blocked,
            });
        }
        for index in (0..subscription.cursors.len()).rev() {
            let cursor = &mut subscription.cursors[index];
            let Some(group) = source.group(cursor.group) else { continue };
            if !group.has_bytes(&cursor.position) {
                if group.closed && cursor.position.record == group.end() {
                    let cursor = subscription.cursors.remove(index);
                    end_cursor(&mut subscription.fates, cursor, Some(&mut *source), Some(&mut *session), Fate::Closed, End::Finish);
                }
                continue;
            }
            if cursor.blocked.is_some() {
                continue;
            }
            let room = batch.room[usize::from(subscription.is_audio)];
            if room == 0 {
                session.block(cursor, group, Block::Cap);
                is_held = true;
                continue;
            }
            if cursor.slot.is_none() {
                cursor.slot = session.slots.take(subscription.is_audio, limits.group_streams_max, limits.group_streams_for_audio);
            }
            let Some(slot) = cursor.slot else {
                session.block(cursor, group, Block::NoStream);
                session.is_starved = true;
                is_held = true;
                continue;
            };
            let start = batch.chunks.len();
            let bytes_max = limits.write_bytes_max.min(usize::try_from(room).unwrap_or(usize::MAX));
            let bytes = group.collect(&cursor.position, bytes_max, &mut batch.chunks);
            batch.room = batch.room.map(|room| room.saturating_sub(bytes as u64));
            batch.writes.push(Write {
                subscription: subscription_key,
                group: Some(cursor.group),
                slot,
                priority: priority(subscription.is_audio, subscription.options.priority, group.ordinal),
                budget: subscription.budget,
                chunks: start..batch.chunks.len(),
                outcome: Outcome::Blocked,
            });
        }
        if is_held {
            if !std::mem::replace(&mut subscription.is_blocked, true) {
                session.blocked.push(subscription_key);
            }
            self.expire(subscription_key, now, None);
        }
    }

    /// Drops what is too late among a subscription's blocked groups, or the group `overrun` whatever its age: first whole
    /// discardable frames, then the group. Delivery goes on at the next key frame, which is asked for as soon as the subscriber takes bytes
    /// again; for sound at the next record.
    pub(super) fn expire(&mut self, key: Key<Subscription>, now: Moment, overrun: Option<u64>) {
        let Self { sources, subscriptions, sessions, limits, wakes, .. } = self;
        let Some(subscription) = subscriptions.get_mut(key) else { return };
        let Some(session) = subscription.session.and_then(|session| sessions.get_mut(session)) else { return };
        let Some(source) = sources.get_mut(subscription.source) else { return };
        let is_exempt = subscription.burst_until.is_some_and(|until| now < until);
        let (mut index, mut lost) = (0, false);
        while index < subscription.cursors.len() {
            let cursor = &mut subscription.cursors[index];
            let must_go = overrun == Some(cursor.group);
            let Some(group) = source.group(cursor.group).filter(|_| must_go || (cursor.blocked.is_some() && !is_exempt)) else {
                index += 1;
                continue;
            };
            let is_late = |cursor: &Cursor| cursor.oldest_due(group).is_some_and(|due| now.since(due) > subscription.budget);
            while !must_go
                && is_late(cursor)
                && let Some(next) = group.discardable_frame(&cursor.position)
            {
                subscription.fates.add(Fate::Discardable, next - cursor.position.record);
                cursor.position = Position { record: next, chunk: 0, offset: 0 };
                session.count_lag(cursor, group);
            }
            if !must_go && !is_late(cursor) {
                index += 1;
                continue;
            }
            let mut cursor = subscription.cursors.remove(index);
            let fate = cursor.blocked.map_or(Fate::Expired, Block::fate);
            session.due_at = now;
            if subscription.following == Following::Group(cursor.group) && !subscription.is_audio {
                subscription.following = Following::Waiting;
                lost = true;
                let is_open = matches!(cursor.blocked, Some(Block::Path | Block::NoStream));
                if is_open && session.may_park(limits.group_streams_max, limits.group_streams_for_audio) {
                    subscription.parked =
                        cursor.slot.take().map(|slot| Parked { slot, taken: cursor.taken, is_due: false, is_blocked: true });
                }
            }
            if cursor.slot.is_some() {
                session.note_reset(cursor.taken, now);
            }
            if end_cursor(&mut subscription.fates, cursor, Some(&mut *source), Some(&mut *session), fate, End::Reset(Code::Expired)) {
                session.wake(wakes);
            }
        }
        if lost {
            self.ask_after_loss(key, now);
        }
    }

    /// When something blocked becomes late, or the whole session is taken for stalled.
    fn deadline(&self, key: Key<Session>, now: Moment) -> Option<Moment> {
        let session = self.sessions.get(key).filter(|session| !session.is_closing() && !session.blocked.is_empty())?;
        let blocked = session.blocked.iter().filter_map(|key| self.subscriptions.get(*key));
        let late = blocked.clone().flat_map(|subscription| {
            let source = self.sources.get(subscription.source);
            subscription.cursors.iter().filter(|cursor| cursor.blocked.is_some()).filter_map(move |cursor| {
                let due = cursor.oldest_due(source?.group(cursor.group)?)? + subscription.budget;
                Some(due.max(subscription.burst_until.unwrap_or_default()))
            })
        });
        let is_blocked = blocked.clone().any(|subscription| subscription.cursors.iter().any(|cursor| cursor.blocked.is_some()));
        let stalled = session.stalled_since.map(|since| since + self.limits.stall_max);
        let is_parked = blocked.clone().any(|subscription| subscription.parked.is_some());
        let stalled = stalled.filter(|at| is_blocked || (is_parked && *at > now));
        // More may be sent then.
        let is_capped = blocked.flat_map(|subscription| &subscription.cursors).any(|cursor| cursor.blocked == Some(Block::Cap));
        let capped = session.sending.filter(|_| is_capped).map(|sending| now + sending.wait(now));
        // Age must be over the budget, so a little past the deadline; never in the past, or the task would spin.
        let soon = now + Duration::from_millis(1);
        late.chain(stalled).chain(capped).min().map(|at| (at + Duration::from_millis(1)).max(soon))
    }
}

/// Whether any byte is due.
fn is_behind(subscription: &Subscription, source: &Source) -> bool {
    subscription.cursors.iter().any(|cursor| source.group(cursor.group).is_some_and(|group| group.has_bytes(&cursor.position)))
}

fn priority(is_audio: bool, option: u32, ordinal: u64) -> i32 {
    if is_audio {
        return i32::MAX;
    }
    let group = i32::try_from(ordinal % PRIORITY_GROUPS).unwrap_or(0);
    let option = i32::try_from(option.min(PRIORITY_OPTION_MAX)).unwrap_or(0);
    (option << PRIORITY_GROUPS.trailing_zeros()) | group
}

#[cfg(test)]
mod tests {
    use super::priority;

    #[test]
    fn sound_then_the_subscribers_wish_then_the_newest_group() {
        let order =
            [priority(false, 0, 1), priority(false, 0, 2), priority(false, 1, 1), priority(false, u32::MAX, 9), priority(true, 0, 0)];
        assert!(order.is_sorted() && order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
    }
}
