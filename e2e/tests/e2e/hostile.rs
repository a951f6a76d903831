//! Mischief: wrong tokens, wrong bytes, other people's ids, floods. Each is refused within a second, and a meeting that goes on
//! beside loses no record. `make hostile` runs all of it, and the floods at full scale.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use common_core::Code;
use e2e::api::Invitation;
use e2e::bystanders::Bystanders;
use e2e::ground::refused;
use e2e::in_process::{InProcess, Options};
use e2e::peer::{Peer, Signaling};
use e2e::session::Stack;
use proto::v1::{client_message, server_message};

mod datagrams;
mod doors;
mod floods;
mod forged;
mod frames;
mod groups;
mod grpc;
mod handshakes;
mod http3;
mod ids;
mod kicked;
mod media;
mod names;
mod signaling;
mod stalled;
mod storm;
mod stuck;
mod tokens;
mod websocket;

pub use grpc::raw::Http2;

/// Join tokens of the clusters of [`beside_bystanders`] live so short that a test can outlive one, and long enough to be used.
const JOIN_LIFE: Duration = Duration::from_secs(5);
const STACK: Stack = Stack::WebTransportQuinn;

/// Runs `mischief` beside bystanders, who must not notice.
async fn beside_bystanders<F: Future<Output = anyhow::Result<()>>>(mischief: impl FnOnce(InProcess) -> F) -> anyhow::Result<()> {
    let cluster = InProcess::start(Options { join_life: Some(JOIN_LIFE), ..Options::default() }).await?;
    let bystanders = Bystanders::start(&cluster.api).await?;
    let keeps_it_running = cluster.clone();
    mischief(cluster).await?;
    let account = bystanders.finish().await?;
    ensure!(account.pictures > 0 && account.packets > 0, "the bystanders did nothing: {account:?}");
    eprintln!("meanwhile the bystanders got all of {} pictures and {} packets of sound", account.pictures, account.packets);
    keeps_it_running.stop().await;
    Ok(())
}
/// Sends a first message; the refusal must name its request and be the close code too.
async fn refused_as_first(what: &str, expected: Code, invitation: &Invitation, body: client_message::Body) -> anyhow::Result<()> {
    let mut signaling = Signaling::dial(STACK, invitation).await?;
    refused(what, expected, async {
        match signaling.request(body).await? {
            server_message::Body::Error(error) => {
                let code = Code::from_number(u32::try_from(error.code)?).context("an error code of the contract")?;
                ensure!(code == expected, "the reply says {code}: {}", error.message);
            }
            other => bail!("instead of an error came {other:?}"),
        }
        signaling.session.close_code().await
    })
    .await
}
/// Sends `bytes` on a stream of `peer`'s media session; that stream must be stopped, and the session must go on.
async fn stopped_with(peer: &Peer, what: &str, expected: Code, bytes: &[u8]) -> anyhow::Result<()> {
    refused(what, expected, stopped(peer, bytes)).await?;
    ensure!(peer.media.web_transport_quinn()?.close_reason().is_none(), "{what}: the whole session ended");
    Ok(())
}

/// Sends `bytes` on a stream of `peer`'s media session; the code with which it is stopped.
async fn stopped(peer: &Peer, bytes: &[u8]) -> anyhow::Result<Code> {
    stopped_on(peer.media.web_transport_quinn()?, bytes).await
}

/// The same on any session with a handler.
async fn stopped_on(session: &web_transport_quinn::Session, bytes: &[u8]) -> anyhow::Result<Code> {
    let mut stream = session.open_uni().await?;
    // The stop may come while bytes are still being written.
    let number = match stream.write_all(bytes).await {
        Err(web_transport_quinn::WriteError::Stopped(number)) => Some(number),
        Err(error) => return Err(error.into()),
        Ok(()) => stream.stopped().await?,
    };
    Code::from_number(number.context("the stream was taken as a whole")?).context("a code of the contract")
}
