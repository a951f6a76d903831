//! What operators do to the store directly, whether or not a global controller runs: API clients and signing keys.
//!
//! In: wishes of whoever may open the store. Out: records. Running global controllers notice within a round.

use std::path::PathBuf;
use std::sync::Arc;

use common::Secret;
use global_controller_core::Scopes;
use thiserror::Error;

use crate::config::Config;
use crate::credentials::{HashError, hash_secret};
use crate::keys::{self, KeyState, Schedule};
use crate::service::open_store;
use crate::store::{ApiClient, ClientChange, SigningKey, Store, StoreError, TenantId, UnixMillis};
use crate::timestamp::now_millis;

/// Longest name of an API client, characters.
pub const NAME_CHARS_MAX: usize = 128;
/// Signing keys at once: each goes with every heartbeat, and a rotation needs two.
pub const KEYS_MAX: usize = 8;

/// Said of a rate limit of zero.
const RATE_LIMIT_MIN: &str = "a rate limit is at least 1";

/// Why it was not done.
#[derive(Debug, Error)]
pub enum AdminError {
    /// There is no such file: nothing was ever started on it, or the path is wrong.
    #[error("there is no database at {0}; a global controller makes it at its first start")]
    NoDatabase(PathBuf),
    /// It cannot be opened.
    #[error("cannot open the store: {0}")]
    Open(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The key cannot be made.
    #[error(transparent)]
    Key(#[from] common::token::TokenError),
    /// What was asked for is not possible; the text says what would be.
    #[error("{0}")]
    Refused(String),
}

/// An API client to be made.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// For operators.
    pub name: String,
    /// What its tokens may allow.
    pub scopes: Scopes,
    /// Requests in a window, if not as many as others.
    pub rate_limit: Option<u32>,
    /// Whose meetings it sees; `None`: a new tenant.
    pub tenant: Option<TenantId>,
}

/// A signing key, without its secret.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// `kid`
    pub key_id: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// What it is for now.
    pub state: KeyState,
}

/// The store, opened for an operator.
pub struct Admin {
    store: Arc<dyn Store>,
    schedule: Schedule,
}

impl Admin {
    /// Opens the store that `config` names. A SQLite file that is not there is not made: its absence means a wrong path.
    pub async fn open(config: &Config) -> Result<Self, AdminError> {
        let path = &config.store.path;
        if config.store.url.is_none() && !tokio::fs::try_exists(path).await.unwrap_or(false) {
            return Err(AdminError::NoDatabase(path.clone()));
        }
        let store = open_store(config).await.map_err(|error| AdminError::Open(error.to_string()))?;
        Ok(Self { store, schedule: Schedule::new(&config.tokens) })
    }

    /// Makes an API client. Its secret is nowhere else afterwards.
    pub async fn create_client(&self, wanted: NewClient) -> Result<(ApiClient, Secret), AdminError> {
        create_client(self.store.as_ref(), wanted).await
    }

    /// All API clients, oldest first, also those that were shut out.
    pub async fn clients(&self) -> Result<Vec<ApiClient>, AdminError> {
        Ok(self.store.api_clients().await?)
    }

    /// Shuts an API client out for good; false: there is none of this id.
    pub async fn revoke_client(&self, id: &str) -> Result<bool, AdminError> {
        Ok(self.store.revoke_api_client(id, now_millis()).await?)
    }

    /// Gives an API client other scopes or another rate limit; the client as it is then, or `None`: there is none, or it is shut out.
    pub async fn change_client(&self, id: &str, change: ClientChange) -> Result<Option<ApiClient>, AdminError> {
        if change.scopes.as_ref().is_some_and(Scopes::is_empty) {
            return Err(no_scopes());
        }
        if change.rate_limit == Some(Some(0)) {
            return Err(AdminError::Refused(RATE_LIMIT_MIN.to_owned()));
        }
        if !self.store.change_api_client(id, &change).await? {
            return Ok(None);
        }
        Ok(self.store.api_client(id).await?)
    }

    /// All signing keys, newest first.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, AdminError> {
        Ok(self.info(self.store.signing_keys(&keys::generate()?).await?))
    }

    /// Makes a further signing key, which takes over once every node has heard of it. All keys, the new one first.
    pub async fn rotate_keys(&self) -> Result<Vec<KeyInfo>, AdminError> {
        let alive = self.keys().await?;
        if alive.len() >= KEYS_MAX {
            let reason =
                format!("{KEYS_MAX} keys are kept already; the oldest goes once its last token has expired: see `dark-tower keys list`");
            return Err(AdminError::Refused(reason));
        }
        self.store.add_signing_key(&keys::generate()?).await?;
        self.keys().await
    }

    /// Takes a signing key away for good, because somebody else may have it: no token that it has signed is good once nodes have heard, within
    /// seconds. Where no other key could sign at once, a new one is made first. All keys that are left; `None`: there is none of this id.
    pub async fn drop_key(&self, key_id: &str) -> Result<Option<Vec<KeyInfo>>, AdminError> {
        let (dropped, left): (Vec<KeyInfo>, Vec<KeyInfo>) = self.keys().await?.into_iter().partition(|key| key.key_id == key_id);
        if dropped.is_empty() {
            return Ok(None);
        }
        if left.iter().all(|key| matches!(key.state, KeyState::Over)) {
            self.store.add_signing_key(&keys::generate()?).await?;
        }
        self.store.drop_signing_keys(&[key_id.to_owned()]).await?;
        Ok(Some(self.keys().await?))
    }

    fn info(&self, keys: Vec<SigningKey>) -> Vec<KeyInfo> {
        let made: Vec<UnixMillis> = keys.iter().map(|key| key.created_at).collect();
        let states = self.schedule.states(&made, now_millis());
        let info = |(key, state): (SigningKey, KeyState)| KeyInfo { key_id: key.key_id, created_at: key.created_at, state };
        keys.into_iter().zip(states).map(info).collect()
    }
}

/// A time for people: RFC 3339, in seconds and UTC.
pub fn rfc3339_millis(time: UnixMillis) -> String {
    crate::timestamp::rfc3339(time / 1000)
}

fn no_scopes() -> AdminError {
    AdminError::Refused(format!("a client without a scope may do nothing; the scopes are {}", Scopes::all()))
}

/// Makes an API client in `store`.
pub(crate) async fn create_client(store: &dyn Store, wanted: NewClient) -> Result<(ApiClient, Secret), AdminError> {
    let name = wanted.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(AdminError::Refused(format!("a name has 1 to {NAME_CHARS_MAX} characters, none of them a control character")));
    }
    if wanted.scopes.is_empty() {
        return Err(no_scopes());
    }
    if wanted.rate_limit == Some(0) {
        return Err(AdminError::Refused(RATE_LIMIT_MIN.to_owned()));
    }
    let secret = Secret::new(common::random::token());
    let hashed = secret.clone();
    let secret_hash = tokio::task::spawn_blocking(move || hash_secret(&hashed)).await.map_err(|_| HashError::Failed)??;
    let client = ApiClient {
        id: common::random::uuid().to_string(),
        secret_hash,
        tenant: wanted.tenant.unwrap_or_else(common::random::uuid),
        name: name.to_owned(),
        scopes: wanted.scopes,
        rate_limit: wanted.rate_limit,
        created_at: now_millis(),
        revoked_at: None,
    };
    store.create_api_client(&client).await?;
    Ok((client, secret))
}
