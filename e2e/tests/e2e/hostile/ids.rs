//! Ids of other people.

use std::time::{Duration, Instant};

use anyhow::ensure;
use common_core::Code;
use common_core::frame::FrameKind;
use e2e::ground::REFUSAL_LIMIT;
use e2e::peer::{Peer, fresh_stream_id};
use e2e::wire::Record;
use e2e::within;
use proto::v1::StreamType;

use super::{STACK, beside_bystanders, stopped, stopped_with};

/// Frames of an unknown id are held for 2 s (DESIGN section 5); then they are refused like anything else.
const HOLD_LIMIT: Duration = Duration::from_secs(2).saturating_add(REFUSAL_LIMIT);

/// Frames under the stream id of another are stopped; the owner's subscribers get the owner's frames and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_publishes_under_the_id_of_another() -> anyhow::Result<()> {
    beside_bystanders(|cluster| async move {
        let meeting = cluster.api.create_meeting().await?.meeting_id;
        let mut ana = Peer::join(STACK, &cluster.api.invite(&meeting, "Ana").await?, "Ana").await?;
        let mut ben = Peer::join(STACK, &cluster.api.invite(&meeting, "Ben").await?, "Ben").await?;
        let mallory = Peer::join(STACK, &cluster.api.invite(&meeting, "Mallory").await?, "Mallory").await?;
        let elsewhere = cluster.api.create_meeting().await?.meeting_id;
        let outsider = Peer::join(STACK, &cluster.api.invite(&elsewhere, "Oscar").await?, "Oscar").await?;

        let stream_id = fresh_stream_id();
        ana.publish(stream_id, StreamType::VideoCamera).await?;
        let forged = Record::numbered(FrameKind::VideoKey, stream_id, 0, 66);
        stopped_with(&mallory, "a frame of another participant's stream id", Code::Forbidden, &forged.bytes).await?;
        // For the outsider's meeting the id is simply unknown: held until it may become known, and then stopped alike.
        let absent = Record::numbered(FrameKind::VideoKey, fresh_stream_id(), 0, 66);
        for (what, record) in [("another meeting", &forged), ("nobody", &absent)] {
            let (began, flood) = (Instant::now(), record.bytes.repeat(256 * 1024 / record.bytes.len() + 1));
            let code = within(HOLD_LIMIT, "frames of an unknown stream id are stopped", stopped(&outsider, &flood)).await?;
            ensure!(code == Code::NotFound, "a stream id of {what}: {code}");
            eprintln!("a stream id of {what}: stopped with {code} after {:?}", began.elapsed());
        }

        let honest = Record::numbered(FrameKind::VideoKey, stream_id, 0, 99);
        ana.send(std::slice::from_ref(&honest)).await?;
        let first = within(REFUSAL_LIMIT, "Ana's frame arrives at Ben's", ben.record()).await?;
        ensure!(first == honest, "Ben got a forged frame");
        Ok(())
    })
    .await
}
