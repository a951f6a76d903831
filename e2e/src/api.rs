//! The public API over HTTP, as far as tests need it.

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

/// A client of one cluster's API.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    /// Scheme, host and port.
    pub base: String,
}

/// The answer to a new meeting.
#[derive(Clone, Debug, Deserialize)]
pub struct Meeting {
    /// Canonical UUID.
    pub meeting_id: String,
    /// The page to open.
    pub meeting_url: String,
    /// The host's.
    pub join_token: String,
    /// Where signaling is.
    pub meeting_controller_url: String,
    /// Handlers that may be dialled already.
    #[serde(default)]
    pub media_handler_urls: Vec<String>,
}

/// The answer to a wish to join: all that a client needs.
#[derive(Clone, Debug, Deserialize)]
pub struct Invitation {
    /// Canonical UUID.
    pub meeting_id: String,
    /// Good once.
    pub join_token: String,
    /// The `https://…/wt` URL.
    pub meeting_controller_url: String,
    /// Handlers that may be dialled already.
    #[serde(default)]
    pub media_handler_urls: Vec<String>,
    /// Base64 of SHA-256.
    #[serde(default)]
    pub certificate_hashes: Vec<String>,
    /// A handler's URL to dial instead of the one that the controller names: past a network path.
    #[serde(skip)]
    pub media_url_instead: Option<String>,
}

impl Invitation {
    /// The certificate hashes in bytes.
    pub fn hashes(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        self.certificate_hashes.iter().map(|hash| STANDARD.decode(hash).context("a certificate hash is not base64")).collect()
    }
}

impl Api {
    /// A client of the API at `base`. Certificates are not looked at: what a test proves about them, it proves elsewhere.
    pub fn new(base: impl Into<String>) -> anyhow::Result<Self> {
        Self::with(reqwest::Client::builder(), base)
    }

    /// The same with a connection of its own for each request: none is left behind that would count among those of a server.
    pub fn without_pool(base: impl Into<String>) -> anyhow::Result<Self> {
        Self::with(reqwest::Client::builder().pool_max_idle_per_host(0), base)
    }

    fn with(builder: reqwest::ClientBuilder, base: impl Into<String>) -> anyhow::Result<Self> {
        common::tls::install_crypto_provider();
        canary::watch();
        Ok(Self { http: builder.tls_danger_accept_invalid_certs(true).build()?, base: base.into() })
    }

    /// A request to a path below the base.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Creates a meeting without a bearer, as `dev` allows.
    pub async fn create_meeting(&self) -> anyhow::Result<Meeting> {
        let (status, body) = self.post("/api/v1/meetings", &json!({"display_name": "A test"})).await?;
        ensure!(status == 201, "POST /api/v1/meetings answered {status}: {body}");
        Ok(serde_json::from_value(body)?)
    }

    /// Creates a meeting that should be in `region`; the answer's status and body as they come.
    pub async fn create_in(&self, region: &str) -> anyhow::Result<(u16, Value)> {
        self.post("/api/v1/meetings", &json!({"display_name": "A test", "region": region})).await
    }

    /// The same, which must succeed.
    pub async fn create_meeting_in(&self, region: &str) -> anyhow::Result<Meeting> {
        let (status, body) = self.create_in(region).await?;
        ensure!(status == 201, "POST /api/v1/meetings for {region} answered {status}: {body}");
        Ok(serde_json::from_value(body)?)
    }

    /// What the API says of a meeting.
    pub async fn meeting(&self, meeting_id: &str) -> anyhow::Result<Value> {
        let answer = self.request(reqwest::Method::GET, &format!("/api/v1/meetings/{meeting_id}")).send().await?;
        let (status, body) = (answer.status(), answer.json().await?);
        ensure!(status == 200, "GET {meeting_id} answered {status}: {body}");
        Ok(body)
    }

    /// Asks to join `meeting_id` (or its short code) under `name`.
    pub async fn invite(&self, meeting_id: &str, name: &str) -> anyhow::Result<Invitation> {
        let path = format!("/api/v1/meetings/{meeting_id}/join");
        let (status, body) = self.post(&path, &json!({"display_name": name})).await?;
        ensure!(status == 200, "POST {path} answered {status}: {body}");
        Ok(serde_json::from_value(body)?)
    }

    /// The same wish, with the answer as the Rust client takes it.
    pub async fn admit(&self, meeting_id: &str, name: &str) -> anyhow::Result<client::JoinOptions> {
        let path = format!("/api/v1/meetings/{meeting_id}/join");
        let (status, body) = self.post(&path, &json!({"display_name": name})).await?;
        ensure!(status == 200, "POST {path} answered {status}: {body}");
        let admission: client::api::Admission = serde_json::from_value(body)?;
        Ok(admission.into_options(name))
    }

    /// Posts JSON; status and JSON come back.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let answer = self.request(reqwest::Method::POST, path).json(body).send().await?;
        let status = answer.status().as_u16();
        let answer: Value = answer.json().await.with_context(|| format!("POST {path} ({status}) answered no JSON"))?;
        canary::keep_answer(&answer);
        if status >= 400 {
            // A refusal has no secrets to tell, whoever's.
            canary::inspect(&format!("the answer {status} to POST {path}"), answer.to_string());
        }
        Ok((status, answer))
    }
}
