//! Rules on crates: who may know whom, and what may come in from outside.

use std::collections::{BTreeMap, BTreeSet};

use tidy::{Member, expect_none, licence, members, tree, tree_of, versions};
use toml::Value;

/// The rooms that meet only in `proto`.
const SERVICES: [&str; 3] = ["global-controller", "meeting-controller", "media-handler"];

/// What does I/O, reads clocks, speaks wire formats or runs tasks: none of it may be in a core's library, however deep.
const FORBIDDEN_IN_CORES: [&str; 24] = [
    "async-std",
    "axum",
    "chrono",
    "common",
    "futures-util",
    "h3",
    "http",
    "hyper",
    "metrics",
    "mio",
    "prost",
    "quinn",
    "quinn-proto",
    "rand",
    "redis",
    "reqwest",
    "rustls",
    "socket2",
    "sqlx",
    "time",
    "tokio",
    "tonic",
    "tracing",
    "web-transport-quinn",
];

/// What a core may not name itself. A library that it uses may bring them: `uuid` does, for shells.
const NOT_NAMED_BY_CORES: [&str; 4] = ["getrandom", "proto", "serde", "serde_json"];

/// A second TLS stack or provider of cryptography.
const SECOND_STACKS: [&str; 6] = ["boring", "mbedtls", "native-tls", "openssl", "openssl-sys", "ring"];

/// Two versions of these would not understand each other, or would cost a stack twice.
const ONE_VERSION: [&str; 14] = [
    "aws-lc-rs",
    "axum",
    "bytes",
    "h2",
    "http",
    "hyper",
    "prost",
    "quinn",
    "quinn-proto",
    "rustls",
    "rustls-webpki",
    "sqlx-core",
    "tokio",
    "tonic",
];

/// Packages that are there in more than one version, and why that cannot be helped yet.
const DUPLICATES: [(&str, &str); 17] = [
    ("base64", "0.22 for axum, jsonwebtoken and us; 0.23 for hyper-util, reqwest and pem"),
    ("block-buffer", "RustCrypto is between two generations: sqlx and tungstenite on the old, argon2 and wtransport on the new"),
    ("cpufeatures", "as block-buffer"),
    ("crypto-common", "as block-buffer"),
    ("digest", "as block-buffer"),
    ("foldhash", "with the versions of hashbrown"),
    ("getrandom", "with the versions of rand"),
    ("hashbrown", "dashmap, petgraph, sqlx and indexmap are each on a generation of their own"),
    ("itertools", "criterion and prost"),
    ("pem", "wtransport and rcgen"),
    ("rand", "0.9 for tungstenite and metrics, 0.10 for quinn"),
    ("rand_core", "with the versions of rand"),
    ("sha2", "as block-buffer"),
    ("syn", "procedural macros move to 3 one by one; none of it ends up in a program"),
    ("synstructure", "with the versions of syn"),
    ("tower-http", "0.6 is reqwest's"),
    ("untrusted", "aws-lc-rs and rustls-webpki each pin their own"),
];

fn is_core(member: &Member) -> bool {
    member.folder.ends_with("/core")
}

#[test]
fn every_crate_is_in_the_code_map() {
    let map = std::fs::read_to_string(tidy::root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let missing = members().into_iter().filter(|member| !map.contains(&format!("`{}`", member.folder)));
    expect_none(
        missing.map(|member| format!("ARCHITECTURE.md: `{}` is not named", member.folder)),
        "add the crate's folder, in backquotes, to the code map: what it does and what it never does.",
    );
}

#[test]
fn cores_are_quiet() {
    let mut problems = Vec::new();
    for member in members().iter().filter(|member| is_core(member)) {
        let tree = tree_of(&member.name);
        for package in tree.iter().filter(|package| FORBIDDEN_IN_CORES.contains(&package.name.as_str())) {
            problems.push(format!("{}/Cargo.toml: {} {} is in its dependency tree", member.folder, package.name, package.version));
        }
        for name in NOT_NAMED_BY_CORES.iter().filter(|name| normal_dependencies(member).contains(**name)) {
            problems.push(format!("{}/Cargo.toml: depends on {name}", member.folder));
        }
    }
    expect_none(
        problems,
        "move what needs it to the shell, and hand the core a value. `cargo tree -p CORE -i PACKAGE` tells who brings it.",
    );
}

fn normal_dependencies(member: &Member) -> BTreeSet<&str> {
    let table = member.manifest.get("dependencies").and_then(Value::as_table);
    table.into_iter().flat_map(|table| table.keys()).map(String::as_str).collect()
}

#[test]
fn services_do_not_name_each_other() {
    let mut problems = Vec::new();
    for member in members() {
        let Some(own) = SERVICES.iter().find(|service| member.folder.split('/').next() == Some(**service)) else { continue };
        for other in SERVICES.iter().filter(|other| *other != own) {
            let knows = member.dependencies.iter().filter(|name| *name == other || **name == format!("{other}-core"));
            problems.extend(knows.map(|name| format!("{}/Cargo.toml: depends on {name}", member.folder)));
        }
    }
    expect_none(problems, "services meet only in `proto`; what two of them need goes to `common`.");
}

#[test]
fn there_is_one_tls_stack_and_one_of_each_pillar() {
    let tree = tree();
    let versions = versions(&tree);
    let second = SECOND_STACKS.iter().filter(|name| versions.contains_key(**name)).map(|name| format!("Cargo.lock: {name} is in the tree"));
    let twice = ONE_VERSION
        .iter()
        .filter_map(|name| versions.get(name).filter(|found| found.len() > 1).map(|found| format!("Cargo.lock: {name} in {found:?}")));
    expect_none(
        second.chain(twice),
        "`cargo tree -i PACKAGE` tells who brings it; turn its default features off, or align its version with ours.",
    );
}

#[test]
fn duplicates_are_known() {
    let tree = tree();
    let found: BTreeSet<&str> = versions(&tree).into_iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| name).collect();
    let known = BTreeMap::from(DUPLICATES);
    let new = found.iter().filter(|name| !known.contains_key(**name)).map(|name| format!("Cargo.lock: {name} in several versions"));
    let gone = known.keys().filter(|name| !found.contains(**name)).map(|name| format!("tidy: {name} is listed and no longer doubled"));
    expect_none(
        new.chain(gone),
        "align the versions, or list the package in tidy/tests/house/crates.rs with the reason; unlist what is gone.",
    );
}

#[test]
fn licences_are_on_the_list() {
    let refused = tree().into_iter().filter(|package| !licence::is_allowed(&package.licence));
    expect_none(
        refused.map(|package| format!("Cargo.lock: {} {} is under {:?}", package.name, package.version, package.licence)),
        "choose another package, or add the licence to tidy/src/licence.rs and deny.toml if it asks for no more than a notice.",
    );
}

/// `deny.toml` is for people who can fetch the advisories; it must not say otherwise than this test.
#[test]
fn deny_toml_lists_the_same_licences() {
    let text = std::fs::read_to_string(tidy::root().join("deny.toml")).expect("deny.toml is there");
    let table: toml::Table = text.parse().expect("deny.toml is TOML");
    let allow = table["licenses"]["allow"].as_array().expect("licenses.allow is a list");
    assert_eq!(allow.iter().filter_map(Value::as_str).collect::<Vec<_>>(), licence::ALLOWED);
}

#[test]
fn manifests_inherit() {
    let mut problems = Vec::new();
    for member in members() {
        let place = format!("{}/Cargo.toml", member.folder);
        if member.manifest.get("lints").and_then(|lints| lints.get("workspace")) != Some(&Value::Boolean(true)) {
            problems.push(format!("{place}: does not inherit the workspace's lints"));
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = member.manifest.get(section).and_then(Value::as_table) else { continue };
            for (name, dependency) in table {
                if dependency.get("workspace") != Some(&Value::Boolean(true)) {
                    problems.push(format!("{place}: {name} has a version of its own"));
                }
            }
        }
    }
    expect_none(problems, "write `lints.workspace = true` and `NAME.workspace = true`; versions stand once, in the root's Cargo.toml.");
}

/// Linking is the bottleneck of a test run.
#[test]
fn a_crate_has_one_integration_test_binary() {
    let several = members().into_iter().filter(|member| member.test_binaries.len() > 1);
    expect_none(
        several.map(|member| {
            format!("{}/tests: {} binaries ({})", member.folder, member.test_binaries.len(), member.test_binaries.join(", "))
        }),
        "make one `tests/NAME/main.rs` with a module per subject.",
    );
}
