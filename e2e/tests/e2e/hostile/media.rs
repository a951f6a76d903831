//! Wrong bytes on media sessions.

use anyhow::Context;
use common_core::Code;
use common_core::frame::FrameKind;
use e2e::ground::refused;
use e2e::peer::{Peer, dial_media, fresh_stream_id};
use e2e::wire::{self, CONTROL_STREAM, Record};
use proto::v1::{self, media_client_message};
use tokio::io::AsyncWriteExt;

use super::{STACK, beside_bystanders, stopped_with};

/// On a media session wrong control bytes end the session; wrong media ends that stream, and the session lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_on_media_end_what_they_came_on() -> anyhow::Result<()> {
    beside_bystanders(|cluster| async move {
        let meeting = cluster.api.create_meeting().await?.meeting_id;
        let ana = Peer::join(STACK, &cluster.api.invite(&meeting, "Ana").await?, "Ana").await?;
        let info = ana.welcome.media_server.clone().context("a media server")?;

        for (what, length) in [("a control length of 0", 0_u32), ("a control length of 4 GiB", u32::MAX)] {
            let media = dial_media(STACK, &info).await?;
            refused(what, Code::InvalidRequest, async {
                let (mut writer, _reader) = media.open_bi().await?;
                writer.write_all(&[CONTROL_STREAM]).await?;
                writer.write_all(&length.to_be_bytes()).await?;
                media.close_code().await
            })
            .await?;
        }
        let media = dial_media(STACK, &info).await?;
        refused("a first control message that is no hello", Code::InvalidRequest, async {
            let (mut writer, _reader) = media.open_bi().await?;
            writer.write_all(&[CONTROL_STREAM]).await?;
            let body = Some(media_client_message::Body::Ping(v1::Ping { sent_at_us: 1 }));
            wire::send(&mut writer, &v1::MediaClientMessage { version: proto::VERSION, body }).await?;
            media.close_code().await
        })
        .await?;

        let mut record = Record::numbered(FrameKind::VideoKey, fresh_stream_id(), 0, 100).bytes;
        record[1] = 7;
        stopped_with(&ana, "a frame of no known type", Code::InvalidRequest, &record).await?;
        let mut record = Record::numbered(FrameKind::VideoKey, fresh_stream_id(), 0, 0).bytes;
        record[34..38].fill(0xff);
        stopped_with(&ana, "a frame of 4 GiB", Code::InvalidRequest, &record).await?;
        stopped_with(&ana, "a stream of no known sort", Code::InvalidRequest, &[0x07; 64]).await
    })
    .await
}
