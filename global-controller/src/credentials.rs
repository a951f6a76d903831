//! Secrets of API clients: made, hashed with argon2id, verified. In bounded number at once, since each hash takes memory and a core, and of
//! that number one address may have only a share, so that it cannot keep the others waiting.
//!
//! That a secret was right is not remembered: a memory of it would be a second, cheaper thing to guess against, and an access token lasts
//! long enough that nobody needs to ask often.

use std::net::IpAddr;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use common::Secret;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::config::LimitsConfig;
use common::shares::{Full, Shares};

/// Longest secret that is hashed, bytes; ours have 43.
const SECRET_BYTES_MAX: usize = 256;

/// Why a secret was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HashError {
    /// Too many are waiting.
    #[error("too many secrets are being verified; try again in a moment")]
    Busy,
    /// Too many of one address are.
    #[error("too many secrets from this address are being verified; try again in a moment")]
    BusyAddress,
    /// The library refuses, or its task died.
    #[error("the secret cannot be hashed")]
    Failed,
}

/// Hashes with argon2id at its recommended cost (RFC 9106, second choice: 19 MiB, 2 passes).
#[derive(Clone, Debug)]
pub struct Hasher {
    work: Arc<Semaphore>,
    places: Shares<IpAddr>,
    /// Verified in place of the hash of a client that does not exist, so that both take the same time.
    stand_in: Arc<str>,
}

impl Hasher {
    /// As many hashes under way, callers that wait, and of both from one address, as `limits` has it.
    pub fn new(limits: &LimitsConfig) -> Result<Self, HashError> {
        let at_once = limits.hashes.max(1);
        Ok(Self {
            work: Arc::new(Semaphore::new(at_once)),
            places: Shares::new(at_once + limits.hashes_waiting, limits.hashes_per_address.max(1)),
            stand_in: hash_secret(&Secret::new(common::random::token()))?.into(),
        })
    }

    /// Whether `secret` is that of `stored`, asked from `address`. Without a stored hash the same work is done, and the answer is no.
    pub async fn verify(&self, address: IpAddr, secret: Secret, stored: Option<String>) -> Result<bool, HashError> {
        if secret.expose().len() > SECRET_BYTES_MAX {
            return Ok(false);
        }
        let (exists, stand_in) = (stored.is_some(), self.stand_in.clone());
        let place = self.places.take(address).map_err(|full| match full {
            Full::All => HashError::Busy,
            Full::Own => HashError::BusyAddress,
        })?;
        let turn = self.work.clone().acquire_owned().await.map_err(|_| HashError::Failed)?;
        let work = tokio::task::spawn_blocking(move || {
            // Held until the work is done, whether or not the caller still waits for it.
            let _held = (place, turn);
            let phc = stored.as_deref().unwrap_or(&stand_in);
            Argon2::default().verify_password(secret.expose().as_bytes(), phc).is_ok()
        });
        Ok(work.await.map_err(|_| HashError::Failed)? && exists)
    }
}

/// The PHC string of `secret`. Takes memory and a core for a while.
pub fn hash_secret(secret: &Secret) -> Result<String, HashError> {
    let salt = common::random::bytes::<16>();
    let hash = Argon2::default().hash_password_with_salt(secret.expose().as_bytes(), &salt).map_err(|_| HashError::Failed)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    fn hasher(waiting: usize, per_address: usize) -> Hasher {
        let limits = LimitsConfig { hashes: 1, hashes_waiting: waiting, hashes_per_address: per_address, ..LimitsConfig::default() };
        Hasher::new(&limits).expect("argon2 works")
    }

    #[tokio::test]
    async fn only_the_right_secret_of_a_known_client_matches() {
        let hasher = hasher(1, 1);
        let stored = hash_secret(&Secret::new("right")).expect("hashed");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_eq!(hasher.verify(HERE, Secret::new("right"), Some(stored.clone())).await, Ok(true));
        assert_eq!(hasher.verify(HERE, Secret::new("wrong"), Some(stored)).await, Ok(false));
        assert_eq!(hasher.verify(HERE, Secret::new("right"), None).await, Ok(false));
        assert_eq!(hasher.verify(HERE, Secret::new("x".repeat(257)), None).await, Ok(false));
    }

    #[tokio::test]
    async fn a_crowd_is_sent_away_and_leaves_room_for_others() {
        let hasher = hasher(2, 2);
        let ask = |address| hasher.verify(address, Secret::new("a"), None);
        let turn = hasher.work.clone().acquire_owned().await.expect("nobody has it");
        let held = (hasher.places.take(HERE), hasher.places.take(HERE));
        assert_eq!(ask(HERE).await, Err(HashError::BusyAddress));
        let other = hasher.places.take(THERE).expect("there is room for another address");
        assert_eq!(ask(THERE).await, Err(HashError::Busy));
        drop((turn, held, other));
        assert_eq!(ask(HERE).await, Ok(false));
    }
}
