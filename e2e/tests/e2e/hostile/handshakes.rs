//! Connections that are begun and not finished, and too many of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::ground::{Ground, scale};
use e2e::peer::Peer;
use e2e::raw::{self, Fickle, RawSession, foreign_address};
use e2e::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How long a handshake and the request behind it may take by default, and what a busy machine adds to it.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5 + 3);
/// The same for a first message.
const JOIN_LIMIT: Duration = Duration::from_secs(10 + 3);
/// What an honest person waits at most (bar R14).
const HONEST_JOIN_LIMIT: Duration = Duration::from_secs(2);
/// Addresses that the strangers come from.
const ADDRESSES: u8 = 8;
/// Joins of honest people while half-done connections are held.
const HONEST_JOINS: usize = 20;

/// What is held open, and when it ends.
enum Held {
    Quic(web_transport_quinn::quinn::Connection, Vec<web_transport_quinn::quinn::SendStream>),
    Session(RawSession, web_transport_quinn::quinn::SendStream),
    Tcp(TcpStream),
}

impl Held {
    /// Waits until the server has ended it.
    async fn ended(self, limit: Duration) -> anyhow::Result<()> {
        within(limit, "a half-done connection ends", async {
            match self {
                Self::Quic(connection, _streams) => drop(connection.closed().await),
                Self::Session(session, _stream) => drop(session.closed().await),
                // An end or a reset, after an alert at most.
                Self::Tcp(mut stream) => while stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {},
            }
            Ok(())
        })
        .await
    }
}

async fn tcp_from(address: IpAddr, server: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(address, 0))?;
    Ok(socket.connect(server).await?)
}

/// A record header that announces a ClientHello of 512 bytes, and the first ten of them.
const HALF_CLIENT_HELLO: [u8; 15] = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 1, 2, 3, 4];

/// One QUIC connection that stops inside its CONNECT request, or a message.
async fn half(endpoint: Arc<web_transport_quinn::quinn::Endpoint>, server: SocketAddr, url: String, kind: usize) -> anyhow::Result<Held> {
    if kind == 0 {
        let connection = raw::connect(&endpoint, server).await?;
        let mut control = connection.open_uni().await?;
        control.write_all(&raw::settings()).await?;
        let (mut connect, _) = connection.open_bi().await?;
        let request = raw::connect_request(&url)?;
        connect.write_all(&request[..request.len() / 2]).await?;
        return Ok(Held::Quic(connection, vec![control, connect]));
    }
    let session = RawSession::open(&endpoint, server, &url).await?;
    let (mut stream, _) = session.open_bi().await?;
    // A length and half of what it announces.
    stream.write_all(&100_u32.to_be_bytes()).await?;
    stream.write_all(&[0; 50]).await?;
    Ok(Held::Session(session, stream))
}

/// Half-done connections of every kind are held: silent first packets, half ClientHellos, half CONNECT requests, half messages. Who comes
/// meanwhile joins as fast as ever, and each of them ends in its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_done_connections_end_in_time_and_keep_nobody_out() -> anyhow::Result<()> {
    let ground = Ground::start("half-done connections").await?;
    let (server, url) = (ground.signaling_address()?, ground.file.signaling_url.clone());
    let each = scale().of(50, 500);

    let silent: Vec<_> = (1..=ADDRESSES).map(|number| Fickle::silent(foreign_address(number))).collect::<Result<_, _>>()?;
    let plain: Vec<_> =
        (1..=ADDRESSES).map(|number| Ok(Arc::new(raw::endpoint(foreign_address(number))?))).collect::<anyhow::Result<_>>()?;
    let pick = |number: usize| number % usize::from(ADDRESSES);

    let mut halves = JoinSet::new();
    for kind in [0, 1] {
        for number in 0..each {
            halves.spawn(half(plain[pick(number)].clone(), server, url.clone(), kind));
        }
    }
    // Some do not get so far: they gave way, or their address came too often.
    let mut held: Vec<(Held, Duration)> = Vec::new();
    let mut turned_away = 0;
    while let Some(half) = halves.join_next().await {
        match half? {
            Ok(it @ Held::Session(..)) => held.push((it, JOIN_LIMIT)),
            Ok(it) => held.push((it, HANDSHAKE_LIMIT)),
            Err(_) => turned_away += 1,
        }
    }
    let mut silently = Vec::new();
    for number in 0..each {
        silently.push(raw::begin(&silent[pick(number)].endpoint, server)?);
        if let Ok(mut stream) = tcp_from(foreign_address(u8::try_from(pick(number) + 1)?), server).await
            && stream.write_all(&HALF_CLIENT_HELLO).await.is_ok()
        {
            held.push((Held::Tcp(stream), HANDSHAKE_LIMIT));
        }
    }
    let kept = held.len() + silently.len();
    ensure!(kept + turned_away == 4 * each && kept >= 2 * each, "only {kept} of {} are held", 4 * each);

    let mut longest = Duration::ZERO;
    for number in 0..HONEST_JOINS {
        let began = Instant::now();
        let peer = ground.stranger(&format!("Honest {number}")).await.with_context(|| format!("honest join {number}"))?;
        longest = longest.max(began.elapsed());
        peer.leave().await?;
    }
    ensure!(longest <= HONEST_JOIN_LIMIT, "an honest join took {longest:?} beside {kept} half-done connections");

    // From here on not even a first packet is repeated.
    drop(silent);
    let mut ends = JoinSet::new();
    for (it, limit) in held {
        ends.spawn(it.ended(limit));
    }
    while let Some(end) = ends.join_next().await {
        end??;
    }
    drop(silently);
    let timeouts = ground.metric("dark_tower_refused_total", &["handshake_timeout"]).await?;
    let gave_way = ground.metric("dark_tower_refused_total", &["gave_way"]).await?;
    eprintln!("{kept} held, {turned_away} turned away; honest joins took {longest:?} at most; {timeouts} timed out, {gave_way} gave way");
    ground.settled().await?;
    Ok(())
}

/// 500 handshakes a second, half of them from one address, beside people who join.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_handshakes_delays_no_join() -> anyhow::Result<()> {
    const PER_SECOND: u64 = 500;
    let ground = Ground::start("a storm of handshakes").await?;
    let server = ground.signaling_address()?;
    let seconds = scale().of(2, 10);
    let began = Instant::now();
    let storm = tokio::spawn(async move {
        let one = raw::endpoint(foreign_address(200))?;
        let many: Vec<_> = (1..=16).map(|number| raw::endpoint(foreign_address(number))).collect::<Result<_, _>>()?;
        let mut pace = tokio::time::interval(Duration::from_millis(1000 / PER_SECOND));
        let (mut done, mut refused, mut under_way) = (0_u64, 0_u64, JoinSet::new());
        for number in 0..PER_SECOND * seconds {
            pace.tick().await;
            let from = if number % 2 == 0 { &one } else { &many[usize::try_from(number / 2)? % many.len()] };
            let connecting = raw::begin(from, server)?;
            under_way.spawn(async move { connecting.await.map(|connection| connection.close(0_u32.into(), b"")).is_ok() });
            while let Some(outcome) = under_way.try_join_next() {
                *(if outcome? { &mut done } else { &mut refused }) += 1;
            }
        }
        while let Some(outcome) = under_way.join_next().await {
            *(if outcome? { &mut done } else { &mut refused }) += 1;
        }
        anyhow::Ok((done, refused))
    });
    let mut joins = Vec::new();
    while !storm.is_finished() {
        let began = Instant::now();
        let peer: Peer = ground.stranger(&format!("Honest {}", joins.len())).await?;
        joins.push(began.elapsed());
        peer.leave().await?;
    }
    let (done, refused) = storm.await??;
    joins.sort_unstable();
    let p99 = joins[(joins.len() * 99 / 100).min(joins.len() - 1)];
    eprintln!("{done} handshakes done, {refused} refused; {} honest joins, p50 {:?}, p99 {p99:?}", joins.len(), joins[joins.len() / 2]);
    // Of few joins beside a whole test run the slowest is the machine's; of many by themselves it is the storm's.
    let judged = scale().of(joins[joins.len() / 2], p99);
    ensure!(judged <= HONEST_JOIN_LIMIT, "honest joins took {judged:?}");
    // Where the machine was too slow to come five hundred times a second, nobody came too often.
    ensure!(refused > 0 || began.elapsed() > Duration::from_secs(2 * seconds), "one address may come as often as it likes");
    ground.settled().await?;
    Ok(())
}
