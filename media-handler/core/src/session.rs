//! One media session as the hub sees it: who it is, which group streams are open on it, what waits for its tasks.

use std::collections::VecDeque;
use std::task::Waker;

use common_core::{Code, MeetingId, Moment, ParticipantId, StreamId};

use crate::arena::Key;
use crate::group::Group;
use crate::hub::Report;
use crate::limits::Limits;
use crate::pace::Pace;
use crate::subscription::{Block, Cursor, Parked, Slot, Subscription};

/// What the handler says to a client on its control stream, or does to its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A key frame of this layer is needed.
    KeyFrame(StreamId),
    /// Nobody takes this layer, or somebody does again.
    Layer {
        /// Its id in frames.
        layer: StreamId,
        /// Whether its publisher need not send it.
        is_paused: bool,
    },
    /// Why the subscriber sees what it sees.
    Report(Box<Report>),
    /// The session ends.
    Close(Code, String),
}

/// How a group stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of the group was written.
    Finish,
    /// It was not.
    Reset(Code),
}

/// Room that a reset may give back besides what the group had taken: headers of streams, control messages, and credit that the
/// subscriber's QUIC had withheld so far.
const ECHO_SLACK: u64 = 16 * 1024;

/// Which group streams are open to a subscriber; pictures leave some for sound.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Taken by sound (`true`) or a picture.
    taken: Vec<Option<bool>>,
    pictures: usize,
    sounds: usize,
}

impl Slots {
    /// The lowest free one, if one more stream may be open.
    pub fn take(&mut self, is_audio: bool, max: usize, for_audio: usize) -> Option<Slot> {
        if self.pictures + self.sounds >= max || (!is_audio && self.pictures >= max.saturating_sub(for_audio)) {
            return None;
        }
        *if is_audio { &mut self.sounds } else { &mut self.pictures } += 1;
        let slot = self.taken.iter().position(Option::is_none).unwrap_or_else(|| {
            self.taken.push(None);
            self.taken.len() - 1
        });
        self.taken[slot] = Some(is_audio);
        Some(slot)
    }

    /// The stream is over.
    pub fn free(&mut self, slot: Slot) {
        match self.taken.get_mut(slot).and_then(Option::take) {
            Some(true) => self.sounds -= 1,
            Some(false) => self.pictures -= 1,
            None => {}
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.pictures + self.sounds
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Session {
    /// Known once it has said hello.
    pub(crate) participant: Option<(MeetingId, ParticipantId)>,
    /// Subscriptions with something due.
    pub(crate) ready: Vec<Key<Subscription>>,
    /// Subscriptions that QUIC takes no more of for now.
    pub(crate) blocked: Vec<Key<Subscription>>,
    pub(crate) slots: Slots,
    /// Group streams to end, in order.
    pub(crate) ending: Vec<(Slot, End)>,
    /// Whether its deliveries' task was woken and has not looked yet.
    pub(crate) woken: bool,
    pub(crate) delivery_waker: Option<Waker>,
    /// Layers that its publisher is asked key frames of, each once; so there are no more than it publishes.
    pub(crate) key_frames: VecDeque<StreamId>,
    /// Layers that its publisher is told to pause, or to go on with, each once.
    pub(crate) layers: VecDeque<(StreamId, bool)>,
    /// Subscriptions whose subscriber is to be told something, each once and in turn.
    pub(crate) reports: VecDeque<Key<Subscription>>,
    /// The last word.
    pub(crate) close: Option<(Code, String)>,
    /// Whether the task that speaks on the control stream has heard it.
    pub(crate) is_close_told: bool,
    pub(crate) control_waker: Option<Waker>,
    /// Since when no byte was taken although some were due.
    pub(crate) stalled_since: Option<Moment>,
    /// When something was blocked last.
    pub(crate) due_at: Moment,
    /// When a group stream was reset last.
    pub(crate) reset_at: Moment,
    /// What its QUIC may take for such resets without anybody reading: what it had of them, and a little.
    pub(crate) echo_bytes: u64,
    /// Memory that its blocked cursors' lag takes, in sum.
    pub(crate) lag: u64,
    /// Whether a group waits for a slot.
    pub(crate) is_starved: bool,
    /// What it is sent; none before its hello.
    pub(crate) sending: Option<Pace>,
    /// Groups it stopped.
    pub(crate) stops: Option<Pace>,
    /// Payload of the records under way that it sends.
    pub(crate) under_way: u64,
}

impl Session {
    /// Wakes the task that delivers, once until it looks.
    pub(crate) fn wake(&mut self, wakes: &mut Vec<Waker>) {
        if !self.woken {
            self.woken = true;
            wakes.extend(self.delivery_waker.clone());
        }
    }

    /// Hands out the group streams to end; their slots can be taken again. Whether there were any.
    pub(crate) fn free_slots(&mut self, endings: &mut Vec<(Slot, End)>) -> bool {
        for (slot, _) in &self.ending {
            self.slots.free(*slot);
        }
        let are_any = !self.ending.is_empty();
        endings.append(&mut self.ending);
        are_any
    }

    /// Whether nothing is due: no bytes, no stream to end, nothing that waits for a path or a time.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.ready.is_empty() && self.blocked.is_empty() && self.ending.is_empty()
    }

    /// Whether it is to be closed, or is.
    pub(crate) fn is_closing(&self) -> bool {
        self.close.is_some()
    }

    /// Has the task that speaks on the control stream ask for a key frame of `layer`. `false` if the session is to be closed.
    pub(crate) fn ask_key_frame(&mut self, layer: StreamId, wakes: &mut Vec<Waker>) -> bool {
        if self.is_closing() {
            return false;
        }
        if !self.key_frames.contains(&layer) {
            self.key_frames.push_back(layer);
            wakes.extend(self.control_waker.take());
        }
        true
    }

    /// Whether another stream may stay open that carries nothing more: while pictures have half of theirs left.
    pub(crate) fn may_park(&self, max: usize, for_audio: usize) -> bool {
        2 * self.slots.pictures <= max.saturating_sub(for_audio)
    }

    /// Resets what was left open of a late group.
    pub(crate) fn end_parked(&mut self, parked: &Parked, code: Code, now: Moment) {
        self.note_reset(parked.taken, now);
        self.ending.push((parked.slot, End::Reset(code)));
    }

    /// A group stream that took so many bytes is reset: its subscriber's QUIC may take as many without anybody reading.
    pub(crate) fn note_reset(&mut self, taken: u64, now: Moment) {
        self.reset_at = now;
        self.echo_bytes += taken + ECHO_SLACK;
    }

    /// A path that is blocked so long after the last reset has used up the room that this made.
    pub(crate) fn note_blocked(&mut self, now: Moment, limits: &Limits) {
        if now.since(self.reset_at) >= limits.stall_echo {
            self.echo_bytes = 0;
        }
    }

    /// Takes a blocked cursor's lag out of the sum.
    pub(crate) fn unblock(&mut self, cursor: &mut Cursor) {
        self.lag = self.lag.saturating_sub(std::mem::take(&mut cursor.lag));
        cursor.blocked = None;
    }

    /// Counts a cursor as blocked, with what it lags behind now.
    pub(crate) fn block(&mut self, cursor: &mut Cursor, group: &Group, by: Block) {
        (cursor.blocked, cursor.was_blocked) = (Some(by), true);
        self.count_lag(cursor, group);
    }

    /// Counts what a blocked cursor lags behind anew.
    pub(crate) fn count_lag(&mut self, cursor: &mut Cursor, group: &Group) {
        let lag = group.cost_from(cursor.position.record);
        self.lag = self.lag.saturating_sub(cursor.lag).saturating_add(lag);
        cursor.lag = lag;
    }
}
