//! What this handler tells global controllers of itself, and what it does with their answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::membership::{Load, Member};
use common::parts::Parts;
use common::tls::LiveCertificate;
use common_core::departures::Process;
use common_core::{Departures, Diagnosis, Moment};
use media_handler_core::health::Signs;
use proto::cluster::{HandlerCapacity, HeartbeatReply};

use crate::handler::Handler;

/// A controller that no settled global controller has listed for so long is gone for good: lease and grace, and as long again for its people to
/// find another. Until then media goes on as if it were there.
const CONTROLLER_PATIENCE: Duration = Duration::from_secs(18);
/// After a longer pause between lists than this it is not known who was there meanwhile.
const LISTS_PAUSE_MAX: Duration = Duration::from_secs(3);

/// The handler as the registry sees it.
pub(crate) struct Registered {
    handler: Arc<Handler>,
    parts: Parts,
    certificate: LiveCertificate,
    controllers: Mutex<Controllers>,
}

/// Which processes of controllers may still be there.
struct Controllers {
    departures: Departures,
    listed_at: Moment,
}

impl Registered {
    pub fn new(handler: Arc<Handler>, parts: Parts, certificate: LiveCertificate) -> Self {
        let now = handler.now();
        let controllers = Mutex::new(Controllers { departures: Departures::new(CONTROLLER_PATIENCE, now), listed_at: now });
        Self { handler, parts, certificate, controllers }
    }
}

impl Controllers {
    /// A list has come; returns those that may still be there, or `None` while it is too early to say that any is gone.
    fn hear(&mut self, now: Moment, is_settled: bool, listed: Vec<Process>) -> Option<Vec<Process>> {
        let without_pause = now.since(self.listed_at) <= LISTS_PAUSE_MAX;
        self.listed_at = now;
        self.departures.look(now, is_settled && without_pause, listed)
    }
}

impl Member for Registered {
    fn load(&self) -> Load {
        let current = self.handler.with(|hub| hub.participants());
        Load::Handler(HandlerCapacity {
            max_participants: self.handler.limits.max_participants,
            current_participants: u32::try_from(current).unwrap_or(u32::MAX),
        })
    }

    fn diagnosis(&self) -> Diagnosis {
        let (participants, sessions) = self.handler.with(|hub| (hub.participants(), hub.session_count()));
        let limits = &self.handler.limits;
        Signs {
            dead: self.parts.dead(),
            participants: (participants as u64, limits.max_participants.into()),
            sessions: (sessions as u64, limits.max_sessions as u64),
            lag: self.handler.gate.lag(),
            is_certificate_expired: self.certificate.is_expired(),
        }
        .diagnose()
    }

    /// Whoever was registered by a controller that is gone for good goes too, once its media sessions are over.
    fn apply(&self, reply: &HeartbeatReply) {
        let listed = reply.controllers.iter().filter_map(|it| Some((it.controller_id.parse().ok()?, it.start_number)));
        let (now, listed) = (self.handler.now(), listed.collect());
        let present = self.controllers.lock().unwrap_or_else(PoisonError::into_inner).hear(now, reply.is_settled, listed);
        if let Some(present) = present {
            let removed = self.handler.with(|hub| hub.remove_abandoned(now, &present, CONTROLLER_PATIENCE));
            if removed > 0 {
                tracing::info!(participants = removed, "participants of controllers that are gone were removed");
                metrics::counter!("dark_tower_media_abandoned_total").increment(removed as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn process(id: &str) -> Process {
        (id.parse().expect("a node id"), 1)
    }

    /// Neither the absence of every global controller nor one that has just started makes a controller gone.
    #[test]
    fn only_lists_that_keep_coming_make_a_controller_gone() {
        let mut controllers = Controllers { departures: Departures::new(CONTROLLER_PATIENCE, at(0)), listed_at: at(0) };
        let both = || vec![process("mc-1"), process("mc-2")];
        for second in 1..=30 {
            controllers.hear(at(second), true, both());
        }
        assert_eq!(controllers.hear(at(31), true, both()), Some(both()));
        // No global controller for a minute, then one that knows nobody yet, then one that knows one of them.
        assert_eq!(controllers.hear(at(90), true, vec![process("mc-1")]), None);
        for second in 91..100 {
            assert_eq!(controllers.hear(at(second), false, vec![]), None);
        }
        for second in 100..118 {
            assert_eq!(controllers.hear(at(second), true, vec![process("mc-1")]), None);
        }
        assert_eq!(controllers.hear(at(118), true, vec![process("mc-1")]), Some(vec![process("mc-1")]));
    }
}
