//! When a node registers and when it beats, at one global controller. In: what became of the last call, the moment, a random number. Out: the
//! next call and its moment, and what is worth telling.
//!
//! Heartbeats keep a steady schedule: a slow answer does not put off those that follow. A global controller that is away is asked again after
//! pauses that grow and are never the same at two nodes. Never calls anyone.

use std::time::Duration;

use common_core::Moment;

/// Between heartbeats until a global controller has said how it wants them (DESIGN section 6), and the bounds of what it may want.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(50);
const INTERVAL_MAX: Duration = Duration::from_secs(2);
/// Before a call that failed is tried again, at first: short, as the first join of a fresh cluster waits for it.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// And at most: everybody has to be back well within the grace of a global controller that has just started.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Register,
    Beat,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This node is registered, and is to beat so often.
    Registered { interval: Duration },
    /// The heartbeat counts.
    Known,
    /// The global controller does not know this node.
    Unknown,
    /// No answer, or none that helps.
    Away,
}

/// Worth a line in the log, once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Registered,
    Forgotten,
    Away,
    Back { after: Duration },
}

#[derive(Debug)]
pub(super) struct Course {
    is_registered: bool,
    interval: Duration,
    due: Moment,
    pause: Duration,
    away_since: Option<Moment>,
    /// Registrations since the last heartbeat that counted.
    in_vain: u32,
}

impl Course {
    pub fn new(now: Moment) -> Self {
        Self { is_registered: false, interval: INTERVAL, due: now, pause: PAUSE_MIN, away_since: None, in_vain: 0 }
    }

    /// What to do next, and when.
    pub fn next(&self) -> (Moment, Step) {
        (self.due, if self.is_registered { Step::Beat } else { Step::Register })
    }

    /// Something is worth telling at once.
    pub fn hurry(&mut self, now: Moment) {
        // Whoever is away is asked no oftener for that.
        if self.away_since.is_none() {
            self.due = self.due.min(now);
        }
    }

    /// The call of [`next`](Self::next) is over. `random` spreads pauses.
    pub fn note(&mut self, now: Moment, outcome: Outcome, random: u64) -> Option<Note> {
        let was_away = if outcome == Outcome::Away { None } else { self.away_since.take() };
        let back = was_away.map(|since| Note::Back { after: now.since(since) });
        match outcome {
            Outcome::Registered { interval } => {
                self.is_registered = true;
                self.interval = interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
                // The first heartbeat brings the keys and the directory.
                self.due = now;
                self.in_vain += 1;
                self.pause = PAUSE_MIN;
                back.or(Some(Note::Registered))
            }
            Outcome::Known => {
                self.pause = PAUSE_MIN;
                self.in_vain = 0;
                // On schedule, unless that would be in the past.
                let next = self.due + self.interval;
                self.due = if next > now { next } else { now + self.interval };
                back
            }
            Outcome::Unknown => {
                self.is_registered = false;
                // One that forgets this node again and again is not asked without a pause.
                self.due = if self.in_vain > 1 { now + self.paused(random) } else { now };
                back.or(Some(Note::Forgotten))
            }
            Outcome::Away => {
                let first = self.away_since.is_none();
                self.away_since.get_or_insert(now);
                self.due = now + self.paused(random);
                first.then_some(Note::Away)
            }
        }
    }

    /// From half the pause to the whole; the next is twice as long.
    fn paused(&mut self, random: u64) -> Duration {
        let pause = self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        let half = pause / 2;
        half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERED: Outcome = Outcome::Registered { interval: INTERVAL };

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    fn registered() -> Course {
        let mut course = Course::new(at(0));
        assert_eq!(course.next(), (at(0), Step::Register));
        assert_eq!(course.note(at(10), REGISTERED, 0), Some(Note::Registered));
        assert_eq!(course.next(), (at(10), Step::Beat));
        assert_eq!(course.note(at(12), Outcome::Known, 0), None);
        course
    }

    /// A slow answer moves nothing; what was missed is not made up for.
    #[test]
    fn heartbeats_keep_their_schedule() {
        let mut course = registered();
        for (answered, next) in [(1015, 2010), (2900, 3010), (5500, 6500), (6501, 7500)] {
            assert_eq!(course.note(at(answered), Outcome::Known, 0), None);
            assert_eq!(course.next(), (at(next), Step::Beat));
        }
    }

    /// One line at the beginning and one at the end, however many calls fail in between.
    #[test]
    fn an_outage_is_told_once_and_its_length_at_the_end() {
        let mut course = registered();
        assert_eq!(course.note(at(3000), Outcome::Away, u64::MAX), Some(Note::Away));
        let mut pauses = Vec::new();
        let mut now = at(3000);
        for _ in 0..6 {
            let (due, step) = course.next();
            assert_eq!(step, Step::Beat, "it may know us still");
            pauses.push(due.since(now).as_millis());
            now = due;
            assert_eq!(course.note(now, Outcome::Away, u64::MAX), None);
        }
        assert_eq!(pauses, [200, 400, 800, 1000, 1000, 1000]);
        course.hurry(now);
        assert!(course.next().0 > now, "no news makes it come sooner");
        assert_eq!(course.note(at(60_000), Outcome::Unknown, 0), Some(Note::Back { after: Duration::from_secs(57) }));
        assert_eq!(course.next(), (at(60_000), Step::Register));
    }

    #[test]
    fn pauses_of_two_nodes_differ() {
        let pause = |random| {
            let mut course = registered();
            course.note(at(0), Outcome::Away, random);
            course.next().0
        };
        assert_eq!((pause(0), pause(1 << 63)), (at(100), at(150)));
    }

    /// A global controller that has restarted is registered with at once; one that never remembers is not called without a pause.
    #[test]
    fn who_is_forgotten_registers_again() {
        let mut course = registered();
        assert_eq!(course.note(at(1010), Outcome::Unknown, 0), Some(Note::Forgotten));
        assert_eq!(course.next(), (at(1010), Step::Register));
        for turn in 0..3 {
            course.note(at(1020), REGISTERED, 0);
            assert_eq!(course.note(at(1030), Outcome::Unknown, 0), Some(Note::Forgotten));
            assert_eq!(course.next().0 > at(1030), turn > 0);
        }
        assert_eq!(course.note(at(1040), REGISTERED, 0), Some(Note::Registered));
        assert_eq!(course.note(at(1050), Outcome::Known, 0), None);
        assert_eq!(course.note(at(2050), Outcome::Unknown, 0), Some(Note::Forgotten));
        assert_eq!(course.next(), (at(2050), Step::Register));
    }

    #[test]
    fn news_is_told_before_its_turn() {
        let mut course = registered();
        course.hurry(at(500));
        assert_eq!(course.next(), (at(500), Step::Beat));
    }
}
