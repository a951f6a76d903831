//! The keys that sign tokens: made at the first start, kept in the store, the same after a restart.

use common::token::{TokenError, TokenSigner};
use proto::cluster::TokenKey;
use serde_json::{Value, json};
use thiserror::Error;

use crate::store::{SigningKey, Store, StoreError};
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

/// At least one key; the newest signs, all verify.
pub struct SigningKeys {
    newest: TokenSigner,
    older: Vec<TokenSigner>,
}

impl SigningKeys {
    /// Loads the keys of the cluster, making the first one if there is none.
    pub async fn load(store: &dyn Store) -> Result<Self, LoadKeysError> {
        let pkcs8 = TokenSigner::generate_pkcs8();
        let candidate = SigningKey { key_id: TokenSigner::from_pkcs8(&pkcs8)?.key_id().to_owned(), pkcs8, created_at: now_millis() };
        let stored = store.signing_keys(&candidate).await?;
        let mut signers = stored.iter().map(|key| TokenSigner::from_pkcs8(&key.pkcs8)).collect::<Result<Vec<_>, _>>()?.into_iter();
        let newest = signers.next().ok_or_else(|| StoreError::Corrupt("no signing key is kept".to_owned()))?;
        Ok(Self { newest, older: signers.collect() })
    }

    /// The key that signs.
    pub fn signer(&self) -> &TokenSigner {
        &self.newest
    }

    fn all(&self) -> impl Iterator<Item = &TokenSigner> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// For the heartbeat's answer.
    pub fn token_keys(&self) -> Vec<TokenKey> {
        self.all().map(|key| TokenKey { key_id: key.key_id().to_owned(), public_key: key.public_key().to_vec().into() }).collect()
    }

    /// As a JSON Web Key Set.
    pub fn jwks(&self) -> Value {
        json!({"keys": self.all().map(TokenSigner::jwk).collect::<Vec<_>>()})
    }

    /// Key ids and public keys, to verify with.
    pub fn public_keys(&self) -> Vec<(String, [u8; 32])> {
        self.all().map(|key| (key.key_id().to_owned(), key.public_key())).collect()
    }
}
