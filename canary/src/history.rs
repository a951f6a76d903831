//! The last lines of a process, for secrets that it made before its test came to know them.

use std::collections::VecDeque;
use std::sync::Arc;

/// What is kept: a second of the busiest process at `trace`.
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// See the module.
pub struct History {
    source: Arc<str>,
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl History {
    /// Of what `source` says.
    pub fn new(source: &str) -> Self {
        Self { source: source.into(), lines: VecDeque::new(), bytes: 0 }
    }

    /// Whose it is.
    pub fn source(&self) -> Arc<str> {
        self.source.clone()
    }

    /// Takes a line, and forgets the oldest beyond the bound.
    pub fn add(&mut self, line: &[u8]) {
        self.bytes += line.len();
        self.lines.push_back(line.into());
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    /// What `look` finds first, and whose line it was.
    pub fn find<T>(&self, look: impl Fn(&[u8]) -> Option<T>) -> Option<(Arc<str>, T)> {
        self.lines.iter().find_map(|line| look(line)).map(|found| (self.source.clone(), found))
    }
}
