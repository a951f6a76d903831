//! Secrets of API clients: made, hashed with argon2id, verified. In bounded number at once, since each hash takes memory and a core.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use common::Secret;
use thiserror::Error;
use tokio::sync::Semaphore;

/// Longest secret that is hashed, bytes; ours have 43.
const SECRET_BYTES_MAX: usize = 256;

/// Why a secret was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HashError {
    /// Too many are waiting.
    #[error("too many secrets are being verified; try again in a moment")]
    Busy,
    /// The library refuses, or its task died.
    #[error("the secret cannot be hashed")]
    Failed,
}

/// Hashes with argon2id at its recommended cost (RFC 9106, second choice: 19 MiB, 2 passes).
#[derive(Clone, Debug)]
pub struct Hasher {
    work: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// Verified in place of the hash of a client that does not exist, so that both take the same time.
    stand_in: Arc<str>,
}

impl Hasher {
    /// At most `at_once` hashes under way and `waiting` callers besides.
    pub fn new(at_once: usize, waiting: usize) -> Result<Self, HashError> {
        let at_once = at_once.max(1);
        Ok(Self {
            work: Arc::new(Semaphore::new(at_once)),
            places: Arc::new(Semaphore::new(at_once + waiting)),
            stand_in: hash(&common::random::token())?.into(),
        })
    }

    /// The PHC string of `secret`.
    pub async fn hash(&self, secret: Secret) -> Result<String, HashError> {
        self.run(move || hash(secret.expose())).await?
    }

    /// Whether `secret` is that of `stored`. Without a stored hash the same work is done, and the answer is no.
    pub async fn verify(&self, secret: Secret, stored: Option<String>) -> Result<bool, HashError> {
        if secret.expose().len() > SECRET_BYTES_MAX {
            return Ok(false);
        }
        let (exists, stand_in) = (stored.is_some(), self.stand_in.clone());
        let matches = self
            .run(move || {
                let phc = stored.as_deref().unwrap_or(&stand_in);
                Argon2::default().verify_password(secret.expose().as_bytes(), phc).is_ok()
            })
            .await?;
        Ok(matches && exists)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| HashError::Busy)?;
        let turn = self.work.clone().acquire_owned().await.map_err(|_| HashError::Failed)?;
        tokio::task::spawn_blocking(move || {
            // Held until the work is done, whether or not the caller still waits for it.
            let _held = (place, turn);
            work()
        })
        .await
        .map_err(|_| HashError::Failed)
    }
}

fn hash(secret: &str) -> Result<String, HashError> {
    let salt = common::random::bytes::<16>();
    let hash = Argon2::default().hash_password_with_salt(secret.as_bytes(), &salt).map_err(|_| HashError::Failed)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_secret_of_a_known_client_matches() {
        let hasher = Hasher::new(1, 1).expect("argon2 works");
        let stored = hasher.hash(Secret::new("right")).await.expect("hashed");
        assert!(stored.starts_with("$argon2id$"), "{stored}");
        assert_eq!(hasher.verify(Secret::new("right"), Some(stored.clone())).await, Ok(true));
        assert_eq!(hasher.verify(Secret::new("wrong"), Some(stored)).await, Ok(false));
        assert_eq!(hasher.verify(Secret::new("right"), None).await, Ok(false));
        assert_eq!(hasher.verify(Secret::new("x".repeat(257)), None).await, Ok(false));
    }

    #[tokio::test]
    async fn a_crowd_is_sent_away() {
        let hasher = Hasher::new(1, 0).expect("argon2 works");
        let first = hasher.places.clone().try_acquire_owned().expect("one place");
        assert_eq!(hasher.verify(Secret::new("a"), None).await, Err(HashError::Busy));
        drop(first);
        assert_eq!(hasher.verify(Secret::new("a"), None).await, Ok(false));
    }
}
