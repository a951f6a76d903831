//! Joins a meeting, says who comes and goes, and every two seconds how what they publish arrives. Ctrl-C leaves.
//!
//! ```sh
//! cargo run -p dark-tower-client --example watch -- http://localhost:8080/m/CODE
//! ```

use std::error::Error;
use std::time::Duration;

use dark_tower_client::api::{Api, MeetingTickets, MeetingUrl};
use dark_tower_client::{Client, Event, JoinOptions, Joined, Meeting, Trust};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("the meeting's address is needed: http://localhost:8080/m/CODE")?;
    let url = MeetingUrl::parse(&address)?;
    let trust = Trust::System;
    // Behind the # of the address stands the secret of an encrypted meeting; it stays here.
    let wishes = JoinOptions { name: "Watcher".into(), trust: trust.clone(), secret: url.secret().cloned(), ..JoinOptions::default() };
    // Asked again when the connection is lost for so long that the server has forgotten us: the client then joins anew by itself.
    let tickets = MeetingTickets::new(Api::new(&trust)?, url, "Watcher", None);
    let Joined { meeting, mut events, mut records } = Client::new()?.join_with(tickets, wishes).await?;
    say(&format!("joined as {}; {} others are here", meeting.participant_id(), meeting.roster().len()));

    let mut ticks = tokio::time::interval(Duration::from_secs(2));
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::ParticipantJoined(participant)) => say(&format!("{} joined", shown(&participant.name))),
                Some(Event::ParticipantLeft { participant_id, reason }) => say(&format!("{participant_id} left: {}", reason.name())),
                Some(Event::StreamPublished(stream)) => say(&format!("{} is published as {}", shown(&stream.codec), stream.stream_id)),
                Some(Event::Chat(chat)) => say(&format!("{}: {}", shown(&chat.sender_name), shown(&chat.content))),
                Some(Event::Reconnecting { reason }) => say(&format!("reconnecting: {reason}")),
                Some(Event::Closed { end }) => {
                    say(&format!("it is over: {end}"));
                    return Ok(());
                }
                // Later versions may tell of more.
                Some(_) => {}
                None => return Ok(()),
            },
            // What is received has to be taken, or it is dropped and counted as such. A player would decode it here.
            Some(_record) = records.next() => {}
            _ = ticks.tick() => tell(&meeting),
            _ = tokio::signal::ctrl_c() => {
                meeting.leave().await;
                return Ok(());
            }
        }
    }
}

fn tell(meeting: &Meeting) {
    for it in meeting.stats().subscriptions {
        let age = it.latency.map(|latency| format!(", {} ms old", latency.as_millis())).unwrap_or_default();
        say(&format!("  {} {}: {} kb/s, {} frames/s{age}", it.stream_id, shown(&it.codec), it.bitrate / 1_000, it.frames_per_second));
    }
}

/// Strangers chose it: nothing in it may move the terminal.
fn shown(text: &str) -> String {
    common_core::name::escape(text, 200)
}

#[expect(clippy::print_stdout, reason = "an example speaks to a person at a terminal")]
fn say(text: &str) {
    println!("{text}");
}
