//! Frames that are not what the contract asks for: mutated by the hundred thousand, at the extremes of every field, begun and not
//! finished, under ids of others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use common_core::Code;
use common_core::frame::{FrameFlags, FrameHeader, FrameKind, PAYLOAD_BYTES_MAX};
use e2e::ground::{Ground, REFUSAL_LIMIT, refused, scale};
use e2e::peer::fresh_stream_id;
use e2e::wire::Record;
use e2e::within;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use proto::v1::StreamType;

use super::stopped_on;
use super::storm::{noise, publisher, storm};

/// Frames of an unknown id are held for 2 s (DESIGN section 5); then they are refused like anything else.
const HOLD_LIMIT: Duration = Duration::from_secs(2).saturating_add(REFUSAL_LIMIT);
/// Strangers who send mutated frames at a time: at 250 streams a second each, what a process without optimisation on a shared machine of
/// two cores can refuse and still give its bystanders their turn.
const HANDS: usize = 6;
/// Streams at a time on which a publisher begins a record that it does not finish.
const HALVES: usize = 60;
/// What it sends of each.
const HALF_BYTES: usize = 100_000;
/// Six megabytes through a busy machine.
const HALVES_LIMIT: Duration = Duration::from_secs(10);
/// What is not refused by then is held.
const HELD: Duration = Duration::from_millis(100);

/// A record of `camera`'s after an accident, the so-manieth.
fn mutated(camera: common_core::StreamId, number: u64) -> Vec<u8> {
    let random = noise(number);
    let kind = [FrameKind::VideoKey, FrameKind::VideoDelta, FrameKind::Audio][(random % 3) as usize];
    let mut bytes = Record::numbered(kind, camera, random >> 32, (random >> 8) as usize % 200).bytes;
    let at = |salt: u64, bound: usize| (noise(random ^ salt) % bound as u64) as usize;
    match number % 6 {
        // Bits of the header.
        0 => (0..=at(1, 8)).for_each(|flip| bytes[at(10 + flip as u64, 46)] ^= 1 << at(30 + flip as u64, 8)),
        // Another length than its payload has.
        1 => bytes[34..38].copy_from_slice(&(noise(random ^ 2) as u32 >> at(3, 32)).to_be_bytes()),
        // Another version, another kind.
        2 => bytes[at(4, 2)] = noise(random ^ 5) as u8,
        // Cut off.
        3 => bytes.truncate(at(6, bytes.len())),
        // Two, of which the second begins inside the first.
        4 => {
            let whole = bytes.clone();
            bytes.truncate(1 + at(7, bytes.len()));
            bytes.extend_from_slice(&whole);
        }
        // Noise, behind the byte of a media stream.
        _ => bytes[1..].iter_mut().enumerate().for_each(|(index, byte)| *byte = noise(random ^ index as u64) as u8),
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_frames_hurt_nobody() -> anyhow::Result<()> {
    let ground = Arc::new(Ground::start("mutated frames").await?);
    storm(&ground, "mutated frames", scale().of(4_000, 100_000), HANDS, |hand, camera, number| {
        Box::pin(async move {
            let mut stream = hand.media.open_uni().await?;
            // Stopped in the middle, or taken whole: both are fine.
            let _ = stream.write_all(&mutated(camera, number)).await;
            let _ = stream.finish();
            Ok(())
        })
    })
    .await?;
    Arc::into_inner(ground).context("all strangers are gone")?.settled().await?;
    Ok(())
}

/// Every field of a header at its extremes, on a media stream that somebody watches: what is against the contract stops its stream with the
/// fitting code, all else passes, and the next honest group arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extremes_and_halves_stop_their_stream_alone() -> anyhow::Result<()> {
    let ground = Ground::start("extremes").await?;
    let (mut mallory, camera) = publisher(&ground, "Mallory").await?;
    let mut watcher = ground.stranger("Wim").await?;
    let (mut victim, theirs) = publisher(&ground, "Vera").await?;
    let header = |sequence, timestamp_us, payload_length, flags| FrameHeader {
        kind: FrameKind::VideoKey,
        stream_id: camera,
        timestamp_us,
        sequence,
        payload_length,
        flags: FrameFlags(flags),
        reserved: [0xff; 6],
    };
    let sequences = [u64::MAX, u64::MAX, 0, 7, 6, 5, u64::MAX - 1, 1 << 63];
    for (index, sequence) in sequences.into_iter().enumerate() {
        let timestamp = if index % 2 == 0 { 0 } else { u64::MAX };
        mallory.send(&header(sequence, timestamp, 0, 0xffff).encode()).await?;
    }
    // A frame without an end, in empty records: a group of tens of thousands of nothings.
    let mut endless = header(8, 1, 0, 1).encode().to_vec();
    for sequence in 0..scale().of(5_000, 50_000) {
        let delta = FrameHeader { kind: FrameKind::VideoDelta, ..header(9 + sequence, 1, 0, 0) };
        endless.extend_from_slice(&delta.encode());
    }
    mallory.send(&endless).await?;

    let raw = &mallory.media;
    refused_stream(raw, "a payload a byte over 4 MiB", Code::InvalidRequest, &header(1, 1, PAYLOAD_BYTES_MAX + 1, 1).encode()).await?;
    let forged = Record::numbered(FrameKind::VideoKey, theirs, 0, 66);
    refused_stream(raw, "a frame of another's id", Code::Forbidden, &forged.bytes).await?;
    let unknown = Record::numbered(FrameKind::VideoKey, fresh_stream_id(), 0, 66);
    let code = within(HOLD_LIMIT, "an unknown id", stopped_on(raw, &unknown.bytes)).await?;
    ensure!(code == Code::NotFound, "an unknown id: {code}");
    let much = unknown.bytes.repeat(300 * 1024 / unknown.bytes.len());
    refused_stream(raw, "more than 256 KiB of an unknown id", Code::NotFound, &much).await?;

    // Halves: the first are held, the others would be too much, and are refused.
    let mut halves = Vec::new();
    let began = std::time::Instant::now();
    for _ in 0..HALVES {
        let mut stream = raw.open_uni().await?;
        let mut half = header(20, 1, PAYLOAD_BYTES_MAX, 1).encode().to_vec();
        half.resize(46 + HALF_BYTES, 0);
        // Stopped in the middle, or taken: the count below tells.
        let _ = stream.write_all(&half).await;
        halves.push(stream);
    }
    // One record of 4 MiB may be under way: all others are stopped, and that one is not.
    let mut stops: FuturesUnordered<_> = halves.iter_mut().map(|stream| stream.stopped()).collect();
    within(HALVES_LIMIT, "all halves but one are refused", async {
        for _ in 1..HALVES {
            let number = stops.next().await.context("a stream more")??.context("a half is taken for a whole")?;
            ensure!(Code::from_number(number) == Some(Code::CapacityExceeded), "a half is stopped with {number}");
        }
        Ok(())
    })
    .await?;
    let took = began.elapsed();
    ensure!(tokio::time::timeout(HELD, stops.next()).await.is_err(), "no half at all is held");
    eprintln!("{} of {HALVES} halves refused within {took:?}", HALVES - 1);
    drop(stops);
    drop(halves);
    // Half headers, as many as there are streams.
    for _ in 0..HALVES {
        let mut stream = raw.open_uni().await?;
        stream.write_all(&header(30, 1, 10, 1).encode()[..23]).await?;
        stream.reset(0)?;
    }
    ensure!(raw.close_reason().is_none(), "none of this ends the session");

    // Whoever watches gets the next honest group, and the victim's.
    let honest = Record::numbered(FrameKind::VideoKey, camera, 1_000_000, 500);
    let hers = Record::numbered(FrameKind::VideoKey, theirs, 0, 500);
    mallory.send(&honest.bytes).await?;
    victim.send(&hers.bytes).await?;
    within(REFUSAL_LIMIT, "the honest records arrive", async {
        let mut missing = vec![honest, hers];
        while !missing.is_empty() {
            // A group that was broken off comes as an error.
            if let Ok(record) = watcher.record().await {
                missing.retain(|wanted| *wanted != record);
            }
        }
        Ok(())
    })
    .await?;

    // Thirty-two media streams, and not one more.
    for count in 1..=32 {
        let outcome = mallory.publish(fresh_stream_id(), StreamType::Audio).await;
        ensure!(outcome.is_ok() == (count < 32), "the media stream after {count}: {outcome:?}");
    }
    for hand in [&mut mallory, &mut victim] {
        hand.leave().await?;
    }
    watcher.leave().await?;
    ground.settled().await?;
    Ok(())
}

async fn refused_stream(session: &web_transport_quinn::Session, what: &str, expected: Code, bytes: &[u8]) -> anyhow::Result<()> {
    refused(what, expected, stopped_on(session, bytes)).await
}
