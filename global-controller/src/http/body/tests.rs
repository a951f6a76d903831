//! What is said of bodies that are not as asked for: in words of JSON, with the field.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Sample {
    name: String,
    count: Option<i64>,
    small: Option<u8>,
    share: Option<f64>,
    #[serde(default)]
    settings: Inner,
    events: Option<Vec<String>>,
    labels: Option<BTreeMap<String, u32>>,
    mode: Option<Mode>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Inner {
    on: Option<bool>,
    deep: Option<Vec<Deep>>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Deep {
    id: u32,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Safe,
}

#[track_caller]
fn refused(bytes: &[u8]) -> String {
    parse::<Sample>(bytes).expect_err("it is refused").message().to_owned()
}

#[test]
fn says_what_is_wrong_and_where() {
    let check = |text: &str, expected: &str| assert_eq!(refused(text.as_bytes()), expected, "{text}");
    check("", "the body is empty; it must be a JSON object");
    check(" \n ", "the body is empty; it must be a JSON object");
    check("{", "the body is not JSON: EOF while parsing an object at line 1 column 1");
    check("{'name': 1}", "the body is not JSON: key must be a string at line 1 column 2");
    check(r#"{"name": "a",}"#, "the body is not JSON: trailing comma at line 1 column 14");
    check(r#"{"name": "a"} x"#, "the body is not JSON: trailing characters at line 1 column 15");
    check(r#"{"name": "a"}{}"#, "the body is not JSON: trailing characters at line 1 column 14");
    check(r#"{"name": "\ud800"}"#, "the body is not JSON: unexpected end of hex escape at line 1 column 17");
    check(r#"{"count": 1e999}"#, "the body is not JSON: number out of range at line 1 column 15");
    check(r#"{"count": NaN}"#, "the body is not JSON: expected value at line 1 column 11");
    for (text, found) in [("7", "a number"), ("null", "null"), (r#""a""#, "a string"), ("true", "true or false"), ("[]", "an array")] {
        check(text, &format!("the body must be an object, not {found}"));
    }
    check("{}", "name: is required");
    check(r#"{"name": null}"#, "name: must be a string, not null");
    check(r#"{"name": 1}"#, "name: must be a string, not a number");
    check(r#"{"name": ["a"]}"#, "name: must be a string, not an array");
    check(r#"{"name": "a", "settings": {"on": 1}}"#, "settings.on: must be true or false, not a number");
    check(r#"{"name": "a", "settings": {"on": "true"}}"#, "settings.on: must be true or false, not a string");
    check(r#"{"name": "a", "settings": []}"#, "settings: must be an object, not an array");
    check(r#"{"name": "a", "settings": null}"#, "settings: must be an object, not null");
    check(r#"{"name": "a", "settings": {"deep": [{"id": 1}, {}]}}"#, "settings.deep.1.id: is required");
    check(r#"{"name": "a", "settings": {"deep": [{"id": -1}]}}"#, "settings.deep.0.id: must be a whole number between 0 and 4294967295");
    check(r#"{"name": "a", "events": "all"}"#, "events: must be an array, not a string");
    check(r#"{"name": "a", "events": ["b", false]}"#, "events.1: must be a string, not true or false");
    check(r#"{"name": "a", "labels": {"x": "1"}}"#, "labels.x: must be a whole number, not a string");
    check(r#"{"name": "a", "count": "1"}"#, "count: must be a whole number, not a string");
    check(r#"{"name": "a", "small": 256}"#, "small: must be a whole number between 0 and 255");
    check(r#"{"name": "a", "small": 1.5}"#, "small: must be a whole number between 0 and 255");
    let range = "count: must be a whole number between -9223372036854775808 and 9223372036854775807";
    check(r#"{"name": "a", "count": 9223372036854775808}"#, range);
    check(r#"{"name": "a", "count": 1e30}"#, range);
    check(r#"{"name": "a", "share": "half"}"#, "share: must be a number, not a string");
    check(r#"{"name": "a", "mode": "slow"}"#, "mode: must be one of fast, safe");
    check(r#"{"name": "a", "mode": {"fast": 1}}"#, "mode: must be a string, not an object");
}

/// Readers do not agree which one counts; also where the name means nothing here.
#[test]
fn a_name_stands_once() {
    let check = |text: &str, expected: &str| assert_eq!(refused(text.as_bytes()), expected, "{text}");
    check(r#"{"name": "a", "name": "a"}"#, "name: stands twice");
    check(r#"{"name": "a", "n\u0061me": "b"}"#, "name: stands twice");
    check(r#"{"name": "a", "settings": {"on": true, "on": false}}"#, "settings.on: stands twice");
    check(r#"{"name": "a", "new": [0, {"x": {"y": 1, "y": 2}}]}"#, "new.1.x.y: stands twice");
    let long = "x".repeat(1000);
    check(&format!(r#"{{"{long}": 1, "{long}": 2}}"#), &format!("{}: stands twice", &long[..256]));
}

#[test]
fn hostile_bytes_are_refused_in_words() {
    assert_eq!(refused(b"{\"name\": \"\xff\"}"), "the body is not UTF-8 from byte 10 on");
    let deep = format!("{{\"name\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refused(deep.as_bytes()), "the body is nested deeper than 127 levels");
    let wide = format!("{{\"new\": [{}0]}}", "0,".repeat(400_000));
    assert_eq!(refused(wide.as_bytes()), "name: is required");
    assert_eq!(refused(b"\xef\xbb\xbf{}"), "the body is not JSON: expected value at line 1 column 1");
}

#[test]
fn what_is_right_is_taken() {
    let text = r#"{"name": "\u00e4", "count": 5.0, "small": 2e2, "share": 1, "settings": {"on": true, "deep": [{"id": 4294967295, "new": null}]},
        "events": [], "labels": {"x": 0}, "mode": "safe", "new": {"later": [1, 2.5, "x"]}}"#;
    let taken = parse::<Sample>(text.as_bytes()).expect("it is right");
    let settings = Inner { on: Some(true), deep: Some(vec![Deep { id: u32::MAX }]) };
    let labels = Some(BTreeMap::from([("x".to_owned(), 0)]));
    let expected = Sample {
        name: "ä".into(),
        count: Some(5),
        small: Some(200),
        share: Some(1.0),
        settings,
        events: Some(Vec::new()),
        labels,
        mode: Some(Mode::Safe),
    };
    assert_eq!(taken, expected);
    let nothing = parse::<Sample>(br#"{"name": "a", "count": null, "events": null, "mode": null}"#).expect("null is absence");
    assert_eq!(nothing, Sample { name: "a".into(), ..Sample::default() });
}

/// Pieces of JSON, so that random texts come near to being right.
const PIECES: [&str; 20] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    r#""a""#,
    r#""b":"#,
    r#""a":"#,
    r#""\u0061":"#,
    r#""settings":"#,
    r#""name":"x","#,
    "1",
    "-0",
    "1e5",
    "0.5",
    "null",
    "true",
    " ",
    "\"",
];

proptest! {
    /// The tree is what serde_json reads, but for names that stand twice; nothing panics, and no refusal names a type of ours.
    #[test]
    fn the_tree_is_the_json(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24), spoil in any::<Option<(u8, u8)>>()) {
        let mut bytes = pieces.concat().into_bytes();
        if let Some((place, byte)) = spoil.filter(|_| !bytes.is_empty()) {
            let place = usize::from(place) % bytes.len();
            bytes[place] = byte;
        }
        let expected = serde_json::from_slice::<serde_json::Value>(&bytes);
        match (tree::read(&bytes), expected) {
            (Ok(read), Ok(expected)) => prop_assert_eq!(read, expected),
            (Err(problem), Ok(_)) => prop_assert_eq!(problem.what(), "stands twice"),
            (Err(_), Err(_)) => {}
            (Ok(read), Err(error)) => prop_assert!(false, "{} was read, and serde_json says {}", read, error),
        }
        if let Err(error) = parse::<Sample>(&bytes) {
            for word in ["struct", "Sample", "Inner", "i64", "u8", "integer", "map", "sequence", "expected a"] {
                prop_assert!(!error.message().contains(word), "{}", error.message());
            }
        }
    }
}
