//! Which of our layers nobody takes, as the handler in use says (`LayerControl`, DESIGN section 5). In: its words, new sessions. Out: yes or no.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common_core::StreamId;
use common_core::media::LAYERS_MAX;

/// Ids that are remembered: as many layers as a participant may publish (DESIGN section 4: 32 media streams). A handler that names more is not heeded.
pub(crate) const PAUSED_MAX: usize = 32 * (LAYERS_MAX + 1);

/// The ids in the frames of what is paused.
#[derive(Debug, Default)]
pub(crate) struct Paused(Mutex<BTreeSet<StreamId>>);

impl Paused {
    fn ids(&self) -> MutexGuard<'_, BTreeSet<StreamId>> {
        // Nothing panics while it holds the lock; if something did, the set is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody takes it, or somebody does again.
    pub(crate) fn set(&self, id: StreamId, is_paused: bool) {
        let mut ids = self.ids();
        if !is_paused {
            ids.remove(&id);
        } else if ids.len() < PAUSED_MAX {
            ids.insert(id);
        }
    }

    /// Another session stands: what the one before said is worth nothing.
    pub(crate) fn clear(&self) {
        self.ids().clear();
    }

    /// Whether all of these are paused; no ids are not.
    pub(crate) fn all(&self, ids: &[StreamId]) -> bool {
        let paused = self.ids();
        !ids.is_empty() && ids.iter().all(|id| paused.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_stream_is_paused_when_all_its_layers_are() {
        let [one, two] = [1, 2].map(|byte| StreamId::from_bytes([byte; 16]));
        let paused = Paused::default();
        assert!(!paused.all(&[]));
        paused.set(one, true);
        assert!(paused.all(&[one]) && !paused.all(&[one, two]));
        paused.set(two, true);
        assert!(paused.all(&[one, two]));
        paused.set(one, false);
        assert!(!paused.all(&[one, two]) && paused.all(&[two]));
        paused.clear();
        assert!(!paused.all(&[two]));
    }

    /// A hostile handler names ids without end.
    #[test]
    fn what_is_remembered_is_bounded() {
        let paused = Paused::default();
        for number in 0..10_000_u32 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            paused.set(StreamId::from_bytes(bytes), true);
        }
        assert_eq!(paused.ids().len(), PAUSED_MAX);
    }
}
