//! Futures that are dropped at any await: nothing is lost that was promised, nothing is left behind, nothing hangs.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use common_core::media::StreamType;
use dark_tower_client::{Client, ConnectionState, Event, StreamDescription};
use proto::v1::{self, client_message, server_message};

use crate::door::{Door, chat, join, soon};

/// Polls `future` so many times, letting everything else run between, and drops it; whether it was ready.
async fn drop_after<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Requests that nobody waits for any more are done or not, and those after them are answered as ever.
#[tokio::test]
async fn requests_may_be_dropped_at_any_await() {
    let door = Door::open().await;
    let (mut ana, mut controller) = join(&door, v1::JoinResponse::default()).await;
    let serving = tokio::spawn(async move {
        let mut sequence = 0;
        loop {
            let message = controller.hear().await;
            let answer = match message.body {
                Some(client_message::Body::Chat(said)) => {
                    sequence += 1;
                    server_message::Body::Chat(chat(sequence, &said.client_message_id))
                }
                Some(client_message::Body::Leave(_)) => {
                    controller.say(message.request_id, server_message::Body::Ack(v1::Ack {})).await;
                    return sequence;
                }
                _ => server_message::Body::Ack(v1::Ack {}),
            };
            controller.say(message.request_id, answer).await;
        }
    });
    for polls in 0..40 {
        drop_after(ana.meeting.chat("hello"), polls).await;
        drop_after(ana.meeting.publish(StreamDescription::new(StreamType::Audio, "Opus")), polls).await;
        drop_after(ana.events.next(), polls).await;
        drop_after(ana.records.next(), polls).await;
        drop_after(ana.meeting.state_changed(&ConnectionState::Connected), polls).await;
    }
    let last = soon(ana.meeting.chat("the last")).await.expect("it is answered");
    let mut told = 0;
    while told < last.sequence {
        if let Some(Event::Chat(chat)) = soon(ana.events.next()).await {
            // An event whose future was dropped is given out by the next.
            assert!(chat.sequence > told, "in order");
            told = chat.sequence;
        }
    }
    // Whoever drops the wait for leaving leaves all the same.
    drop_after(ana.meeting.leave(), 1).await;
    assert_eq!(soon(serving).await.expect("no panic"), last.sequence);
    while !matches!(soon(ana.events.next()).await, Some(Event::Closed { .. }) | None) {}
}

/// A join that is dropped leaves no session behind: the controller's side ends.
#[tokio::test]
async fn a_join_may_be_dropped_at_any_await() {
    let door = Door::open().await;
    let client = Client::new().expect("a UDP port is free");
    for polls in [1, 2, 3, 5, 8, 13, 21, 34] {
        let dropped = tokio::spawn({
            let (client, options) = (client.clone(), door.options());
            async move { drop_after(client.join(options), polls).await }
        });
        assert!(!soon(dropped).await.expect("no panic"), "nobody lets it in");
    }
    let mut joining = Box::pin(client.join(door.options()));
    let (mut controller, ..) = tokio::select! {
        _ = &mut joining => panic!("nobody lets it in"),
        accepted = async {
            loop {
                // Connections of joins that were dropped are gone before they say anything.
                if let Some(accepted) = door.try_accept().await {
                    break accepted;
                }
            }
        } => accepted,
    };
    drop(joining);
    soon(controller.gone()).await;
}

/// Closing takes a second at most, also when the other side reads nothing and says nothing.
#[tokio::test]
async fn closing_is_quick_and_quiet() {
    let door = Door::open().await;
    let (ana, mut controller) = join(&door, v1::JoinResponse::default()).await;
    // More than buffers on the way take, which nobody reads.
    for _ in 0..200 {
        let relay = ana.meeting.relay(ana.meeting.participant_id(), "bulk", vec![0; 40_000]);
        drop_after(relay, 2).await;
    }
    let began = Instant::now();
    soon(ana.meeting.close()).await;
    // A second is promised; what reads nothing would hold it up for ever.
    assert!(began.elapsed() < Duration::from_secs(6), "closing took {:?}", began.elapsed());
    assert!(matches!(ana.meeting.state(), ConnectionState::Ended(_)));
    soon(controller.gone()).await;
}
