//! What `--publish` takes: its words on the command line, and the sources of frames that come of them.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use client::file::{Clip, ClipSource, FrameSource, read_clip};

use super::report::Report;
use crate::pattern::{self, Pattern, PatternError};

/// Key frames that are further apart make late joiners wait (DESIGN section 5).
const KEY_INTERVAL_MAX: Duration = Duration::from_secs(4);

/// One `--publish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// A media file.
    File(PathBuf),
    /// A test pattern.
    Pattern(Pattern),
}

impl FromStr for Publish {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(pattern::PREFIX) { text.parse().map(Self::Pattern) } else { Ok(Self::File(text.into())) }
    }
}

/// Makes everything ready that is to be published: reads files whole, so that what is wrong with them is told before anybody is joined.
/// With `repeat` all files begin anew together when the longest is over.
pub(super) fn open(wanted: &[Publish], fps: Option<f64>, repeat: bool, report: Report) -> anyhow::Result<Vec<Box<dyn FrameSource>>> {
    let mut clips: Vec<Arc<Clip>> = Vec::new();
    let mut sources: Vec<Box<dyn FrameSource>> = Vec::new();
    for publish in wanted {
        match publish {
            Publish::File(path) => {
                let clip = read_clip(path, fps)?;
                let interval = clip.longest_key_interval();
                if interval > KEY_INTERVAL_MAX {
                    let seconds = interval.as_secs_f64();
                    report.warn(&format!("{}: key frames are up to {seconds:.1} s apart; late joiners wait that long", path.display()));
                }
                clips.push(Arc::new(clip));
            }
            Publish::Pattern(pattern) => sources.extend(pattern.sources()),
        }
    }
    let lap = clips.iter().map(|clip| clip.duration).max().unwrap_or_default();
    for clip in clips {
        sources.push(Box::new(if repeat { ClipSource::repeated(clip, lap) } else { ClipSource::once(clip) }));
    }
    Ok(sources)
}
