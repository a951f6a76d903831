//! Many blows by several strangers at a time; who is closed for it comes back as somebody else, until all blows have fallen.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use common_core::{Code, StreamId};
use e2e::ground::{Ground, REFUSAL_LIMIT};
use e2e::hand::Hand;
use e2e::peer::{fresh_stream_id, join_request};
use e2e::within;
use proto::v1::{self, StreamType};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// One blow: by a stranger who publishes a camera under that id, the so-manieth.
pub type Blow = for<'a> fn(&'a Hand, StreamId, u64) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// A splash of noise for the so-manieth blow: the same in every run (splitmix64).
pub fn noise(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stranger without subscriptions, and the camera it publishes.
pub async fn publisher(ground: &Ground, name: &str) -> anyhow::Result<(Hand, StreamId)> {
    let invitation = ground.invite(name).await?;
    let request = v1::JoinRequest { auto_subscribe: false, ..join_request(&invitation, name) };
    let mut hand = Hand::join_with(&invitation, request, common::quic::TransportLimits::SIGNALING).await?;
    let camera = fresh_stream_id();
    hand.publish(camera, StreamType::VideoCamera).await?;
    Ok((hand, camera))
}

/// `blows` blows by `hands` strangers at a time. Fails if one fails while its session stands, or if a session is closed with another code
/// than `RATE_LIMITED`; how many were.
pub async fn storm(ground: &Arc<Ground>, what: &'static str, blows: u64, hands: usize, blow: Blow) -> anyhow::Result<u64> {
    let next = Arc::new(AtomicU64::new(0));
    // One after the other through the front door, whose store keeps as many connections as are asked for at once.
    let joining = Arc::new(Mutex::new(()));
    let mut tasks = JoinSet::new();
    for _ in 0..hands {
        let (ground, next, joining) = (ground.clone(), next.clone(), joining.clone());
        tasks.spawn(async move {
            let mut closed: BTreeMap<&'static str, u64> = BTreeMap::new();
            let mut standing: Option<(Hand, StreamId)> = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= blows {
                    break;
                }
                if let Some((mut hand, _)) = standing.take_if(|(hand, _)| hand.media.close_reason().is_some()) {
                    let code = within(REFUSAL_LIMIT, what, hand.closed()).await?;
                    ensure!(code == Code::RateLimited, "{what}: closed with {code}");
                    *closed.entry(code.name()).or_default() += 1;
                    hand.leave().await?;
                }
                if standing.is_none() {
                    let _turn = joining.lock().await;
                    standing = Some(publisher(&ground, "Mallory").await?);
                }
                let Some((hand, camera)) = &standing else { continue };
                if let Err(error) = blow(hand, *camera, number).await {
                    // The end of a session comes in the middle of a blow; of a stream's end the blow takes care.
                    let is_over = within(REFUSAL_LIMIT, what, async { Ok(hand.media.closed().await) }).await.is_ok();
                    ensure!(is_over, "{what}: {error:#}");
                }
            }
            if let Some((mut hand, _)) = standing {
                hand.leave().await?;
            }
            Ok::<_, anyhow::Error>(closed.values().sum::<u64>())
        });
    }
    let mut closed = 0;
    while let Some(task) = tasks.join_next().await {
        closed += task?.with_context(|| what)?;
    }
    eprintln!("{what}: {blows} blows, {closed} sessions closed with RATE_LIMITED");
    Ok(closed)
}
