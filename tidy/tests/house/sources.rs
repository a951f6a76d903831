//! Rules on Rust and TypeScript sources.

use tidy::{File, expect_none, files};

/// Longest source file, in lines.
const LINES_MAX: usize = 600;
/// Files that are longer, and why. Empty is how it should be.
const LONG_FILES: [(&str, &str); 0] = [];

/// Where a test may let the clock run, and why. To wait for something there is one way, a function `eventually` that
/// looks again and again until a deadline.
const MAY_SLEEP: [(&str, &str); 6] = [
    ("e2e/tests/e2e/nodes/freeze.rs", "how long processes stand still is what the test is about"),
    ("e2e/tests/e2e/resume.rs", "the length of an outage is what the test is about"),
    ("global-controller/tests/shell/world.rs", "nodes made for the test beat like real ones"),
    ("media-handler/tests/handler/bounds.rs", "a rest between records is longer than a record may take"),
    ("media-handler/tests/handler/refusals.rs", "a token has to expire"),
    ("meeting-controller/tests/controller/websocket.rs", "a silence longer than a limit, which must not end the session"),
];

/// Rust of ours.
fn rust() -> impl Iterator<Item = File> {
    files().into_iter().filter(|file| file.extension() == "rs")
}

/// TypeScript and JavaScript of ours.
fn script() -> impl Iterator<Item = File> {
    files().into_iter().filter(|file| ["ts", "mts", "mjs", "js"].contains(&file.extension()))
}

/// Whether the file is a library's or a program's, not a test's, a bench's or a fuzzer's.
fn is_source(file: &File) -> bool {
    file.path.split('/').any(|part| part == "src")
}

/// The lines of a Rust file that are test code: all of it under `tests`, what follows `#[cfg(test)]` elsewhere.
fn test_lines(file: &File) -> Vec<(usize, &str)> {
    let whole = file.path.split('/').any(|part| part == "tests") || file.path.ends_with("/tests.rs");
    file.lines().skip_while(|(_, line)| !whole && line.trim() != "#[cfg(test)]").collect()
}

/// The code of a line, without what a `//` comment says. (A `//` in a string cuts too much, never too little to pass.)
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

#[test]
fn files_stay_short() {
    let long = rust().chain(script()).filter_map(|file| {
        let lines = file.lines().count();
        let listed = LONG_FILES.iter().any(|(path, _)| *path == file.path);
        (lines > LINES_MAX && !listed).then(|| format!("{}: {lines} lines", file.path))
    });
    expect_none(long, "split the file by subject (`foo.rs` and `foo/`), or list it in tidy/tests/house/sources.rs with the reason.");
}

#[test]
fn modules_have_heads() {
    // What `foo/tests.rs` is about, `foo.rs` says.
    let headless = rust().filter(is_source_or_test).filter(|file| !file.text().starts_with("//!") && !file.path.ends_with("/tests.rs"));
    let headless_scripts = script().filter(is_source).filter(|file| !file.text().starts_with("//") && !file.text().starts_with("/*"));
    expect_none(
        headless.chain(headless_scripts).map(|file| format!("{}: has no head", file.path)),
        "begin the file by saying what goes in, what comes out, and what it never does (`//!` in Rust).",
    );
}

fn is_source_or_test(file: &File) -> bool {
    is_source(file) || file.path.split('/').any(|part| part == "tests")
}

#[test]
fn tests_run_and_do_not_wait_for_luck() {
    let mut problems = Vec::new();
    let mut listed: Vec<&str> = MAY_SLEEP.iter().map(|(path, _)| *path).collect();
    for file in rust() {
        let mut in_eventually = false;
        for (number, line) in test_lines(&file) {
            let line = code(line);
            if line.contains("fn ") {
                in_eventually = line.contains("fn eventually");
            }
            if line.contains(concat!("#[ig", "nore")) {
                problems.push(format!("{}:{number}: an ignored test", file.path));
            }
            if line.contains(concat!("sle", "ep(")) && !in_eventually {
                listed.retain(|path| *path != file.path);
                if !MAY_SLEEP.iter().any(|(path, _)| *path == file.path) {
                    problems.push(format!("{}:{number}: a test that sleeps", file.path));
                }
            }
        }
    }
    problems.extend(listed.iter().map(|path| format!("tidy: {path} is listed and does not sleep any more")));
    for file in script().filter(|file| file.path.contains("test")) {
        for (number, line) in file.lines() {
            for word in [".skip(", ".only(", ".todo(", "skip: true", "todo: true"] {
                if code(line).contains(word) {
                    problems.push(format!("{}:{number}: {word} in a test", file.path));
                }
            }
        }
    }
    expect_none(
        problems,
        "a test that cannot run is deleted or mended; a test that waits hands in the time, or uses `eventually` of e2e \
         (a file that must wait for a clock is listed in tidy/tests/house/sources.rs with the reason).",
    );
}

/// A queue without a bound is memory that a stranger controls.
#[test]
fn queues_are_bounded() {
    let words = [concat!("unbounded", "_channel"), concat!("mpsc::", "unbounded"), concat!("channel::", "unbounded")];
    let unbounded = rust().flat_map(|file| {
        let found: Vec<String> = file
            .lines()
            .filter(|(_, line)| words.iter().any(|word| code(line).contains(word)))
            .map(|(number, _)| format!("{}:{number}: an unbounded queue", file.path))
            .collect();
        found
    });
    expect_none(unbounded, "give the queue a named bound, and say what happens when it is full.");
}

/// Cores are handed time and randomness. `Duration` is a length and no clock.
#[test]
fn cores_read_no_clock() {
    let words = ["std::fs", "std::net", "std::thread", "std::env", "std::process", "Instant::now", "SystemTime", "new_v4"];
    let mut problems = Vec::new();
    for file in rust().filter(|file| file.path.contains("/core/src/")) {
        for (number, line) in file.lines().take_while(|(_, line)| line.trim() != "#[cfg(test)]") {
            for word in words.iter().filter(|word| code(line).contains(**word)) {
                problems.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    expect_none(problems, "hand the value in: a `Moment`, a seed, an id.");
}

/// Hash maps are for looking up; what is walked is ordered, so that a run can be replayed from its inputs.
#[test]
fn cores_walk_no_hash_maps() {
    let lint = "#![deny(clippy::iter_over_hash_type)]";
    let lax = rust().filter(|file| file.path.ends_with("/core/src/lib.rs") && !file.text().contains(lint));
    expect_none(
        lax.map(|file| format!("{}: walking a hash map is not denied", file.path)),
        &format!("write `{lint}` below the module's head."),
    );
}

/// One word per thing (see CONTRIBUTING.md, "Names").
#[test]
fn names_are_the_houses() {
    let mut problems = Vec::new();
    for file in rust() {
        if file.path.ends_with("/mod.rs") {
            problems.push(format!("{}: is a mod.rs", file.path));
        }
        for (number, line) in file.lines() {
            let line = code(line).trim_start();
            let declares =
                ["pub struct ", "struct ", "pub enum ", "enum ", "pub trait ", "trait "].iter().find_map(|word| line.strip_prefix(word));
            let name: String = declares.unwrap_or_default().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if ["Manager", "Helper", "Util", "Utils"].iter().any(|ending| name.ends_with(ending)) {
                problems.push(format!("{}:{number}: {name} says nothing", file.path));
            }
            // `get_mut` is what the standard library calls it.
            if line.contains(concat!("fn ge", "t_")) && !line.contains("fn get_mut") {
                problems.push(format!("{}:{number}: a getter is named for what it gives", file.path));
            }
        }
    }
    expect_none(problems, "name types for the thing, functions for the verb, modules `foo.rs` and `foo/`.");
}

/// The rules above see what they must, and no more.
#[test]
fn test_code_is_told_from_sources() {
    fn check(path: &str, text: &str, expected: usize) {
        let file = File { path: path.into(), text: Some(text.into()) };
        assert_eq!(test_lines(&file).len(), expected, "{path}");
    }
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {}\n";
    check("x/src/a.rs", text, 2);
    check("x/tests/y/main.rs", text, 3);
    check("x/src/a/tests.rs", text, 3);
    check("x/src/a.rs", "fn a() {}\n", 0);
    assert_eq!(code("a(); // b"), "a(); ");
}
