//! Ids as newtypes, so that a participant is never taken for a meeting. UUID text on the wire is canonical and lower-case.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not a canonical lower-case UUID.
    #[error("{what} must be a lower-case UUID such as 550e8400-e29b-41d4-a716-446655440000")]
    NotUuid {
        /// The name of the id that was expected.
        what: &'static str,
    },
    /// Not a node id.
    #[error("a node id must be 1 to 63 characters of a-z, 0-9 and '-', starting with a letter or digit")]
    NotNodeId,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// From the 16 bytes that stand on the wire.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes that stand on the wire.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The UUID within.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let bad = IdError::NotUuid { what: $what };
                if text.len() != 36 || text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(bad);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| bad)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

uuid_id!(
    /// The gathering (a room, in the JSON dialect).
    MeetingId, "a meeting id"
);
uuid_id!(
    /// A person or bot in one meeting; kept across resumes.
    ParticipantId, "a participant id"
);
uuid_id!(
    /// A media stream, or one of its layers: what stands in a frame header.
    StreamId, "a stream id"
);
uuid_id!(
    /// One line of chat.
    MessageId, "a message id"
);

/// A controller or handler, as in its certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(String);

impl NodeId {
    /// The text within: 1 to 63 characters of a DNS label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = text.bytes();
        let first_fits = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_fits = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if first_fits && rest_fits && text.len() <= 63 && !text.ends_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::NotNodeId)
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts the joins and resumes of a participant: the fence. What carries an older one is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The one that a further join or resume brings.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_canonical_and_lower_case() {
        let text = "550e8400-e29b-41d4-a716-446655440000";
        assert_eq!(text.parse::<MeetingId>().map(|id| id.to_string()), Ok(text.to_owned()));
        for bad in ["", "550E8400-e29b-41d4-a716-446655440000", "550e8400e29b41d4a716446655440000", "{550e8400-e29b-41d4-a716-44665544000}"]
        {
            assert!(bad.parse::<MeetingId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn node_ids_are_dns_labels() {
        for good in ["mc-1", "gc", "9a", &"a".repeat(63)] {
            assert!(good.parse::<NodeId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", &"a".repeat(64)] {
            assert_eq!(bad.parse::<NodeId>(), Err(IdError::NotNodeId), "{bad}");
        }
    }
}
