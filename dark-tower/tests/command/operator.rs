//! `dark-tower client` and `dark-tower keys` beside a running `dark-tower dev`: what they print, and that the API heeds it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

/// A revoked token is refused, and a new key published, within this (two seconds, and a very busy machine).
const NOTICED: Duration = Duration::from_secs(12);
const ASK_INTERVAL: Duration = Duration::from_millis(50);

fn dark_tower() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dark-tower"))
}

/// Runs a command to its end.
fn run(arguments: &[&str], data_dir: &Path) -> Output {
    dark_tower().args(arguments).arg("--data-dir").arg(data_dir).output().expect("it runs")
}

/// What it prints as JSON.
fn json_of(arguments: &[&str], data_dir: &Path) -> Value {
    let output = run(&[arguments, &["--json"]].concat(), data_dir);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Why it refuses.
fn refusal(arguments: &[&str], data_dir: &Path) -> String {
    let output = run(arguments, data_dir);
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// A running `dark-tower dev`; ends with its value.
struct Dev {
    process: Child,
    url: String,
    credentials: (String, String),
}

impl Dev {
    fn start(data_dir: &Path) -> Self {
        let mut command = dark_tower();
        command.args(["dev", "--http-port", "0", "--https-port", "0", "--signaling-port", "0", "--media-port", "0", "--admin-port", "0"]);
        command.arg("--data-dir").arg(data_dir).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("it starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let ready = lines.map_while(Result::ok).any(|line| line == "dark-tower dev: ready");
        assert!(ready, "it ended before it was ready");
        let file: Value = serde_json::from_slice(&std::fs::read(data_dir.join("dev.json")).expect("dev.json")).expect("JSON");
        let text = |name: &str| file[name].as_str().expect("a string").to_owned();
        Self { process, url: text("http_url"), credentials: (text("client_id"), text("client_secret")) }
    }

    async fn token(&self, client: &Value) -> (StatusCode, Value) {
        let asked = json!({
            "grant_type": "client_credentials", "client_id": client["client_id"], "client_secret": client["client_secret"],
        });
        let answer = reqwest::Client::new().post(format!("{}/api/v1/auth/token", self.url)).json(&asked).send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn list(&self, token: &Value) -> reqwest::Response {
        let token = token["access_token"].as_str().expect("a token");
        reqwest::Client::new().get(format!("{}/api/v1/meetings", self.url)).bearer_auth(token).send().await.expect("an answer")
    }

    async fn published(&self) -> Vec<String> {
        let answer = reqwest::get(format!("{}/.well-known/jwks.json", self.url)).await.expect("an answer");
        let keys: Value = answer.json().await.expect("JSON");
        let ids = keys["keys"].as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("an id").to_owned());
        ids.collect()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // A second end of it is no error worth telling.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let started = Instant::now();
    while !check().await {
        assert!(started.elapsed() < NOTICED, "not in time: {what}");
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

#[tokio::test]
async fn clients_are_made_listed_and_shut_out() {
    common::tls::install_crypto_provider();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path();
    let dev = Dev::start(data_dir);

    let made = json_of(&["client", "create", "Reader", "--scope", "meetings:read", "--rate-limit", "7"], data_dir);
    assert_eq!((&made["scopes"], &made["rate_limit"], &made["name"]), (&json!(["meetings:read"]), &json!(7), &json!("Reader")));
    let (status, token) = dev.token(&made).await;
    assert_eq!((status, &token["scope"]), (StatusCode::OK, &json!("meetings:read")));
    let answer = dev.list(&token).await;
    assert_eq!((answer.status(), &answer.headers()["x-ratelimit-limit"]), (StatusCode::OK, &"7".parse().expect("a value")));

    // One for people, in the same tenant: the secret stands on standard output, once.
    let tenant = made["tenant_id"].as_str().expect("a tenant");
    let output = run(&["client", "create", "Beside it", "--tenant", tenant], data_dir);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success() && text.contains("client_secret  "), "{text}");
    assert!(text.contains("meetings:create meetings:read meetings:join meetings:end\n") && text.contains(tenant), "{text}");

    let listed = json_of(&["client", "list"], data_dir);
    let clients = listed["clients"].as_array().expect("a list");
    let names: Vec<&str> = clients.iter().map(|client| client["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["dev", "Reader", "Beside it"]);
    assert!(clients.iter().all(|client| client.get("client_secret").is_none() && client["revoked_at"].is_null()), "{listed}");

    let id = made["client_id"].as_str().expect("an id");
    let changed = json_of(&["client", "set", id, "--rate-limit", "9", "--scope", "meetings:read,meetings:end"], data_dir);
    assert_eq!((&changed["scopes"], &changed["rate_limit"]), (&json!(["meetings:read", "meetings:end"]), &json!(9)));
    let (_, next) = dev.token(&made).await;
    assert_eq!(next["scope"], "meetings:read meetings:end");
    let changed = json_of(&["client", "set", id, "--rate-limit", "usual"], data_dir);
    assert_eq!((&changed["scopes"], &changed["rate_limit"]), (&json!(["meetings:read", "meetings:end"]), &Value::Null));
    assert_eq!(json_of(&["client", "revoke", id], data_dir), json!({"client_id": id, "revoked": true}));
    eventually("its token is refused", || async { dev.list(&token).await.status() == StatusCode::UNAUTHORIZED }).await;
    assert_eq!(dev.token(&made).await.0, StatusCode::UNAUTHORIZED);
    let text = String::from_utf8(run(&["client", "list"], data_dir).stdout).expect("UTF-8");
    assert!(text.lines().any(|line| line.starts_with(id) && line.contains("REVOKED")), "{text}");
}

#[tokio::test]
async fn a_rotated_key_is_published_beside_the_one_that_signs() {
    common::tls::install_crypto_provider();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path();
    let dev = Dev::start(data_dir);
    let before = dev.published().await;
    let rotated = json_of(&["keys", "rotate"], data_dir);
    let states: Vec<(&str, &str)> = rotated["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| (key["key_id"].as_str().expect("an id"), key["state"].as_str().expect("a state")))
        .collect();
    assert_eq!(states.iter().map(|(_, state)| *state).collect::<Vec<_>>(), ["waiting", "signing"]);
    assert_eq!(before, [states[1].0]);
    assert!(rotated["keys"][0]["signs_from"].is_string(), "{rotated}");
    eventually("both are published", || async { dev.published().await == [states[0].0, states[1].0] }).await;
    let text = String::from_utf8(run(&["keys", "list"], data_dir).stdout).expect("UTF-8");
    assert!(text.contains("signs from") && text.lines().count() == 3, "{text}");
}

/// A leaked key: what it has signed is refused at once, and the cluster goes on with a new one.
#[tokio::test]
async fn a_dropped_key_opens_nothing_any_more() {
    common::tls::install_crypto_provider();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path();
    let dev = Dev::start(data_dir);
    let (id, secret) = dev.credentials.clone();
    let client = json!({"client_id": id, "client_secret": secret});
    let (_, token) = dev.token(&client).await;
    assert_eq!(dev.list(&token).await.status(), StatusCode::OK);
    let leaked = dev.published().await.remove(0);
    let left = json_of(&["keys", "drop", &leaked], data_dir);
    assert_eq!((left["keys"].as_array().map(Vec::len), &left["keys"][0]["state"]), (Some(1), &json!("signing")));
    eventually("its tokens are refused", || async { dev.list(&token).await.status() == StatusCode::UNAUTHORIZED }).await;
    assert!(!dev.published().await.contains(&leaked));
    let (status, token) = dev.token(&client).await;
    assert_eq!((status, dev.list(&token).await.status()), (StatusCode::OK, StatusCode::OK));
    let text = refusal(&["keys", "drop", &leaked], data_dir);
    assert!(text.contains("there is no signing key") && text.contains("keys list"), "{text}");
}

/// The next start finds its API client in dev.json, as long as that still holds.
#[tokio::test]
async fn dev_keeps_its_client() {
    common::tls::install_crypto_provider();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path();
    let first = Dev::start(data_dir).credentials.clone();
    let second = Dev::start(data_dir).credentials.clone();
    assert_eq!(first, second);
    json_of(&["client", "revoke", &first.0], data_dir);
    let third = Dev::start(data_dir);
    assert_ne!(third.credentials.0, first.0);
    let (id, secret) = &third.credentials;
    assert_eq!(third.token(&json!({"client_id": id, "client_secret": secret})).await.0, StatusCode::OK);
}

/// What is refused says what would be right, and leaves nothing behind.
#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("nowhere");
    for arguments in [
        &["client", "list"][..],
        &["client", "create", "a"],
        &["client", "revoke", "a"],
        &["keys", "list"],
        &["keys", "rotate"],
        &["keys", "drop", "a"],
    ] {
        let text = refusal(arguments, &missing);
        assert!(text.contains("there is no database at ") && text.contains("--config FILE") && text.contains("--data-dir DIR"), "{text}");
    }
    assert!(!missing.exists(), "looking makes nothing");
    let text = refusal(&["client", "create", "a", "--scope", "meetings:raed"], &missing);
    assert!(text.contains("\"meetings:raed\" is no scope; the scopes are meetings:create meetings:read"), "{text}");
    let text = refusal(&["client", "create", "a", "--rate-limit", "0"], &missing);
    assert!(text.contains("--rate-limit"), "{text}");
    for arguments in [&["client", "set", "a", "--rate-limit", "0"][..], &["client", "set", "a", "--rate-limit", "many"]] {
        let text = refusal(arguments, &missing);
        assert!(text.contains("a number of at least 1, or `usual`"), "{text}");
    }
    let text = refusal(&["client", "set", "a"], &missing);
    assert!(text.contains("give --scope or --rate-limit"), "{text}");
    let text = refusal(&["client", "create", "a", "--tenant", "mine"], &missing);
    assert!(text.contains("--tenant"), "{text}");
    for arguments in [&["client", "create", "--help"][..], &["client", "revoke", "--help"], &["keys", "--help"]] {
        let help = dark_tower().args(arguments).output().expect("it runs");
        assert!(String::from_utf8_lossy(&help.stdout).contains("Example"), "{help:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_revoked() {
    common::tls::install_crypto_provider();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dev = Dev::start(folder.path());
    let text = refusal(&["client", "revoke", "nobody\u{7}"], folder.path());
    assert!(text.contains("there is no API client nobody") && text.contains("client list") && !text.contains('\u{7}'), "{text}");
    let text = refusal(&["client", "create", " "], folder.path());
    assert!(text.contains("a name has 1 to 128 characters"), "{text}");
    drop(dev);
}
