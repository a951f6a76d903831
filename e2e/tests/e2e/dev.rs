//! The contract of `dark-tower dev`: what it prints, writes, answers, and how it ends.

use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e::api::Api;
use e2e::cluster::{Dev, READY_LINE, STOP_LIMIT, dev_command};
use e2e::process::Process;
use reqwest::{Method, StatusCode};
use serde_json::json;

/// It prints its URLs and that it is ready, writes `dev.json` (exactly the agreed fields), and ends by SIGTERM, in time, with 0.
#[tokio::test]
async fn it_says_where_it_is_and_ends_when_told() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let file = dev.file.clone();
    let printed = dev.printed();
    ensure!(printed.last().is_some_and(|line| line == READY_LINE), "the last line is not the ready line: {printed:?}");
    for (url, scheme) in [
        (&file.http_url, "http://"),
        (&file.https_url, "https://"),
        (&file.signaling_url, "https://"),
        (&file.media_url, "https://"),
        (&file.admin_url, "http://"),
    ] {
        ensure!(printed.iter().any(|line| line.contains(url.as_str())), "{url} is not printed: {printed:?}");
        let url: reqwest::Url = url.parse()?;
        ensure!(url.as_str().starts_with(scheme) && url.port().is_some_and(|port| port != 0), "{url} has no port of its own");
    }
    ensure!(STANDARD.decode(&file.certificate_sha256)?.len() == 32, "the certificate hash is SHA-256 in base64");
    ensure!(!printed.join("\n").contains(&file.client_secret), "the secret is printed");
    let (status, took) = dev.stop().await?;
    ensure!(status.code() == Some(0) && took < STOP_LIMIT, "it ended after {took:?} with {status}");
    Ok(())
}

/// Anyone may create a meeting; the credentials of `dev.json` give an access token that works.
#[tokio::test]
async fn its_api_serves_strangers_and_clients() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    for base in [&dev.file.http_url, &dev.file.https_url] {
        let api = Api::new(base)?;
        let answer = api.request(Method::POST, "/api/v1/meetings").json(&json!({"display_name": "Anyone's"})).send().await?;
        ensure!(answer.status() == StatusCode::CREATED, "{base}: {}", answer.status());
        let location = answer.headers().get("location").context("a 201 says where")?.to_str()?.to_owned();
        let meeting: e2e::api::Meeting = answer.json().await?;
        ensure!(location.contains(&meeting.meeting_id), "{location} is not of {}", meeting.meeting_id);
        ensure!(meeting.meeting_url.starts_with(&dev.file.http_url), "{} is not at the plain door", meeting.meeting_url);
        ensure!(meeting.meeting_controller_url == dev.file.signaling_url, "{}", meeting.meeting_controller_url);

        let credentials =
            json!({"grant_type": "client_credentials", "client_id": dev.file.client_id, "client_secret": dev.file.client_secret});
        let (status, token) = api.post("/api/v1/auth/token", &credentials).await?;
        ensure!(status == 200 && token["token_type"] == "Bearer" && token["expires_in"] == 3600, "{status}");
        let bearer = token["access_token"].as_str().context("no access token")?;
        let answer = api
            .request(Method::POST, "/api/v1/meetings")
            .bearer_auth(bearer)
            .json(&json!({"display_name": "A client's", "settings": {"require_auth": true}}))
            .send()
            .await?;
        ensure!(answer.status() == StatusCode::CREATED, "{base} with a bearer: {}", answer.status());
        let meeting: e2e::api::Meeting = answer.json().await?;
        let path = format!("/api/v1/meetings/{}/join", meeting.meeting_id);
        let (status, body) = api.post(&path, &json!({"display_name": "Anyone"})).await?;
        ensure!(status == 401 && body["error"]["code"] == "UNAUTHORIZED", "a meeting that asks for a bearer answered {status}: {body}");
    }
    Ok(())
}

/// Operators see that it lives, that it is ready, and its metrics.
#[tokio::test]
async fn its_admin_endpoint_answers() -> anyhow::Result<()> {
    let dev = Dev::start().await?;
    let admin = Api::new(&dev.file.admin_url)?;
    for (path, expected) in [("/healthz", "ok"), ("/readyz", "ok"), ("/metrics", "# TYPE dark_tower_")] {
        let answer = admin.request(Method::GET, path).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status == StatusCode::OK && text.contains(expected), "{path} answered {status}: {text}");
    }
    Ok(())
}

/// A second one on a port that is taken ends at once and names the address.
#[tokio::test]
async fn a_taken_port_is_named() -> anyhow::Result<()> {
    let first = Dev::start().await?;
    let ports = [
        ("--http-port", &first.file.http_url),
        ("--https-port", &first.file.https_url),
        ("--signaling-port", &first.file.signaling_url),
        ("--media-port", &first.file.media_url),
        ("--admin-port", &first.file.admin_url),
    ];
    for (flag, url) in ports {
        let port = url.parse::<reqwest::Url>()?.port().context("a URL of dev has a port")?;
        let data_dir = tempfile::tempdir()?;
        let command = dev_command(data_dir.path(), &[(flag, port)])?;
        let mut second = Process::start(command, &data_dir.path().join("stderr.log"))?;
        let (status, _) = second.ended(Duration::from_secs(10)).await?;
        let words = second.last_words();
        ensure!(!status.success(), "{flag} {port} is taken, and yet it ended with {status}");
        ensure!(words.contains(&format!("127.0.0.1:{port}")), "{flag}: the error does not name 127.0.0.1:{port}: {words}");
    }
    Ok(())
}
