//! Meetings that are encrypted end to end: they work as others do, a wrong link is told at once, and no server ever holds a key or a word.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use aws_lc_rs::hkdf::{HKDF_SHA512, KeyType, Salt};
use client::e2ee::Secret;
use client::{Client, EncryptionError, Event, Events, Frame, JoinError, JoinOptions, Joined, Publisher, StreamDescription};
use common::tls::NodeKind;
use common_core::media::StreamType;
use common_core::{FRAME_HEADER_BYTES, FrameKind, StreamId};
use e2e::api::Api;
use e2e::cluster::Dev;
use e2e::in_process::{InProcess, Options};
use e2e::link::Conditions;
use e2e::nodes::Nodes;
use e2e::peer::Peer;
use e2e::search::Needles;
use e2e::session::Stack;
use e2e::within;
use proto::v1::server_message;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);
const MEETING_NAME: &str = "A meeting whose name every server may know";
const WORDS: &str = "words that only those hear who were given the link";
/// Longer than a QUIC packet, so that handlers hold it in more than one piece.
const PICTURE_BYTES: usize = 3_700;
const PICTURE_INTERVAL: Duration = Duration::from_millis(40);
/// A group that began so lately is still the newest when the search is over.
const FRESH_US: u64 = 300_000;
/// A key frame every two seconds.
const GROUP_PICTURES: u64 = 50;

/// An encrypted meeting.
struct Sealed {
    api: Api,
    id: String,
    secret: Secret,
}

impl Sealed {
    async fn create(api: &Api) -> anyhow::Result<Self> {
        let settings = json!({"enable_e2e_encryption": true, "require_auth": false});
        let (status, made) = api.post("/api/v1/meetings", &json!({"display_name": MEETING_NAME, "settings": settings})).await?;
        ensure!(status == 201, "a meeting: {status}: {made}");
        canary::keep_answer(&made);
        let secret = Secret::generate();
        canary::keep("meeting secret", secret.as_bytes());
        canary::keep("meeting secret in a link", secret.to_text().as_bytes());
        Ok(Self { api: api.clone(), id: made["meeting_id"].as_str().context("an id")?.to_owned(), secret })
    }

    async fn options(&self, name: &str, secret: Option<&Secret>) -> anyhow::Result<JoinOptions> {
        Ok(JoinOptions { secret: secret.cloned(), ..self.api.admit(&self.id, name).await? })
    }

    async fn join(&self, name: &str) -> anyhow::Result<Joined> {
        let options = self.options(name, Some(&self.secret)).await?;
        within(PATIENCE, "an encrypted join", async { Ok(Box::pin(Client::new()?.join(options)).await?) }).await
    }

    /// HKDF by hand, as the document says it: what a server must not hold.
    fn derived(&self, label: &str, context: &[u8]) -> anyhow::Result<Vec<u8>> {
        let meeting: Uuid = self.id.parse()?;
        Ok(expand(meeting.as_bytes(), self.secret.as_bytes(), &[label.as_bytes(), context]))
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

fn expand(salt: &[u8], key: &[u8], info: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; Length.len()];
    let filled = Salt::new(HKDF_SHA512, salt).extract(key).expand(info, Length).and_then(|okm| okm.fill(&mut out));
    filled.expect("32 bytes are few");
    out
}

/// What every picture of a camera is, which nobody guesses.
fn picture() -> Vec<u8> {
    let mut picture = Vec::with_capacity(PICTURE_BYTES + 16);
    while picture.len() < PICTURE_BYTES {
        picture.extend_from_slice(Uuid::new_v4().as_bytes());
    }
    picture.truncate(PICTURE_BYTES);
    picture
}

/// Sends pictures until it is dropped.
fn film(mut publisher: Publisher, picture: Vec<u8>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PICTURE_INTERVAL);
        let mut number = 0;
        loop {
            ticks.tick().await;
            let frame = Frame::video(number % GROUP_PICTURES == 0, common::clock::unix_micros(), picture.clone().into());
            // After a cut the next key frame begins anew.
            let _ = publisher.send(frame);
            number += 1;
        }
    }))
}

async fn event_of<T>(events: &mut Events, pick: impl Fn(Event) -> Option<T>) -> anyhow::Result<T> {
    while let Some(event) = events.next().await {
        if let Some(picked) = pick(event) {
            return Ok(picked);
        }
    }
    bail!("the meeting ended before that event")
}

async fn reads(who: &mut Joined, words: &str) -> anyhow::Result<()> {
    within(
        PATIENCE,
        "a chat message in words",
        event_of(&mut who.events, |event| match event {
            Event::Chat(chat) if chat.content == words => Some(()),
            _ => None,
        }),
    )
    .await
}

async fn sees(who: &mut Joined, picture: &[u8]) -> anyhow::Result<()> {
    let record = within(PATIENCE, "a picture", async { who.records.next().await.context("the meeting is over") }).await?;
    ensure!(record.payload == picture, "record {} is another picture", record.header.sequence);
    Ok(())
}

/// A meeting under way, with what must be in no server, and what must be in them.
struct World {
    ana: Joined,
    ben: Joined,
    _camera: AbortOnDropHandle<()>,
    eve: Peer,
    forbidden: Vec<(&'static str, Vec<u8>)>,
    /// Names of what every cluster holds: a global controller, a meeting controller, a handler.
    expected: Vec<(&'static str, Vec<u8>)>,
}

const NAME: &str = "the meeting's name";
const ENVELOPE: &str = "a sealed message";
const SEALED_PICTURE: &str = "a sealed picture";

/// Ana and Ben talk and see each other (in boxes, for these futures together are larger than a test's stack); Cy comes later; Eve was let in and has no secret.
async fn talk(api: &Api) -> anyhow::Result<World> {
    let sealed = Sealed::create(api).await?;
    let picture = picture();
    canary::keep("words", WORDS);
    canary::keep("picture", &picture);

    let mut ana = Box::pin(sealed.join("Ana")).await?;
    let mut ben = Box::pin(sealed.join("Ben")).await?;
    let (one, other) = (ana.meeting.encryption().context("it is encrypted")?, ben.meeting.encryption().context("it is encrypted")?);
    ensure!(one == other && one.comparison_code.len() == 14, "{one:?} and {other:?}");
    let mut eve = Box::pin(Peer::join(Stack::WebTransportQuinn, &api.invite(&sealed.id, "Eve").await?, "Eve")).await?;

    let publisher = ana.meeting.publish(StreamDescription::new(StreamType::VideoCamera, "VP9")).await?;
    let stream_id = publisher.stream().stream_id;
    let camera = film(publisher, picture.clone());
    sees(&mut ben, &picture).await?;
    let said = ben.meeting.chat(WORDS).await?;
    ensure!(said.content == WORDS, "what was said comes back as {}", said.content);
    for who in [&mut ana, &mut ben] {
        reads(who, WORDS).await?;
    }

    // Who comes late finds the picture and the history; nobody is asked for a key.
    let mut cy = Box::pin(sealed.join("Cy")).await?;
    reads(&mut cy, WORDS).await?;
    sees(&mut cy, &picture).await?;
    cy.meeting.leave().await;

    let (envelope, record) = overhears(&mut eve, stream_id).await?;
    let base_key = sealed.derived("dark-tower e2ee 1 media", stream_id.as_bytes())?;
    let label = [b"SFrame 1.0 Secret key ".as_slice(), &[0; 8], &[0, 5]].concat();
    let forbidden = vec![
        ("the secret", sealed.secret.as_bytes().to_vec()),
        ("the media stream's base key", base_key.clone()),
        ("the media stream's SFrame key", expand(&[], &base_key, &[&label])),
        ("the words", WORDS.into()),
        ("a picture", picture[..64].to_vec()),
        ("a picture", picture[PICTURE_BYTES / 2..].to_vec()),
    ];
    let expected = vec![(NAME, MEETING_NAME.into()), (ENVELOPE, envelope.into_bytes()), (SEALED_PICTURE, record)];
    Ok(World { ana, ben, _camera: camera, eve, forbidden, expected })
}

/// What somebody without the secret gets of all this: an envelope, and a payload that is no picture.
async fn overhears(eve: &mut Peer, stream_id: StreamId) -> anyhow::Result<(String, Vec<u8>)> {
    let said = within(
        PATIENCE,
        "what Eve reads",
        eve.signaling.event(|body| match body {
            server_message::Body::Chat(chat) => Some(chat.content),
            _ => None,
        }),
    )
    .await?;
    ensure!(said.starts_with("dte1.") && !said.contains(WORDS), "Eve reads {said}");
    // The newest group, of which handlers keep the beginning for those who come.
    let record = within(PATIENCE, "what Eve sees", async {
        loop {
            let record = eve.record().await?;
            let age = common::clock::unix_micros().saturating_sub(record.header.timestamp_us);
            if record.header.stream_id == stream_id && record.header.kind == FrameKind::VideoKey && age < FRESH_US {
                return Ok(record);
            }
        }
    })
    .await?;
    let payload = record.bytes[FRAME_HEADER_BYTES..].to_vec();
    ensure!(payload.len() > PICTURE_BYTES, "a sealed payload is longer, not {} bytes", payload.len());
    Ok((said, payload))
}

impl World {
    fn needles(&self) -> anyhow::Result<Needles> {
        Needles::new(&[self.forbidden.clone(), self.expected.clone()].concat())
    }

    /// What was found is what must be found, and nothing that must not.
    fn judge(&self, place: &str, found: &BTreeSet<String>, expected: &[&str]) -> anyhow::Result<()> {
        for (name, _) in &self.forbidden {
            ensure!(!found.contains(*name), "{name} is in {place}");
        }
        for name in expected {
            ensure!(found.contains(*name), "{name} is not in {place}, so a search there says nothing: {found:?}");
        }
        eprintln!("{place}: found {found:?}, and nothing else");
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        self.ana.meeting.leave().await;
        self.ben.meeting.leave().await;
        self.eve.leave().await
    }
}

/// The one process of `dark-tower dev`, its data folder and its log at `trace` (which every line is looked through in).
#[tokio::test(flavor = "multi_thread")]
async fn dev_holds_no_key_and_no_word() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let world = Box::pin(talk(&dev.api)).await?;
    let needles = world.needles()?;
    let found = needles.find_in_memory(dev.process_id().context("it runs")?)?;
    world.judge("the memory of dark-tower dev", &found, &[NAME, ENVELOPE, SEALED_PICTURE])?;
    world.judge("its data folder", &needles.find_in_folder(&dev.data_dir())?, &[NAME])?;
    world.end().await?;
    dev.stop().await?;
    Ok(())
}

/// Each of three processes, its folder and its log at `trace`.
#[tokio::test(flavor = "multi_thread")]
async fn no_node_holds_a_key_or_a_word() -> anyhow::Result<()> {
    let plans =
        [("gc-1", NodeKind::GlobalController, "eu"), ("mc-1", NodeKind::MeetingController, "eu"), ("mh-1", NodeKind::MediaHandler, "eu")];
    let nodes = Nodes::start(&plans, &[]).await?;
    let world = Box::pin(talk(&nodes.api)).await?;
    let needles = world.needles()?;
    for (id, expected) in [("mh-1", SEALED_PICTURE), ("mc-1", ENVELOPE), ("gc-1", NAME)] {
        let found = needles.find_in_memory(nodes.process(id)?.id().context("it runs")?)?;
        world.judge(&format!("the memory of {id}"), &found, &[expected])?;
        let folder = nodes.config(id)?.parent().context("a configuration has a folder")?;
        let kept: &[&str] = if id == "gc-1" { &[NAME] } else { &[] };
        world.judge(&format!("the folder of {id}"), &needles.find_in_folder(folder)?, kept)?;
        ensure!(!nodes.log(id)?.is_empty(), "{id} logs nothing, so nothing was looked through");
    }
    world.end().await
}

/// Everything that Ben's network carries, both ways, while his network breaks and he comes back: pictures and words go on, and nobody on the way
/// reads any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_breaks_and_is_listened_to() -> anyhow::Result<()> {
    let cluster = InProcess::start(Options { path: Some(Conditions::default()), ..Options::default() }).await?;
    let paths = [cluster.signaling_path.clone().context("a path")?, cluster.media_path.clone().context("a path")?];
    paths.iter().for_each(|path| path.record());
    let mut world = Box::pin(talk(&cluster.api)).await?;
    let picture = world.forbidden.iter().filter(|(name, _)| *name == "a picture").map(|(_, bytes)| bytes.clone()).next().context("one")?;
    let me = world.ben.meeting.participant_id();

    paths.iter().for_each(|path| path.cut());
    let broken = event_of(&mut world.ben.events, |event| matches!(event, Event::Reconnecting { .. }).then_some(()));
    within(PATIENCE, "Ben's network is seen to be gone", broken).await?;
    while world.ben.records.try_next().is_some() {}
    paths.iter().for_each(|path| path.heal());
    within(PATIENCE, "Ben is back", event_of(&mut world.ben.events, |event| matches!(event, Event::Resumed).then_some(()))).await?;
    let record = within(PATIENCE, "a picture again", async { world.ben.records.next().await.context("the meeting is over") }).await?;
    ensure!(record.payload.starts_with(&picture), "it is another picture");
    ensure!(world.ben.meeting.participant_id() == me, "Ben is another participant now");
    world.ana.meeting.chat("Are you back?").await?;
    reads(&mut world.ben, "Are you back?").await?;

    let needles = world.needles()?;
    for (path, name) in paths.iter().zip(["signaling", "media"]) {
        // Whatever TLS hides, this is seen: it goes the same way.
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
        socket.send_to(MEETING_NAME.as_bytes(), path.address()).await?;
        let recorded = e2e::eventually("a datagram in the clear is recorded", PATIENCE, || async {
            let recorded = path.recorded();
            if needles.find(&recorded).is_empty() { Err("not yet") } else { Ok(recorded) }
        })
        .await?;
        ensure!(recorded.len() > PICTURE_BYTES, "only {} bytes were recorded", recorded.len());
        world.judge(&format!("{} bytes of {name}", recorded.len()), &needles.find(&recorded), &[NAME])?;
    }
    world.end().await?;
    cluster.stop().await;
    Ok(())
}

/// A wrong link, a link without its key, a key where none is wanted: told by the join, and nobody is left standing in the roster.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_link_is_told_at_once() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let sealed = Sealed::create(&dev.api).await?;
    let mut ana = sealed.join("Ana").await?;
    let open = Sealed { id: dev.api.create_meeting().await?.meeting_id, api: dev.api.clone(), secret: Secret::generate() };
    for (what, options, expected) in [
        ("another key", sealed.options("Mallory", Some(&Secret::generate())).await?, EncryptionError::WrongSecret),
        ("no key", sealed.options("Mallory", None).await?, EncryptionError::SecretMissing),
        ("a key for an open meeting", open.options("Mallory", Some(&open.secret)).await?, EncryptionError::NotEncrypted),
    ] {
        match within(PATIENCE, what, async { Ok(Box::pin(Client::new()?.join(options)).await) }).await? {
            Err(JoinError::Encryption(error)) if error == expected => {}
            Err(error) => bail!("{what}: {error}"),
            Ok(_) => bail!("{what}: let in"),
        }
    }
    for _ in 0..2 {
        within(PATIENCE, "Mallory came", event_of(&mut ana.events, |it| matches!(it, Event::ParticipantJoined(_)).then_some(()))).await?;
        within(PATIENCE, "Mallory is gone", event_of(&mut ana.events, |it| matches!(it, Event::ParticipantLeft { .. }).then_some(())))
            .await?;
    }
    ensure!(ana.meeting.roster().is_empty(), "somebody is left in the roster");
    ana.meeting.leave().await;
    dev.stop().await?;
    Ok(())
}
