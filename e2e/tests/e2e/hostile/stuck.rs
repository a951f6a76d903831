//! Clients that do not read, and floods of streams and of messages that are almost right.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common_core::Code;
use e2e::api::Invitation;
use e2e::ground::{Ground, REFUSAL_LIMIT, scale};
use e2e::peer::{Peer, Signaling, fresh_stream_id, join_request, publication};
use e2e::raw::{self, Fickle, RawSession, RawWebSocket, foreign_address};
use e2e::{eventually, wire, within};
use prost::Message;
use proto::v1::{self, StreamType, client_message};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

/// What a connection that withholds reading may cost.
const COST_MAX: u64 = 6 * 1024 * 1024;
/// Of either kind.
const STUCK: usize = 5;
/// Just less than makes an outbox overflow, with what QUIC takes; and what is over it for certain.
const RELAYS: [usize; 2] = [84, 60];
const RELAY_BYTES: usize = 48 * 1024;
/// From the message too many to the end: the close capsule's own time, and a busy machine.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Addresses that floods come from.
const ADDRESSES: u8 = 16;

async fn relay(from: &mut Peer, target_id: &str, count: usize, bytes: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        let payload = vec![7; bytes].into();
        let relay = v1::RelayMessage { target_id: target_id.to_owned(), source_id: String::new(), kind: "x".into(), payload };
        let message = v1::ClientMessage { version: proto::VERSION, request_id: 0, body: Some(client_message::Body::Relay(relay)) };
        wire::send(&mut from.signaling.writer, &message).await?;
    }
    // Answered when all before it are done.
    from.signaling.request(client_message::Body::Ping(v1::Ping { sent_at_us: 1 })).await?;
    Ok(())
}

/// Fills what may wait for [`STUCK`] readers of each kind who do not read, and then more than may wait. The most memory that the process
/// had taken when all were full.
async fn stuck_readers(ground: &Ground, talkers: &mut [Peer]) -> anyhow::Result<u64> {
    let (server, url) = (ground.signaling_address()?, ground.file.signaling_url.clone());
    let strangers = Fickle::new(foreign_address(1))?;
    let mut held = Vec::new();
    let mut targets: [Vec<String>; 2] = Default::default();
    for _ in 0..STUCK {
        let session = RawSession::open(&strangers.endpoint, server, &url).await?;
        let joined = session.join(&ground.invite("Stuck").await?).await?;
        targets[0].push(joined.welcome.participant_id.clone());
        let mut socket = RawWebSocket::open(foreign_address(2), server, "").await?;
        targets[1].push(socket.join(&ground.invite("Stuck").await?).await?.participant_id);
        held.push((session, joined, socket));
    }
    strangers.deafen();
    let mut peak = 0;
    for (round, count) in RELAYS.into_iter().enumerate() {
        for (talker, targets) in talkers.iter_mut().zip(&targets) {
            for target in targets {
                relay(talker, target, count, RELAY_BYTES).await?;
            }
        }
        if round == 0 {
            peak = ground.figures().await?.resident_bytes;
        }
    }
    Ok(peak)
}

/// Whoever withholds reading, and acknowledgements too, costs no more than is promised, and is closed when more is to be said than may wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_costs_little_and_is_closed() -> anyhow::Result<()> {
    let ground = Ground::start("stuck readers").await?;
    let mut talkers = Vec::new();
    for name in ["Ana", "Ben", "Cem", "Dan"] {
        talkers.push(ground.stranger(name).await?);
    }
    let before = ground.figures().await?;
    let standing = ground.metric("dark_tower_sessions", &["\"wt\""]).await?;
    let mut costs = Vec::new();
    // Twice: what was taken for the first is used again.
    for talkers in talkers.chunks_mut(2) {
        let peak = stuck_readers(&ground, talkers).await?;
        costs.push((peak - before.resident_bytes) / (2 * STUCK as u64));
        let began = Instant::now();
        eventually("all of them are closed", END_LIMIT, || async {
            let wt = ground.metric("dark_tower_sessions", &["\"wt\""]).await?;
            let ws = ground.metric("dark_tower_sessions", &["\"ws\""]).await?;
            ensure!(wt <= standing && ws == 0.0, "{wt} of {standing} sessions by WebTransport, {ws} by WebSocket");
            Ok(())
        })
        .await?;
        eprintln!("all of them were closed {:?} after the last word", began.elapsed());
    }
    let mebibytes = |cost: u64| cost as f64 / (1 << 20) as f64;
    eprintln!("each of {} stuck readers costs {:.2} MiB, the second time {:.2} MiB", 2 * STUCK, mebibytes(costs[0]), mebibytes(costs[1]));
    ensure!(costs.iter().all(|cost| *cost <= COST_MAX), "a stuck reader costs {costs:?} bytes");
    ensure!(costs[0] >= 1024 * 1024, "nothing was held for them: {costs:?} bytes");
    for talker in talkers {
        talker.leave().await?;
    }
    ground.settled().await?;
    Ok(())
}

/// Streams that are opened and reset, or stopped, by the ten thousands: each session that does so ends, and nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_streams_end_the_session() -> anyhow::Result<()> {
    let ground = Ground::start("floods of streams").await?;
    let (server, url) = (ground.signaling_address()?, ground.file.signaling_url.clone());
    let endpoints: Vec<_> = (1..=ADDRESSES).map(|number| raw::endpoint(foreign_address(number))).collect::<Result<_, _>>()?;
    let (wanted, at_once) = scale().of((1_000, 1), (100_000_u64, 6));
    let mut floods = JoinSet::new();
    for kind in [Flood::Reset, Flood::Stopped, Flood::BegunAndReset] {
        for worker in 0..at_once {
            let (endpoints, url) = (endpoints.clone(), url.clone());
            let mut invitations = Vec::new();
            // A session is worth a few hundred streams.
            for _ in 0..wanted / at_once / 150 + 1 {
                invitations.push(ground.invite("Mallory").await?);
            }
            floods.spawn(async move {
                let (mut streams, mut sessions, mut longest) = (0_u64, 0_usize, Duration::ZERO);
                while streams < wanted / at_once {
                    let endpoint = &endpoints[(sessions + worker as usize) % endpoints.len()];
                    let session = RawSession::open(endpoint, server, &url).await?;
                    let _joined = session.join(&invitations.pop().context("a session ends after too few streams")?).await?;
                    sessions += 1;
                    let began = Instant::now();
                    within(END_LIMIT, "the end of a session that floods", kind.flood(&session, &mut streams)).await?;
                    longest = longest.max(began.elapsed());
                }
                anyhow::Ok((kind, streams, sessions, longest))
            });
        }
    }
    while let Some(flood) = floods.join_next().await {
        let (kind, streams, sessions, longest) = flood??;
        eprintln!("{kind:?}: {streams} streams, {sessions} sessions were ended, each within {longest:?}");
    }
    ground.settled().await?;
    Ok(())
}

/// What is done to streams by the thousands.
#[derive(Clone, Copy, Debug)]
enum Flood {
    Reset,
    Stopped,
    BegunAndReset,
}

impl Flood {
    /// Goes on until the session is over.
    async fn flood(self, session: &RawSession, streams: &mut u64) -> anyhow::Result<()> {
        while let Ok((mut to, mut from)) = session.connection.open_bi().await {
            // Errors mean that the connection is over, which the next round sees.
            match self {
                Self::Stopped => {
                    let _ = from.stop(7_u32.into());
                    let _ = to.finish();
                }
                Self::Reset => _ = to.reset(7_u32.into()),
                Self::BegunAndReset => {
                    let _ = to.write_all(&[raw::varint(0x41), raw::varint(0)].concat()).await;
                    let _ = to.reset(7_u32.into());
                }
            }
            *streams += 1;
        }
        Ok(())
    }
}

/// Bytes that any generator gives again: a linear congruence (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }
}

/// One honest message of each sort.
fn honest(invitation: &Invitation) -> Vec<client_message::Body> {
    use client_message::Body;
    let stream_id = fresh_stream_id().to_string();
    vec![
        Body::Join(join_request(invitation, "Mallory")),
        Body::Publish(publication(fresh_stream_id(), StreamType::VideoCamera)),
        Body::Unpublish(v1::UnpublishStream { stream_id: stream_id.clone() }),
        Body::Subscribe(v1::SubscribeStream { stream_id: stream_id.clone(), options: Some(v1::SubscriptionOptions::default()) }),
        Body::Quality(v1::StreamQualityUpdate { stream_id: stream_id.clone(), available_bitrate: 1, packet_loss: 0.5, rtt_ms: 3 }),
        Body::Chat(v1::SendChat { client_message_id: "1".into(), content: "hello".into() }),
        Body::State(v1::UpdateState { is_muted: Some(true), is_video_on: None, audio_level: Some(0.5) }),
        Body::Kick(v1::KickParticipant { participant_id: stream_id.clone() }),
        Body::Relay(v1::RelayMessage { target_id: stream_id, source_id: String::new(), kind: "offer".into(), payload: vec![1; 30].into() }),
        Body::MediaServer(v1::RequestMediaServer { failed_url: "https://localhost/media".into() }),
    ]
}

/// Honest messages with a few bytes changed: each is answered, or ends its session with a code of the contract.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_almost_right_hurt_nobody() -> anyhow::Result<()> {
    let ground = Ground::start("mutated messages").await?;
    let wanted = scale().of(1_000, 100_000_usize);
    let (mut sent, mut sessions, mut dice) = (0, 0_usize, Dice(4));
    while sent < wanted {
        let (mut signaling, invitation) = ground.silent_stranger("Mallory").await?;
        sessions += 1;
        let messages = honest(&invitation);
        if dice.roll(10) > 0 {
            signaling.request(client_message::Body::Join(join_request(&invitation, "Mallory"))).await?;
        }
        // Fewer than a participant may send in a minute.
        for request_id in 0..900 {
            let body = Some(messages[dice.roll(messages.len())].clone());
            let mut bytes = v1::ClientMessage { version: proto::VERSION, request_id, body }.encode_to_vec();
            // Mostly text where text was, so that most are understood and judged further in.
            let wild = dice.roll(50) == 0;
            for _ in 0..=dice.roll(4) {
                let at = dice.roll(bytes.len());
                if wild {
                    bytes[at] = dice.roll(256) as u8;
                } else if bytes[at].is_ascii_alphanumeric() && at > 12 {
                    bytes[at] = b"0123456789abcdef-"[dice.roll(17)];
                }
            }
            let length = u32::try_from(bytes.len())?.to_be_bytes();
            if signaling.writer.write_all(&[&length[..], &bytes].concat()).await.is_err() {
                break;
            }
            sent += 1;
            if sent == wanted {
                break;
            }
        }
        over(signaling).await?;
    }
    eprintln!("{sent} mutated messages in {sessions} sessions");
    ground.settled().await?;
    Ok(())
}

/// Ends a session by a length that is against the contract, unless it is over; either way it ends with a code.
async fn over(mut signaling: Signaling) -> anyhow::Result<()> {
    // An error means that it is over.
    let _ = signaling.writer.write_all(&u32::MAX.to_be_bytes()).await;
    let code = within(END_LIMIT, "the end of a session with mutated messages", signaling.session.close_code()).await.context("its code")?;
    let is_one =
        matches!(code, Code::InvalidRequest | Code::Unauthorized | Code::NotFound | Code::Normal | Code::Moved | Code::RateLimited);
    ensure!(is_one, "a mutated message ended the session with {code}");
    Ok(())
}

/// A session that says next to nothing, to a client that has no room for it, ends in its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_nobody_takes_ends_the_session() -> anyhow::Result<()> {
    let cluster = e2e::in_process::InProcess::start(e2e::in_process::Options {
        stall_timeout: Some(Duration::from_millis(500)),
        ..Default::default()
    })
    .await?;
    let meeting = cluster.api.create_meeting().await?.meeting_id;
    let mut talker = Peer::join(super::STACK, &cluster.api.invite(&meeting, "Ana").await?, "Ana").await?;
    let invitation = cluster.api.invite(&meeting, "Stuck").await?;
    let endpoint = raw::narrow_endpoint(foreign_address(1))?;
    let session = RawSession::open(&endpoint, cluster.controller_address(), &invitation.meeting_controller_url).await?;
    let joined = session.join(&invitation).await?;
    // More than the client has room for, and less than a second's worth of patience.
    relay(&mut talker, &joined.welcome.participant_id, 1, 8000).await?;
    let limit = Duration::from_millis(500) + 2 * REFUSAL_LIMIT;
    within(limit, "the end of a session that is stuck", async { Ok(session.closed().await) }).await?;
    cluster.stop().await;
    Ok(())
}
