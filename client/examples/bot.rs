//! A bot: greets who comes, and answers what is said to it. `!who` tells who is here, `!time` for how long the bot has been, `!leave` sends it away.
//!
//! ```sh
//! cargo run -p dark-tower-client --example bot -- http://localhost:8080/m/CODE
//! ```

use std::error::Error;
use std::time::Instant;

use dark_tower_client::api::{Api, MeetingTickets, MeetingUrl};
use dark_tower_client::{Client, Event, JoinOptions, Joined, Meeting, RequestError, Trust};

const NAME: &str = "Bot";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("the meeting's address is needed: http://localhost:8080/m/CODE")?;
    let url = MeetingUrl::parse(&address)?;
    let trust = Trust::System;
    let wishes = JoinOptions {
        name: NAME.into(),
        trust: trust.clone(),
        secret: url.secret().cloned(),
        // It reads and writes; media is for others.
        auto_subscribe: false,
        ..JoinOptions::default()
    };
    let tickets = MeetingTickets::new(Api::new(&trust)?, url, NAME, None);
    let Joined { meeting, mut events, records: _ } = Client::new()?.join_with(tickets, wishes).await?;
    let came = Instant::now();
    // The history comes first, as events: what is in it was said to others.
    let heard = meeting.chat_history().last().map_or(0, |chat| chat.sequence);

    while let Some(event) = events.next().await {
        let answer = match event {
            Event::ParticipantJoined(participant) => Some(format!("Hello, {}!", participant.name)),
            Event::Chat(chat) if chat.sequence <= heard || chat.sender_id == meeting.participant_id().to_string() => None,
            Event::Chat(chat) => match chat.content.trim() {
                "!who" => Some(who(&meeting)),
                "!time" => Some(format!("I have been here for {} seconds.", came.elapsed().as_secs())),
                "!leave" => break,
                _ => None,
            },
            Event::Closed { .. } => return Ok(()),
            _ => None,
        };
        match answer.map(|words| meeting.chat(words)) {
            None => {}
            Some(saying) => match saying.await {
                // The connection was lost while it was said, or too much was said: nobody waits for it any more.
                Ok(_) | Err(RequestError::Interrupted | RequestError::Timeout | RequestError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    meeting.leave().await;
    Ok(())
}

fn who(meeting: &Meeting) -> String {
    let roster = meeting.roster();
    let names: Vec<&str> = roster.participants().map(|participant| participant.name.as_str()).collect();
    if names.is_empty() { "Nobody but me.".to_owned() } else { format!("Here are {}.", names.join(", ")) }
}
