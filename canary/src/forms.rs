//! How a secret may stand in a line: as it is, in hexadecimal, as a list of numbers, in base64. All are looked for at once.

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::telemetry::MARK;

use crate::{Leak, around, redacted};

/// Shorter ones would be found by chance.
pub const BYTES_MIN: usize = 8;
/// Of a secret, pieces so long from its beginning and its end stand for it: a line may show only a part.
const PIECE_BYTES: usize = 24;

/// Everything to look for.
pub struct Forms {
    finder: AhoCorasick,
    /// Kind and form of each pattern; the first is that of the redacting writer.
    names: Vec<(&'static str, &'static str)>,
}

impl Default for Forms {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Forms {
    /// Of these secrets.
    pub fn of(secrets: &[(&'static str, Vec<u8>)]) -> Self {
        let mut patterns = vec![MARK.as_bytes().to_vec()];
        let mut names = vec![("", "redacted")];
        for (kind, secret) in secrets {
            let pieces = [&secret[..secret.len().min(PIECE_BYTES)], &secret[secret.len().saturating_sub(PIECE_BYTES)..]];
            for piece in pieces {
                for (form, pattern) in forms(piece) {
                    patterns.push(pattern);
                    names.push((kind, form));
                }
            }
        }
        let finder = AhoCorasick::new(patterns).expect("a few thousand short patterns are no problem");
        Self { finder, names }
    }

    /// The first of them in `bytes`.
    pub fn find(&self, bytes: &[u8]) -> Option<Leak> {
        let found = self.finder.find(bytes)?;
        let (kind, form) = self.names[found.pattern().as_usize()];
        if form == "redacted" {
            return Some(redacted(bytes, found.start()));
        }
        Some(Leak { kind: kind.to_owned(), form, around: around(bytes, found.start(), found.end()) })
    }
}

fn forms(piece: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = piece.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("text", piece.escape_ascii().to_string().into_bytes()),
        ("hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
        ("numbers", numbers.join(", ").into_bytes()),
        ("numbers", numbers.join(",").into_bytes()),
    ];
    // Wherever in a longer text it stands: three alignments, without the characters that depend on its neighbours.
    for skipped in 0..3 {
        let whole = piece[skipped..].len() / 3 * 3;
        forms.push(("base64", STANDARD.encode(&piece[skipped..skipped + whole]).into_bytes()));
    }
    if piece.iter().any(|byte| !byte.is_ascii_graphic() && *byte != b' ') {
        forms.push(("bytes", piece.to_vec()));
    }
    forms
}
