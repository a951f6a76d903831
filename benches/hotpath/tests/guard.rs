//! Holds the media handler's hot path to the instructions that it took when `instructions.toml` was written.
//!
//! Instructions are counted by callgrind, so that the busiest machine comes to the same number; what they are worth in time, only a
//! benchmark tells. Each load runs for one period and for two: the difference is free of the start.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde::Deserialize;

/// The program that runs a load.
const HOTPATH: &str = env!("CARGO_BIN_EXE_hotpath");
/// Where the counts are kept.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml");
/// In the environment: write the file instead of going by it.
const REWRITE: &str = "REWRITE_INSTRUCTIONS";
/// More than the seeds of hash maps (less than 0.1 %) and a compiler's patch release make of it.
const WORSE_MAX: f64 = 0.03;
/// So much better is worth keeping: else the next change may spend it unnoticed.
const BETTER_MAX: f64 = 0.10;
/// What a record may cost more in a crowd than in a small round: nothing, but for those seeds.
const GROWTH_MAX: f64 = 0.005;
/// Of the first and then of the second, which is the bigger crowd.
const CROWDS: [(&str, &str); 3] = [("w1", "w1-800"), ("w2-5", "w2"), ("w2", "w2-20")];

/// The file.
#[derive(Debug, Deserialize)]
struct Bounds {
    /// Compiler and machine: others come to other counts.
    made_with: String,
    /// Instructions for each delivered record.
    loads: BTreeMap<String, u64>,
}

fn output(command: &mut Command) -> String {
    let found = command.output().unwrap_or_else(|error| panic!("{command:?}: {error} (`make setup` installs what is missing)"));
    let Output { status, stdout, stderr } = found;
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("words")
}

fn compiler() -> String {
    let told = output(Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-vV"));
    let line = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).expect("rustc tells what it is");
    format!("rustc {} {}", line("release: "), line("host: "))
}

/// Records delivered and instructions executed in a run of so many periods.
fn run(load: &str, periods: u64, profile: &Path) -> (u64, u64) {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--error-exitcode=1"]).arg(format!("--callgrind-out-file={}", profile.display()));
    let delivered = output(command.args([HOTPATH, load, &periods.to_string()])).trim().parse().expect("a number");
    let told = std::fs::read_to_string(profile).expect("callgrind has written it");
    let total = told.lines().find_map(|line| line.strip_prefix("totals: ")).expect("callgrind tells the sum");
    (delivered, total.trim().parse().expect("a number"))
}

/// Instructions for each delivered record, of all loads.
fn count() -> BTreeMap<String, u64> {
    let folder = tempfile::tempdir().expect("a folder");
    let profile = folder.path().join("callgrind.out");
    let cost = |load: &str| {
        let ((records, instructions), (records_twice, instructions_twice)) = (run(load, 1, &profile), run(load, 2, &profile));
        (instructions_twice - instructions) / (records_twice - records)
    };
    output(Command::new(HOTPATH).arg("list")).lines().map(|load| (load.to_owned(), cost(load))).collect()
}

fn rewrite(made_with: &str, counts: &BTreeMap<String, u64>) {
    let before = std::fs::read_to_string(FILE).expect("the file is there");
    let mut text: String = before.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    writeln!(text, "made_with = \"{made_with}\"\n\n[loads]").expect("a string takes it");
    for (load, count) in counts {
        writeln!(text, "{load} = {count}").expect("a string takes it");
    }
    std::fs::write(FILE, text).expect("the file can be written");
}

#[test]
fn a_delivered_record_costs_no_more_instructions_than_before() {
    let (compiler, counts) = (compiler(), count());
    if std::env::var_os(REWRITE).is_some() {
        rewrite(&compiler, &counts);
    }
    let bounds: Bounds = toml::from_str(&std::fs::read_to_string(FILE).expect("the file is there")).expect("it is as written");
    let is_ours = compiler == bounds.made_with;
    eprintln!("instructions for each delivered record ({compiler}; the bounds are of {}):", bounds.made_with);
    let mut problems = Vec::new();
    for (load, count) in &counts {
        let Some(bound) = bounds.loads.get(load) else {
            problems.push(format!("{load}: no bound; `make instructions` writes one"));
            continue;
        };
        let change = *count as f64 / *bound as f64 - 1.0;
        eprintln!("  {load:10} {count:6}  bound {bound:6}  {:+.1} %", change * 100.0);
        if is_ours && change > WORSE_MAX {
            problems.push(format!(
                "{load}: {count} instructions instead of {bound}. `callgrind_annotate` tells where: `valgrind --tool=callgrind \
                 target/debug/hotpath {load} 2`. If the work is worth it, `make instructions` writes the new bounds, and the commit says why"
            ));
        }
        if is_ours && change < -BETTER_MAX {
            problems.push(format!(
                "{load}: {count} instructions instead of {bound}: better. `make instructions` writes it down, so that it stays"
            ));
        }
    }
    let unknown = bounds.loads.keys().filter(|load| !counts.contains_key(*load));
    problems.extend(unknown.map(|load| format!("{load}: there is no such load any more; `make instructions` takes it out")));
    for (small, big) in CROWDS {
        let growth = counts[big] as f64 / counts[small] as f64 - 1.0;
        eprintln!("  {small} to {big}: {:+.1} %", growth * 100.0);
        if growth > GROWTH_MAX {
            problems.push(format!("{big}: a record costs {:.1} % more than in {small}", growth * 100.0));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
