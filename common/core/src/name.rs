//! Text of strangers: which names are accepted, and how it stands in a line for people.

use thiserror::Error;

/// Longest display name, in Unicode scalar values (DESIGN section 4).
pub const NAME_CHARS_MAX: usize = 64;

/// Why a display name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing that can be seen.
    #[error("a name must have at least one visible character")]
    Empty,
    /// More than [`NAME_CHARS_MAX`] characters.
    #[error("a name may have at most 64 characters")]
    TooLong,
    /// Control characters (line breaks, escapes).
    #[error("a name may not contain control characters")]
    Control,
    /// Characters that turn the order of what stands around them, and so another's name as well.
    #[error("a name may not change the direction of the text around it")]
    Direction,
}

/// The name with white space at its ends removed, or why it is none. Any script is welcome, and joiners and marks that scripts and emoji need;
/// what has no width does not make a name by itself.
pub fn parse_name(text: &str) -> Result<&str, NameError> {
    let name = text.trim();
    if name.chars().take(NAME_CHARS_MAX + 1).count() > NAME_CHARS_MAX {
        Err(NameError::TooLong)
    } else if name.chars().any(|c| c.is_control() || is_line_break(c)) {
        Err(NameError::Control)
    } else if name.chars().any(is_direction) {
        Err(NameError::Direction)
    } else if name.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
        Err(NameError::Empty)
    } else {
        Ok(name)
    }
}

/// Whether `c` changes what stands around it or is not seen: controls, direction marks, what has no width, breaks of lines. No log line and no
/// terminal is given such a character of a stranger's.
pub fn is_deceptive(c: char) -> bool {
    c.is_control() || is_line_break(c) || is_direction(c) || is_invisible(c)
}

/// Line and paragraph separators, which are no controls by their category (Zl, Zp).
fn is_line_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// Embeddings, overrides and isolates (Unicode Standard Annex 9, section 2).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Without width, or blank though it counts as a letter or symbol.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Text of strangers for a line of a log, a terminal or an error: quotes and what deceives escaped, at most `chars_max` characters of it, with
/// an ellipsis where it goes on.
pub fn escape(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars();
    let mut escaped = String::new();
    for c in chars.by_ref().take(chars_max) {
        if is_deceptive(c) {
            // Blanks that count as letters pass the standard library's.
            escaped.extend(c.escape_default());
        } else {
            escaped.extend(c.escape_debug());
        }
    }
    if chars.next().is_some() {
        escaped.push('…');
    }
    escaped
}

/// Words of ours that may quote a stranger, for a terminal: what deceives is escaped, lines stay lines.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) && c != '\n' { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(parse_name("  Ana  "), Ok("Ana"));
        assert_eq!(parse_name(&"ä".repeat(64)).map(str::len), Ok(128));
        assert_eq!(parse_name(&"a".repeat(65)), Err(NameError::TooLong));
        assert_eq!(parse_name(&"\u{200b}".repeat(1_000_000)), Err(NameError::TooLong));
        for name in ["a\r\nb", "a\0", "\u{1b}[31mred", "\u{9b}31m", "a\u{7f}", "a\u{2028}b", "a\u{2029}b"] {
            assert_eq!(parse_name(name), Err(NameError::Control), "{name:?}");
        }
        for name in ["\u{202e}ana", "a\u{2066}b", "ana\u{202c}"] {
            assert_eq!(parse_name(name), Err(NameError::Direction), "{name:?}");
        }
    }

    #[test]
    fn what_nobody_sees_is_no_name() {
        let unseen = [
            "",
            " \t",
            "\u{200b}",
            "\u{200b} \u{feff}",
            "\u{2060}\u{200d}",
            "\u{ad}",
            "\u{3164}\u{115f}",
            "\u{2800}",
            "\u{fe0f}",
            "\u{e0041}",
        ];
        for name in unseen {
            assert_eq!(parse_name(name), Err(NameError::Empty), "{name:?}");
        }
    }

    #[test]
    fn every_script_makes_names() {
        let families = "👨\u{200d}👩\u{200d}👧";
        let flag = "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}";
        for name in
            ["Grüße", "李雷", "محمد", "نامه\u{200c}ها", "יעל\u{200f}", "Zoë", "e\u{301}", families, flag, "O'Neil \"Jr\"", "❤\u{fe0f}"]
        {
            assert_eq!(parse_name(name), Ok(name), "{name:?}");
        }
    }

    #[test]
    fn words_for_a_terminal_keep_their_lines() {
        assert_eq!(harmless("a \"b\"\n  \u{1b}[2J\r\u{202e}ä"), "a \"b\"\n  \\u{1b}[2J\\r\\u{202e}ä");
    }

    #[test]
    fn escapes_what_moves_a_terminal_or_deceives() {
        let check = |text: &str, expected: &str| assert_eq!(escape(text, 64), expected, "{text:?}");
        check("a\r\n\u{1b}[31m", "a\\r\\n\\u{1b}[31m");
        check("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}");
        check("\u{3164}\u{2028}\0", "\\u{3164}\\u{2028}\\u{0}");
        check("Grüße 李", "Grüße 李");
        check("\"quoted\"", "\\\"quoted\\\"");
        check(&"x".repeat(64), &"x".repeat(64));
        check(&"x".repeat(65), &format!("{}…", "x".repeat(64)));
    }
}
