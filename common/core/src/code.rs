//! The numbers with which sessions and streams end: `ErrorCode` of signaling.proto, one list for signaling and media.

use std::fmt;

/// Why a session is closed, a stream reset or a request refused. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Code {
    /// A normal end (as a close code), or a cause that has no code of its own.
    Normal = 0,
    /// The bytes, the message or its fields are not what the contract asks for.
    InvalidRequest = 1,
    /// The token is absent, wrong, spent or past its time.
    Unauthorized = 2,
    /// Known, and not allowed.
    Forbidden = 3,
    /// Not there, or not yours: the two look alike.
    NotFound = 4,
    /// Taken already.
    Conflict = 5,
    /// Our fault.
    InternalError = 6,
    /// A stated limit is reached.
    CapacityExceeded = 7,
    /// A media stream broke off.
    StreamError = 8,
    /// Too much in too short a time.
    RateLimited = 9,
    /// Late media.
    Expired = 10,
    /// Try again later.
    Unavailable = 11,
    /// A newer session of this participant took over.
    Moved = 12,
}

impl Code {
    /// All codes, by number.
    pub const ALL: [Code; 13] = [
        Code::Normal,
        Code::InvalidRequest,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::Conflict,
        Code::InternalError,
        Code::CapacityExceeded,
        Code::StreamError,
        Code::RateLimited,
        Code::Expired,
        Code::Unavailable,
        Code::Moved,
    ];

    /// The number on QUIC streams and WebTransport sessions.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The code with that number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The close code on a WebSocket (RFC 6455, section 7.4.2: 4000–4999 are private; 1000 is a normal end).
    pub const fn websocket(self) -> u16 {
        match self {
            Code::Normal => 1000,
            other => 4000 + other as u16,
        }
    }

    /// The contract's name.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Normal => "NORMAL",
            Code::InvalidRequest => "INVALID_REQUEST",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::Conflict => "CONFLICT",
            Code::InternalError => "INTERNAL_ERROR",
            Code::CapacityExceeded => "CAPACITY_EXCEEDED",
            Code::StreamError => "STREAM_ERROR",
            Code::RateLimited => "RATE_LIMITED",
            Code::Expired => "EXPIRED",
            Code::Unavailable => "UNAVAILABLE",
            Code::Moved => "MOVED",
        }
    }

    /// Whether a client should dial again, with backoff, after being refused with this code (DESIGN section 4).
    pub const fn worth_retrying(self) -> bool {
        matches!(self, Code::InternalError | Code::CapacityExceeded | Code::RateLimited | Code::Unavailable)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients are written against these numbers.
    #[test]
    fn numbers_are_the_contracts() {
        for (number, code) in (0..).zip(Code::ALL) {
            assert_eq!(code.number(), number);
            assert_eq!(Code::from_number(number), Some(code));
        }
        assert_eq!(Code::from_number(13), None);
        assert_eq!((Code::Normal.websocket(), Code::Moved.websocket()), (1000, 4012));
    }
}
