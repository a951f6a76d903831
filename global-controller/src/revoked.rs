//! API clients that were shut out, while tokens of theirs may still be about.
//!
//! In: what the store says each round, and what this process did itself. Out: whether a token's subject is one of them. Nobody is ever let
//! in again, so that an answer of the store that was overtaken by another does no harm.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::store::UnixMillis;

/// See the module.
#[derive(Debug, Default)]
pub struct Revoked(RwLock<BTreeMap<String, UnixMillis>>);

impl Revoked {
    /// These were shut out, and no token of theirs is good after `until`; those whose tokens are over at `now` are forgotten.
    pub fn note(&self, ids: impl IntoIterator<Item = String>, now: UnixMillis, until: UnixMillis) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(ids.into_iter().map(|id| (id, until)));
        known.retain(|_, until| *until > now);
    }

    /// Whether this one was.
    pub fn has(&self, id: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stay_until_their_tokens_are_over() {
        let revoked = Revoked::default();
        revoked.note(["a".to_owned()], 0, 100);
        revoked.note(["b".to_owned()], 50, 150);
        assert!(revoked.has("a") && revoked.has("b") && !revoked.has("c"));
        revoked.note([], 100, 200);
        assert!(!revoked.has("a") && revoked.has("b"));
    }
}
