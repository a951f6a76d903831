//! Mischief: wrong tokens, wrong bytes, other people's stream ids. Each is refused with its code within a second, and a
//! meeting of two that goes on beside loses no record.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::token::{JoinClaims, TokenSigner};
use common_core::Code;
use common_core::frame::FrameKind;
use e2e::api::Invitation;
use e2e::bystanders::Bystanders;
use e2e::in_process::{InProcess, Options};
use e2e::peer::{Peer, Signaling, dial_media, fresh_stream_id, hello, join_request};
use e2e::session::Stack;
use e2e::wire::{self, CONTROL_STREAM, Record};
use e2e::{eventually, within};
use proto::v1::{self, StreamType, client_message, media_client_message, server_message};
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// What DESIGN and the bars promise for every refusal.
const REFUSAL_LIMIT: Duration = Duration::from_secs(1);
/// Join tokens of these clusters live so short that a test can outlive one, and long enough to be used.
const JOIN_LIFE: Duration = Duration::from_secs(5);
const STACK: Stack = Stack::WebTransportQuinn;

/// Runs `mischief` beside two bystanders, who must not notice.
async fn beside_bystanders<F: Future<Output = anyhow::Result<()>>>(mischief: impl FnOnce(InProcess) -> F) -> anyhow::Result<()> {
    let cluster = InProcess::start(Options { join_life: Some(JOIN_LIFE), ..Options::default() }).await?;
    let bystanders = Bystanders::start(&cluster.api).await?;
    let keeps_it_running = cluster.clone();
    mischief(cluster).await?;
    let account = bystanders.finish().await?;
    ensure!(account.pictures > 0 && account.packets > 0, "the bystanders did nothing: {account:?}");
    eprintln!("meanwhile the bystanders got all of {} pictures and {} packets of sound", account.pictures, account.packets);
    keeps_it_running.stop().await;
    Ok(())
}

/// `attempt` gives the code with which it was refused.
async fn refused(what: &str, expected: Code, attempt: impl Future<Output = anyhow::Result<Code>>) -> anyhow::Result<()> {
    let code = within(REFUSAL_LIMIT, what, attempt).await?;
    ensure!(code == expected, "{what}: refused with {code}, and {expected} is the contract's");
    Ok(())
}

/// Sends a first message; the refusal must name its request and be the close code too.
async fn refused_as_first(what: &str, expected: Code, invitation: &Invitation, body: client_message::Body) -> anyhow::Result<()> {
    let mut signaling = Signaling::dial(STACK, invitation).await?;
    refused(what, expected, async {
        match signaling.request(body).await? {
            server_message::Body::Error(error) => {
                let code = Code::from_number(u32::try_from(error.code)?).context("an error code of the contract")?;
                ensure!(code == expected, "the reply says {code}: {}", error.message);
            }
            other => bail!("instead of an error came {other:?}"),
        }
        signaling.session.close_code().await
    })
    .await
}

/// A token opens one meeting, once, in its time, in its cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_nothing_but_what_they_are_for() -> anyhow::Result<()> {
    beside_bystanders(|cluster| async move {
        let api = &cluster.api;
        let ours = api.create_meeting().await?.meeting_id;
        let theirs = api.create_meeting().await?.meeting_id;

        // The token that will be too old is made first; the others are tried meanwhile.
        let old = api.invite(&ours, "Mallory").await?;
        let fresh = api.invite(&ours, "Mallory").await?;
        let claims: JoinClaims = claims_of(&fresh.join_token)?;
        let stranger = TokenSigner::from_pkcs8(&TokenSigner::generate_pkcs8())?;
        let access = cluster.access_token().await?;
        let cases = [
            ("no token", String::new()),
            ("no token at all, but three dots", "a.b.c".to_owned()),
            ("a token that another cluster signed", stranger.sign_join(&claims)?),
            ("a token with its role changed", with_role_host(&fresh.join_token)?),
            ("a token without a signature", unsigned(&fresh.join_token)?),
            ("an access token", access),
        ];
        for (what, join_token) in cases {
            let request = v1::JoinRequest { join_token, ..join_request(&fresh, "Mallory") };
            refused_as_first(what, Code::Unauthorized, &fresh, client_message::Body::Join(request)).await?;
        }
        let request = v1::JoinRequest { meeting_id: theirs, ..join_request(&fresh, "Mallory") };
        refused_as_first("another meeting's token", Code::Unauthorized, &fresh, client_message::Body::Join(request)).await?;

        let honest = Peer::join(STACK, &fresh, "Ana").await.context("none of that has spent the token")?;
        let again = client_message::Body::Join(join_request(&fresh, "Mallory"));
        refused_as_first("a spent token", Code::Unauthorized, &fresh, again).await?;

        let token = &honest.welcome.media_server.as_ref().context("a media server")?.connection_token;
        for (what, connection_token) in [("a spent connection token", token.as_str()), ("a made-up connection token", "AAAA")] {
            let info = honest.welcome.media_server.clone().context("a media server")?;
            let media = dial_media(STACK, &info).await?;
            refused(what, Code::Unauthorized, async {
                ensure!(hello(&media, connection_token).await.is_err(), "it was welcomed");
                media.close_code().await
            })
            .await?;
        }

        let expires_at = claims_of(&old.join_token)?.exp;
        eventually("the old token is past its time", JOIN_LIFE * 2, || async move {
            let now = common::clock::unix_seconds();
            if now > expires_at { Ok(()) } else { Err(format!("{} s are left", expires_at + 1 - now)) }
        })
        .await?;
        refused_as_first("an expired token", Code::Unauthorized, &old, client_message::Body::Join(join_request(&old, "Mallory"))).await
    })
    .await
}

fn claims_of(token: &str) -> anyhow::Result<JoinClaims> {
    let payload = token.split('.').nth(1).context("a token has three parts")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?)
}

fn with_role_host(token: &str) -> anyhow::Result<String> {
    let [header, _, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().ok().context("three parts")?;
    let claims = JoinClaims { role: "host".into(), ..claims_of(token)? };
    Ok(format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims)?)))
}

fn unsigned(token: &str) -> anyhow::Result<String> {
    let payload = token.split('.').nth(1).context("a token has three parts")?;
    let header = json!({"alg": "none", "typ": common::token::JOIN_TYPE});
    Ok(format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(header.to_string())))
}

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

/// On a media session wrong control bytes end the session; wrong media ends that stream, and the session lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_on_media_end_what_they_came_on() -> anyhow::Result<()> {
    beside_bystanders(|cluster| async move {
        let meeting = cluster.api.create_meeting().await?.meeting_id;
        let ana = Peer::join(STACK, &cluster.api.invite(&meeting, "Ana").await?, "Ana").await?;
        let info = ana.welcome.media_server.clone().context("a media server")?;

        for (what, length) in [("a control length of 0", 0_u32), ("a control length of 4 GiB", u32::MAX)] {
            let media = dial_media(STACK, &info).await?;
            refused(what, Code::InvalidRequest, async {
                let (mut writer, _reader) = media.open_bi().await?;
                writer.write_all(&[CONTROL_STREAM]).await?;
                writer.write_all(&length.to_be_bytes()).await?;
                media.close_code().await
            })
            .await?;
        }
        let media = dial_media(STACK, &info).await?;
        refused("a first control message that is no hello", Code::InvalidRequest, async {
            let (mut writer, _reader) = media.open_bi().await?;
            writer.write_all(&[CONTROL_STREAM]).await?;
            let body = Some(media_client_message::Body::Ping(v1::Ping { sent_at_us: 1 }));
            wire::send(&mut writer, &v1::MediaClientMessage { version: proto::VERSION, body }).await?;
            media.close_code().await
        })
        .await?;

        let mut record = Record::numbered(FrameKind::VideoKey, fresh_stream_id(), 0, 100).bytes;
        record[1] = 7;
        stopped_with(&ana, "a frame of no known type", Code::InvalidRequest, &record).await?;
        let mut record = Record::numbered(FrameKind::VideoKey, fresh_stream_id(), 0, 0).bytes;
        record[34..38].fill(0xff);
        stopped_with(&ana, "a frame of 4 GiB", Code::InvalidRequest, &record).await?;
        stopped_with(&ana, "a stream of no known sort", Code::InvalidRequest, &[0x07; 64]).await
    })
    .await
}

/// Frames under the stream id of another are stopped; the owner's subscribers get the owner's frames and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_publishes_under_the_id_of_another() -> anyhow::Result<()> {
    beside_bystanders(|cluster| async move {
        let meeting = cluster.api.create_meeting().await?.meeting_id;
        let mut ana = Peer::join(STACK, &cluster.api.invite(&meeting, "Ana").await?, "Ana").await?;
        let mut ben = Peer::join(STACK, &cluster.api.invite(&meeting, "Ben").await?, "Ben").await?;
        let mallory = Peer::join(STACK, &cluster.api.invite(&meeting, "Mallory").await?, "Mallory").await?;
        let elsewhere = cluster.api.create_meeting().await?.meeting_id;
        let outsider = Peer::join(STACK, &cluster.api.invite(&elsewhere, "Oscar").await?, "Oscar").await?;

        let stream_id = fresh_stream_id();
        ana.publish(stream_id, StreamType::VideoCamera).await?;
        let forged = Record::numbered(FrameKind::VideoKey, stream_id, 0, 66);
        stopped_with(&mallory, "a frame of another participant's stream id", Code::Forbidden, &forged.bytes).await?;
        // For the outsider's meeting the id is simply unknown: held until it may become known, and then stopped alike.
        let flood = forged.bytes.repeat(256 * 1024 / forged.bytes.len() + 1);
        stopped_with(&outsider, "frames of a stream id of another meeting", Code::NotFound, &flood).await?;

        let honest = Record::numbered(FrameKind::VideoKey, stream_id, 0, 99);
        ana.send(std::slice::from_ref(&honest)).await?;
        let first = within(REFUSAL_LIMIT, "Ana's frame arrives at Ben's", ben.record()).await?;
        ensure!(first == honest, "Ben got a forged frame");
        Ok(())
    })
    .await
}

/// Sends `bytes` on a stream of `peer`'s media session; that stream must be stopped, and the session must go on.
async fn stopped_with(peer: &Peer, what: &str, expected: Code, bytes: &[u8]) -> anyhow::Result<()> {
    let session = peer.media.web_transport_quinn()?;
    let mut stream = session.open_uni().await?;
    refused(what, expected, async {
        // The stop may come while bytes are still being written.
        let written = stream.write_all(bytes).await;
        let number = match written {
            Err(web_transport_quinn::WriteError::Stopped(number)) => Some(number),
            Err(error) => return Err(error.into()),
            Ok(()) => stream.stopped().await?,
        };
        Code::from_number(number.context("the stream was taken as a whole")?).context("a code of the contract")
    })
    .await?;
    ensure!(session.close_reason().is_none(), "{what}: the whole session ended");
    Ok(())
}
