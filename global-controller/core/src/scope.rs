//! What an access token lets its bearer do (DESIGN section 3), as OAuth 2.0 writes it: words separated by spaces.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// `meetings:create`
    CreateMeetings,
    /// `meetings:read`
    ReadMeetings,
    /// `meetings:join`
    JoinMeetings,
    /// `meetings:end`
    EndMeetings,
    /// `participants:act-as`: its `user_id` is believed.
    ActAsParticipants,
    /// `participants:manage`: removing and muting.
    ManageParticipants,
    /// `webhooks:manage`
    ManageWebhooks,
}

impl Scope {
    /// All scopes, in the order in which they are written.
    pub const ALL: [Scope; 7] = [
        Scope::CreateMeetings,
        Scope::ReadMeetings,
        Scope::JoinMeetings,
        Scope::EndMeetings,
        Scope::ActAsParticipants,
        Scope::ManageParticipants,
        Scope::ManageWebhooks,
    ];

    /// As it stands in a token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::CreateMeetings => "meetings:create",
            Scope::ReadMeetings => "meetings:read",
            Scope::JoinMeetings => "meetings:join",
            Scope::EndMeetings => "meetings:end",
            Scope::ActAsParticipants => "participants:act-as",
            Scope::ManageParticipants => "participants:manage",
            Scope::ManageWebhooks => "webhooks:manage",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no scope; the scopes are {all}", all = Scopes::all())]
pub struct UnknownScope(pub String);

/// A set of permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Every scope there is.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether `scope` is among them.
    pub fn has(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Whether each of `self` is among `other`.
    pub fn is_within(&self, other: &Scopes) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes in `text` that are known here; a token of a newer release may have more.
    pub fn known_in(text: &str) -> Self {
        text.split_ascii_whitespace().filter_map(|word| Scope::ALL.into_iter().find(|scope| scope.as_str() == word)).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl FromStr for Scopes {
    type Err = UnknownScope;
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        text.split_ascii_whitespace()
            .map(|word| Scope::ALL.into_iter().find(|scope| scope.as_str() == word).ok_or_else(|| UnknownScope(word.to_owned())))
            .collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_words() {
        let all = Scopes::all();
        assert_eq!(all.to_string().parse(), Ok(all.clone()));
        let words = "meetings:create meetings:read meetings:join meetings:end participants:act-as participants:manage webhooks:manage";
        assert_eq!(all.to_string(), words);
        let read: Scopes = " meetings:read  meetings:read ".parse().expect("a known word");
        assert!(read.has(Scope::ReadMeetings) && !read.has(Scope::EndMeetings) && read.is_within(&all) && !all.is_within(&read));
        let unknown = "meetings:raed".parse::<Scopes>().expect_err("a typing error");
        assert_eq!(unknown, UnknownScope("meetings:raed".into()));
        assert_eq!(unknown.to_string(), format!("\"meetings:raed\" is no scope; the scopes are {words}"));
        assert_eq!(Scopes::known_in("meetings:read later:thing"), read);
    }
}
