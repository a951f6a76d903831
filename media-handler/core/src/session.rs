//! One media session as the hub sees it: who it is, which group streams are open on it, what waits for its tasks.

use std::collections::VecDeque;
use std::task::Waker;

use common_core::{Code, MeetingId, Moment, ParticipantId, StreamId};

use crate::arena::Key;
use crate::hub::Report;
use crate::subscription::{Slot, Subscription};

/// What the handler says to a client on its control stream, or does to its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A key frame of this layer is needed.
    KeyFrame(StreamId),
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
    pub(crate) control: VecDeque<Control>,
    pub(crate) control_waker: Option<Waker>,
    pub(crate) closing: bool,
    /// Since when no byte was taken although some were due.
    pub(crate) stalled_since: Option<Moment>,
}

impl Session {
    /// Wakes the task that delivers, once until it looks.
    pub(crate) fn wake(&mut self, wakes: &mut Vec<Waker>) {
        if !self.woken {
            self.woken = true;
            wakes.extend(self.delivery_waker.clone());
        }
    }

    /// Leaves a message for the task that speaks on the control stream; one that waits already is not doubled. `false` if
    /// too many wait.
    pub(crate) fn tell(&mut self, message: Control, messages_max: usize, wakes: &mut Vec<Waker>) -> bool {
        if self.closing || self.control.len() >= messages_max {
            return false;
        }
        if !self.control.contains(&message) {
            self.control.push_back(message);
            wakes.extend(self.control_waker.take());
        }
        true
    }
}
