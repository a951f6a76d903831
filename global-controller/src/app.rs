//! What every request may use, and the rounds that are made between requests.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::token::TokenVerifier;
use common_core::{MeetingId, NodeId};
use futures_util::StreamExt;
use global_controller_core::MeetingCode;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::credentials::Hasher;
use crate::events::Bell;
use crate::http::Rates;
use crate::keys::SigningKeys;
use crate::revoked::Revoked;
use crate::store::{EventKind, Store, StoreError, UnixMillis};
use crate::timestamp::now_millis;
use common::shares::Shares;

/// Between pulses: well inside the two seconds that count as a freeze.
const PULSE_INTERVAL: Duration = Duration::from_millis(500);
/// Rounds after which running meetings are looked up again, in case another global controller ended one and died.
const ROUNDS_PER_REVIEW: u32 = 30;
/// Meetings looked up in one query.
const LOOKUP_MAX: usize = 500;
/// A client that is shut out may just be waiting for its turn to have its secret hashed, and be given one more token after that.
const UNDER_WAY: Duration = Duration::from_secs(60);
/// Controllers that are told to end a meeting at the same time.
const ENDINGS_AT_ONCE: usize = 16;
/// Of the connections to the store, followed feeds may take this part together.
const FEED_LOOKS_PART: u32 = 4;

/// See the module.
pub struct App {
    /// As given.
    pub config: Config,
    /// The API's own address, without a slash at its end.
    pub public_url: String,
    /// Base of page addresses, without a slash at its end.
    page_url: String,
    /// What outlives the process.
    pub store: Arc<dyn Store>,
    /// The nodes.
    pub cluster: Arc<Cluster>,
    /// Signs and publishes.
    pub keys: Arc<SigningKeys>,
    /// API clients whose tokens are worth nothing.
    pub revoked: Revoked,
    /// Of client secrets.
    pub hasher: Hasher,
    /// Requests that may be under way, by address.
    pub requests: Shares<IpAddr>,
    /// Requests that were made.
    pub rates: Rates,
    /// Feeds that may be followed besides, by caller.
    pub feeds: Shares<String>,
    /// Looks of followed feeds at the store at once: a part of its connections, so that requests always find one.
    pub feed_looks: Semaphore,
    /// Wakes feeds and webhooks.
    pub bell: Arc<Bell>,
    /// Cancelled when the process is to stop.
    pub stopping: CancellationToken,
    /// What is wrong with the store, by the last round.
    store_state: Mutex<Result<(), String>>,
    /// Ended meetings that may still run somewhere.
    ending: Mutex<BTreeSet<MeetingId>>,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        config: Config,
        public_url: &str,
        store: Arc<dyn Store>,
        cluster: Arc<Cluster>,
        keys: Arc<SigningKeys>,
        hasher: Hasher,
    ) -> Self {
        let page_url = config.meeting_page_url.as_deref().unwrap_or(public_url).trim_end_matches('/').to_owned();
        let public_url = public_url.trim_end_matches('/').to_owned();
        let requests = Shares::new(config.limits.requests, config.limits.requests_per_address);
        let rates = Rates::new(config.rates);
        let feeds = Shares::new(config.webhooks.feeds, config.webhooks.feeds_per_caller);
        let feed_looks = Semaphore::new(usize::try_from(config.store.connections / FEED_LOOKS_PART).unwrap_or(1).max(1));
        Self {
            config,
            public_url,
            page_url,
            store,
            cluster,
            keys,
            revoked: Revoked::default(),
            hasher,
            requests,
            rates,
            feeds,
            feed_looks,
            bell: Arc::default(),
            stopping: CancellationToken::new(),
            store_state: Mutex::new(Ok(())),
            ending: Mutex::default(),
        }
    }

    /// The page of a meeting.
    pub fn meeting_url(&self, code: MeetingCode) -> String {
        format!("{}/m/{code}", self.page_url)
    }

    /// Life of a join token.
    pub fn join_life(&self) -> Duration {
        self.config.tokens.join_life()
    }

    /// Of access tokens.
    pub fn verifier(&self) -> Arc<TokenVerifier> {
        self.keys.verifier()
    }

    /// What is wrong with the store, if anything is.
    pub fn store_state(&self) -> Result<(), String> {
        self.store_state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This meeting has a new event, which is in the store.
    pub fn tell(&self, meeting: MeetingId, kind: EventKind) {
        crate::events::count(kind);
        self.bell.ring(&[meeting]);
    }

    fn ending(&self) -> MutexGuard<'_, BTreeSet<MeetingId>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a meeting, ended in the store, end where it runs: now, and at each round while heartbeats still report it.
    pub async fn end_running(&self, meeting: MeetingId, assigned: NodeId) {
        self.ending().insert(meeting);
        let mut controllers: BTreeSet<NodeId> = self.cluster.controllers_of(meeting).into_iter().map(|controller| controller.id).collect();
        controllers.insert(assigned);
        for controller in controllers {
            self.end_at(controller, meeting).await;
        }
    }

    async fn end_at(&self, controller: NodeId, meeting: MeetingId) {
        if let Err(error) = self.cluster.end_meeting(&controller, meeting).await {
            tracing::warn!(%meeting, %error, "an ended meeting may still run; its controller is asked again while it reports it");
        }
    }

    /// Keeps the view awake, until `stop`.
    pub async fn pulse(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PULSE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = ticks.tick() => self.cluster.pulse(),
            }
        }
    }

    /// Looks each round, until `stop`, whether signing keys or shut-out API clients are others: apart from the other rounds, which may have to
    /// wait for a controller, since a revoked token is to be refused within two seconds.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.cluster.sweep_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.note_revoked().await {
                tracing::debug!(%error, "who was shut out is not known anew");
            }
            if let Err(error) = self.keys.follow(self.store.as_ref()).await {
                tracing::debug!(%error, "signing keys were not read anew");
            }
        }
    }

    /// Learns from the store who was shut out while tokens of theirs may still be about.
    pub async fn note_revoked(&self) -> Result<(), StoreError> {
        let now = now_millis();
        let about = self.tokens_about();
        let ids = self.store.revoked_since(now.saturating_sub(about)).await?;
        self.revoked.note(ids, now, now.saturating_add(about));
        Ok(())
    }

    /// Shuts an API client out, here at once and in other global controllers within a round; false: there is none.
    pub async fn revoke_client(&self, id: &str) -> Result<bool, StoreError> {
        let now = now_millis();
        let known = self.store.revoke_api_client(id, now).await?;
        if known {
            self.revoked.note([id.to_owned()], now, now.saturating_add(self.tokens_about()));
        }
        Ok(known)
    }

    /// How long after its client was shut out an access token may still be shown, milliseconds.
    fn tokens_about(&self) -> UnixMillis {
        let tokens = &self.config.tokens;
        UnixMillis::try_from((tokens.access_life() + tokens.leeway + UNDER_WAY).as_millis()).unwrap_or(UnixMillis::MAX)
    }

    /// Makes the rounds until `stop`: is the store there, has someone come into a meeting, does an ended one still run?
    pub async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.cluster.sweep_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looked_up: BTreeSet<MeetingId> = BTreeSet::new();
        let mut round = 0_u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.look_at_store().await;
            round = round.wrapping_add(1);
            if round.is_multiple_of(ROUNDS_PER_REVIEW) {
                looked_up.clear();
            }
            self.make_round(&mut looked_up).await;
        }
    }

    /// Readiness is for everyone who reaches it: what is wrong stands in the log alone.
    async fn look_at_store(&self) {
        let result = self.store.ping().await;
        let mut state = self.store_state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&result, state.is_ok()) {
            (Err(cause), true) => tracing::warn!(%cause, "the store is not available"),
            (Ok(()), false) => tracing::info!("the store is available again"),
            _ => {}
        }
        *state = result.map_err(|_| "not available".to_owned());
    }

    async fn make_round(&self, looked_up: &mut BTreeSet<MeetingId>) {
        let running = self.cluster.running();
        let meetings: BTreeSet<MeetingId> = running.iter().map(|(_, meeting)| *meeting).collect();
        looked_up.retain(|meeting| meetings.contains(meeting));
        let fresh: Vec<MeetingId> = meetings.difference(looked_up).copied().collect();
        for ids in fresh.chunks(LOOKUP_MAX) {
            match self.store.note_running(ids, crate::timestamp::now_millis()).await {
                Ok(ended) => {
                    looked_up.extend(ids);
                    self.ending().extend(ended);
                }
                // They stay fresh and are looked up in the next round.
                Err(error) => tracing::debug!(%error, "running meetings were not looked up"),
            }
        }
        let ending: BTreeSet<MeetingId> = {
            let mut ending = self.ending();
            ending.retain(|meeting| meetings.contains(meeting));
            ending.clone()
        };
        let still = running.into_iter().filter(|(_, meeting)| ending.contains(meeting));
        futures_util::stream::iter(still)
            .for_each_concurrent(ENDINGS_AT_ONCE, |(controller, meeting)| self.end_at(controller, meeting))
            .await;
    }
}
