//! What the rules of the house look at: tracked files, manifests, the resolved dependencies. The rules are in `tests/house`.
//!
//! In: the repository this crate lies in, read with `git ls-files`, `cargo metadata` and `cargo tree`. Out: plain data.

#![warn(missing_docs)]

pub mod licence;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The platform whose dependencies are judged: what we build, test and ship for.
pub const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tidy lies in the repository's root").to_path_buf()
}

/// Output of a program run in the root; panics with its standard error when it fails.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        // With it `cargo tree -p` shows what the whole workspace turns on, not what the member asks for.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .output()
        .unwrap_or_else(|error| panic!("{program} does not run ({error}); the tidy test needs it"));
    assert!(output.status.success(), "{program} {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("git and cargo speak UTF-8")
}

fn cargo(arguments: &[&str]) -> String {
    // Set by cargo for what it runs.
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    output(&cargo, arguments)
}

/// A file that is tracked, or would be by the next `git add`.
#[derive(Clone, Debug)]
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    /// `None` for what is not text.
    pub text: Option<String>,
}

impl File {
    /// Its text, empty if it is none.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// What stands behind the last dot.
    pub fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }

    /// Lines with their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text().lines())
    }
}

/// All files that are tracked, or would be, by path.
pub fn files() -> Vec<File> {
    let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let paths: BTreeSet<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths
        .into_iter()
        // What is deleted and not yet committed is listed and not there.
        .filter_map(|path| std::fs::read(root().join(path)).ok().map(|bytes| (path, bytes)))
        .map(|(path, bytes)| File { path: path.to_owned(), text: String::from_utf8(bytes).ok() })
        .collect()
}

/// A crate of the workspace, as its manifest describes it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its folder from the root, with `/`.
    pub folder: String,
    /// Names of what it depends on, of every kind.
    pub dependencies: BTreeSet<String>,
    /// Its integration-test binaries.
    pub test_binaries: Vec<String>,
    /// Its manifest.
    pub manifest: toml::Table,
}

/// All crates of the workspace, by folder.
pub fn members() -> Vec<Member> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"])).expect("JSON");
    let mut members: Vec<Member> = array(&metadata, "packages").iter().map(member).collect();
    members.sort_by(|one, other| one.folder.cmp(&other.folder));
    members
}

fn member(package: &Value) -> Member {
    let manifest_path = PathBuf::from(text(package, "manifest_path"));
    let folder = manifest_path.parent().and_then(|folder| folder.strip_prefix(root()).ok()).expect("members lie in the repository");
    let manifest = std::fs::read_to_string(&manifest_path).expect("a manifest that cargo has read");
    let is_test = |target: &&Value| array(target, "kind").iter().any(|kind| kind == "test");
    Member {
        name: text(package, "name"),
        folder: folder.to_string_lossy().replace('\\', "/"),
        dependencies: array(package, "dependencies").iter().map(|dependency| text(dependency, "name")).collect(),
        test_binaries: array(package, "targets").iter().filter(is_test).map(|target| text(target, "name")).collect(),
        manifest: manifest.parse().expect("a manifest that cargo has parsed"),
    }
}

fn array(value: &Value, field: &str) -> Vec<Value> {
    value[field].as_array().cloned().unwrap_or_default()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// A package in the dependency tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An SPDX expression, as its authors wrote it.
    pub licence: String,
}

/// Everything that the workspace builds with, build and test dependencies included. Asks `cargo tree` because
/// `cargo metadata` also lists optional packages that no feature turns on.
pub fn tree() -> BTreeSet<Package> {
    packages(&["--workspace", "-e", "normal,build,dev"])
}

/// Everything that ends up in the library of one member, itself included.
pub fn tree_of(member: &str) -> BTreeSet<Package> {
    packages(&["-p", member, "-e", "normal"])
}

fn packages(selection: &[&str]) -> BTreeSet<Package> {
    let fixed = ["tree", "--locked", "--target", PLATFORM, "--prefix", "none", "-f", "{p}\t{l}"];
    cargo(&[&fixed[..], selection].concat()).lines().filter_map(package).collect()
}

/// A line such as `bytes v1.11.1<TAB>MIT`; a path or a note may stand behind the version, a mark behind a repeated line.
fn package(line: &str) -> Option<Package> {
    let (id, licence) = line.trim_end_matches(" (*)").split_once('\t')?;
    let mut words = id.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    Some(Package { name: name.to_owned(), version: version.to_owned(), licence: licence.to_owned() })
}

/// Versions by name.
pub fn versions(packages: &BTreeSet<Package>) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions
}

/// Fails with all `problems` and how to mend them; each problem names its place first.
pub fn expect_none(problems: impl IntoIterator<Item = String>, mend: &str) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n  {}\n\nHow to mend: {mend}\n", problems.join("\n  "));
}
