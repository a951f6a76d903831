//! An application in charge of its meeting: it sees who is in, asks for quiet, removes for good, and lets back in who lost its way.

use std::time::Duration;

use anyhow::{Context, ensure};
use common_core::Code;
use e2e::api::Invitation;
use e2e::in_process::{InProcess, Options};
use e2e::peer::Peer;
use e2e::session::Stack;
use e2e::{eventually, within};
use proto::v1::{self, server_message};
use reqwest::Method;
use serde_json::{Value, json};

/// A kick closes signaling and media within this (DESIGN section 4).
const KICK_LIMIT: Duration = Duration::from_secs(1);
/// For what is only a message away.
const PATIENCE: Duration = Duration::from_secs(5);

/// A meeting of an application.
struct Application {
    cluster: InProcess,
    token: String,
    meeting_id: String,
}

impl Application {
    async fn start() -> anyhow::Result<Self> {
        let cluster = InProcess::start(Options::default()).await?;
        let token = cluster.access_token().await?;
        let mut this = Self { cluster, token, meeting_id: String::new() };
        let body = json!({"display_name": "Lesson", "max_participants": 2, "settings": {"enable_e2e_encryption": true}});
        let (status, meeting) = this.ask(Method::POST, "", Some(body)).await?;
        ensure!(status == 201, "{status}: {meeting}");
        this.meeting_id = meeting["meeting_id"].as_str().context("an id")?.to_owned();
        Ok(this)
    }

    /// A call with the access token; `rest` comes behind the meeting's path.
    async fn ask(&self, method: Method, rest: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
        let path =
            if self.meeting_id.is_empty() { "/api/v1/meetings".to_owned() } else { format!("/api/v1/meetings/{}{rest}", self.meeting_id) };
        let mut request = self.cluster.api.request(method, &path).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.with_context(|| format!("{path} ({status})"))?))
    }

    async fn join_as(&self, user_id: &str) -> anyhow::Result<(u16, Value)> {
        self.ask(Method::POST, "/join", Some(json!({"display_name": user_id, "user_id": user_id}))).await
    }

    async fn enters(&self, user_id: &str) -> anyhow::Result<Peer> {
        let (status, answer) = self.join_as(user_id).await?;
        ensure!(status == 200, "{status}: {answer}");
        let invitation: Invitation = serde_json::from_value(answer)?;
        Peer::join(Stack::WebTransportQuinn, &invitation, user_id).await
    }

    async fn users(&self) -> anyhow::Result<Vec<String>> {
        let (status, list) = self.ask(Method::GET, "/participants", None).await?;
        ensure!(status == 200, "{status}: {list}");
        let participants = list["participants"].as_array().context("a list")?;
        Ok(participants.iter().filter_map(|one| one["user_id"].as_str().map(str::to_owned)).collect())
    }

    fn of(&self, peer: &Peer) -> String {
        format!("/participants/{}", peer.participant_id)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_in_charge_of_its_meeting() -> anyhow::Result<()> {
    let app = Application::start().await?;
    let (mut ana, mut bob) = (app.enters("ana").await?, app.enters("bob").await?);
    ensure!(app.users().await? == ["ana", "bob"], "{:?}", app.users().await?);

    // The count reaches the API with the next heartbeat, and then the meeting is full for all but those who come back.
    eventually("the meeting is full", PATIENCE, || async {
        let (status, answer) = app.join_as("eve").await.map_err(|error| error.to_string())?;
        if status == 409 { Ok(()) } else { Err(format!("{status}: {answer}")) }
    })
    .await?;
    let resume = json!({"resume_token": ana.welcome.resume_token});
    let path = format!("/api/v1/meetings/{}/join", app.meeting_id);
    let (status, back) = app.cluster.api.post(&path, &resume).await?;
    ensure!(status == 200 && back["join_token"].as_str().is_some_and(|token| !token.is_empty()), "{status}: {back}");
    let (status, refused) = app.cluster.api.post(&path, &json!({"resume_token": "guessed"})).await?;
    ensure!(status == 401, "{status}: {refused}");

    let (status, asked) = app.ask(Method::PATCH, &app.of(&bob), Some(json!({"is_muted": true, "reason": "Please"}))).await?;
    ensure!(status == 202 && asked["user_id"] == "bob", "{status}: {asked}");
    let wish = bob.signaling.event(|body| if let server_message::Body::MuteRequest(wish) = body { Some(wish) } else { None });
    let wish = within(PATIENCE, "Bob is asked", wish).await?;
    ensure!(wish == v1::MuteRequest { microphone: true, camera: false, reason: "Please".into() }, "{wish:?}");

    let (status, removed) = app.ask(Method::DELETE, &app.of(&bob), None).await?;
    ensure!(status == 200 && removed["removed"] == json!([bob.participant_id.to_string()]), "{status}: {removed}");
    let code = within(KICK_LIMIT, "Bob's session is closed", bob.signaling.session.close_code()).await?;
    ensure!(code == Code::Forbidden, "{code:?}");
    let left = ana.signaling.event(|body| if let server_message::Body::ParticipantLeft(left) = body { Some(left) } else { None });
    let left = within(PATIENCE, "Ana sees Bob removed", left).await?;
    ensure!(left.participant_id == bob.participant_id.to_string() && left.reason() == v1::LeaveReason::Kicked, "{left:?}");
    ensure!(app.users().await? == ["ana"]);
    let (status, refused) = app.join_as("bob").await?;
    ensure!(status == 403 && refused["error"]["code"] == "FORBIDDEN", "{status}: {refused}");
    let (status, refused) = app.cluster.api.post(&path, &json!({"resume_token": bob.welcome.resume_token})).await?;
    ensure!(status == 401, "{status}: {refused}");

    let (status, ended) = app.ask(Method::DELETE, "", None).await?;
    ensure!(status == 200, "{status}: {ended}");
    ensure!(app.users().await?.is_empty());
    app.cluster.stop().await;
    Ok(())
}
