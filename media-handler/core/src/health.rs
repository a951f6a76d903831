//! How this handler is. In: what can be seen of it. Out: a level with effect on which meetings come here, and why in words.

use std::time::Duration;

use common_core::{Diagnosis, Health};

/// A task that waits so long for its turn makes media late: a whole latency budget.
const LAG_MAX: Duration = Duration::from_millis(500);

/// What can be seen of a handler.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// Parts that have ended although nobody asked them to.
    pub dead: Vec<&'static str>,
    /// Participants here, and at most.
    pub participants: (u64, u64),
    /// Media sessions here, and at most.
    pub sessions: (u64, u64),
    /// How long a task waited for its turn lately.
    pub lag: Duration,
    /// Its public certificate is good no more.
    pub is_certificate_expired: bool,
}

impl Signs {
    /// Unhealthy is what cannot serve anybody new; degraded is what others would serve better.
    pub fn diagnose(&self) -> Diagnosis {
        let mut found = Diagnosis::default();
        for part in &self.dead {
            found.find(Health::Unhealthy, format_args!("{part} has ended"));
        }
        if self.is_certificate_expired {
            found.find(Health::Unhealthy, "the public certificate has expired");
        }
        found.find_fullness("participants", self.participants.0, self.participants.1);
        found.find_fullness("media sessions", self.sessions.0, self.sessions.1);
        if self.lag > LAG_MAX {
            found.find(Health::Degraded, format_args!("tasks wait {} ms for their turn", self.lag.as_millis()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong() {
        let well = Signs { participants: (89, 100), sessions: (1, 100), ..Signs::default() };
        let check = |signs: Signs, health: Health, reason: &str| {
            let found = signs.diagnose();
            assert_eq!((found.health, found.reason.as_str()), (health, reason));
        };
        check(well.clone(), Health::Healthy, "");
        check(Signs { participants: (90, 100), ..well.clone() }, Health::Degraded, "90 of 100 participants");
        check(Signs { sessions: (100, 100), ..well.clone() }, Health::Degraded, "100 of 100 media sessions");
        check(Signs { lag: Duration::from_secs(1), ..well.clone() }, Health::Degraded, "tasks wait 1000 ms for their turn");
        check(Signs { dead: vec!["the media listener"], ..well.clone() }, Health::Unhealthy, "the media listener has ended");
        check(Signs { is_certificate_expired: true, ..well }, Health::Unhealthy, "the public certificate has expired");
    }
}
