//! Calls applications back when something happens: takes what is due from the store, makes the calls, tells the store how they ended.
//!
//! In: deliveries, of each webhook and meeting the oldest alone, so that each hears of a meeting in order. Out: signed calls, at least once each. A call
//! that is taken has a lease: should this process die over it, it is due again when the lease ends. One slow target never holds up the others.

mod call;
mod resolve;
mod signature;
pub(crate) mod target;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use global_controller_core::lanes::{Call, Lanes};
use global_controller_core::retry::Backoff;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::WebhooksConfig;
use crate::events::Bell;
use crate::store::{Delivery, Store, StoreError, UnixMillis};
use crate::timestamp::now_millis;

pub use call::{AuthorityError, Caller};
pub use signature::new_secret;
pub use target::parse_target;

use call::Outcome;

/// Between looks at what is due when nobody knocks: what other global controllers stored, and what failed before.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A lease is so many times a call's timeout: one to wait for its turn, one for the call, and one to store its end and for clocks that differ.
/// Should it end before, another process makes the same call beside the first.
const LEASE_TIMEOUTS: u32 = 3;
/// What is left of a lease when a call begins, at least.
const LEFT_TIMEOUTS: u32 = 2;
/// What is under way when the process stops may take this long; the rest is left to its lease.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls that wait for a lane, for each lane there is.
const HELD_PER_LANE: usize = 4;
/// A target that takes longer is called once at a time: most answer within a tenth of this.
const SLOW: Duration = Duration::from_secs(1);
/// Looks in a row, so that a backlog does not keep ends of calls from being heard.
const LOOKS_IN_A_ROW: usize = 4;

/// Makes the calls of this process.
pub struct Worker {
    store: Arc<dyn Store>,
    bell: Arc<Bell>,
    config: WebhooksConfig,
    caller: Arc<Caller>,
}

/// What a worker is about.
struct UnderWay {
    lanes: Lanes<Uuid>,
    /// Each says how long it took.
    calls: JoinSet<Duration>,
    /// Which lane each call has.
    entered: BTreeMap<Id, Call<Uuid>>,
    /// Taken from the store, and waiting for a lane.
    held: VecDeque<Held>,
}

struct Held {
    delivery: Delivery,
    call: Call<Uuid>,
    /// Too late to begin: the lease might end before the call.
    begin_before: Instant,
}

impl Worker {
    /// A worker that makes its calls by `caller`.
    pub fn new(store: Arc<dyn Store>, bell: Arc<Bell>, config: WebhooksConfig, caller: Caller) -> Self {
        Self { store, bell, config, caller: Arc::new(caller) }
    }

    /// Makes calls until `stop`.
    pub async fn work(self, stop: CancellationToken) {
        let at_once = self.config.at_once.max(1);
        let mut under_way = UnderWay { lanes: Lanes::new(at_once), calls: JoinSet::new(), entered: BTreeMap::new(), held: VecDeque::new() };
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.bell.any() => {}
                _ = ticks.tick() => {}
                Some(ended) = under_way.calls.join_next_with_id() => under_way.ended(ended),
            }
            while let Some(ended) = under_way.calls.try_join_next_with_id() {
                under_way.ended(ended);
            }
            if let Err(error) = self.refill(&mut under_way).await {
                tracing::debug!(%error, "it is not known which webhooks are due");
            }
        }
        let finished = async { while under_way.calls.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIMEOUT, finished).await.is_err() {
            tracing::info!("some webhook calls were not finished in time; they are made again");
        }
    }

    /// Begins as many calls as there are lanes.
    async fn refill(&self, under_way: &mut UnderWay) -> Result<(), StoreError> {
        for held in std::mem::take(&mut under_way.held) {
            if Instant::now() < held.begin_before {
                self.begin_or_hold(under_way, held);
            }
        }
        let lease = self.config.timeout * LEASE_TIMEOUTS;
        for _ in 0..LOOKS_IN_A_ROW {
            let room = under_way.lanes.room();
            if room == 0 {
                break;
            }
            let busy = under_way.busy();
            let begin_before = Instant::now() + lease - self.config.timeout * LEFT_TIMEOUTS;
            let now = now_millis();
            let taken = self.store.take_deliveries(now, now.saturating_add(millis(lease)), count(room), &busy).await?;
            let found = taken.len();
            for delivery in taken {
                let webhook = &delivery.webhook;
                let call = Call { client: webhook.client.clone(), webhook: webhook.id, host: target::host_of(&webhook.url) };
                self.begin_or_hold(under_way, Held { delivery, call, begin_before });
            }
            if found < room {
                break;
            }
        }
        Ok(())
    }

    fn begin_or_hold(&self, under_way: &mut UnderWay, held: Held) {
        if !under_way.lanes.enter(&held.call, held.delivery.webhook.failing.is_some()) {
            // What has no place here either is taken again when its lease ends.
            if under_way.held.len() < self.config.at_once.saturating_mul(HELD_PER_LANE) {
                under_way.held.push_back(held);
            }
            return;
        }
        let task = under_way.calls.spawn(make(self.store.clone(), self.caller.clone(), self.backoff(), held.delivery)).id();
        under_way.entered.insert(task, held.call);
    }

    fn backoff(&self) -> Backoff {
        Backoff { first: self.config.retry, longest: self.config.retry_max, give_up: self.config.give_up }
    }
}

impl UnderWay {
    /// Webhooks to which no further call is of use now: they have their lanes, or wait for one.
    fn busy(&self) -> Vec<Uuid> {
        let busy: BTreeSet<Uuid> = self.lanes.full().copied().chain(self.held.iter().map(|held| held.delivery.webhook.id)).collect();
        busy.into_iter().collect()
    }

    fn ended(&mut self, ended: Result<(Id, Duration), tokio::task::JoinError>) {
        let (task, took) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a webhook call panicked; it is made again when its lease ends");
            (error.id(), Duration::ZERO)
        });
        if let Some(call) = self.entered.remove(&task) {
            self.lanes.leave(&call, took >= SLOW);
        }
    }
}

/// Makes one call and tells the store how it ended. If that fails the call is made again: at least once means that.
async fn make(store: Arc<dyn Store>, caller: Arc<Caller>, backoff: Backoff, delivery: Delivery) -> Duration {
    let started = Instant::now();
    let outcome = caller.call(&delivery).await;
    let label = outcome.label();
    metrics::counter!("dark_tower_webhook_calls_total", "outcome" => label).increment(1);
    let took = started.elapsed();
    metrics::histogram!("dark_tower_webhook_call_seconds", "outcome" => label).record(took);
    if let Err(error) = record(store.as_ref(), backoff, &delivery, outcome).await {
        tracing::warn!(webhook = %delivery.webhook.id, event = %delivery.event.id, %error, "a webhook call is made again: its end was not stored");
    }
    took
}

async fn record(store: &dyn Store, backoff: Backoff, delivery: &Delivery, outcome: Outcome) -> Result<(), StoreError> {
    let (webhook, event) = (&delivery.webhook, &delivery.event);
    let now = now_millis();
    match outcome {
        Outcome::Delivered => store.delivered(webhook.id, event.id, now).await,
        // Standard Webhooks, "Responding": the target does not want to be called any more.
        Outcome::Gone => {
            tracing::warn!(webhook = %webhook.id, client = webhook.client, "the target answered 410 Gone: its webhook is dropped");
            store.delete_webhook(&webhook.client, webhook.id).await.map(drop)
        }
        Outcome::Failed { reason, wished, .. } => {
            let age = Duration::from_millis(u64::try_from(now.saturating_sub(event.occurred_at)).unwrap_or(0));
            let failures = delivery.attempts.saturating_add(1);
            match backoff.wait(failures, age, wished, common::random::number()) {
                Some(wait) => {
                    tracing::debug!(webhook = %webhook.id, event = %event.id, failures, reason, again_ms = wait.as_millis(), "a webhook call failed");
                    store.not_delivered(webhook.id, event.id, now, Some(now.saturating_add(millis(wait))), &reason).await
                }
                None => {
                    let age_seconds = age.as_secs();
                    tracing::warn!(webhook = %webhook.id, client = webhook.client, event = %event.id, failures, age_seconds, reason, "a webhook call is given up");
                    metrics::counter!("dark_tower_webhook_given_up_total").increment(1);
                    let reason = format!("{reason}; {} {} was given up", event.kind.as_str(), event.id);
                    store.not_delivered(webhook.id, event.id, now, None, &reason).await
                }
            }
        }
    }
}

fn millis(length: Duration) -> UnixMillis {
    UnixMillis::try_from(length.as_millis()).unwrap_or(UnixMillis::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
