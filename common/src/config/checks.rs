//! Values that no configuration should have, told at the start and all at once, each by its key and with what would be right.
//!
//! A service's configuration says what it asks for in [`Validate::check`]; its `start` calls [`Validate::validate`] before anything
//! else, so that the same holds for files, the environment, flags and values made in code.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ConfigError;

/// A configuration that knows what its values may be.
pub trait Validate {
    /// Tells `checks` of each value that may be wrong.
    fn check(&self, checks: &mut Checks);

    /// All that is wrong, or nothing.
    fn validate(&self) -> Result<(), ConfigError> {
        let mut checks = Checks::default();
        self.check(&mut checks);
        if checks.problems.is_empty() { Ok(()) } else { Err(ConfigError::Values(checks.problems.join("; "))) }
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub struct Checks {
    problems: Vec<String>,
}

impl Checks {
    /// A number under `key` (with its section, as `limits.max_sessions`) must lie in `allowed`.
    pub fn number<T: PartialOrd + Display>(&mut self, key: &str, value: T, allowed: RangeInclusive<T>) {
        if !allowed.contains(&value) {
            self.problems.push(format!("{key} = {value}: must be from {} to {}", allowed.start(), allowed.end()));
        }
    }

    /// A length of time under `key`, which ends in `_ms`, must lie in `allowed`, in milliseconds.
    pub fn millis(&mut self, key: &str, value: Duration, allowed: RangeInclusive<u64>) {
        self.number(key, u64::try_from(value.as_millis()).unwrap_or(u64::MAX), allowed);
    }

    /// Anything else: `what_is_right` is said of `key` unless it is so.
    pub fn that(&mut self, is_right: bool, key: &str, what_is_right: impl Display) {
        if !is_right {
            self.problems.push(format!("{key}: {what_is_right}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample(u32, Duration);

    impl Validate for Sample {
        fn check(&self, checks: &mut Checks) {
            checks.number("limits.max_things", self.0, 1..=10);
            checks.millis("limits.interval_ms", self.1, 10..=1000);
            checks.that(self.0 != 7, "limits.max_things", "7 brings bad luck");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_by_its_key() {
        assert!(Sample(1, Duration::from_millis(10)).validate().is_ok());
        let told = Sample(0, Duration::ZERO).validate().expect_err("both are out of range").to_string();
        assert!(told.contains("limits.max_things = 0: must be from 1 to 10; limits.interval_ms = 0: must be from 10 to 1000"), "{told}");
        assert!(Sample(7, Duration::MAX).validate().expect_err("two things").to_string().contains("bad luck"));
    }
}
