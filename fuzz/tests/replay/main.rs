//! Every committed input of the corpus through its target, and mutations of them, on any toolchain.

mod mutate;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::{Dice, mutation};

/// Mutations of each target's corpus in `make test`. `FUZZ_SECONDS` in the environment asks for as many as go into that time instead.
const MUTATIONS: u64 = 300;
/// Longest of them, as in `make fuzz`.
const INPUT_BYTES_MAX: usize = 8192;

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

/// Without a fuzzer nothing tells which input leads somewhere new, but much that breaks a decoder is a step away from a good input.
/// `FUZZ_SEED` gives the dice; a failure says which, and leaves its input in `fuzz/artifacts`.
#[test]
fn mutations_of_the_corpus_break_no_promise() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (seconds, seed) = (number("FUZZ_SECONDS"), number("FUZZ_SEED").unwrap_or(1));
    let only = std::env::var("FUZZ_TARGET").ok();
    // Ten thousand stacks of the same panic help nobody.
    for (name, target) in fuzz::TARGETS.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let folder = corpus().join(name);
        let inputs: Vec<Vec<u8>> =
            names(&folder).iter().map(|input| std::fs::read(folder.join(input)).expect("a readable input")).collect();
        let (mut dice, began, mut count) = (Dice::new(seed), Instant::now(), 0_u64);
        while seconds.map_or(count < MUTATIONS, |seconds| began.elapsed() < Duration::from_secs(seconds)) {
            let input = mutation(&mut dice, &inputs, INPUT_BYTES_MAX);
            count += 1;
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                let artifacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(name);
                let file = artifacts.join(format!("mutation-{seed}-{count}"));
                std::fs::create_dir_all(&artifacts).and_then(|()| std::fs::write(&file, &input)).expect("a writable folder");
                panic!("{name}: {} breaks a promise (seed {seed}, mutation {count}); the panic above says which", file.display());
            }
        }
        eprintln!("{name}: {count} mutations in {:?}", began.elapsed());
    }
}
