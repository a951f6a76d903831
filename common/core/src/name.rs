//! Names that people type: what is accepted, and how they stand in a log line.

use thiserror::Error;

/// Longest display name, in Unicode scalar values (DESIGN section 4).
pub const NAME_CHARS_MAX: usize = 64;

/// Why a display name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("a name must have at least one visible character")]
    Empty,
    /// More than [`NAME_CHARS_MAX`] characters.
    #[error("a name may have at most 64 characters")]
    TooLong,
    /// Control characters (line breaks, escapes).
    #[error("a name may not contain control characters")]
    Control,
}

/// The name with white space at its ends removed, or why it is none.
pub fn parse_name(text: &str) -> Result<&str, NameError> {
    let name = text.trim();
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name.chars().count() > NAME_CHARS_MAX {
        Err(NameError::TooLong)
    } else if name.chars().any(char::is_control) {
        Err(NameError::Control)
    } else {
        Ok(name)
    }
}

/// Text of strangers for a log line: control characters and quotes escaped, at most `chars_max` characters.
pub fn escape(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(parse_name("  Ana  "), Ok("Ana"));
        assert_eq!(parse_name(" \t"), Err(NameError::Empty));
        assert_eq!(parse_name(&"ä".repeat(64)).map(str::len), Ok(128));
        assert_eq!(parse_name(&"a".repeat(65)), Err(NameError::TooLong));
        assert_eq!(parse_name("a\r\nb"), Err(NameError::Control));
    }

    #[test]
    fn escapes_what_moves_a_terminal() {
        assert_eq!(escape("a\r\n\u{1b}[31m", 64), "a\\r\\n\\u{1b}[31m");
    }
}
