//! Where to dial for signaling, in which order, and whom to believe there. Pure.

use std::time::Duration;

use crate::options::JoinOptions;
use crate::trust::Trust;

/// Between dialling one controller and the next; the first to stand wins.
const ALTERNATE_STAGGER: Duration = Duration::from_millis(500);
/// Alternates that are dialled: as many as the contract names.
const ALTERNATES_MAX: usize = 2;

/// The controllers of one meeting.
#[derive(Clone)]
pub(crate) struct Controllers {
    /// WebTransport, mostly.
    main: String,
    /// The same controller's WebSocket.
    fallback: Option<String>,
    fallback_after: Duration,
    /// The session that stood last stood there: it goes first.
    prefers_fallback: bool,
    alternates: Vec<String>,
    pub(crate) trust: Trust,
}

impl Controllers {
    /// Those that the options name.
    pub(crate) fn new(options: &JoinOptions) -> Self {
        Self {
            main: options.meeting_controller_url.clone(),
            fallback: options.signaling_fallback_url.clone().filter(|url| !url.is_empty()),
            fallback_after: options.fallback_after,
            prefers_fallback: false,
            alternates: Vec::new(),
            trust: options.trust_for(&options.certificate_hashes),
        }
    }

    /// A session stands at `url`, whose controller names `alternates`.
    pub(super) fn stands_at(&mut self, url: &str, mut alternates: Vec<String>) {
        self.prefers_fallback = self.fallback.as_deref() == Some(url);
        if !self.prefers_fallback && self.main != url {
            // An alternate let us in; where its WebSocket is nobody told.
            (self.main, self.fallback) = (url.to_owned(), None);
        }
        alternates.truncate(ALTERNATES_MAX);
        self.alternates = alternates;
    }

    /// A controller that wants us elsewhere.
    pub(super) fn move_to(&mut self, url: String, trust: Trust) {
        if url != self.main && Some(&url) != self.fallback.as_ref() {
            self.fallback = None;
        }
        if Some(&url) != self.fallback.as_ref() {
            self.main = url;
        }
        self.trust = trust;
    }

    /// What to dial, with the instant of each from the beginning on; the first to stand wins.
    pub(super) fn plan(&self) -> Vec<(Duration, String)> {
        let main = (Duration::ZERO, self.main.clone());
        let fallback = self.fallback.clone().map(|url| (self.fallback_after, url));
        let mut plan = match (fallback, self.prefers_fallback) {
            (Some((after, fallback)), true) => vec![(Duration::ZERO, fallback), (after, self.main.clone())],
            (fallback, _) => std::iter::once(main).chain(fallback).collect(),
        };
        let alternates = (1..).zip(&self.alternates).filter(|(_, url)| **url != self.main);
        plan.extend(alternates.map(|(place, url)| (ALTERNATE_STAGGER * place, url.clone())));
        plan.sort_by_key(|(after, _)| *after);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(controllers: &Controllers) -> Vec<(u128, String)> {
        controllers.plan().into_iter().map(|(after, url)| (after.as_millis(), url)).collect()
    }

    fn expect(controllers: &Controllers, expected: &[(u128, &str)]) {
        assert_eq!(plan(controllers), expected.iter().map(|(ms, url)| (*ms, (*url).to_owned())).collect::<Vec<_>>());
    }

    #[test]
    fn the_fallback_comes_a_second_later_and_first_where_it_stood() {
        let mut options = JoinOptions::new("https://a/wt", "m", "t");
        options.signaling_fallback_url = Some("wss://a/ws".into());
        let mut controllers = Controllers::new(&options);
        expect(&controllers, &[(0, "https://a/wt"), (1_000, "wss://a/ws")]);
        controllers.stands_at("wss://a/ws", vec!["https://b/wt".into(), "https://a/wt".into(), "https://c/wt".into()]);
        expect(&controllers, &[(0, "wss://a/ws"), (500, "https://b/wt"), (1_000, "https://a/wt")]);
        controllers.stands_at("https://a/wt", Vec::new());
        expect(&controllers, &[(0, "https://a/wt"), (1_000, "wss://a/ws")]);
    }

    /// The WebSocket of one controller says nothing about another's.
    #[test]
    fn elsewhere_there_is_no_fallback() {
        let mut options = JoinOptions::new("https://a/wt", "m", "t");
        options.signaling_fallback_url = Some("wss://a/ws".into());
        let mut controllers = Controllers::new(&options);
        controllers.move_to("https://b/wt".into(), Trust::System);
        expect(&controllers, &[(0, "https://b/wt")]);
        let mut controllers = Controllers::new(&options);
        controllers.stands_at("https://b/wt", Vec::new());
        expect(&controllers, &[(0, "https://b/wt")]);
    }
}
