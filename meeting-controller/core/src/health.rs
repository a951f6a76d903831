//! How this controller is. In: what can be seen of it. Out: a level with effect on where meetings go, and why in words.

use std::time::Duration;

use common_core::{Diagnosis, Health};

/// A task that waits so long for its turn keeps people waiting: a fifth of a heartbeat's slack, many times what a healthy process shows.
const LAG_MAX: Duration = Duration::from_millis(500);
/// Events that wait for a global controller: some seconds of a full controller, so it is not an ordinary burst.
const EVENTS_WAITING_MAX: usize = 5_000;

/// What can be seen of a controller.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// Parts that have ended although nobody asked them to.
    pub dead: Vec<&'static str>,
    /// Whether a global controller has answered, but no key to judge tokens with is known.
    pub lacks_keys: bool,
    /// Whether some handler could take a meeting.
    pub has_handler: bool,
    /// Meetings here, and at most.
    pub meetings: (u32, u32),
    /// Participants here, and at most.
    pub participants: (u32, u32),
    /// How long a task waited for its turn lately.
    pub lag: Duration,
    /// Events that wait for a global controller.
    pub events_waiting: usize,
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
        if self.lacks_keys {
            found.find(Health::Unhealthy, "no key is known to judge tokens with");
        }
        if self.is_certificate_expired {
            found.find(Health::Unhealthy, "the public certificate has expired");
        }
        if !self.has_handler {
            found.find(Health::Degraded, "no healthy media handler is known");
        }
        found.find_fullness("meetings", self.meetings.0.into(), self.meetings.1.into());
        found.find_fullness("participants", self.participants.0.into(), self.participants.1.into());
        if self.lag > LAG_MAX {
            found.find(Health::Degraded, format_args!("tasks wait {} ms for their turn", self.lag.as_millis()));
        }
        if self.events_waiting > EVENTS_WAITING_MAX {
            found.find(Health::Degraded, format_args!("{} events wait for a global controller", self.events_waiting));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong() {
        let well = Signs { has_handler: true, meetings: (1, 10), participants: (1, 10), ..Signs::default() };
        let check = |signs: Signs, health: Health, reason: &str| {
            let found = signs.diagnose();
            assert_eq!((found.health, found.reason.as_str()), (health, reason));
        };
        check(well.clone(), Health::Healthy, "");
        check(Signs { has_handler: false, ..well.clone() }, Health::Degraded, "no healthy media handler is known");
        check(Signs { meetings: (9, 10), ..well.clone() }, Health::Degraded, "9 of 10 meetings");
        check(Signs { participants: (10, 10), ..well.clone() }, Health::Degraded, "10 of 10 participants");
        check(Signs { lag: Duration::from_millis(501), ..well.clone() }, Health::Degraded, "tasks wait 501 ms for their turn");
        check(Signs { events_waiting: 5001, ..well.clone() }, Health::Degraded, "5001 events wait for a global controller");
        check(Signs { lacks_keys: true, ..well.clone() }, Health::Unhealthy, "no key is known to judge tokens with");
        check(Signs { is_certificate_expired: true, ..well.clone() }, Health::Unhealthy, "the public certificate has expired");
        check(
            Signs { dead: vec!["the WebTransport listener"], meetings: (9, 10), ..well },
            Health::Unhealthy,
            "the WebTransport listener has ended; 9 of 10 meetings",
        );
    }
}
