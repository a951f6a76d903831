//! Writes what is received: one file per stream id, in the order of sequences, from the first key frame on.
//!
//! Files are written by a thread of their own behind a bounded channel: a slow disk slows the reading down, and then groups
//! are dropped by the client's rule and counted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use common_core::media::MediaStream;
use common_core::{Moment, ParticipantId, StreamId};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Codec;
use super::ivf::IvfWriter;
use super::ogg_opus::{OggOpusWriter, packet_samples};
use super::reorder::Reorder;
use crate::records::ReceivedRecord;

/// Records on their way to the writing thread.
const INPUTS_MAX: usize = 1_024;
/// Stream ids that are told apart; records of more are dropped.
const STREAMS_MAX: usize = 1_024;
/// Bytes kept of a stream id that nobody has explained yet.
const UNKNOWN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Besides the latency budget, for the way from the handler to here.
const GRACE: Duration = Duration::from_secs(1);
/// Parts of one frame together are at most this.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why nothing more is recorded.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// A file cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The writing thread panicked, or the runtime is shutting down.
    #[error("the recording thread failed: {0}")]
    Thread(String),
}

/// What became of one stream id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The file.
    pub path: PathBuf,
    /// Who published it.
    pub participant_id: ParticipantId,
    /// As in the frames.
    pub stream_id: StreamId,
    /// What the file holds.
    pub codec: Codec,
    /// Written whole.
    pub frames: u64,
    /// In the digest.
    pub records: u64,
    /// Headers and payloads of these records.
    pub bytes: u64,
    /// Sequences that never came.
    pub missing: u64,
    /// Of the first record; `None`: none came.
    pub first_sequence: Option<u64>,
    /// Of the last record.
    pub last_sequence: Option<u64>,
    /// Over headers and payloads as received, in order, from the first key frame on. Hexadecimal.
    pub sha256: String,
}

enum Input {
    Stream(Box<MediaStream>),
    Record(ReceivedRecord),
}

/// Writes what is received into files. Dropping it ends the files as they are, without anybody being told.
pub struct Recorder {
    inputs: mpsc::Sender<Input>,
    thread: JoinHandle<Result<Vec<Recording>, RecordingError>>,
}

impl Recorder {
    /// Starts to write into `dir`, which must exist; needs a tokio runtime. `budget` is the latency budget of the subscriptions.
    pub fn start(dir: PathBuf, budget: Duration) -> Self {
        let (inputs, mut receiver) = mpsc::channel(INPUTS_MAX);
        let thread = tokio::task::spawn_blocking(move || {
            let mut files = Files { dir, wait_max: budget + GRACE, began: Instant::now(), streams: BTreeMap::new() };
            while let Some(input) = receiver.blocking_recv() {
                match input {
                    Input::Stream(stream) => files.know(&stream)?,
                    Input::Record(record) => files.record(record)?,
                }
            }
            files.finish()
        });
        Self { inputs, thread }
    }

    /// Explains a media stream: what its records are, and what its files are called. Records may come before. Cancel-safe: the whole or nothing
    /// is handed over.
    pub async fn know(&mut self, stream: MediaStream) {
        // An error means that the thread failed, which `finish` tells.
        let _ = self.inputs.send(Input::Stream(Box::new(stream))).await;
    }

    /// Writes a record at its place. Waits while the disk is behind. When the future is dropped before it is done, the record is missing.
    pub async fn record(&mut self, record: ReceivedRecord) {
        // As above.
        let _ = self.inputs.send(Input::Record(record)).await;
    }

    /// Writes what waits, ends the files, and tells what is in them. When the future is dropped, the files are ended all the same.
    pub async fn finish(self) -> Result<Vec<Recording>, RecordingError> {
        drop(self.inputs);
        self.thread.await.map_err(|error| RecordingError::Thread(error.to_string()))?
    }
}

struct Files {
    dir: PathBuf,
    wait_max: Duration,
    began: Instant,
    streams: BTreeMap<StreamId, Incoming>,
}

/// One stream id.
struct Incoming {
    reorder: Reorder,
    file: Option<RecordingFile>,
    /// Its codec cannot be written, or too much came before it was explained.
    ignored: bool,
}

impl Files {
    fn now(&self) -> Moment {
        Moment::from_micros(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn recording(&mut self, id: StreamId) -> Option<&mut Incoming> {
        let count = self.streams.len();
        let wait_max = self.wait_max;
        match self.streams.entry(id) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(_) if count >= STREAMS_MAX => None,
            Entry::Vacant(entry) => Some(entry.insert(Incoming { reorder: Reorder::new(wait_max), file: None, ignored: false })),
        }
    }

    fn know(&mut self, stream: &MediaStream) -> Result<(), RecordingError> {
        let (dir, now) = (self.dir.clone(), self.now());
        for id in stream.frame_ids() {
            let Some(recording) = self.recording(id) else { continue };
            if recording.file.is_some() {
                continue;
            }
            let Some(codec) = Codec::from_name(&stream.codec) else {
                tracing::warn!(codec = %common_core::name::escape(&stream.codec, 64), stream = %id, "this codec cannot be recorded");
                recording.ignored = true;
                continue;
            };
            recording.file = Some(RecordingFile::create(&dir, stream, id, codec)?);
            recording.drain(now)?;
        }
        Ok(())
    }

    fn record(&mut self, record: ReceivedRecord) -> Result<(), RecordingError> {
        let now = self.now();
        let Some(recording) = self.recording(record.header.stream_id) else { return Ok(()) };
        if recording.ignored {
            return Ok(());
        }
        recording.reorder.push(record, now);
        if recording.file.is_none() && recording.reorder.bytes() > UNKNOWN_BYTES_MAX {
            tracing::warn!("a media stream that nobody explains is not recorded");
            (recording.ignored, recording.reorder) = (true, Reorder::new(Duration::ZERO));
        }
        recording.drain(now)
    }

    fn finish(self) -> Result<Vec<Recording>, RecordingError> {
        let mut summaries = Vec::new();
        for mut recording in self.streams.into_values() {
            let Some(mut file) = recording.file.take() else { continue };
            while let Some(record) = recording.reorder.pop_rest() {
                file.record(&record)?;
            }
            summaries.push(file.finish(recording.reorder.missing())?);
        }
        Ok(summaries)
    }
}

impl Incoming {
    fn drain(&mut self, now: Moment) -> Result<(), RecordingError> {
        if let Some(file) = &mut self.file {
            while let Some(record) = self.reorder.pop(now) {
                file.record(&record)?;
            }
        }
        Ok(())
    }
}

fn failed(path: &Path, cause: std::io::Error) -> RecordingError {
    RecordingError::Write { path: path.to_owned(), cause }
}

enum Container {
    Ivf(IvfWriter<BufWriter<File>>),
    AnnexB(BufWriter<File>),
    Ogg(OggOpusWriter<BufWriter<File>>),
}

struct RecordingFile {
    container: Container,
    digest: digest::Context,
    /// Parts of a frame that is not whole yet, and the time of its first.
    parts: BytesMut,
    frame_time_us: u64,
    /// The next record goes on with a frame whose beginning is missing.
    broken: bool,
    summary: Recording,
}

impl RecordingFile {
    fn create(dir: &Path, stream: &MediaStream, id: StreamId, codec: Codec) -> Result<Self, RecordingError> {
        let path = dir.join(format!("{}-{id}.{}", stream.participant_id, codec.extension()));
        let create = || {
            let out = BufWriter::new(File::create(&path)?);
            let (width, height) = stream.video.as_ref().map_or((0, 0), |video| {
                let layer = video.layers.iter().find(|layer| layer.stream_id == id);
                layer.map_or((video.width, video.height), |layer| (layer.width, layer.height))
            });
            Ok(match codec {
                Codec::Vp8 | Codec::Vp9 | Codec::Av1 => Container::Ivf(IvfWriter::new(out, codec, width, height)?),
                Codec::H264 => Container::AnnexB(out),
                Codec::Opus => {
                    let [a, b, c, d, ..] = *id.as_bytes();
                    Container::Ogg(OggOpusWriter::new(out, u32::from_be_bytes([a, b, c, d]), stream.channels)?)
                }
            })
        };
        let container = create().map_err(|cause| failed(&path, cause))?;
        let summary = Recording {
            path,
            participant_id: stream.participant_id,
            stream_id: id,
            codec,
            frames: 0,
            records: 0,
            bytes: 0,
            missing: 0,
            first_sequence: None,
            last_sequence: None,
            sha256: String::new(),
        };
        Ok(Self {
            container,
            digest: digest::Context::new(&digest::SHA256),
            parts: BytesMut::new(),
            frame_time_us: 0,
            broken: false,
            summary,
        })
    }

    /// Takes the next record in order.
    fn record(&mut self, record: &ReceivedRecord) -> Result<(), RecordingError> {
        let sequence = record.header.sequence;
        let follows = self.summary.last_sequence.is_none_or(|last| last.saturating_add(1) == sequence);
        self.digest.update(&record.raw);
        self.digest.update(&record.payload);
        self.summary.records += 1;
        self.summary.bytes += u64::try_from(record.raw.len() + record.payload.len()).unwrap_or(u64::MAX);
        self.summary.first_sequence.get_or_insert(sequence);
        self.summary.last_sequence = Some(sequence);
        if !follows && !self.parts.is_empty() {
            // The end of that frame is missing; whether this record begins a frame cannot be told.
            self.parts.clear();
            self.broken = true;
        }
        let ends = record.header.ends_frame();
        if self.broken || self.parts.len() + record.payload.len() > FRAME_BYTES_MAX {
            self.parts.clear();
            self.broken = !ends;
            return Ok(());
        }
        if self.parts.is_empty() {
            self.frame_time_us = record.header.timestamp_us;
        }
        if !ends {
            self.parts.extend_from_slice(&record.payload);
            return Ok(());
        }
        let frame = if self.parts.is_empty() {
            record.payload.clone()
        } else {
            self.parts.extend_from_slice(&record.payload);
            self.parts.split().freeze()
        };
        self.write(frame)
    }

    fn write(&mut self, frame: Bytes) -> Result<(), RecordingError> {
        let written = match &mut self.container {
            Container::Ivf(ivf) => ivf.write(self.frame_time_us, &frame),
            Container::AnnexB(out) => out.write_all(&frame),
            Container::Ogg(_) if packet_samples(&frame).is_none() => {
                tracing::warn!(stream = %self.summary.stream_id, "what is no Opus packet is left out of the file");
                return Ok(());
            }
            Container::Ogg(ogg) => ogg.write(self.frame_time_us, frame),
        };
        written.map_err(|cause| failed(&self.summary.path, cause))?;
        self.summary.frames += 1;
        Ok(())
    }

    fn finish(mut self, missing: u64) -> Result<Recording, RecordingError> {
        let ended = match self.container {
            Container::Ivf(ivf) => ivf.finish().map(drop),
            Container::AnnexB(mut out) => out.flush(),
            Container::Ogg(ogg) => ogg.finish().map(drop),
        };
        ended.map_err(|cause| failed(&self.summary.path, cause))?;
        self.summary.missing = missing;
        self.summary.sha256 = self.digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.summary)
    }
}
