//! Publishes media files into a meeting, again and again until Ctrl-C: IVF (VP8, VP9, AV1) and Ogg Opus.
//!
//! ```sh
//! ffmpeg -i film.mp4 -an -c:v libvpx-vp9 -g 60 film.ivf
//! ffmpeg -i film.mp4 -vn -c:a libopus film.opus
//! cargo run -p dark-tower-client --example publish_file -- http://localhost:8080/m/CODE film.ivf film.opus
//! ```

use std::error::Error;

use dark_tower_client::api::{Api, MeetingTickets, MeetingUrl};
use dark_tower_client::file::{ClipSource, FrameSource, Publishing, read_clip};
use dark_tower_client::roster::StateUpdate;
use dark_tower_client::{Client, Event, JoinOptions, Joined, Trust};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = MeetingUrl::parse(&arguments.next().ok_or("the meeting's address is needed, then files")?)?;
    // Read first: what is wrong with a file is told before anybody is joined.
    let clips = arguments.map(|path| read_clip(path.as_ref(), None)).collect::<Result<Vec<_>, _>>()?;
    // Picture and sound begin anew together, when the longest is over.
    let lap = clips.iter().map(|clip| clip.duration).max().ok_or("a file is needed")?;

    let trust = Trust::System;
    let name = "Film";
    // Nobody else's media is wanted.
    let wishes = JoinOptions {
        name: name.into(),
        trust: trust.clone(),
        secret: url.secret().cloned(),
        auto_subscribe: false,
        ..JoinOptions::default()
    };
    let tickets = MeetingTickets::new(Api::new(&trust)?, url, name, None);
    let Joined { meeting, mut events, records: _ } = Client::new()?.join_with(tickets, wishes).await?;

    let mut sources: Vec<Box<dyn FrameSource>> = Vec::new();
    for clip in clips {
        sources.push(Box::new(ClipSource::repeated(clip, lap)));
    }
    let publishing = Publishing::start(&meeting, sources).await?;
    let has_sound = publishing.streams().iter().any(|stream| stream.stream_type.is_audio());
    let has_picture = publishing.streams().iter().any(|stream| !stream.stream_type.is_audio());
    meeting.update_state(StateUpdate { is_muted: Some(!has_sound), is_video_on: Some(has_picture), audio_level: None }).await?;

    loop {
        tokio::select! {
            // Losses of the connection need nothing of us: the frames go on when it is back.
            event = events.next() => if let None | Some(Event::Closed { .. }) = event {
                break;
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    for (stream, counts) in publishing.end().await {
        say(&format!("{stream}: {} frames were sent, {} records dropped", counts.frames, counts.dropped));
    }
    meeting.leave().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example speaks to a person at a terminal")]
fn say(text: &str) {
    println!("{text}");
}
