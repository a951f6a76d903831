//! A place that is lost with its controller: the client comes back by itself, as somebody new, and what it showed goes on.

use std::time::Duration;

use anyhow::{Context, ensure};
use client::{Client, Event, JoinOptions, Joined, StreamDescription, Ticket, TicketError, Why};
use common::tls::NodeKind;
use common_core::media::StreamType;
use e2e::api::Api;
use e2e::nodes::Nodes;
use e2e::within;
use tokio_util::task::AbortOnDropHandle;

/// The old controller's lease, the new one's start, eight seconds for the old place, a backoff, and a busy machine.
const BACK_LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(20);
const PICTURE_INTERVAL: Duration = Duration::from_millis(40);
const GROUP_PICTURES: u64 = 25;

/// Joins with tickets for as often as they are needed.
async fn join(api: &Api, meeting_id: &str, name: &'static str) -> anyhow::Result<Joined> {
    let (api, meeting_id) = (api.clone(), meeting_id.to_owned());
    let tickets = move |_: Why| {
        let (api, meeting_id) = (api.clone(), meeting_id.clone());
        async move {
            // Nobody takes the meeting until the death is noticed.
            let later = |error: anyhow::Error| TicketError::Later { cause: error.to_string(), after: None };
            let options = api.admit(&meeting_id, name).await.map_err(later)?;
            Ok(Ticket {
                meeting_id: options.meeting_id,
                join_token: options.join_token,
                meeting_controller_url: options.meeting_controller_url,
                signaling_fallback_url: options.signaling_fallback_url,
                media_handler_urls: options.media_handler_urls,
                certificate_hashes: options.certificate_hashes,
            })
        }
    };
    let wishes = JoinOptions { name: name.into(), ..JoinOptions::default() };
    within(PATIENCE, "a join", async { Ok(Box::pin(Client::new()?.join_with(tickets, wishes)).await?) }).await
}

async fn rejoined(who: &mut Joined) -> anyhow::Result<()> {
    within(BACK_LIMIT, "somebody new", async {
        loop {
            match who.events.next().await.context("the meeting is over")? {
                Event::Rejoined { before, now } => {
                    ensure!(before != now && who.meeting.participant_id() == now, "{before} and {now}");
                    return Ok(());
                }
                Event::Closed { end } => anyhow::bail!("closed instead: {end}"),
                _ => {}
            }
        }
    })
    .await
}

/// kill -9 of the only controller, which a supervisor starts again: both come back as new participants by themselves, Ana's camera goes on under its id
/// and Ben, who asked for it once, sees it; what is said afterwards is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_controller_costs_the_place_and_not_the_meeting() -> anyhow::Result<()> {
    let plans = [
        ("gc-1", NodeKind::GlobalController, "eu"),
        ("mc-eu-1", NodeKind::MeetingController, "eu"),
        ("mh-eu-1", NodeKind::MediaHandler, "eu"),
    ];
    let mut nodes = Nodes::start(&plans, &[]).await?;
    let meeting = nodes.api.create_meeting_in("eu").await?.meeting_id;
    let (mut ana, mut ben) = (join(&nodes.api, &meeting, "Ana").await?, join(&nodes.api, &meeting, "Ben").await?);
    let mut publisher = ana.meeting.publish(StreamDescription::new(StreamType::VideoCamera, "VP9")).await?;
    let camera = publisher.stream().stream_id;
    let film = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PICTURE_INTERVAL);
        for number in 0_u64.. {
            ticks.tick().await;
            let is_key = number.is_multiple_of(GROUP_PICTURES);
            // What the uplink does not take is followed by a key frame.
            let _ = publisher.send(client::Frame::video(is_key, common::clock::unix_micros(), vec![7; 500].into()));
        }
    }));
    within(PATIENCE, "a picture", async { ben.records.next().await.context("the meeting is over") }).await?;

    nodes.kill("mc-eu-1").await?;
    nodes.launch("mc-eu-1")?;
    tokio::try_join!(rejoined(&mut ana), rejoined(&mut ben))?;
    e2e::eventually("each knows the other and the camera again", BACK_LIMIT, || async {
        let (of_ana, of_ben) = (ana.meeting.roster(), ben.meeting.roster());
        let seen = of_ben.stream_of_frame(camera).map(|stream| stream.participant_id);
        ensure!(seen == Some(ana.meeting.participant_id()), "Ben knows {seen:?} for the camera's owner");
        ensure!(of_ana.participant(ben.meeting.participant_id()).is_some(), "Ana does not know Ben");
        ensure!(ana.meeting.me().streams.contains_key(&camera), "Ana's camera is not her own");
        Ok(())
    })
    .await?;
    let began = common::clock::unix_micros();
    within(PATIENCE, "a picture that was taken afterwards", async {
        loop {
            let record = ben.records.next().await.context("the meeting is over")?;
            if record.header.stream_id == camera && record.header.timestamp_us > began {
                return Ok(());
            }
        }
    })
    .await?;
    ana.meeting.chat("still here").await?;
    within(PATIENCE, "her words", async {
        loop {
            if let Event::Chat(chat) = ben.events.next().await.context("the meeting is over")?
                && chat.content == "still here"
            {
                return Ok(());
            }
        }
    })
    .await?;
    drop(film);
    ana.meeting.leave().await;
    ben.meeting.leave().await;
    Ok(())
}
