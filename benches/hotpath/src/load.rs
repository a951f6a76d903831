//! The loads, by name: who publishes what to how many, and when each record comes.
//!
//! `w1`, `w2`, `w3` and the hot `h1` are those of the comparison with the floor. The same with another number of subscribers, or of people in
//! the meeting, show whether a delivered record costs more in a bigger crowd. In `…-tick` the handler reads its sockets every 5 ms and not
//! at each packet.

use std::time::Duration;

/// What is sent how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Records a second.
    pub rate: u64,
    /// Each so-manieth is a key frame; 0 for sound, which has none.
    pub group: u64,
    pub key_bytes: u32,
    pub bytes: u32,
}

/// 1 Mb/s of pictures.
const VIDEO: Pattern = Pattern { rate: 30, group: 60, key_bytes: 30_000, bytes: 3_700 };
const AUDIO: Pattern = Pattern { rate: 50, group: 0, key_bytes: 0, bytes: 150 };
/// A key frame every four seconds, as seldom as publishers may send one: older groups than two seconds are not kept whole.
const LONG_GROUPS: Pattern = Pattern { group: 120, ..VIDEO };
/// Ten times as fast.
const FAST_VIDEO: Pattern = Pattern { rate: 300, group: 600, ..VIDEO };

#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub name: &'static str,
    /// What each publisher sends.
    pub patterns: &'static [Pattern],
    pub publishers: usize,
    /// Who only receives. With more than one publisher everyone gets what all the others send.
    pub subscribers: usize,
    /// How long a handler lets packets lie before it reads them; zero: not at all.
    pub tick: Duration,
}

/// What a load repeats: its group of pictures.
const PERIOD: Duration = Duration::from_secs(2);
/// The same of [`LONG_GROUPS`].
const LONG_PERIOD: Duration = Duration::from_secs(4);

/// One publisher to `subscribers`.
const fn broadcast(name: &'static str, patterns: &'static [Pattern], subscribers: usize) -> Load {
    Load { name, patterns, publishers: 1, subscribers, tick: Duration::ZERO }
}

/// Everyone to everyone.
const fn meeting(name: &'static str, patterns: &'static [Pattern], people: usize) -> Load {
    Load { name, patterns, publishers: people, subscribers: 0, tick: Duration::ZERO }
}

const TICK: Duration = Duration::from_millis(5);

impl Load {
    pub const ALL: [Load; 9] = [
        broadcast("w1", &[VIDEO], 100),
        broadcast("w1-800", &[VIDEO], 800),
        broadcast("w1-long", &[LONG_GROUPS], 100),
        meeting("w2", &[VIDEO, AUDIO], 10),
        meeting("w2-5", &[VIDEO, AUDIO], 5),
        meeting("w2-20", &[VIDEO, AUDIO], 20),
        Load { tick: TICK, ..meeting("w2-tick", &[VIDEO, AUDIO], 10) },
        broadcast("w3", &[AUDIO], 100),
        Load { tick: TICK, ..broadcast("h1-tick", &[FAST_VIDEO], 100) },
    ];

    pub fn named(name: &str) -> Option<Load> {
        Self::ALL.into_iter().find(|load| load.name == name)
    }

    /// The length of so many repetitions.
    pub fn length(&self, periods: u32) -> Duration {
        if self.patterns.contains(&LONG_GROUPS) { LONG_PERIOD } else { PERIOD }.saturating_mul(periods)
    }

    /// How many get what one sends.
    pub fn audience(&self) -> usize {
        self.subscribers + self.publishers - 1
    }
}
