//! Rules on documents: what they name is there.

use std::collections::BTreeSet;

use tidy::{File, expect_none, files, root};

/// Endings by which a word in backquotes is taken for a file of ours.
const FILE_ENDINGS: [&str; 14] =
    [".rs", ".ts", ".mjs", ".md", ".toml", ".json", ".proto", ".py", ".sh", ".html", ".css", ".sql", ".lock", ".yaml"];

/// Folders that are made, not kept.
const MADE: [&str; 5] = ["target/", "data/", "web/dist/", "node_modules/", "artifacts/"];

/// Files that the documents name and a run makes.
const MADE_FILES: [&str; 2] = ["dev.json", "package.json"];

fn documents() -> impl Iterator<Item = File> {
    files().into_iter().filter(|file| file.extension() == "md")
}

/// All paths of tracked files, and of the folders they lie in, with a `/` behind.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for file in files() {
        for (at, _) in file.path.match_indices('/') {
            known.insert(file.path[..=at].to_owned());
        }
        known.insert(file.path);
    }
    known
}

#[test]
fn links_lead_somewhere() {
    let mut problems = Vec::new();
    for document in documents() {
        let folder = root().join(&document.path).parent().expect("a file lies in a folder").to_path_buf();
        for (number, line) in document.lines() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split('#').next().unwrap_or_default();
                let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
                if !elsewhere && !folder.join(path).exists() {
                    problems.push(format!("{}:{number}: {target} is not there", document.path));
                }
            }
        }
    }
    expect_none(problems, "correct the link, from the document's own folder.");
}

#[test]
fn documents_name_only_files_that_exist() {
    let known = known();
    let mut problems = Vec::new();
    for document in documents() {
        let mut in_block = false;
        for (number, line) in document.lines() {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
                continue;
            }
            if in_block {
                continue;
            }
            // Every second piece between backquotes stands inside them.
            for span in line.split('`').skip(1).step_by(2).filter(|span| looks_like_ours(span)) {
                let folder = document.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                if !is_known(&known, folder, span) {
                    problems.push(format!("{}:{number}: `{span}` is not there", document.path));
                }
            }
        }
    }
    expect_none(
        problems,
        "name the file by its path from the root (or from the document's folder), or leave the backquotes off what is not a file.",
    );
}

fn looks_like_ours(span: &str) -> bool {
    let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c)) && !span.starts_with(['/', '-', '.']);
    let named = FILE_ENDINGS.iter().any(|ending| span.ends_with(ending) && span.len() > ending.len());
    let folder = span.ends_with('/') && span.len() > 1;
    let made = MADE.iter().any(|made| span.starts_with(made)) || MADE_FILES.contains(&span);
    // A word in capitals stands for something that the reader fills in.
    let placeholder = span.split('/').any(|part| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    plain && (named || folder) && !made && !placeholder
}

/// A path from the root, from the document's folder, or the end of some path: a text about a folder names what is in it shortly.
fn is_known(known: &BTreeSet<String>, folder: &str, span: &str) -> bool {
    let end = format!("/{span}");
    known.contains(span) || known.contains(&format!("{folder}/{span}")) || known.iter().any(|path| path.ends_with(&end))
}

/// What operators are told to watch is there to be watched.
#[test]
fn metrics_are_there() {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let sources: String = files().into_iter().filter(|file| file.path.contains("/src/")).map(|file| file.text().to_owned()).collect();
    let mut problems = Vec::new();
    for file in documents().chain(files().into_iter().filter(|file| file.path.starts_with("deploy/"))) {
        for (number, line) in file.lines() {
            for (at, _) in line.match_indices("dark_tower_") {
                let name = line[at..].split(|c| !is_part(c)).next().unwrap_or_default();
                // Names of crates and log targets have no further part in quotes anywhere.
                let is_crate = line[at + name.len()..].starts_with([':', '=']);
                if !is_crate && !sources.contains(&format!("\"{name}\"")) {
                    problems.push(format!("{}:{number}: no source has the metric {name}", file.path));
                }
            }
        }
    }
    expect_none(problems, "name the metric as the code does.");
}

#[test]
fn spans_are_told_from_prose() {
    fn check(span: &str, expected: bool) {
        assert_eq!(looks_like_ours(span), expected, "{span}");
    }
    check("common/src/tls.rs", true);
    check("fuzz/corpus/", true);
    check("Makefile", false);
    check("/api/v1/openapi.json", false);
    check("data/dev.json", false);
    check("DATA_DIR/dev.json", false);
    check("https://example.org/a.md", false);
    check(".rs", false);
    check("room:{id}.json", false);
}

/// A stranger's first command must be there.
#[test]
fn the_makefile_has_what_documents_promise() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).expect("Makefile is there");
    let targets: BTreeSet<&str> = makefile.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name)).collect();
    let mut problems = Vec::new();
    for file in documents().chain(files().into_iter().filter(|file| file.path == ".ci/run")) {
        for (number, line) in file.lines() {
            for rest in line.split("`make ").skip(1) {
                let end = rest.find('`').unwrap_or(rest.len());
                let goals = rest[..end].split_whitespace().filter(|word| !word.contains('='));
                for goal in goals.filter(|goal| goal.chars().all(|c| c.is_ascii_lowercase() || c == '-')) {
                    if !targets.contains(goal) {
                        problems.push(format!("{}:{number}: `make {goal}` is no target", file.path));
                    }
                }
            }
        }
    }
    for goal in ["bench", "dev", "docs", "fmt", "fmt-check", "lint", "test"] {
        if !targets.contains(goal) {
            problems.push(format!("Makefile: {goal} is no target"));
        }
    }
    expect_none(problems, "add the target to the Makefile, or correct the document.");
}
