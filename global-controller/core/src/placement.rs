//! Chooses the meeting controller for a meeting. In: a snapshot of the controllers, a wish, a seed. Out: one of them and why.
//!
//! Region first, then health and capacity, then the less loaded of two chosen at random, ties by rendezvous hash (DESIGN
//! section 6). The chance to be chosen goes with the size, else a large controller among small ones would stay empty. The order of the snapshot
//! does not matter; the same inputs give the same answer.

use std::fmt;

use common_core::{MeetingId, NodeId};
use thiserror::Error;

use crate::hash::{mix, rendezvous};

pub use common_core::Health;

/// What a controller can carry, and carries. Zero as a maximum means that nothing more is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerCapacity {
    /// Meetings at once.
    pub meetings_max: u32,
    /// Meetings now.
    pub meetings: u32,
    /// Participants at once, in all meetings together.
    pub participants_max: u32,
    /// Participants now.
    pub participants: u32,
}

impl ControllerCapacity {
    /// Whether a further meeting, with a first participant, fits.
    pub const fn has_room(&self) -> bool {
        self.meetings < self.meetings_max && self.participants < self.participants_max
    }

    /// The fuller of the two, in parts per million.
    pub fn load_ppm(&self) -> u64 {
        ppm(self.meetings, self.meetings_max).max(ppm(self.participants, self.participants_max))
    }
}

/// `part` of `whole` in parts per million; all of nothing is full.
pub(crate) fn ppm(part: u32, whole: u32) -> u64 {
    (u64::from(part) * 1_000_000).checked_div(u64::from(whole)).unwrap_or(1_000_000)
}

/// A controller as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: &'a NodeId,
    /// Where it stands.
    pub region: &'a str,
    /// As its last heartbeat said.
    pub health: Health,
    /// Whether its lease holds.
    pub live: bool,
    /// Whether it is about to leave.
    pub draining: bool,
    /// Whether calls to it have failed of late although it beats.
    pub unanswering: bool,
    /// As its last heartbeat said, plus what was placed there since.
    pub capacity: ControllerCapacity,
}

/// Why a controller is no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Its lease has run out.
    Lost,
    /// It is about to leave.
    Draining,
    /// It says so.
    Unhealthy,
    /// It can take no further meeting.
    Full,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "no: its lease has run out",
            Self::Draining => "no: it is leaving",
            Self::Unhealthy => "no: it is unhealthy",
            Self::Full => "no: it is full",
        })
    }
}

impl Candidate<'_> {
    /// Why not this one; `None`: it is fit.
    pub const fn unfit(&self) -> Option<Unfit> {
        if !self.live {
            Some(Unfit::Lost)
        } else if self.draining {
            Some(Unfit::Draining)
        } else if matches!(self.health, Health::Unhealthy) {
            Some(Unfit::Unhealthy)
        } else if !self.capacity.has_room() {
            Some(Unfit::Full)
        } else {
            None
        }
    }
}

impl Candidate<'_> {
    /// Whether new meetings go there, and if not, why not; for operators.
    pub fn verdict(&self) -> String {
        match (self.unfit(), self.unanswering, self.health) {
            (Some(unfit), ..) => unfit.to_string(),
            (None, true, _) => "only if no other can: it does not answer calls".to_owned(),
            (None, false, Health::Degraded) => "only if no healthy one in the region can: it is degraded".to_owned(),
            (None, false, _) => "yes".to_owned(),
        }
    }
}

/// What is to be placed, and where it would like to be.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The meeting.
    pub meeting: MeetingId,
    /// Its region, if it has one.
    pub region: Option<&'a str>,
}

/// Where the chosen controller stands, compared with the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionMatch {
    /// In the wished region.
    Wished,
    /// Elsewhere: no fit controller is in the wished region.
    Elsewhere,
    /// There was no wish.
    NoWish,
}

/// Why this one among the best.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was the only one.
    OnlyChoice,
    /// Of two chosen at random it carries less than `than`.
    LessLoaded {
        /// The other one.
        than: NodeId,
    },
    /// Of two chosen at random, both carry the same; the rendezvous hash decided against `over`.
    Tie {
        /// The other one.
        over: NodeId,
    },
}

/// A choice and its reasons; displays in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The choice.
    pub controller: NodeId,
    /// How its region fits the wish.
    pub region: RegionMatch,
    /// How it says it is: degraded only if no healthy one was in that region.
    pub health: Health,
    /// Whether it did not answer calls of late: only if all others were unfit, or no better.
    pub unanswering: bool,
    /// How many were as good by region and health, itself included.
    pub choices: usize,
    /// Why this one of them.
    pub reason: Reason,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = match self.region {
            RegionMatch::Wished => "in the wished region",
            RegionMatch::Elsewhere => "no fit controller in the wished region",
            RegionMatch::NoWish => "no region was wished",
        };
        let health = if self.health == Health::Degraded { ", degraded but the best there is" } else { "" };
        let unanswering = if self.unanswering { ", has not answered of late but nobody else could" } else { "" };
        write!(f, "{} ({region}{health}{unanswering}; ", self.controller)?;
        match &self.reason {
            Reason::OnlyChoice => f.write_str("the only choice)"),
            Reason::LessLoaded { than } => write!(f, "less loaded than {than}, of {} choices)", self.choices),
            Reason::Tie { over } => write!(f, "as loaded as {over}, by hash, of {} choices)", self.choices),
        }
    }
}

/// Why a meeting cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoPlacement {
    /// Nobody is there.
    #[error("no meeting controller has registered")]
    NoController,
    /// Some are there, none is fit.
    #[error("no meeting controller can take a meeting: {lost} lost, {draining} draining, {unhealthy} unhealthy, {full} full")]
    NoneFit {
        /// Without a lease.
        lost: usize,
        /// About to leave.
        draining: usize,
        /// By their own word.
        unhealthy: usize,
        /// At their limit.
        full: usize,
    },
}

/// Chooses a controller for `wish.meeting` among `candidates`. `seed` decides which two are compared: hand in a random number.
pub fn place(candidates: &[Candidate<'_>], wish: &Wish<'_>, seed: u64) -> Result<Placement, NoPlacement> {
    // Whoever does not answer costs a person who waits a second: it comes after all others, wherever they are.
    let rank =
        |candidate: &Candidate<'_>| (candidate.unanswering, wish.region.is_some_and(|region| region != candidate.region), candidate.health);
    let fit = || candidates.iter().filter(|candidate| candidate.unfit().is_none());
    let best = fit().map(rank).min().ok_or_else(|| nobody(candidates))?;
    let mut pool: Vec<&Candidate<'_>> = fit().filter(|candidate| rank(candidate) == best).collect();
    pool.sort_unstable_by_key(|candidate| candidate.id);
    let (chosen, reason) = match pool.as_slice() {
        [only] => (*only, Reason::OnlyChoice),
        _ => better_of_two(&pool, wish.meeting, seed),
    };
    Ok(Placement {
        controller: chosen.id.clone(),
        region: match wish.region {
            None => RegionMatch::NoWish,
            Some(region) if region == chosen.region => RegionMatch::Wished,
            Some(_) => RegionMatch::Elsewhere,
        },
        health: chosen.health,
        unanswering: chosen.unanswering,
        choices: pool.len(),
        reason,
    })
}

/// Two different ones of at least two, by `seed`, each as likely as it is large; the less loaded of them (Mitzenmacher 2001; with sizes, Wieder 2007).
fn better_of_two<'c, 'a>(pool: &[&'c Candidate<'a>], meeting: MeetingId, seed: u64) -> (&'c Candidate<'a>, Reason) {
    let first = drawn(pool, None, mix(seed));
    let (a, b) = (pool[first], pool[drawn(pool, Some(first), mix(mix(seed)))]);
    let (load_a, load_b) = (a.capacity.load_ppm(), b.capacity.load_ppm());
    let a_wins = load_a < load_b || (load_a == load_b && rendezvous(meeting, a.id) >= rendezvous(meeting, b.id));
    let (winner, loser) = if a_wins { (a, b) } else { (b, a) };
    let other = loser.id.clone();
    (winner, if load_a == load_b { Reason::Tie { over: other } } else { Reason::LessLoaded { than: other } })
}

/// An index of `pool` other than `except`, by `random`. Fit ones have a size of at least one, so that there is always something to draw.
fn drawn(pool: &[&Candidate<'_>], except: Option<usize>, random: u64) -> usize {
    let others = || pool.iter().enumerate().filter(|(index, _)| Some(*index) != except);
    let size = |candidate: &Candidate<'_>| u128::from(candidate.capacity.meetings_max);
    let total: u128 = others().map(|(_, candidate)| size(candidate)).sum();
    let mut rest = (u128::from(random) * total) >> 64;
    let mut last = 0;
    for (index, candidate) in others() {
        last = index;
        match rest.checked_sub(size(candidate)) {
            Some(less) => rest = less,
            None => break,
        }
    }
    last
}

fn nobody(candidates: &[Candidate<'_>]) -> NoPlacement {
    if candidates.is_empty() {
        return NoPlacement::NoController;
    }
    let count = |why| candidates.iter().filter(|candidate| candidate.unfit() == Some(why)).count();
    NoPlacement::NoneFit {
        lost: count(Unfit::Lost),
        draining: count(Unfit::Draining),
        unhealthy: count(Unfit::Unhealthy),
        full: count(Unfit::Full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// id, region, health, live, meetings of 10.
    type Row = (&'static str, &'static str, Health, bool, u32);

    fn check(rows: &[Row], region: Option<&str>, expected: &str) {
        let ids: Vec<NodeId> = rows.iter().map(|row| row.0.parse().expect("a node id")).collect();
        let candidates: Vec<Candidate<'_>> = rows
            .iter()
            .zip(&ids)
            .map(|(row, id)| Candidate {
                id,
                region: row.1,
                health: row.2,
                live: row.3,
                draining: false,
                unanswering: row.0.starts_with("mute"),
                capacity: ControllerCapacity { meetings_max: 10, meetings: row.4, participants_max: 100, participants: 0 },
            })
            .collect();
        let wish = Wish { meeting: MeetingId::from_bytes([7; 16]), region };
        let said = match place(&candidates, &wish, 1) {
            Ok(placement) => placement.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn says_why() {
        use Health::{Degraded, Healthy, Unhealthy};
        check(&[], None, "no meeting controller has registered");
        check(&[("a", "eu", Healthy, true, 9)], None, "a (no region was wished; the only choice)");
        check(&[("a", "eu", Healthy, true, 9), ("b", "us", Healthy, true, 0)], Some("eu"), "a (in the wished region; the only choice)");
        check(
            &[("a", "eu", Healthy, true, 10), ("b", "us", Healthy, true, 0)],
            Some("eu"),
            "b (no fit controller in the wished region; the only choice)",
        );
        check(
            &[("a", "eu", Degraded, true, 0), ("b", "eu", Unhealthy, true, 0)],
            Some("eu"),
            "a (in the wished region, degraded but the best there is; the only choice)",
        );
        check(
            &[("a", "eu", Healthy, true, 3), ("b", "eu", Healthy, true, 4)],
            Some("eu"),
            "a (in the wished region; less loaded than b, of 2 choices)",
        );
        check(
            &[("mute-a", "eu", Healthy, true, 0), ("b", "us", Degraded, true, 9)],
            Some("eu"),
            "b (no fit controller in the wished region, degraded but the best there is; the only choice)",
        );
        check(
            &[("mute-a", "eu", Healthy, true, 0), ("b", "eu", Unhealthy, true, 0)],
            Some("eu"),
            "mute-a (in the wished region, has not answered of late but nobody else could; the only choice)",
        );
        check(
            &[("a", "eu", Healthy, false, 0), ("b", "eu", Unhealthy, true, 0), ("c", "eu", Healthy, true, 10)],
            None,
            "no meeting controller can take a meeting: 1 lost, 0 draining, 1 unhealthy, 1 full",
        );
    }
}
