//! How a node is: a level that has effect, and why in words.

use std::fmt;

/// How a node says it is. The order is that of preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// As it should be.
    #[default]
    Healthy,
    /// Works, with trouble: the last choice for what is new.
    Degraded,
    /// No choice at all for what is new; what is there stays.
    Unhealthy,
}

impl Health {
    /// For logs, metrics and operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A level and every reason for it, gathered sign by sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The worst of what was found.
    pub health: Health,
    /// In words; empty if and only if all is well.
    pub reason: String,
}

impl Diagnosis {
    /// Notes something that is wrong.
    pub fn find(&mut self, health: Health, reason: impl fmt::Display) {
        self.health = self.health.max(health);
        let separator = if self.reason.is_empty() { "" } else { "; " };
        self.reason = format!("{}{separator}{reason}", self.reason);
    }

    /// Notes that `used` of `max` is 90 % or more: a rest is kept for what is there to grow, and for those who come back.
    pub fn find_fullness(&mut self, of_what: &str, used: u64, max: u64) {
        if used.saturating_mul(100) >= max.saturating_mul(FULL_PERCENT) {
            self.find(Health::Degraded, format_args!("{used} of {max} {of_what}"));
        }
    }
}

/// From this share of a capacity on a node is the last choice.
pub const FULL_PERCENT: u64 = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_every_reason_is_told() {
        let mut diagnosis = Diagnosis::default();
        assert_eq!((diagnosis.health, diagnosis.reason.as_str()), (Health::Healthy, ""));
        diagnosis.find_fullness("meetings", 89, 100);
        assert_eq!(diagnosis, Diagnosis::default());
        diagnosis.find(Health::Unhealthy, "the listener has ended");
        diagnosis.find_fullness("meetings", 90, 100);
        assert_eq!((diagnosis.health, diagnosis.reason.as_str()), (Health::Unhealthy, "the listener has ended; 90 of 100 meetings"));
    }

    /// What may carry nothing is full.
    #[test]
    fn nothing_of_nothing_is_full() {
        let mut diagnosis = Diagnosis::default();
        diagnosis.find_fullness("participants", 0, 0);
        assert_eq!(diagnosis.health, Health::Degraded);
    }
}
