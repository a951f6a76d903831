//! A network path in user space: what enters on one side leaves on the other, later.
//!
//! In: UDP datagrams and TCP bytes at one loopback address. Out: the same, in the same order, to one target, after a fixed
//! delay each way. It never looks into a byte, but keeps a copy when told to. A cut path swallows datagrams and holds TCP back until it is healed. A
//! narrow path passes datagrams one after the other, and drops what would wait for longer than [`QUEUE_MAX`]; TCP is not narrowed.
//!
//! Every decision about a datagram is made in `Direction::admit`, so that one place knows what a path does to traffic.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

mod tcp;
mod udp;

/// Tries to find a port that is free for UDP and TCP alike; both are taken at random, so a few are plenty.
const BIND_ATTEMPTS: u32 = 16;

/// What waits before a narrow path, in time: a home router's queue. What comes to a full one is dropped.
pub const QUEUE_MAX: Duration = Duration::from_millis(500);

/// What a path does to traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// From one end to the other; a round trip is two of these.
    pub delay: Duration,
    /// Nothing passes.
    pub is_cut: bool,
    /// What passes from a client to the target, in bits a second; `None`: everything.
    pub up: Option<u64>,
    /// The same from the target to a client.
    pub down: Option<u64>,
}

impl Conditions {
    /// A path whole in all but its length.
    pub const fn delayed(delay: Duration) -> Self {
        Self { delay, is_cut: false, up: None, down: None }
    }
}

/// What has passed, and what has not.
#[derive(Debug, Default)]
pub struct Counters {
    forwarded: AtomicU64,
    dropped_by_cut: AtomicU64,
    dropped_by_queue: AtomicU64,
}

impl Counters {
    /// Datagrams sent on.
    pub fn forwarded(&self) -> u64 {
        self.forwarded.load(Ordering::Relaxed)
    }

    /// Datagrams that came while the path was cut.
    pub fn dropped_by_cut(&self) -> u64 {
        self.dropped_by_cut.load(Ordering::Relaxed)
    }

    /// Datagrams that found a full queue, or one flow too many.
    pub fn dropped_by_queue(&self) -> u64 {
        self.dropped_by_queue.load(Ordering::Relaxed)
    }
}

/// What a link keeps of the bytes that pass, when it was told to.
const RECORDED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes that passed, both ways, in the order in which they came.
#[derive(Clone, Default)]
struct Recording(Arc<Mutex<Option<Vec<u8>>>>);

impl Recording {
    fn hold(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        // Bytes are whole between two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: &[u8]) {
        if let Some(kept) = self.hold().as_mut() {
            let room = RECORDED_BYTES_MAX - kept.len();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}

/// What the tasks of a link share.
#[derive(Clone)]
struct Shared {
    recording: Recording,
    target: watch::Receiver<SocketAddr>,
    conditions: watch::Receiver<Conditions>,
    counters: Arc<Counters>,
}

/// A running forwarder; it ends, with all its flows, when it is dropped.
pub struct Link {
    address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    conditions: watch::Sender<Conditions>,
    counters: Arc<Counters>,
    recording: Recording,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Link {
    /// Forwards UDP and TCP of a free loopback port to `target`.
    pub async fn start(target: SocketAddr, conditions: Conditions) -> io::Result<Self> {
        Self::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), target, conditions).await
    }

    /// Forwards UDP and TCP of `address` (port 0: one that is free for both) to `target`.
    pub async fn bind(address: SocketAddr, target: SocketAddr, conditions: Conditions) -> io::Result<Self> {
        let (listener, socket) = bind_both(address).await?;
        let address = socket.local_addr()?;
        let (conditions, seen_conditions) = watch::channel(conditions);
        let (target, seen_target) = watch::channel(target);
        let counters = Arc::new(Counters::default());
        let recording = Recording::default();
        let shared = Shared { recording: recording.clone(), target: seen_target, conditions: seen_conditions, counters: counters.clone() };
        let tasks = [
            AbortOnDropHandle::new(tokio::spawn(udp::forward(socket, shared.clone()))),
            AbortOnDropHandle::new(tokio::spawn(tcp::forward(listener, shared))),
        ];
        Ok(Self { address, target, conditions, counters, recording, _tasks: tasks })
    }

    /// Where to send instead of to the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads to `target` from now on: new flows and connections; those that stand stay where they are. A server that
    /// must know its public address before it is bound gets a link first and is put behind it later.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// What has passed so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Keeps the bytes that pass from now on, the first 64 MiB of them.
    pub fn record(&self) {
        *self.recording.hold() = Some(Vec::new());
    }

    /// What was kept since [`record`](Self::record), both ways; it goes on.
    pub fn recorded(&self) -> Vec<u8> {
        self.recording.hold().clone().unwrap_or_default()
    }

    /// Lets so many bits a second pass from clients to the target from now on; `None`: everything.
    pub fn narrow_up(&self, bits_per_second: Option<u64>) {
        self.conditions.send_modify(|conditions| conditions.up = bits_per_second);
    }

    /// Lets nothing pass. What is under way still arrives.
    pub fn cut(&self) {
        self.conditions.send_modify(|conditions| conditions.is_cut = true);
    }

    /// Lets traffic pass again.
    pub fn heal(&self) {
        self.conditions.send_modify(|conditions| conditions.is_cut = false);
    }

    /// Makes the path as long as this each way, from now on.
    pub fn delay(&self, delay: Duration) {
        self.conditions.send_modify(|conditions| conditions.delay = delay);
    }
}

/// Binds a TCP and a UDP socket of the same port.
async fn bind_both(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempts = BIND_ATTEMPTS;
    loop {
        let listener = TcpListener::bind(address).await?;
        match udp::bind(listener.local_addr()?) {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) => {
                attempts -= 1;
                if address.port() != 0 || attempts == 0 {
                    return Err(error);
                }
            }
        }
    }
}

/// Which way through the path.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// What becomes of a datagram.
enum Admission {
    /// It comes out then.
    Due(Instant),
    Cut,
    QueueFull,
}

/// One way through the path, for one flow.
struct Direction {
    conditions: watch::Receiver<Conditions>,
    way: Way,
    /// When the last one admitted comes out: nothing overtakes.
    last_due: Option<Instant>,
    /// When a narrow path has passed what was admitted.
    busy_until: Option<Instant>,
}

impl Direction {
    fn new(conditions: watch::Receiver<Conditions>, way: Way) -> Self {
        Self { conditions, way, last_due: None, busy_until: None }
    }

    /// What becomes of a datagram of `length` bytes that enters at `now`.
    fn admit(&mut self, now: Instant, length: usize) -> Admission {
        let conditions = *self.conditions.borrow();
        if conditions.is_cut {
            return Admission::Cut;
        }
        let rate = match self.way {
            Way::Up => conditions.up,
            Way::Down => conditions.down,
        };
        let mut passed = now;
        if let Some(rate) = rate.filter(|rate| *rate > 0) {
            let begins = self.busy_until.map_or(now, |busy| busy.max(now));
            if begins - now > QUEUE_MAX {
                return Admission::QueueFull;
            }
            passed = begins + Duration::from_secs_f64(length as f64 * 8.0 / rate as f64);
            self.busy_until = Some(passed);
        }
        let due = self.last_due.map_or(passed + conditions.delay, |last| last.max(passed + conditions.delay));
        self.last_due = Some(due);
        Admission::Due(due)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const DELAY: Duration = Duration::from_millis(20);
    /// Far above what an idle loopback needs; a test that reaches it has failed.
    const PATIENCE: Duration = Duration::from_secs(5);

    async fn udp_echo() -> (SocketAddr, AbortOnDropHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let echo = async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                socket.send_to(&buffer[..length], from).await.expect("loopback takes it");
            }
        };
        (address, AbortOnDropHandle::new(tokio::spawn(echo)))
    }

    async fn tcp_echo() -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let echo = async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.expect("the client stays until it has all");
                to.shutdown().await.expect("the client stays until it has all");
            }
        };
        (address, AbortOnDropHandle::new(tokio::spawn(echo)))
    }

    async fn receive(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("an echo").expect("a datagram");
        buffer[..length].to_vec()
    }

    /// A burst comes back whole and in order, and not before a round trip.
    #[tokio::test]
    async fn datagrams_come_late_and_in_order() {
        let (target, _echo) = udp_echo().await;
        let link = Link::start(target, Conditions::delayed(DELAY)).await.expect("a link");
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        socket.connect(link.address()).await.expect("loopback");
        let sent = Instant::now();
        for number in 0..100_u32 {
            socket.send(&number.to_be_bytes()).await.expect("loopback takes it");
        }
        for number in 0..100_u32 {
            assert_eq!(receive(&socket).await, number.to_be_bytes());
            assert!(sent.elapsed() >= 2 * DELAY, "{:?}", sent.elapsed());
        }
        assert_eq!((link.counters().forwarded(), link.counters().dropped_by_queue()), (200, 0));
    }

    /// Two clients of one link never hear each other's answers.
    #[tokio::test]
    async fn each_client_has_a_flow_of_its_own() {
        let (target, _echo) = udp_echo().await;
        let link = Link::start(target, Conditions::default()).await.expect("a link");
        for name in [b"ana", b"ben"] {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            socket.connect(link.address()).await.expect("loopback");
            socket.send(name).await.expect("loopback takes it");
            assert_eq!(receive(&socket).await, name);
        }
    }

    /// What is sent into a cut path is gone; after healing the next one arrives.
    #[tokio::test]
    async fn a_cut_path_swallows_datagrams() {
        let (target, _echo) = udp_echo().await;
        let link = Link::start(target, Conditions::default()).await.expect("a link");
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        socket.connect(link.address()).await.expect("loopback");
        link.cut();
        socket.send(b"lost").await.expect("loopback takes it");
        crate::eventually("the datagram is swallowed", PATIENCE, || async {
            (link.counters().dropped_by_cut() == 1).then_some(()).ok_or("not yet")
        })
        .await
        .expect("the link reads its socket");
        link.heal();
        socket.send(b"kept").await.expect("loopback takes it");
        assert_eq!(receive(&socket).await, b"kept");
    }

    /// 20 datagrams of 1000 bytes at 1 Mb/s take 8 ms each; of what comes at once, half a second's worth is kept.
    #[tokio::test]
    async fn a_narrow_path_passes_its_rate_and_drops_the_rest() {
        let (_sender, conditions) = watch::channel(Conditions { up: Some(1_000_000), ..Conditions::delayed(DELAY) });
        let mut up = Direction::new(conditions.clone(), Way::Up);
        let now = Instant::now();
        let due = |admission| if let Admission::Due(at) = admission { Some(at - now) } else { None };
        assert_eq!(due(up.admit(now, 1000)), Some(DELAY + Duration::from_millis(8)));
        assert_eq!(due(up.admit(now, 1000)), Some(DELAY + Duration::from_millis(16)));
        let kept = (0..200).filter(|_| due(up.admit(now, 1000)).is_some()).count();
        assert_eq!(kept, 61, "500 ms and the one that is begun then");
        assert_eq!(due(Direction::new(conditions, Way::Down).admit(now, 1000)), Some(DELAY));
    }

    /// A server answers and goes without having read all, which resets the connection: what it said before arrives.
    #[tokio::test]
    async fn what_was_said_before_a_reset_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let link = Link::start(listener.local_addr().expect("it is bound"), Conditions::default()).await.expect("a link");
        for _ in 0..20 {
            let mut client = TcpStream::connect(link.address()).await.expect("the link listens");
            client.write_all(b"a question").await.expect("the link takes it");
            let (mut server, _) =
                tokio::time::timeout(PATIENCE, listener.accept()).await.expect("the link connects").expect("a connection");
            server.peek(&mut [0]).await.expect("the question arrives");
            server.write_all(b"no").await.expect("the link takes it");
            drop(server);
            let mut heard = [0; 2];
            tokio::time::timeout(PATIENCE, client.read_exact(&mut heard)).await.expect("the answer comes").expect("before the end");
            assert_eq!(&heard, b"no");
        }
    }

    /// TCP pays a round trip for its handshake and one for the question, and keeps every byte.
    #[tokio::test]
    async fn tcp_keeps_every_byte_and_pays_its_handshake() {
        let (target, _echo) = tcp_echo().await;
        let link = Link::start(target, Conditions::delayed(DELAY)).await.expect("a link");
        let sent: Vec<u8> = (0..500_000_u32).map(|number| number.to_be_bytes()[3]).collect();
        let started = Instant::now();
        let mut stream = TcpStream::connect(link.address()).await.expect("the link listens");
        let (mut from, mut to) = stream.split();
        let write = async {
            to.write_all(&sent).await.expect("the link takes it");
            to.shutdown().await.expect("the link takes it");
        };
        let mut received = Vec::new();
        let read = async {
            let mut first = [0];
            from.read_exact(&mut first).await.expect("the echo comes");
            assert!(started.elapsed() >= 4 * DELAY, "{:?}", started.elapsed());
            received.push(first[0]);
            from.read_to_end(&mut received).await.expect("the echo ends when we do");
        };
        tokio::time::timeout(PATIENCE, async { tokio::join!(write, read) }).await.expect("half a megabyte passes");
        assert!(received == sent, "{} of {} bytes came back the same", received.len(), sent.len());
    }
}
