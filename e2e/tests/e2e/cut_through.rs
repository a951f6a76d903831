//! A record leaves while it comes in: a key frame that takes 80 ms over its publisher's uplink is on its way to viewers long before it is whole.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::quic::TransportLimits;
use common_core::StreamId;
use common_core::frame::FrameKind;
use e2e::api::Invitation;
use e2e::cluster::Dev;
use e2e::ground::scale;
use e2e::hand::Hand;
use e2e::link::{Conditions, Link};
use e2e::peer::{fresh_stream_id, join_request};
use e2e::wire::Record;
use e2e::within;
use proto::v1::{JoinRequest, StreamType, SubscriptionOptions};

/// The publisher's uplink.
const UPLINK_BITS: u64 = 10_000_000;
/// The payload of its key frames: 80 ms of that uplink.
const KEY_BYTES: usize = 100_000;
/// From a byte's way in to its way out, for half of them at least, where the machine has nothing else to do.
const THROUGH_LIMIT: Duration = Duration::from_millis(20);
/// What the whole key frame takes at least: it did come over such an uplink.
const WHOLE_MIN: Duration = Duration::from_millis(70);
/// Key frames sent, one after the other.
const FRAMES: u64 = 20;
/// One key frame at two viewers.
const FRAME_LIMIT: Duration = Duration::from_secs(5);
/// Windows of somebody who takes everything at once.
const WIDE: TransportLimits =
    TransportLimits { receive_window: 4 * 1024 * 1024, stream_receive_window: 2 * 1024 * 1024, ..TransportLimits::SIGNALING };

/// How a key frame came, by the time since its publisher began to send it.
#[derive(Clone, Copy, Debug)]
struct Passage {
    first_byte: Duration,
    last_byte: Duration,
    /// The longest that nothing came in between.
    longest_gap: Duration,
}

/// Takes the next key frame at a viewer.
async fn watch(viewer: &Hand, expected: &Record, began: Instant) -> anyhow::Result<Passage> {
    let mut group = viewer.media.accept_uni().await?;
    let mut bytes = Vec::with_capacity(expected.bytes.len());
    let mut arrivals = Vec::new();
    while bytes.len() < expected.bytes.len() {
        let chunk = group.read_chunk(usize::MAX, true).await?.context("the group ended inside its key frame")?;
        arrivals.push(began.elapsed());
        bytes.extend_from_slice(&chunk.bytes);
    }
    ensure!(bytes == expected.bytes, "what came is not what was sent");
    let (first, last) = (arrivals.first().context("bytes came")?, arrivals.last().context("bytes came")?);
    let longest_gap = arrivals.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    Ok(Passage { first_byte: *first, last_byte: *last, longest_gap })
}

async fn join(invitation: &Invitation, name: &str) -> anyhow::Result<Hand> {
    let windows = TransportLimits { unidirectional_streams: 100, ..WIDE };
    Hand::join_with(invitation, JoinRequest { auto_subscribe: false, ..join_request(invitation, name) }, windows).await
}

/// The median and the longest, and how many are over the limit.
fn spread(passages: &[Passage], of: impl Fn(&Passage) -> Duration) -> (Duration, Duration, usize) {
    let mut all: Vec<Duration> = passages.iter().map(of).collect();
    all.sort();
    (all[all.len() / 2], all[all.len() - 1], all.iter().filter(|time| **time > THROUGH_LIMIT).count())
}

/// The first byte is at the viewers before half of the frame has left the publisher (at full scale: within 20 ms, of 80); and what is in between
/// keeps flowing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_frame_leaves_while_it_comes_in() -> anyhow::Result<()> {
    let dev = Dev::start_with_usual_log().await?;
    let meeting = dev.api.create_meeting().await?.meeting_id;
    let media: reqwest::Url = dev.file.media_url.parse()?;
    let handler = SocketAddr::from((Ipv4Addr::LOCALHOST, media.port().context("the handler's URL has a port")?));
    let uplink = Link::start(handler, Conditions { up: Some(UPLINK_BITS), ..Conditions::default() }).await?;

    let invitation = dev.api.invite(&meeting, "Vera").await?;
    let beyond_uplink = Some(format!("https://{}{}", uplink.address(), media.path()));
    let mut publisher = join(&Invitation { media_url_instead: beyond_uplink, ..invitation }, "Vera").await?;
    let camera: StreamId = fresh_stream_id();
    publisher.publish(camera, StreamType::VideoCamera).await?;
    let mut viewers = Vec::new();
    for name in ["Wim", "Xeno"] {
        let mut viewer = join(&dev.api.invite(&meeting, name).await?, name).await?;
        viewer.subscribe(camera, SubscriptionOptions { max_latency_ms: 10_000, ..Default::default() }).await?;
        viewers.push(viewer);
    }

    let mut passages = Vec::new();
    for sequence in 0..FRAMES {
        let record = Record::numbered(FrameKind::VideoKey, camera, sequence, KEY_BYTES);
        let began = Instant::now();
        let ([one, other], ()) = within(FRAME_LIMIT, "a key frame at both viewers", async {
            let watching = async {
                let (one, other) = tokio::try_join!(watch(&viewers[0], &record, began), watch(&viewers[1], &record, began))?;
                Ok([one, other])
            };
            tokio::try_join!(watching, publisher.send(&record.bytes))
        })
        .await?;
        passages.extend([one, other]);
    }
    let first = spread(&passages, |passage| passage.first_byte);
    let gap = spread(&passages, |passage| passage.longest_gap);
    let last = spread(&passages, |passage| passage.last_byte);
    eprintln!(
        "{} passages of a key frame of {KEY_BYTES} bytes over 10 Mb/s: first byte after {:.1?} (median; longest {:.1?}, {} over {THROUGH_LIMIT:?}), \
         last byte after {:.1?}, longest gap in between {:.1?} (median; longest {:.1?}, {} over {THROUGH_LIMIT:?})",
        passages.len(),
        first.0,
        first.1,
        first.2,
        last.0,
        gap.0,
        gap.1,
        gap.2,
    );
    ensure!(passages.iter().all(|passage| passage.last_byte >= WHOLE_MIN), "it was there before the uplink could have passed it");
    // On a busy machine everything takes longer, the whole frame too: what leaves as it comes in is on its way long before that is there.
    let limit = scale().of(last.0 / 2, THROUGH_LIMIT);
    ensure!(first.0 <= limit, "the first byte came after {:?}, over {limit:?}", first.0);
    ensure!(gap.0 <= limit, "nothing came for {:?}, over {limit:?}", gap.0);
    ensure!(uplink.counters().dropped_by_queue() == 0, "the uplink's queue was too short for a key frame");
    dev.stop().await?;
    Ok(())
}
