//! A publisher that never stops: a picture each few milliseconds, a key frame now and then, until it is dropped.

use std::time::Duration;

use common_core::StreamId;
use common_core::frame::FrameKind;
use proto::v1::StreamType;
use tokio::io::AsyncWriteExt;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use crate::api::Invitation;
use crate::peer::{Peer, fresh_stream_id, kind_in_groups_of};
use crate::session::Stack;
use crate::wire::Record;

/// 30 pictures a second.
const PICTURE_INTERVAL: Duration = Duration::from_millis(33);
/// A key frame each two seconds: who has to wait for the next one shows it.
const GROUP_PICTURES: u64 = 60;
/// Together with key frames of [`KEY_BYTES`]: 1 Mb/s.
const PICTURE_BYTES: usize = 3_700;
/// A key frame as encoders make it at this bitrate: more than QUIC sends in its first flight.
pub const KEY_BYTES: usize = 30_000;
/// A key frame of a still scene, which one flight carries.
pub const SMALL_KEY_BYTES: usize = PICTURE_BYTES;

/// A participant with a camera.
pub struct Camera {
    /// What it publishes.
    pub stream_id: StreamId,
    _publishing: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Camera {
    /// Joins and publishes key frames of `key_bytes`; returns when the handler knows the media stream.
    pub async fn start(invitation: &Invitation, name: &str, key_bytes: usize) -> anyhow::Result<Self> {
        let mut peer = Peer::join(Stack::WebTransportQuinn, invitation, name).await?;
        let stream_id = fresh_stream_id();
        peer.publish(stream_id, StreamType::VideoCamera).await?;
        let publishing = AbortOnDropHandle::new(tokio::spawn(publish(peer, stream_id, key_bytes)));
        Ok(Self { stream_id, _publishing: publishing })
    }
}

async fn publish(peer: Peer, stream_id: StreamId, key_bytes: usize) -> anyhow::Result<()> {
    let mut pace = tokio::time::interval(PICTURE_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stream = peer.media.open_uni().await?;
    for sequence in 0.. {
        pace.tick().await;
        if sequence > 0 && sequence % GROUP_PICTURES == 0 {
            stream.shutdown().await?;
            stream = peer.media.open_uni().await?;
        }
        let kind = kind_in_groups_of(GROUP_PICTURES, sequence);
        let bytes = if kind == FrameKind::VideoKey { key_bytes } else { PICTURE_BYTES };
        stream.write_all(&Record::numbered(kind, stream_id, sequence, bytes).bytes).await?;
    }
    Ok(())
}
