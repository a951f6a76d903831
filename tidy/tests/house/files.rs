//! Rules on all tracked files.

use tidy::{expect_none, files};

/// Not text of ours: written by tools, and full of addresses by nature.
const WRITTEN_BY_TOOLS: [&str; 1] = ["Cargo.lock"];

#[test]
fn no_private_key_is_in_git() {
    let begins = concat!("-----BE", "GIN ");
    let ends = concat!("PRIVATE ", "KEY-----");
    let keys = files().into_iter().filter(|file| file.lines().any(|(_, line)| line.contains(begins) && line.contains(ends)));
    let by_name = files().into_iter().filter(|file| ["key", "p12", "pfx", "jks"].contains(&file.extension()));
    expect_none(
        keys.chain(by_name).map(|file| format!("{}: holds a private key", file.path)),
        "make the key in the test or at start; certs/README.md says how. A key that was committed is spent: replace it wherever it is used.",
    );
}

/// What builds on one machine must build on the next.
#[test]
fn no_path_of_a_machine_is_in_git() {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let mut problems = Vec::new();
    for file in files() {
        for (number, line) in file.lines() {
            for place in places.iter().filter(|place| names_place(line, place)) {
                problems.push(format!("{}:{number}: {place}", file.path));
            }
        }
    }
    expect_none(problems, "use a path from the repository's root, or ask the environment.");
}

/// Whether `place` stands in `line` at the start of a path, not inside one.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"_-./}~".contains(c))
    })
}

#[test]
fn places_are_told_from_paths_of_ours() {
    let place = concat!("/wo", "rk/");
    assert!(names_place(&format!("cd {place}main"), place) && names_place(&format!("\"{place}a\""), place));
    assert!(!names_place(&format!("docs{place}plan"), place) && !names_place(&format!("..{place}plan"), place));
}

/// Package clients know where their registry is, and people use mirrors.
#[test]
fn no_registry_is_named() {
    let hosts = [
        concat!("registry.", "npmjs"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("py", "pi.org"),
        concat!("python", "hosted"),
        concat!("deb.", "debian.org"),
    ];
    let mut problems = Vec::new();
    for file in files().into_iter().filter(|file| !WRITTEN_BY_TOOLS.contains(&file.path.as_str())) {
        for (number, line) in file.lines() {
            for host in hosts.iter().filter(|host| line.contains(**host)) {
                problems.push(format!("{}:{number}: {host}", file.path));
            }
        }
        if file.path.ends_with("package-lock.json") {
            let resolved = file.lines().filter(|(_, line)| line.trim_start().starts_with("\"resolved\": \"http"));
            problems.extend(resolved.map(|(number, _)| format!("{}:{number}: a download address", file.path)));
        }
    }
    expect_none(
        problems,
        "leave the address to the package client; for npm, `omit-lockfile-registry-resolved=true` in the folder's .npmrc.",
    );
}

/// Two spellings of one line are a diff that says nothing.
#[test]
fn text_ends_its_lines() {
    let mut problems = Vec::new();
    for file in files() {
        let Some(text) = &file.text else { continue };
        if file.path.starts_with("fuzz/corpus/") || text.is_empty() {
            continue;
        }
        if text.contains('\r') {
            problems.push(format!("{}: has carriage returns", file.path));
        }
        if !text.ends_with('\n') {
            problems.push(format!("{}: does not end with a line break", file.path));
        }
        if let Some((number, _)) = file.lines().find(|(_, line)| line.ends_with([' ', '\t'])) {
            problems.push(format!("{}:{number}: ends with white space", file.path));
        }
    }
    expect_none(problems, "`make fmt` mends Rust; an editor's \"trim on save\" the rest.");
}
