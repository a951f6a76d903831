//! The TCP half of a link: bytes are delayed and never lost; a cut holds them back, as retransmission would.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Shared;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 1024;
/// How much is read at a time.
const CHUNK_BYTES_MAX: usize = 16 * 1024;
/// Chunks under way in one direction: 1 MiB, after which the sender is held back.
const QUEUE_CHUNKS_MAX: usize = 64;
/// After a failed accept (no descriptors left); the next one may succeed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Forwards until it is aborted.
pub(super) async fn forward(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                while connections.try_join_next().is_some() {}
                if connections.len() < CONNECTIONS_MAX {
                    connections.spawn(connect(client, shared.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the link cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connect(client: TcpStream, shared: Shared) {
    // The client's kernel finished its handshake with this process at once; over a real path that takes a round trip.
    let round_trip = shared.conditions.borrow().delay * 2;
    tokio::time::sleep(round_trip).await;
    if let Err(error) = pump_both(client, &shared).await {
        tracing::debug!(%error, "a connection through the link broke");
    }
}

async fn pump_both(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let target = *shared.target.borrow();
    let target = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_target, to_target) = target.into_split();
    // Each way to its own end: who hears no more may still have said something, which is on its way.
    let (up, down) = tokio::join!(pump(from_client, to_target, shared), pump(from_target, to_client, shared));
    up.and(down)
}

/// One direction, to its end; the end is delayed like the bytes before it, a reset of the connection too.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) -> io::Result<()> {
    let (entering, mut leaving) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE_CHUNKS_MAX);
    let mut conditions = shared.conditions.clone();
    let read = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES_MAX);
            let length = from.read_buf(&mut chunk).await?;
            shared.recording.add(&chunk);
            // An error means that the link itself is gone.
            if conditions.wait_for(|conditions| !conditions.is_cut).await.is_err() {
                return Ok(());
            }
            let due = Instant::now() + conditions.borrow().delay;
            if entering.send((due, chunk)).await.is_err() || length == 0 {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = leaving.recv().await {
            tokio::time::sleep_until(due).await;
            if chunk.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::pin!(write);
    tokio::select! {
        // Nobody takes what is still to be read.
        written = &mut write => written,
        read = read => {
            // What was read before is still delivered.
            let written = write.await;
            read.and(written)
        }
    }
}
