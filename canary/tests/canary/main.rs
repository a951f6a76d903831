//! The watcher itself: it finds what it must, in every form, and a test that leaks fails.

use std::process::Command;

use canary::{EXIT_CODE, Leak, find, keep};

/// Set for the process that is to leak.
const PLANT: &str = "CANARY_PLANT";
const SECRET: &str = "a secret that no process may ever print";

fn said(line: impl AsRef<[u8]>) -> Option<(String, &'static str)> {
    find(line.as_ref()).map(|Leak { kind, form, .. }| (kind, form))
}

#[test]
fn secrets_are_found_in_every_form() {
    use base64::Engine;
    keep("sample", SECRET);
    let found = |form| Some(("sample".to_owned(), form));
    assert_eq!(said(format!("x={SECRET}!")), found("text"));
    assert_eq!(said(format!("x={:?}", SECRET)), found("text"));
    assert_eq!(said(format!("x={:?}", SECRET.as_bytes())), found("numbers"));
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(said(format!("payload: 0x{hex}")), found("hex"));
    assert_eq!(said(hex.to_uppercase()), found("hex"));
    for before in ["", "a", "ab"] {
        assert_eq!(said(base64::engine::general_purpose::STANDARD.encode(format!("{before}{SECRET}!"))), found("base64"), "{before:?}");
    }
    // A part is enough, and nothing is not too much.
    assert_eq!(said(&SECRET[..30]), found("text"));
    assert_eq!(said(&SECRET[10..]), found("text"));
    assert_eq!(said(&SECRET[..20]), None);
    assert_eq!(said("a line like any other"), None);
    // What the redacting writer has caught was a leak all the same.
    assert_eq!(said("token=[redacted jwt] x"), Some(("jwt".to_owned(), "redacted")));
}

#[test]
fn a_leak_is_shown_without_the_secret() {
    keep("sample", SECRET);
    let leak = find(format!("before {{\"name\":\"{SECRET}\"}} behind").as_bytes()).expect("it is there");
    assert!(!leak.around.contains("secret") && leak.around.contains("before") && leak.around.contains("behind"), "{leak:?}");
}

/// Leaks on purpose, in the process that is told to: by our own log line, after it was registered or before.
#[test]
fn a_test_that_leaks_fails() {
    match std::env::var(PLANT).as_deref() {
        Ok("after") => {
            canary::watch();
            keep("planted", SECRET);
            std::thread::spawn(|| tracing::trace!(name = SECRET, "a line")).join().expect("the process ends before");
        }
        Ok("before") => {
            canary::watch();
            tracing::trace!(name = SECRET, "a line");
            keep("planted", SECRET);
        }
        // Nobody has registered it: its shape gives it away, to the redacting writer.
        Ok("shape") => {
            canary::watch();
            tracing::debug!(name = common::random::token(), "a line");
        }
        _ => {
            for (plan, kind) in [("after", "planted"), ("before", "planted"), ("shape", "token")] {
                let this = std::env::current_exe().expect("a test has an executable");
                let mut child = Command::new(this);
                let child = child.args(["--exact", "a_test_that_leaks_fails", "--nocapture"]).env(PLANT, plan);
                let output = child.output().expect("it runs again");
                let words = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(EXIT_CODE), "{plan}: {words}");
                assert!(words.contains(&format!("LEAK: {kind}")) && !words.contains("no process may"), "{plan}: {words}");
            }
        }
    }
}

#[test]
fn a_line_that_fools_its_reader_fails_the_test() {
    if std::env::var(PLANT).is_ok() {
        canary::Watcher::of_log("a log").line("{\"name\":\"\u{202e}\"}\n".as_bytes());
        return;
    }
    canary::Watcher::of_log("a log").line("{\"name\":\"Grüße\"}\n".as_bytes());
    canary::Watcher::new("anything else").line("\u{1b}[2J".as_bytes());
    let this = std::env::current_exe().expect("a test has an executable");
    let mut child = Command::new(this);
    let child = child.args(["--exact", "a_line_that_fools_its_reader_fails_the_test", "--nocapture"]).env(PLANT, "deceive");
    assert_eq!(child.output().expect("it runs again").status.code(), Some(EXIT_CODE));
}

/// Libraries that print what they carry are held back, at whatever level the rest is logged.
#[test]
fn capped_modules_stay_silent_beyond_their_caps() {
    canary::watch();
    keep("sample", SECRET);
    // Each of these would end the test.
    tracing::trace!(target: "tungstenite::protocol", "Received message {SECRET}");
    tracing::debug!(target: "web_transport_quinn::connect", request = SECRET, "received CONNECT request");
    tracing::trace!(target: "quinn_proto::connection", "got frame NewToken({SECRET})");
    tracing::trace!(target: "rustls::server::tls13", "sending new ticket {SECRET}");
    tracing::trace!(target: "h3::server::request", "replying with: {SECRET}");
    tracing::warn!(target: "sqlx_postgres::options::parse", key = "k", value = SECRET, "ignoring unrecognized connect parameter");
}
