//! How a session ended: closed by the other side with a code, or lost.

use common_core::Code;
use thiserror::Error;
use web_transport_quinn::{SessionError, WebTransportError};

/// Longest reason of a stranger that is kept, in characters.
const REASON_CHARS_MAX: usize = 256;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionEnd {
    /// The other side closed it.
    #[error("closed with code {code} ({}){}{reason}", name(*code), if reason.is_empty() { "" } else { ": " })]
    Closed {
        /// The application close code, as it came.
        code: u32,
        /// The other side's words, escaped.
        reason: String,
    },
    /// It broke, or this side gave it up.
    #[error("lost: {0}")]
    Lost(String),
}

impl SessionEnd {
    /// Closed with `code`; control characters in `reason` are escaped, its length is bounded.
    pub fn closed(code: u32, reason: &str) -> Self {
        Self::Closed { code, reason: common_core::name::escape(reason, REASON_CHARS_MAX) }
    }

    /// Lost for a cause in words.
    pub fn lost(cause: impl ToString) -> Self {
        Self::Lost(cause.to_string())
    }

    /// The code with which the other side closed, when it is one of the contract.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Closed { code, .. } => Code::from_number(*code),
            Self::Lost(_) => None,
        }
    }

    /// Whether dialling again with the resume token can help.
    pub fn is_worth_resuming(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Closed { .. } => self.code().is_some_and(Code::worth_retrying),
        }
    }
}

impl From<SessionError> for SessionEnd {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::WebTransportError(WebTransportError::Closed(code, reason)) => Self::closed(code, &reason),
            other => Self::lost(other),
        }
    }
}

/// The end that one asked for oneself.
pub(crate) fn left() -> SessionEnd {
    SessionEnd::closed(Code::Normal.number(), "left")
}

fn name(code: u32) -> &'static str {
    Code::from_number(code).map_or("not of the contract", Code::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_helps_after_losses_and_passing_troubles_alone() {
        assert!(SessionEnd::lost("timed out").is_worth_resuming());
        assert!(SessionEnd::closed(Code::Unavailable.number(), "").is_worth_resuming());
        for code in [Code::Normal, Code::Unauthorized, Code::Forbidden, Code::NotFound, Code::Moved] {
            assert!(!SessionEnd::closed(code.number(), "").is_worth_resuming(), "{code}");
        }
        assert!(!SessionEnd::closed(999, "").is_worth_resuming());
    }

    #[test]
    fn says_the_code_and_the_reason() {
        let end = SessionEnd::closed(2, "spent\u{1b}[31m");
        assert_eq!(end.to_string(), "closed with code 2 (UNAUTHORIZED): spent\\u{1b}[31m");
    }
}
