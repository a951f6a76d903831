//! Wrong bytes on signaling, and too much of the right ones.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use common_core::Code;
use e2e::ground::{Ground, REFUSAL_LIMIT, refused, refused_within, scale};
use e2e::peer::{Peer, Signaling, fresh_stream_id, join_request, publication};
use e2e::{wire, within};
use prost::Message;
use proto::v1::{self, StreamType, client_message, server_message};
use tokio::io::AsyncWriteExt;

use super::{STACK, beside_bystanders, refused_as_first};

/// What a session that floods may go on for: a thousand messages as fast as a busy machine reads them.
const FLOOD_LIMIT: Duration = Duration::from_secs(5);

/// Lengths against the contract, a first message that is no join, and another version end the session with `INVALID_REQUEST`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_on_signaling_end_that_session_alone() -> anyhow::Result<()> {
    beside_bystanders(|cluster| async move {
        let meeting = cluster.api.create_meeting().await?.meeting_id;
        let invitation = cluster.api.invite(&meeting, "Mallory").await?;
        for (what, length) in [("a length of 0", 0), ("a length of 4 GiB", u32::MAX), ("a length just over the limit", 64 * 1024 + 1)] {
            let mut signaling = Signaling::dial(STACK, &invitation).await?;
            refused(what, Code::InvalidRequest, async {
                signaling.writer.write_all(&length.to_be_bytes()).await?;
                signaling.session.close_code().await
            })
            .await?;
        }
        let ping = client_message::Body::Ping(v1::Ping { sent_at_us: 1 });
        refused_as_first("a first message that is no join", Code::InvalidRequest, &invitation, ping).await?;

        let mut signaling = Signaling::dial(STACK, &invitation).await?;
        refused("version 2", Code::InvalidRequest, async {
            let join = client_message::Body::Join(join_request(&invitation, "Mallory"));
            wire::send(&mut signaling.writer, &v1::ClientMessage { version: 2, request_id: 1, body: Some(join) }).await?;
            let error = signaling.reply_to(1).await?;
            let server_message::Body::Error(error) = error else { bail!("instead of an error came {error:?}") };
            ensure!(error.details.get("supported").is_some_and(|it| it == "1"), "details.supported is missing: {error:?}");
            signaling.session.close_code().await
        })
        .await?;

        // The same wrong lengths after a good join end the session as well.
        for (what, length) in [("a later length of 0", 0), ("a later length of 4 GiB", u32::MAX)] {
            let invitation = cluster.api.invite(&meeting, "Mallory").await?;
            let mut mallory = Peer::join(STACK, &invitation, "Mallory").await?;
            refused(what, Code::InvalidRequest, async {
                mallory.signaling.writer.write_all(&u32::to_be_bytes(length)).await?;
                mallory.signaling.session.close_code().await
            })
            .await?;
        }
        Ok(())
    })
    .await
}

/// Protobuf that nests, lies or is no text ends the session; what is merely unknown does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_that_lies_ends_the_session() -> anyhow::Result<()> {
    let ground = Ground::start("protobuf").await?;
    // Field 9, a group that begins: as often as a message has bytes, and as often as a message may not have.
    let groups = |count: usize| vec![0x4b; count];
    // JoinRequest (field 10) with a name (field 3) that is no text.
    let no_text = [&[0x08, 1, 0x10, 1, 0x52, 4, 0x1a, 2][..], &[0xff, 0xfe]].concat();
    let cases = [
        ("65,536 groups within each other", groups(64 * 1024)),
        ("a hundred and one groups within each other", groups(101)),
        ("100,000 groups, which are too long", groups(100_000)),
        ("a name that is no text", no_text),
        ("a field that is longer than the message", vec![0x08, 1, 0x52, 0xff, 0xff, 0xff, 0xff, 0x07]),
        ("a number of eleven bytes", [vec![0x08], vec![0xff; 11]].concat()),
        ("field 0", vec![0x00, 0x01]),
        ("a megabyte of unknown fields", [&[0x08, 1, 0xa2, 0x06][..], &[0x80, 0x80, 0x40], &vec![0; 1024 * 1024]].concat()),
    ];
    for has_joined in [false, true] {
        for (what, bytes) in &cases {
            let (mut signaling, invitation) = ground.silent_stranger("Mallory").await?;
            if has_joined {
                signaling.request(client_message::Body::Join(join_request(&invitation, "Mallory"))).await?;
            }
            refused(what, Code::InvalidRequest, async {
                signaling.writer.write_all(&u32::try_from(bytes.len())?.to_be_bytes()).await?;
                // What is too long by its length alone may be refused before all of it is written.
                let _ = signaling.writer.write_all(bytes).await;
                signaling.session.close_code().await
            })
            .await?;
        }
    }
    // Sessions that stand, say something wrong and are gone, one after another.
    for length in (0..scale().of(20, 1000)).map(|number| if number % 2 == 0 { 0 } else { u32::MAX - number }) {
        let (mut signaling, _) = ground.silent_stranger("Mallory").await?;
        refused("a length against the contract", Code::InvalidRequest, async {
            signaling.writer.write_all(&length.to_be_bytes()).await?;
            signaling.session.close_code().await
        })
        .await?;
    }
    // As many unknown fields as fit, around a request that is served.
    let mut peer = ground.stranger("Nadia").await?;
    for request_id in 100..scale().of(120, 1000) {
        let body = Some(client_message::Body::Ping(v1::Ping { sent_at_us: 1 }));
        let mut bytes = v1::ClientMessage { version: proto::VERSION, request_id, body }.encode_to_vec();
        // Field 100 with 100 bytes, six hundred times: unknown.
        bytes.extend_from_slice(&[&[0xa2, 0x06, 100][..], &[0; 100]].concat().repeat(600));
        peer.signaling.writer.write_all(&u32::try_from(bytes.len())?.to_be_bytes()).await?;
        peer.signaling.writer.write_all(&bytes).await?;
        let reply = peer.signaling.reply_to(request_id).await?;
        ensure!(matches!(reply, server_message::Body::Pong(_)), "instead of a Pong came {reply:?}");
    }
    peer.leave().await?;
    ground.settled().await?;
    Ok(())
}

/// Requests over their sizes and counts get their error, and the session lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_their_limits_are_refused_one_by_one() -> anyhow::Result<()> {
    let ground = Ground::start("sizes and counts").await?;
    let mut ana = ground.stranger("Ana").await?;
    let target_id = ana.participant_id.to_string();
    let chat = |bytes: usize| client_message::Body::Chat(v1::SendChat { client_message_id: String::new(), content: "x".repeat(bytes) });
    let relay = |kind: usize, payload: usize| {
        let (kind, payload) = ("k".repeat(kind), vec![0; payload].into());
        client_message::Body::Relay(v1::RelayMessage { target_id: target_id.clone(), source_id: String::new(), kind, payload })
    };
    let layers =
        (0..100).map(|_| v1::SimulcastLayer { stream_id: fresh_stream_id().to_string(), layer_id: "l".into(), ..Default::default() });
    let mut many_layers = publication(fresh_stream_id(), StreamType::VideoCamera);
    if let Some(video) = many_layers.metadata.as_mut().and_then(|metadata| metadata.video.as_mut()) {
        video.simulcast_layers = layers.collect();
    }
    let failed_url = "x".repeat(10_000);
    for (what, body) in [
        ("chat over 4 KiB", chat(4097)),
        ("a relay over 48 KiB", relay(3, 48 * 1024 + 1)),
        ("a relay of a kind over 64 bytes", relay(65, 1)),
        ("a hundred layers", client_message::Body::Publish(many_layers)),
        ("a URL of 10 kB", client_message::Body::MediaServer(v1::RequestMediaServer { failed_url })),
        ("a stream id that is none", client_message::Body::Unpublish(v1::UnpublishStream { stream_id: "x".repeat(60_000) })),
    ] {
        let code = refused_within(REFUSAL_LIMIT, what, error_code(&mut ana.signaling, body)).await?;
        ensure!(code == Code::InvalidRequest, "{what}: {code}");
    }
    for _ in 0..32 {
        ana.publish(fresh_stream_id(), StreamType::Audio).await?;
    }
    let one_more = client_message::Body::Publish(publication(fresh_stream_id(), StreamType::Audio));
    let code = refused_within(REFUSAL_LIMIT, "a 33rd media stream", error_code(&mut ana.signaling, one_more)).await?;
    ensure!(code == Code::CapacityExceeded, "a 33rd media stream: {code}");

    // What a join says of its client.
    let codecs =
        |count: usize, bytes: usize| v1::ParticipantCapabilities { video_codecs: vec!["c".repeat(bytes); count], ..Default::default() };
    for (what, capabilities) in [("17 codecs", codecs(17, 3)), ("10,000 codecs", codecs(10_000, 3)), ("a codec of 33 bytes", codecs(1, 33))]
    {
        let (mut signaling, invitation) = ground.silent_stranger("Mallory").await?;
        let request = v1::JoinRequest { capabilities: Some(capabilities), ..join_request(&invitation, "Mallory") };
        let code = refused_within(REFUSAL_LIMIT, what, error_code(&mut signaling, client_message::Body::Join(request))).await?;
        ensure!(code == Code::InvalidRequest, "{what}: {code}");
    }
    // Guesses at resume tokens: each costs a session.
    for number in 0..scale().of(20, 1000) {
        let (mut signaling, invitation) = ground.silent_stranger("Mallory").await?;
        let resume_token = format!("{number:043}");
        let guess = v1::JoinRequest { resume_token, join_token: String::new(), ..join_request(&invitation, "Mallory") };
        refused("a guess at a resume token", Code::Unauthorized, async {
            let code = error_code(&mut signaling, client_message::Body::Join(guess)).await?;
            ensure!(code == signaling.session.close_code().await?, "another close code than {code}");
            Ok(code)
        })
        .await?;
    }
    // A thousand messages a minute, then each is refused; as many again, and the session ends.
    let ping = || client_message::Body::Ping(v1::Ping { sent_at_us: 1 });
    let mut served = 0;
    while !matches!(ana.signaling.request(ping()).await?, server_message::Body::Error(error) if error.code() == v1::ErrorCode::RateLimited)
    {
        served += 1;
        ensure!(served <= 1000, "more than a thousand messages are served");
    }
    let code = within(FLOOD_LIMIT, "the end of who goes on", async {
        let unasked = v1::ClientMessage { version: proto::VERSION, request_id: 0, body: Some(ping()) };
        while wire::send(&mut ana.signaling.writer, &unasked).await.is_ok() {}
        ana.signaling.session.close_code().await
    })
    .await?;
    ensure!(code == Code::RateLimited, "who goes on is closed with {code}");
    ground.settled().await?;
    Ok(())
}

async fn error_code(signaling: &mut Signaling, body: client_message::Body) -> anyhow::Result<Code> {
    match signaling.request(body).await? {
        server_message::Body::Error(error) => Code::from_number(u32::try_from(error.code)?).context("an error code of the contract"),
        other => bail!("instead of an error came {other:?}"),
    }
}
