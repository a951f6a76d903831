//! Every committed input of the corpus through its target, on any toolchain.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_corpus_breaks_no_promise() {
    for (name, target) in fuzz::TARGETS {
        let folder = corpus().join(name);
        let inputs = names(&folder);
        assert!(!inputs.is_empty(), "{} has no seeds", folder.display());
        for input in inputs {
            let bytes = std::fs::read(folder.join(&input)).expect("a readable input");
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "corpus/{name}/{input} breaks a promise; the panic above says which");
        }
    }
}

/// A target without a fuzzer, or a folder without a target, would be tested by nobody.
#[test]
fn targets_fuzzers_and_corpora_match() {
    let targets: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let fuzzers = names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets"));
    assert_eq!(names(&corpus()), targets);
    assert_eq!(fuzzers, targets.iter().map(|name| format!("{name}.rs")).collect());
}
