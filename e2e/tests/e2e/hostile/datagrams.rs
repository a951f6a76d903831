//! Datagrams that nobody offered, hellos that are late, half, doubled or somebody else's, and sessions that outlive their participant.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::quic::TransportLimits;
use common_core::Code;
use common_core::frame::FrameKind;
use e2e::ground::{Ground, REFUSAL_LIMIT, Scale, refused, scale};
use e2e::hand::{Hand, closed, dial};
use e2e::peer::{hello, join_request};
use e2e::session::Session;
use e2e::wire::{CONTROL_STREAM, Record};
use e2e::{eventually, within};
use proto::v1::{Leave, MediaHello, client_message, media_client_message};
use tokio::task::JoinSet;

use super::storm::{noise, publisher};

/// Sessions of one address that may wait for their hello: `[limits] max_waiting_sessions_per_address`.
const WAITING_PER_ADDRESS_MAX: usize = 128;
/// `[limits] hello_timeout_ms`, and a second for the close.
const HELLO_LIMIT: Duration = Duration::from_secs(10).saturating_add(REFUSAL_LIMIT);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_go_nowhere() -> anyhow::Result<()> {
    let ground = Ground::start("datagrams").await?;
    let (mut mallory, camera) = publisher(&ground, "Mallory").await?;
    let windows = TransportLimits { datagram_receive_buffer: Some(65_536), ..TransportLimits::SIGNALING };
    let silent = dial(&mallory.info, windows).await?;
    let total = scale().of(10_000_u64, 100_000);
    for number in 0..total {
        let session = if number % 2 == 0 { &mallory.media } else { &silent };
        let mut bytes = Record::numbered(FrameKind::VideoKey, camera, number, noise(number) as usize % 1000).bytes;
        if number % 3 == 0 {
            bytes.iter_mut().enumerate().for_each(|(index, byte)| *byte = noise(number ^ index as u64) as u8);
        }
        if session.close_reason().is_none() {
            // One whose hello does not come is closed meanwhile.
            let _ = session.send_datagram_wait(bytes.into()).await;
        }
    }
    ensure!(mallory.media.close_reason().is_none(), "they are dropped, and nothing else happens");
    let honest = Record::numbered(FrameKind::VideoKey, camera, 0, 100);
    mallory.send(&honest.bytes).await?;
    silent.close(0, b"");
    mallory.leave().await?;
    let counted = eventually("datagrams are counted when their session is over", HELLO_LIMIT, || async {
        let counted = ground.metric("dark_tower_refused_total", &["door=\"media\"", "reason=\"datagram\""]).await?;
        ensure!(counted >= 1000.0, "{counted} so far");
        Ok(counted)
    })
    .await?;
    eprintln!("{total} datagrams were sent, {counted} counted");
    ground.settled().await?;
    Ok(())
}

/// A token that a hundred sessions show at once is good for exactly one of them; hello is said once; who has left is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hellos_are_good_once_and_in_time() -> anyhow::Result<()> {
    let ground = Ground::start("hellos").await?;
    let invitation = ground.invite("Ana").await?;
    let (mut signaling, _, info) = Hand::enter(&invitation, join_request(&invitation, "Ana")).await?;
    let mut dialling = JoinSet::new();
    for _ in 0..100 {
        let info = info.clone();
        dialling.spawn(async move {
            Ok::<_, anyhow::Error>(Session::WebTransportQuinn(Box::new(dial(&info, TransportLimits::SIGNALING).await?)))
        });
    }
    let sessions = dialling.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut greeting = JoinSet::new();
    for session in sessions {
        let token = info.connection_token.clone();
        greeting.spawn(async move {
            match hello(&session, &token).await {
                Ok(_control) => Ok(true),
                Err(_) => within(REFUSAL_LIMIT, "refused", session.close_code()).await.and_then(|code| {
                    ensure!(code == Code::Unauthorized, "refused with {code}");
                    Ok(false)
                }),
            }
        });
    }
    let welcomes = greeting.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(welcomes.iter().filter(|it| **it).count() == 1, "{welcomes:?}");
    signaling.acked(client_message::Body::Leave(Leave {})).await?;

    let (mut mallory, _) = publisher(&ground, "Mallory").await?;
    let again = MediaHello { connection_token: mallory.info.connection_token.clone(), datagrams: false };
    mallory.say(media_client_message::Body::Hello(again)).await?;
    refused("hello twice", Code::InvalidRequest, mallory.closed()).await?;
    mallory.leave().await?;

    // Whoever has left over signaling is gone from the handler too, and what it sends then goes nowhere.
    let (mut gone, camera) = publisher(&ground, "Gil").await?;
    gone.leave().await?;
    let record = Record::numbered(FrameKind::VideoKey, camera, 0, 100);
    let began = Instant::now();
    while gone.media.close_reason().is_none() && began.elapsed() < REFUSAL_LIMIT {
        // The session may end under it.
        let _ = gone.send(&record.bytes).await;
        tokio::task::yield_now().await;
    }
    within(REFUSAL_LIMIT, "the session of one who left ends", async {
        gone.media.closed().await;
        Ok(())
    })
    .await?;

    // Half hellos by the hundreds: an address has its share of places, the rest is refused at once, and a place is held for ten seconds.
    let mut half = Vec::new();
    let mut turned_away = 0;
    for number in 0..scale().of(WAITING_PER_ADDRESS_MAX + 20, WAITING_PER_ADDRESS_MAX + 300) {
        // The door lets an address in at a hundred a second.
        let session = loop {
            match dial(&info, TransportLimits::SIGNALING).await {
                Ok(session) => break session,
                Err(error) => ensure!(began.elapsed() < Duration::from_secs(60), "{number}: {error:#}"),
            }
        };
        if half.len() < WAITING_PER_ADDRESS_MAX {
            let (mut to, from) = session.open_bi().await?;
            to.write_all(&[CONTROL_STREAM, 0, 0, 0, 60, 8, 1]).await?;
            half.push((Instant::now(), session, to, from));
        } else {
            refused("one session too many that waits", Code::CapacityExceeded, closed(&session)).await?;
            turned_away += 1;
        }
    }
    eprintln!("{} half hellos held, {turned_away} sessions turned away", half.len());
    if scale() == Scale::Full {
        let (since, session, ..) = half.first().context("there are some")?;
        let code = within(HELLO_LIMIT, "a half hello ends", closed(session)).await?;
        ensure!(code == Code::Unauthorized, "a half hello is closed with {code}");
        ensure!(since.elapsed() <= HELLO_LIMIT, "after {:?}", since.elapsed());
    }
    for (_, session, ..) in half {
        session.close(0, b"");
    }
    ground.settled().await?;
    Ok(())
}
