//! A picture that nobody takes: not made, and there at once for the first who does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use client::file::{FrameSource, Publishing, Sample};
use client::{Client, Event, Events, StreamDescription};
use common_core::media::StreamType;
use common_core::{FRAME_HEADER_BYTES, FrameKind, StreamId};
use e2e::cluster::Dev;
use e2e::peer::Peer;
use e2e::session::Stack;
use e2e::within;

/// Five seconds until a picture is paused, and what a busy machine takes to tell.
const PATIENCE: Duration = Duration::from_secs(20);
const FRAME_INTERVAL: Duration = Duration::from_millis(33);

/// A picture whose payload is its number; a key frame when it is asked for, and never else.
struct Numbered {
    made: Arc<AtomicU64>,
    due: Duration,
    wants_key: bool,
}

impl FrameSource for Numbered {
    fn describe(&self) -> StreamDescription {
        StreamDescription::new(StreamType::VideoCamera, "VP8")
    }

    fn next_frame(&mut self) -> Option<Sample> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let sample = Sample { at: self.due, is_key: self.wants_key, payload: Bytes::copy_from_slice(&number.to_be_bytes()) };
        self.wants_key = false;
        self.due += FRAME_INTERVAL;
        Some(sample)
    }

    fn want_key_frame(&mut self) {
        self.wants_key = true;
    }

    fn skip_to(&mut self, at: Duration) -> bool {
        self.due = self.due.max(at);
        self.wants_key = true;
        true
    }

    fn ends_at(&self) -> Duration {
        self.due
    }
}

/// Waits until the publisher is told that nobody takes `id`, or that somebody does.
async fn told(events: &mut Events, id: StreamId, is_paused: bool) -> anyhow::Result<()> {
    let what = if is_paused { "nobody takes it" } else { "somebody takes it" };
    within(PATIENCE, what, async {
        loop {
            let event = events.next().await.context("the meeting goes on")?;
            if matches!(event, Event::LayerPaused { stream_id, paused } if (stream_id, paused) == (id, is_paused)) {
                return Ok(());
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_made_for_those_who_take_it() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let meeting = dev.api.create_meeting().await?.meeting_id;
    let mut ana = Client::new()?.join(dev.api.admit(&meeting, "Ana").await?).await?;
    let made = Arc::new(AtomicU64::new(0));
    let source = Numbered { made: made.clone(), due: Duration::ZERO, wants_key: true };
    let publishing = Publishing::start(&ana.meeting, vec![Box::new(source)]).await?;
    let stream_id = publishing.streams()[0].stream_id;

    // Twice: the pause before left nothing that hinders.
    for round in 0..2 {
        told(&mut ana.events, stream_id, true).await?;
        let before = made.load(Ordering::Relaxed);
        let mut olga = Peer::join(Stack::WebTransportQuinn, &dev.api.invite(&meeting, "Olga").await?, "Olga").await?;
        let joined = Instant::now();
        let first = within(PATIENCE, "the first picture", olga.record()).await?;
        eprintln!("round {round}: the first picture came {:.0?} after the session stood", joined.elapsed());
        ensure!((first.header.kind, first.header.stream_id) == (FrameKind::VideoKey, stream_id), "{:?}", first.header);
        let number = u64::from_be_bytes(first.bytes[FRAME_HEADER_BYTES..].try_into().context("a number")?);
        // The one that was at hand was not sent, and none was made until somebody came.
        ensure!((before..=before + 1).contains(&number), "picture {number} came first, and {before} had been made");
        told(&mut ana.events, stream_id, false).await?;
        olga.leave().await?;
    }
    ana.meeting.leave().await;
    Ok(())
}
