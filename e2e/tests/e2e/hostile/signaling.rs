//! Wrong bytes on signaling.

use anyhow::{bail, ensure};
use common_core::Code;
use e2e::ground::{Ground, refused, scale};
use e2e::peer::{Peer, Signaling, join_request};
use e2e::wire;
use proto::v1::{self, client_message, server_message};
use tokio::io::AsyncWriteExt;

use super::{STACK, beside_bystanders, refused_as_first};

/// Lengths against the contract, a first message that is no join, and another version end the session with `INVALID_REQUEST`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_on_signaling_end_that_session_alone() -> anyhow::Result<()> {
    beside_bystanders(|cluster| async move {
        let meeting = cluster.api.create_meeting().await?.meeting_id;
        let invitation = cluster.api.invite(&meeting, "Mallory").await?;
        for (what, length) in [("a length of 0", 0), ("a length of 4 GiB", u32::MAX), ("a length just over the limit", 64 * 1024 + 1)] {
            let mut signaling = Signaling::dial(STACK, &invitation).await?;
            refused(what, Code::InvalidRequest, async {
                signaling.writer.write_all(&length.to_be_bytes()).await?;
                signaling.session.close_code().await
            })
            .await?;
        }
        let ping = client_message::Body::Ping(v1::Ping { sent_at_us: 1 });
        refused_as_first("a first message that is no join", Code::InvalidRequest, &invitation, ping).await?;

        let mut signaling = Signaling::dial(STACK, &invitation).await?;
        refused("version 2", Code::InvalidRequest, async {
            let join = client_message::Body::Join(join_request(&invitation, "Mallory"));
            wire::send(&mut signaling.writer, &v1::ClientMessage { version: 2, request_id: 1, body: Some(join) }).await?;
            let error = signaling.reply_to(1).await?;
            let server_message::Body::Error(error) = error else { bail!("instead of an error came {error:?}") };
            ensure!(error.details.get("supported").is_some_and(|it| it == "1"), "details.supported is missing: {error:?}");
            signaling.session.close_code().await
        })
        .await?;

        // The same wrong lengths after a good join end the session as well.
        for (what, length) in [("a later length of 0", 0), ("a later length of 4 GiB", u32::MAX)] {
            let invitation = cluster.api.invite(&meeting, "Mallory").await?;
            let mut mallory = Peer::join(STACK, &invitation, "Mallory").await?;
            refused(what, Code::InvalidRequest, async {
                mallory.signaling.writer.write_all(&u32::to_be_bytes(length)).await?;
                mallory.signaling.session.close_code().await
            })
            .await?;
        }
        Ok(())
    })
    .await
}

/// A thousand sessions that stand, say something wrong, and are gone: nothing of them is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_lengths_leave_nothing_behind() -> anyhow::Result<()> {
    let ground = Ground::start("wrong lengths").await?;
    for length in (0..scale().of(50, 1000)).map(|number| if number % 2 == 0 { 0 } else { u32::MAX - number }) {
        let (mut signaling, _) = ground.silent_stranger("Mallory").await?;
        refused("a length against the contract", Code::InvalidRequest, async {
            signaling.writer.write_all(&length.to_be_bytes()).await?;
            signaling.session.close_code().await
        })
        .await?;
    }
    ground.settled().await?;
    Ok(())
}
