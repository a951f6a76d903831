//! What a command line that makes no sense is told, and with which code commands end: 2 for wrong usage, 1 for what cannot be used, 0 when whoever
//! reads the output has gone.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use client::e2ee::Secret;

/// A meeting's address where nobody listens: port 1 is tcpmux, which no machine has had for decades.
const NOBODY: &str = "https://127.0.0.1:1/m/abcdefghij";

fn dark_tower() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dark-tower"));
    command.env_remove("DARK_TOWER_MEETING_URL").env_remove("DARK_TOWER__LOG__FILTER");
    command
}

/// Runs a command to its end, with `input` on standard input.
fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = dark_tower();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("it starts");
    // Who does not read it may be gone already.
    let _ = process.stdin.take().expect("piped").write_all(input.as_bytes());
    process.wait_with_output().expect("it ends")
}

/// Ends with `code`, and says all of `words` on standard error.
fn check(arguments: &[&str], input: &str, code: i32, words: &[&str]) {
    let output = run(arguments, input);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say {word:?}: {said}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?} prints: {}", String::from_utf8_lossy(&output.stdout));
}

/// Each names what is wrong and what would be right.
#[test]
fn wrong_usage_of_join_ends_with_2() {
    let good = ["join", "--url", NOBODY, "--name", "Ana"];
    for (more, words) in [
        (&["--fps", "0"][..], &["--fps", "above 0", "such as 30"][..]),
        (&["--fps", "NaN"], &["--fps"]),
        (&["--duration", "-1"], &["--duration", "a number of seconds"]),
        (&["--duration", "soon"], &["--duration", "such as 60"]),
        (&["--stats", "0.01"], &["--stats", "at least 0.1"]),
        (&["--latency", "0"], &["--latency", "1..=30000"]),
        (&["--publish", "test:720"], &["test:720", "test:720p30"]),
        (&["--say", " "], &["--say", "nothing to say"]),
        (&["--say", &"x".repeat(4097)], &["4097 bytes", "4096"]),
        (&["--log", "client=loud"], &["--log", "such as info"]),
        (&["--ca", "ca.pem", "--insecure"], &["--ca", "--insecure"]),
        (&["--record", "somewhere", "--subscribe", "none"], &["--record", "--subscribe none"]),
        (&["--chat", "--e2ee-secret", "-"], &["standard input", "--chat"]),
        (&["--lop"], &["--lop", "--loop"]),
    ] {
        check(&[&good, more].concat(), "", 2, words);
    }
    for (url, words) in [
        ("foo", &["--url: foo is not a meeting URL", "https://HOST/m/CODE"][..]),
        ("http://meet.example/m/abcdefghij", &["http is for localhost alone"]),
        ("https://meet.example/abcdefghij", &["/m/CODE"]),
        ("https://meet.example/m/a%20b", &["letters and digits"]),
    ] {
        check(&["join", "--url", url, "--name", "Ana"], "", 2, words);
        check(&["join", "--url", "-", "--name", "Ana"], &format!("{url}\n"), 2, words);
    }
    for (name, words) in [("", "visible"), ("a\u{1b}[2J", "control characters"), (&"x".repeat(65), "64 characters")] {
        check(&["join", "--url", NOBODY, "--name", name], "", 2, &["--name", words]);
    }
    check(&["join", "--url", NOBODY], "", 2, &["--name"]);
    check(&["join", "--name", "Ana"], "", 2, &["--url"]);
    check(&[&good[..], &["--e2ee-secret", "-"]].concat(), "too short\n", 2, &["--e2ee-secret", "43 characters"]);
}

/// A broken link with its secret is not repeated to whoever looks over one's shoulder, or reads the log.
#[test]
fn a_secret_in_a_broken_address_is_not_shown() {
    let secret = "c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWU";
    let output = run(&["join", "--url", "-", "--name", "Ana"], &format!("https://meet.example/m/abcdefghij#k={secret}\n"));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("incomplete or was changed") && !said.contains(secret), "{said}");
}

#[test]
fn what_cannot_be_used_ends_with_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("no.key"), "no secret\n").expect("it can be written");
    let secret = Secret::generate();
    std::fs::write(path("a.key"), secret.to_text().as_bytes()).expect("it can be written");
    let (missing, broken, good) = (path("missing"), path("no.key"), path("a.key"));
    for (more, words) in [
        (&["--publish", missing.as_str()][..], &["missing"][..]),
        (&["--publish", broken.as_str()], &["no.key", "ffmpeg"]),
        (&["--record", &format!("{broken}/folder")], &["cannot create"]),
        (&["--ca", missing.as_str()], &["cannot read", "missing"]),
        (&["--ca", broken.as_str()], &["no.key"]),
        (&["--e2ee-secret", missing.as_str()], &["cannot read", "missing"]),
        (&["--e2ee-secret", broken.as_str()], &["no.key holds no secret"]),
        // Nobody is there.
        (&["--insecure", "--e2ee-secret", good.as_str()], &["cannot reach"]),
        (&[], &["cannot reach", "--ca FILE"]),
    ] {
        check(&[&["join", "--url", NOBODY, "--name", "Ana"], more].concat(), "", 1, words);
    }
}

#[test]
fn wrong_usage_of_other_commands_ends_with_2() {
    for (arguments, words) in [
        (&["jion"][..], &["jion", "join"][..]),
        (&["client", "set", "an-id"], &["--scope or --rate-limit"]),
        (&["client", "create", "bot", "--scope", "meetings:fly"], &["meetings:fly", "meetings:join"]),
        (&["client", "create", "bot", "--rate-limit", "0"], &["--rate-limit"]),
        (&["certs", "issue", "MC.1", "--kind", "operator"], &["such as mc-eu-1"]),
        (&["certs", "renew"], &["NODE_ID", "--within"]),
        (&["certs", "renew", "a", "b", "--out", "folder"], &["--out is for one node"]),
        (&["status"], &["--certificate", "--config"]),
        (&["dev", "--http-port", "70000"], &["--http-port", "65535"]),
        (&["dev", "--log", "client=loud"], &["--log", "such as info"]),
        (&["keys", "drop"], &["KEY_ID"]),
    ] {
        check(arguments, "", 2, words);
    }
}

/// Every command explains itself, on standard output, and whoever asks has not failed.
#[test]
fn every_command_has_help() {
    let commands = [
        &["dev"][..],
        &["join"],
        &["client"],
        &["client", "create"],
        &["client", "list"],
        &["client", "set"],
        &["client", "revoke"],
        &["certs"],
        &["certs", "init"],
        &["certs", "issue"],
        &["certs", "renew"],
        &["certs", "list"],
        &["certs", "show"],
        &["keys"],
        &["keys", "rotate"],
        &["keys", "list"],
        &["keys", "drop"],
        &["status"],
        &["global-controller"],
        &["meeting-controller"],
        &["media-handler"],
        &[],
    ];
    for command in commands {
        let output = run(&[command, &["--help"]].concat(), "");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success() && output.stderr.is_empty(), "{command:?}");
        assert!(text.contains("Usage: dark-tower"), "{command:?}: {text}");
    }
    // The longest one is read most: its lines fit a window.
    let join = run(&["join", "--help"], "");
    for line in String::from_utf8(join.stdout).expect("UTF-8").lines() {
        assert!(line.chars().count() <= 110, "{} characters: {line}", line.chars().count());
    }
}

/// `dark-tower … | head` ends as if all had been read: without a word, and with success.
#[test]
fn who_goes_before_the_end_is_no_failure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = folder.path().join("cluster");
    let with_stdout = |arguments: &[&str], stdout: Stdio, folder: &Path| {
        dark_tower().args(arguments).arg("--dir").arg(folder).stdout(stdout).stderr(Stdio::piped()).output().expect("it runs")
    };
    assert!(with_stdout(&["certs", "init"], Stdio::null(), &authority).status.success());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = with_stdout(&["certs", "list"], writer.into(), &authority);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
