//! People who were removed, and come back by everything that they had.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common_core::Code;
use common_core::frame::FrameKind;
use e2e::api::Invitation;
use e2e::ground::{Ground, REFUSAL_LIMIT, refused_within};
use e2e::peer::{Peer, fresh_stream_id, join_request};
use e2e::wire::Record;
use e2e::within;
use proto::v1::{self, StreamType, client_message, server_message};
use serde_json::{Value, json};

use super::STACK;
use super::doors::{Visit, access_token, hello};

/// For what is only a message away.
const PATIENCE: Duration = Duration::from_secs(5);

/// An application's meeting.
struct Meeting<'a> {
    ground: &'a Ground,
    token: String,
    id: String,
}

impl<'a> Meeting<'a> {
    /// Created by the application, whose own account is the host.
    async fn create(ground: &'a Ground) -> anyhow::Result<(Self, Peer)> {
        let token = access_token(ground).await?;
        let ask =
            ground.api.request(reqwest::Method::POST, "/api/v1/meetings").bearer_auth(&token).json(&json!({"display_name": "Lesson"}));
        let created: Value = ask.send().await?.json().await?;
        let invitation: Invitation = serde_json::from_value(created.clone()).with_context(|| created.to_string())?;
        let host = Peer::join(STACK, &invitation, "Host").await?;
        Ok((Self { ground, token, id: invitation.meeting_id }, host))
    }

    /// What the API answers to a wish to join: as an account, or as a guest by the link.
    async fn ask(&self, body: Value, by_application: bool) -> anyhow::Result<(u16, Value)> {
        let mut request = self.ground.api.request(reqwest::Method::POST, &format!("/api/v1/meetings/{}/join", self.id)).json(&body);
        if by_application {
            request = request.bearer_auth(&self.token);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn invite(&self, name: &str, is_account: bool) -> anyhow::Result<Invitation> {
        let body = if is_account { json!({"display_name": name, "user_id": name}) } else { json!({"display_name": name}) };
        let (status, answer) = self.ask(body, is_account).await?;
        ensure!(status == 200, "{status}: {answer}");
        Ok(serde_json::from_value(answer)?)
    }
}

/// Removes `mallory`, who has an unspent join token if it has an account, and tries everything.
async fn removed_and_back(meeting: &Meeting<'_>, host: &mut Peer, name: &str, is_account: bool, by_host: bool) -> anyhow::Result<()> {
    let mut mallory = Peer::join(STACK, &meeting.invite(name, is_account).await?, name).await?;
    mallory.publish(fresh_stream_id(), StreamType::VideoCamera).await?;
    let unspent = if is_account { Some(meeting.invite(name, true).await?) } else { None };
    let media = match mallory.signaling.request(client_message::Body::MediaServer(v1::RequestMediaServer::default())).await? {
        server_message::Body::MediaServer(info) => info,
        other => anyhow::bail!("instead of a media server came {other:?}"),
    };

    let began = Instant::now();
    let kick = async {
        if by_host {
            let kick = v1::KickParticipant { participant_id: mallory.participant_id.to_string() };
            host.signaling.acked(client_message::Body::Kick(kick)).await
        } else {
            let path = format!("/api/v1/meetings/{}/participants/{}", meeting.id, mallory.participant_id);
            let answer = meeting.ground.api.request(reqwest::Method::DELETE, &path).bearer_auth(&meeting.token).send().await?;
            ensure!(answer.status() == 200, "{}", answer.status());
            Ok(())
        }
    };
    let (kicked, signaling, session) = tokio::join!(
        within(PATIENCE, "the removal is acknowledged", kick),
        within(REFUSAL_LIMIT, "signaling is closed", mallory.signaling.session.close_code()),
        within(REFUSAL_LIMIT, "media is closed", mallory.media.close_code()),
    );
    kicked?;
    let took = began.elapsed();
    ensure!((signaling?, session?) == (Code::Forbidden, Code::Forbidden), "closed with another code");

    let invitation = meeting.ground.invite("anybody").await?;
    for by_websocket in [false, true] {
        let resume =
            v1::JoinRequest { meeting_id: meeting.id.clone(), resume_token: mallory.welcome.resume_token.clone(), ..Default::default() };
        let tried = async { Visit::dial(meeting.ground, &invitation, by_websocket).await?.join(resume).await?.refusal() };
        let (code, _) = refused_within(REFUSAL_LIMIT, "back by the resume token", tried).await?;
        ensure!(code == Code::Unauthorized, "back by the resume token: {code}");
        if let Some(unspent) = &unspent {
            let tried =
                async { Visit::dial(meeting.ground, unspent, by_websocket).await?.join(join_request(unspent, name)).await?.refusal() };
            let (code, _) = refused_within(REFUSAL_LIMIT, "back by an unspent join token", tried).await?;
            ensure!(code == Code::Forbidden, "back by an unspent join token: {code}");
        }
    }
    let (code, _) =
        refused_within(REFUSAL_LIMIT, "back by a media token", async { hello(&media, &media.connection_token).await?.refusal() }).await?;
    ensure!(code == Code::Unauthorized, "back by a media token: {code}");
    let resume = json!({"resume_token": mallory.welcome.resume_token});
    let (status, answer) = refused_within(REFUSAL_LIMIT, "a token by the resume token", meeting.ask(resume, false)).await?;
    ensure!(status == 401, "a token by the resume token: {status} {answer}");
    let (status, answer) = match is_account {
        true => {
            refused_within(REFUSAL_LIMIT, "a token for the account", meeting.ask(json!({"display_name": name, "user_id": name}), true))
                .await?
        }
        false => meeting.ask(json!({"display_name": name}), false).await?,
    };
    // A guest has nothing by which it could be known: by the link somebody new may come, as docs and API say.
    ensure!(status == if is_account { 403 } else { 200 }, "a fresh token: {status} {answer}");
    eprintln!("{name}, removed by {}: all closed after {took:?}, nothing it had lets it in", if by_host { "the host" } else { "the API" });
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_stays_out() -> anyhow::Result<()> {
    let ground = Ground::start("kicked").await?;
    let (meeting, mut host) = Meeting::create(&ground).await?;
    let mut ana = Peer::join(STACK, &meeting.invite("ana", true).await?, "ana").await?;
    let mut bo = Peer::join(STACK, &meeting.invite("bo", false).await?, "bo").await?;
    let stream_id = fresh_stream_id();
    ana.publish(stream_id, StreamType::VideoCamera).await?;
    for (number, (name, is_account, by_host)) in
        (0..).zip([("mallory", true, true), ("trudy", true, false), ("guest", false, true), ("other-guest", false, false)])
    {
        removed_and_back(&meeting, &mut host, name, is_account, by_host).await?;
        let record = Record::numbered(FrameKind::VideoKey, stream_id, number, 500);
        ana.send(std::slice::from_ref(&record)).await?;
        let heard = within(REFUSAL_LIMIT, "Ana's picture arrives at Bo's", bo.record()).await?;
        ensure!(heard == record, "Bo got something else");
    }
    for peer in [ana, bo, host] {
        peer.leave().await?;
    }
    ground.settled().await?;
    Ok(())
}
