//! The UDP half of a link: one flow per client address, each with a socket of its own toward the target.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Admission, Direction, Shared, Way};

/// Clients at a time; a load test has fewer, and each costs two sockets' buffers.
const FLOWS_MAX: usize = 4096;
/// Datagrams under way in one direction of one flow: 100 Mb/s of full packets over 100 ms, four times.
const QUEUE_DATAGRAMS_MAX: usize = 4096;
/// A flow to which the target has said nothing for this long is forgotten; QUIC of ours keeps alive each second.
const FLOW_IDLE: Duration = Duration::from_secs(60);
/// Largest datagram on loopback.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// What the kernel holds for a socket: a burst to many clients behind one link.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A datagram under way, and when it is there.
struct Datagram {
    due: Instant,
    bytes: Box<[u8]>,
}

struct Flow {
    upstream: mpsc::Sender<Datagram>,
    direction: Direction,
    /// Ends when the target has been silent for [`FLOW_IDLE`]; a client that speaks again gets a new flow.
    downstream: AbortOnDropHandle<()>,
    _upstream: AbortOnDropHandle<()>,
}

/// A UDP socket with room for bursts.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Forwards until it is aborted.
pub(super) async fn forward(socket: UdpSocket, shared: Shared) {
    let socket = Arc::new(socket);
    let mut flows: BTreeMap<SocketAddr, Flow> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of a client that has gone: the socket itself is well.
                tracing::debug!(%error, "a client of the link is gone");
                continue;
            }
        };
        let now = Instant::now();
        if flows.get(&client).is_none_or(|flow| flow.downstream.is_finished()) {
            flows.retain(|_, flow| !flow.downstream.is_finished());
            match open_flow(&socket, client, &shared, flows.len()).await {
                Ok(flow) => _ = flows.insert(client, flow),
                Err(error) => {
                    tracing::warn!(%client, %error, "no flow");
                    shared.counters.dropped_by_queue.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            }
        }
        let Some(flow) = flows.get_mut(&client) else { continue };
        enter(&mut flow.direction, &flow.upstream, now, &buffer[..length], &shared);
    }
}

async fn open_flow(socket: &Arc<UdpSocket>, client: SocketAddr, shared: &Shared, standing: usize) -> io::Result<Flow> {
    if standing >= FLOWS_MAX {
        return Err(io::Error::other(format!("{FLOWS_MAX} clients are the most")));
    }
    let to_target = Arc::new(bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?);
    let target = *shared.target.borrow();
    to_target.connect(target).await?;
    let (upstream, leaving) = mpsc::channel(QUEUE_DATAGRAMS_MAX);
    let send = deliver(leaving, to_target.clone(), None, shared.clone());
    Ok(Flow {
        upstream,
        direction: Direction::new(shared.conditions.clone(), Way::Up),
        downstream: AbortOnDropHandle::new(tokio::spawn(receive(to_target, socket.clone(), client, shared.clone()))),
        _upstream: AbortOnDropHandle::new(tokio::spawn(send)),
    })
}

/// From the target back to `client`, until the target is silent for [`FLOW_IDLE`].
async fn receive(from_target: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr, shared: Shared) {
    let (entering, leaving) = mpsc::channel(QUEUE_DATAGRAMS_MAX);
    let _deliver = AbortOnDropHandle::new(tokio::spawn(deliver(leaving, socket, Some(client), shared.clone())));
    let mut direction = Direction::new(shared.conditions.clone(), Way::Down);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while let Ok(received) = tokio::time::timeout(FLOW_IDLE, from_target.recv(&mut buffer)).await {
        match received {
            Ok(length) => enter(&mut direction, &entering, Instant::now(), &buffer[..length], &shared),
            // The target's port is closed for now: what a path does not know, it does not act on.
            Err(error) => tracing::debug!(%error, "the target refuses"),
        }
    }
}

/// Puts one datagram on its way, or drops it and counts why.
fn enter(direction: &mut Direction, queue: &mpsc::Sender<Datagram>, now: Instant, bytes: &[u8], shared: &Shared) {
    shared.recording.add(bytes);
    let due = match direction.admit(now, bytes.len()) {
        Admission::Due(due) => due,
        Admission::Cut => {
            shared.counters.dropped_by_cut.fetch_add(1, Ordering::Relaxed);
            return;
        }
        Admission::QueueFull => {
            shared.counters.dropped_by_queue.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    if queue.try_send(Datagram { due, bytes: bytes.into() }).is_err() {
        shared.counters.dropped_by_queue.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends what is due, one after the other, to `to` or where the socket is connected.
async fn deliver(mut leaving: mpsc::Receiver<Datagram>, socket: Arc<UdpSocket>, to: Option<SocketAddr>, shared: Shared) {
    while let Some(Datagram { due, bytes }) = leaving.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        let sent = match to {
            Some(client) => socket.send_to(&bytes, client).await,
            None => socket.send(&bytes).await,
        };
        match sent {
            Ok(_) => _ = shared.counters.forwarded.fetch_add(1, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "a datagram could not be sent on"),
        }
    }
}
