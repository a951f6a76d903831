//! Looks for bytes that must not be somewhere, and for bytes that must, in whatever a process leaves or holds: memory, files, traffic.
//!
//! In: needles by name. Out: the names of those that were found, in any form in which bytes are written down. A search that finds nothing says
//! nothing unless it could: so every search has needles that must be found.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use aho_corasick::AhoCorasick;
use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Of a needle this much from its beginning is looked for: what is in a memory may be in pieces, and this is no accident.
const NEEDLE_BYTES_MAX: usize = 32;
/// Shorter ones would be found by chance.
const NEEDLE_BYTES_MIN: usize = 12;
/// How much of a memory is read at a time.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
/// Pieces overlap by more than the longest form of a needle.
const OVERLAP_BYTES: usize = 256;

/// What is looked for.
pub struct Needles {
    finder: AhoCorasick,
    /// Of each pattern.
    names: Vec<String>,
}

impl Needles {
    /// Names with their bytes; a name may stand for several.
    pub fn new(needles: &[(&str, Vec<u8>)]) -> anyhow::Result<Self> {
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        for (name, bytes) in needles {
            ensure!(bytes.len() >= NEEDLE_BYTES_MIN, "{name} would be found by chance");
            for pattern in forms(&bytes[..bytes.len().min(NEEDLE_BYTES_MAX)]) {
                patterns.push(pattern);
                names.push((*name).to_owned());
            }
        }
        Ok(Self { finder: AhoCorasick::new(patterns)?, names })
    }

    /// Which of them are in `bytes`.
    pub fn find(&self, bytes: &[u8]) -> BTreeSet<String> {
        self.finder.find_overlapping_iter(bytes).map(|found| self.names[found.pattern().as_usize()].clone()).collect()
    }

    /// Which of them are in the memory of a process of ours: all that it has mapped and may read.
    pub fn find_in_memory(&self, process_id: u32) -> anyhow::Result<BTreeSet<String>> {
        let maps = std::fs::read_to_string(format!("/proc/{process_id}/maps")).context("its mappings")?;
        let memory = File::open(format!("/proc/{process_id}/mem")).context("its memory; only a process of one's own may be looked into")?;
        let (mut found, mut searched) = (BTreeSet::new(), 0);
        let mut buffer = vec![0; PIECE_BYTES];
        for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with('r'))) {
            let range = line.split(' ').next().and_then(|range| range.split_once('-')).context("a range")?;
            let (mut at, end) = (u64::from_str_radix(range.0, 16)?, u64::from_str_radix(range.1, 16)?);
            while at < end {
                let length = usize::try_from(end - at)?.min(PIECE_BYTES);
                // A mapping of the kernel's own, or one that went away meanwhile.
                let Ok(read) = memory.read_at(&mut buffer[..length], at) else { break };
                found.extend(self.find(&buffer[..read]));
                searched += read;
                at += u64::try_from(read.saturating_sub(OVERLAP_BYTES).max(1))?;
                if read <= OVERLAP_BYTES || at + u64::try_from(OVERLAP_BYTES)? >= end {
                    break;
                }
            }
        }
        ensure!(searched > PIECE_BYTES, "only {searched} bytes of the memory of {process_id} could be read");
        Ok(found)
    }

    /// Which of them are in the files below a folder.
    pub fn find_in_folder(&self, folder: &Path) -> anyhow::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                found.extend(self.find_in_folder(&path)?);
            } else if path.is_file() {
                found.extend(self.find(&std::fs::read(&path)?));
            }
        }
        Ok(found)
    }
}

/// As they are, in hexadecimal, in both alphabets of base64 wherever in a longer text they stand.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for skipped in 0..3 {
        // Without the characters that depend on their neighbours.
        let whole = &bytes[skipped..][..bytes[skipped..].len() / 3 * 3];
        forms.extend([STANDARD_NO_PAD.encode(whole).into_bytes(), URL_SAFE_NO_PAD.encode(whole).into_bytes()]);
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_form_in_this_very_memory_and_in_files() {
        let secret: Vec<u8> = (0..32).map(|byte| byte ^ 0xa5).collect();
        let absent: Vec<u8> = secret.iter().rev().map(|byte| byte ^ 0x11).collect();
        let needles = Needles::new(&[("secret", secret.clone()), ("absent", absent.iter().map(|byte| byte.wrapping_add(1)).collect())]);
        let needles = needles.expect("they are long enough");
        let secret_alone = BTreeSet::from(["secret".to_owned()]);
        for prefix in ["", "x", "xy"] {
            let text = [prefix.as_bytes(), &secret].concat();
            for written in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                assert_eq!(needles.find(written.as_bytes()), secret_alone, "{written}");
            }
        }
        let held = secret.clone();
        let found = needles.find_in_memory(std::process::id()).expect("one may look into oneself");
        assert!(found.contains("secret"), "{held:?}");
        let folder = tempfile::tempdir().expect("a folder");
        assert!(needles.find_in_folder(folder.path()).expect("it can be read").is_empty());
        std::fs::create_dir(folder.path().join("inner")).expect("a folder");
        std::fs::write(folder.path().join("inner/file"), &secret).expect("it can be written");
        assert_eq!(needles.find_in_folder(folder.path()).expect("it can be read"), secret_alone);
    }
}
