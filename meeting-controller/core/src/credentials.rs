//! Which tokens still open this meeting: spent join tokens, resume tokens, and who is refused after a kick.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use common_core::{Moment, ParticipantId};

/// Join tokens remembered as spent. Tokens live five minutes at most; a meeting that spends more than this in that time
/// admits nobody new until the oldest expire.
const SPENT_TOKENS_MAX: usize = 20_000;
/// Spent tokens that are kept without looking whether they have expired.
const SPENT_TOKENS_MIN: usize = 256;
/// Subjects refused after kicks: more than a meeting's hosts remove by hand.
const REFUSED_SUBJECTS_MAX: usize = 10_000;

/// SHA-256 of a resume token: all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A fresh resume token on its way to its participant.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken {
    /// 256 random bits as text.
    pub text: String,
    /// Of the text.
    pub hash: TokenHash,
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(…)")
    }
}

/// Why a join token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpendError {
    /// Spent, or in use by a join under way.
    Spent,
    /// Too many are remembered.
    Full,
}

/// What must be known of a meeting for longer than its state lives: which join tokens are spent, and who stays out.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(crate) spent: SpentTokens,
    pub(crate) refused: Refused,
}

impl Memory {
    /// Forgets tokens that have expired by themselves: nobody can use them again.
    pub fn forget_expired(&mut self, now: Moment) {
        self.spent.until.retain(|_, until| now < *until);
    }

    /// These subjects stay out.
    pub fn refuse(&mut self, subjects: &[String]) {
        subjects.iter().for_each(|subject| self.refused.add(subject));
    }

    /// Takes up what is remembered elsewhere.
    pub fn absorb(&mut self, other: Memory) {
        other.refused.subjects.iter().for_each(|subject| self.refused.add(subject));
        self.spent.until.extend(other.spent.until);
    }

    /// Tokens and subjects that it holds, for whoever bounds many of these.
    pub fn len(&self) -> usize {
        self.spent.until.len() + self.refused.subjects.len()
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Join tokens that were spent or are being spent, until they expire by themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpentTokens {
    until: BTreeMap<String, Moment>,
    /// Expired ones are looked for when there are so many: twice as many as were good the last time, so that a meeting to which people
    /// come and go for days holds no more than it must, and each token costs a look or two.
    forget_at: usize,
}

impl SpentTokens {
    /// Takes a token, good until `until`; in the same step no other join can take it.
    pub fn take(&mut self, now: Moment, token_id: &str, until: Moment) -> Result<(), SpendError> {
        if self.until.get(token_id).is_some_and(|until| now < *until) {
            return Err(SpendError::Spent);
        }
        if self.until.len() >= self.forget_at.clamp(SPENT_TOKENS_MIN, SPENT_TOKENS_MAX) {
            self.until.retain(|_, until| now < *until);
            self.forget_at = 2 * self.until.len();
            if self.until.len() >= SPENT_TOKENS_MAX {
                return Err(SpendError::Full);
            }
        }
        self.until.insert(token_id.to_owned(), until);
        Ok(())
    }

    /// Gives a token back: its join did not succeed.
    pub fn give_back(&mut self, token_id: &str) {
        self.until.remove(token_id);
    }

    /// When the last of them has expired by itself.
    pub fn last_until(&self) -> Option<Moment> {
        self.until.values().max().copied()
    }
}

/// A participant's resume tokens: the newest, and the one before until the client shows that it has the newest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResumeTokens {
    newest: TokenHash,
    before: Option<TokenHash>,
}

/// Whose resume token is whose.
#[derive(Debug, Default)]
pub(crate) struct ResumeBook {
    by_participant: BTreeMap<ParticipantId, ResumeTokens>,
    by_hash: BTreeMap<TokenHash, ParticipantId>,
}

impl ResumeBook {
    /// Who may resume with this token.
    pub fn find(&self, hash: TokenHash) -> Option<ParticipantId> {
        self.by_hash.get(&hash).copied()
    }

    /// The token that was handed out last.
    pub fn newest(&self, participant_id: ParticipantId) -> Option<TokenHash> {
        self.by_participant.get(&participant_id).map(|tokens| tokens.newest)
    }

    /// A join or resume succeeded: `fresh` is on its way, and `used` (of a resume) stays good until it has arrived.
    pub fn renew(&mut self, participant_id: ParticipantId, used: Option<TokenHash>, fresh: TokenHash) {
        self.forget(participant_id);
        let tokens = ResumeTokens { newest: fresh, before: used };
        for hash in [Some(tokens.newest), tokens.before].into_iter().flatten() {
            self.by_hash.insert(hash, participant_id);
        }
        self.by_participant.insert(participant_id, tokens);
    }

    /// The first message came on the session that the newest token was handed out on: the one before has served.
    pub fn confirm(&mut self, participant_id: ParticipantId) {
        if let Some(tokens) = self.by_participant.get_mut(&participant_id)
            && let Some(before) = tokens.before.take()
        {
            self.by_hash.remove(&before);
        }
    }

    /// Nobody resumes as this participant any more.
    pub fn forget(&mut self, participant_id: ParticipantId) {
        if let Some(tokens) = self.by_participant.remove(&participant_id) {
            for hash in [Some(tokens.newest), tokens.before].into_iter().flatten() {
                self.by_hash.remove(&hash);
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }
}

/// Subjects that were removed and stay out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    subjects: BTreeSet<String>,
}

impl Refused {
    /// From now on.
    pub fn add(&mut self, subject: &str) {
        if self.subjects.len() < REFUSED_SUBJECTS_MAX {
            self.subjects.insert(subject.to_owned());
        }
    }

    /// Whether this subject stays out.
    pub fn contains(&self, subject: &str) -> bool {
        self.subjects.contains(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A meeting to which people come and go for days holds the tokens of the last minutes.
    #[test]
    fn what_has_expired_is_forgotten_before_it_piles_up() {
        let mut spent = SpentTokens::default();
        for number in 0..100_000 {
            let (now, until) = (Moment::from_micros(number), Moment::from_micros(number + 300));
            assert_eq!(spent.take(now, &number.to_string(), until), Ok(()));
            assert!(spent.until.len() <= 2 * 300 + 1, "{} are held", spent.until.len());
        }
    }

    #[test]
    fn a_token_is_taken_once_until_it_expires_or_is_given_back() {
        let (mut spent, until) = (SpentTokens::default(), Moment::from_micros(100));
        assert_eq!(spent.take(Moment::ORIGIN, "a", until), Ok(()));
        assert_eq!(spent.take(Moment::ORIGIN, "a", until), Err(SpendError::Spent));
        spent.give_back("a");
        assert_eq!(spent.take(Moment::ORIGIN, "a", until), Ok(()));
        for number in 1..SPENT_TOKENS_MAX {
            assert_eq!(spent.take(Moment::ORIGIN, &number.to_string(), until), Ok(()));
        }
        assert_eq!(spent.take(Moment::ORIGIN, "b", until), Err(SpendError::Full));
        assert_eq!(spent.take(until, "b", until), Ok(()));
    }

    #[test]
    fn the_resume_token_before_is_good_until_the_newest_is_confirmed() {
        let (ana, mut book) = (ParticipantId::from_bytes([1; 16]), ResumeBook::default());
        let hash = |byte| TokenHash([byte; 32]);
        book.renew(ana, None, hash(1));
        book.renew(ana, Some(hash(1)), hash(2));
        assert_eq!((book.find(hash(1)), book.find(hash(2))), (Some(ana), Some(ana)));
        // The answer with 2 was lost; the client comes again with 1, and 2 is worth nothing.
        book.renew(ana, Some(hash(1)), hash(3));
        assert_eq!((book.find(hash(1)), book.find(hash(2)), book.find(hash(3))), (Some(ana), None, Some(ana)));
        book.confirm(ana);
        assert_eq!((book.find(hash(1)), book.find(hash(3))), (None, Some(ana)));
        book.forget(ana);
        assert_eq!(book.len(), 0);
    }
}
