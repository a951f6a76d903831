//! The keys that sign tokens: made at the first start, kept in the store, the same in every global controller; followed while they change.
//!
//! A new key is published at once, signs once every node has heard of it, and takes the place of the one before; that one stays published
//! until the last token it has signed is over. All of that follows from when keys were made, so that global controllers agree on it without
//! a word. `dark-tower keys rotate` makes one.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use common::token::{TokenError, TokenSigner, TokenVerifier};
use proto::cluster::TokenKey;
use serde_json::{Value, json};
use thiserror::Error;

use crate::config::TokenConfig;
use crate::store::{SigningKey, Store, StoreError, UnixMillis};
use crate::timestamp::now_millis;

/// Why there is no key to sign with.
#[derive(Debug, Error)]
pub enum LoadKeysError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored is no key.
    #[error("a stored signing key cannot be used: {0}")]
    Key(#[from] TokenError),
}

/// What a key is for at some time; times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, so that every node knows it before it signs.
    Waiting {
        /// From when on it signs.
        signs_from: UnixMillis,
    },
    /// New tokens are signed with it.
    Signing,
    /// Published for the tokens that it has signed.
    Retired {
        /// When the last of them is over.
        until: UnixMillis,
    },
    /// No good token is signed with it.
    Over,
}

/// How long keys wait and stay.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// From a key's making until it signs.
    activation: Duration,
    /// From a key's last signature until no good token bears one.
    keep: Duration,
}

impl Schedule {
    /// By the configuration.
    pub fn new(tokens: &TokenConfig) -> Self {
        Self { activation: tokens.key_activation, keep: tokens.access_life().max(tokens.join_life()) + tokens.leeway }
    }

    /// What each of the keys is for at `now`, given when they were made, newest first. The first key of a cluster has nobody to wait for.
    pub fn states(&self, made: &[UnixMillis], now: UnixMillis) -> Vec<KeyState> {
        let oldest = made.len().saturating_sub(1);
        let signs_from = |index: usize| if index == oldest { made[index] } else { after(made[index], self.activation) };
        // Where a clock was set back, the oldest signs before its time: some key has to.
        let signing = (0..made.len()).find(|index| signs_from(*index) <= now).unwrap_or(oldest);
        let state = |index: usize| match index.cmp(&signing) {
            std::cmp::Ordering::Less => KeyState::Waiting { signs_from: signs_from(index) },
            std::cmp::Ordering::Equal => KeyState::Signing,
            std::cmp::Ordering::Greater => match after(signs_from(index - 1), self.keep) {
                until if until > now => KeyState::Retired { until },
                _ => KeyState::Over,
            },
        };
        (0..made.len()).map(state).collect()
    }
}

fn after(time: UnixMillis, length: Duration) -> UnixMillis {
    time.saturating_add(UnixMillis::try_from(length.as_millis()).unwrap_or(UnixMillis::MAX))
}

/// A fresh key, not yet stored.
pub fn generate() -> Result<SigningKey, TokenError> {
    let pkcs8 = TokenSigner::generate_pkcs8();
    Ok(SigningKey { key_id: TokenSigner::from_pkcs8(&pkcs8)?.key_id().to_owned(), pkcs8, created_at: now_millis() })
}

/// At least one key.
pub struct SigningKeys {
    schedule: Schedule,
    leeway: Duration,
    set: RwLock<Arc<KeySet>>,
}

/// The keys that are published, newest first.
struct KeySet {
    keys: Vec<(UnixMillis, Arc<TokenSigner>)>,
    verifier: Arc<TokenVerifier>,
}

impl KeySet {
    fn new(stored: &[SigningKey], leeway: Duration) -> Result<Self, LoadKeysError> {
        let signer = |key: &SigningKey| Ok((key.created_at, Arc::new(TokenSigner::from_pkcs8(&key.pkcs8)?)));
        let keys: Vec<_> = stored.iter().map(signer).collect::<Result<_, TokenError>>()?;
        if keys.is_empty() {
            return Err(StoreError::Corrupt("no signing key is kept".to_owned()).into());
        }
        let public: Vec<(&str, [u8; 32])> = keys.iter().map(|(_, key)| (key.key_id(), key.public_key())).collect();
        let verifier = Arc::new(TokenVerifier::new(public.iter().map(|(id, key)| (*id, key.as_slice())), leeway));
        Ok(Self { keys, verifier })
    }

    fn is_of(&self, stored: &[SigningKey]) -> bool {
        let same = |((made, ours), theirs): (&(UnixMillis, Arc<TokenSigner>), &SigningKey)| {
            *made == theirs.created_at && ours.key_id() == theirs.key_id
        };
        self.keys.len() == stored.len() && self.keys.iter().zip(stored).all(same)
    }
}

impl SigningKeys {
    /// Loads the keys of the cluster, making the first one if there is none.
    pub async fn load(store: &dyn Store, tokens: &TokenConfig) -> Result<Self, LoadKeysError> {
        let schedule = Schedule::new(tokens);
        let (good, _) = stored(store, &schedule).await?;
        let set = RwLock::new(Arc::new(KeySet::new(&good, tokens.leeway)?));
        Ok(Self { schedule, leeway: tokens.leeway, set })
    }

    /// Looks whether a key was added or is over; what is over leaves the store as well.
    pub async fn follow(&self, store: &dyn Store) -> Result<(), LoadKeysError> {
        let (good, over) = stored(store, &self.schedule).await?;
        if !self.set().is_of(&good) {
            let set = KeySet::new(&good, self.leeway)?;
            tracing::info!(keys = ?good.iter().map(|key| &key.key_id).collect::<Vec<_>>(), "other signing keys");
            *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        }
        if !over.is_empty() {
            store.drop_signing_keys(&over).await?;
        }
        Ok(())
    }

    fn set(&self) -> Arc<KeySet> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key that signs now.
    pub fn signer(&self) -> Arc<TokenSigner> {
        let set = self.set();
        let made: Vec<UnixMillis> = set.keys.iter().map(|(made, _)| *made).collect();
        let states = self.schedule.states(&made, now_millis());
        let signing = states.iter().position(|state| *state == KeyState::Signing).unwrap_or_default();
        set.keys[signing].1.clone()
    }

    /// Of tokens of every key.
    pub fn verifier(&self) -> Arc<TokenVerifier> {
        self.set().verifier.clone()
    }

    /// For the heartbeat's answer.
    pub fn token_keys(&self) -> Vec<TokenKey> {
        let key =
            |(_, key): &(_, Arc<TokenSigner>)| TokenKey { key_id: key.key_id().to_owned(), public_key: key.public_key().to_vec().into() };
        self.set().keys.iter().map(key).collect()
    }

    /// A JSON Web Key Set (RFC 7517 section 5).
    pub fn jwks(&self) -> Value {
        json!({"keys": self.set().keys.iter().map(|(_, key)| key.jwk()).collect::<Vec<_>>()})
    }
}

/// The keys to publish, newest first, and the ids of those that are over.
async fn stored(store: &dyn Store, schedule: &Schedule) -> Result<(Vec<SigningKey>, Vec<String>), LoadKeysError> {
    let stored = store.signing_keys(&generate()?).await?;
    let made: Vec<UnixMillis> = stored.iter().map(|key| key.created_at).collect();
    let (mut good, mut over) = (Vec::new(), Vec::new());
    for (key, state) in stored.into_iter().zip(schedule.states(&made, now_millis())) {
        match state {
            KeyState::Over => over.push(key.key_id),
            _ => good.push(key),
        }
    }
    Ok((good, over))
}

#[cfg(test)]
mod tests {
    use super::KeyState::*;
    use super::*;

    /// A key waits 10 and is kept for 100 after its last signature.
    #[test]
    fn keys_wait_sign_retire_and_go() {
        let schedule = Schedule { activation: Duration::from_millis(10), keep: Duration::from_millis(100) };
        let check = |made: &[UnixMillis], now: UnixMillis, expected: &[KeyState]| {
            assert_eq!(schedule.states(made, now), expected, "{made:?} at {now}");
        };
        check(&[], 1000, &[]);
        check(&[1000], 1000, &[Signing]);
        check(&[1000], 999, &[Signing]);
        check(&[2000, 1000], 2000, &[Waiting { signs_from: 2010 }, Signing]);
        check(&[2000, 1000], 2009, &[Waiting { signs_from: 2010 }, Signing]);
        check(&[2000, 1000], 2010, &[Signing, Retired { until: 2110 }]);
        check(&[2000, 1000], 2109, &[Signing, Retired { until: 2110 }]);
        check(&[2000, 1000], 2110, &[Signing, Over]);
        // Twice in quick succession: each has its turn.
        check(&[2005, 2000, 1000], 2006, &[Waiting { signs_from: 2015 }, Waiting { signs_from: 2010 }, Signing]);
        check(&[2005, 2000, 1000], 2012, &[Waiting { signs_from: 2015 }, Signing, Retired { until: 2110 }]);
        check(&[2005, 2000, 1000], 2112, &[Signing, Retired { until: 2115 }, Over]);
        // A clock that was set back far: some key has to sign.
        check(&[2000, 1000], 500, &[Waiting { signs_from: 2010 }, Signing]);
    }

    #[test]
    fn a_key_stays_as_long_as_the_longest_token() {
        let tokens = TokenConfig::default();
        let schedule = Schedule::new(&tokens);
        assert_eq!((schedule.activation, schedule.keep), (tokens.key_activation, tokens.access_life + tokens.leeway));
    }
}
