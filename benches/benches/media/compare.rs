//! Floor and handler in turn, several rounds of a workload, and whether the rounds are fit to judge by.

use benches::measure::Rounds;

use crate::load::Outcome;
use crate::side::{Cores, Kind, Side};
use crate::workload::Workload;

/// A round whose floor is further from the median than this is repeated; a run in which such rounds remain is refused.
const NOISE_MAX: f64 = 0.25;
/// Repetitions of one round.
const REPEATS_MAX: usize = 3;
/// From the last connection to the first round: handshakes and MTU discovery are over.
pub const REST: std::time::Duration = std::time::Duration::from_millis(500);

/// How long, how often, and against what.
#[derive(Clone, Debug)]
pub struct Course {
    pub rounds: usize,
    pub warm_up: f64,
    pub seconds: f64,
    /// What the handler is compared with.
    pub base: Kind,
    pub base_cores: Cores,
    pub handler: Kind,
    pub handler_cores: Cores,
}

/// One round of each.
#[derive(Clone, Debug)]
pub struct Pair {
    pub base: Outcome,
    pub handler: Outcome,
}

impl Pair {
    pub fn ratio(&self) -> f64 {
        self.handler.microseconds() / self.base.microseconds()
    }
}

impl Outcome {
    /// CPU time of the server per delivered record.
    pub fn microseconds(&self) -> f64 {
        self.server_cpu * 1e6 / self.records as f64
    }

    /// CPU seconds of the server per gigabyte of records delivered.
    pub fn seconds_per_gigabyte(&self) -> f64 {
        self.server_cpu * 1e9 / self.bytes as f64
    }
}

/// Why there is nothing to judge by, in words.
pub struct Refused(pub String);

/// Measures `workload`.
pub async fn compare(workload: &Workload, course: &Course) -> Result<Vec<Pair>, Refused> {
    let mut base = Side::start(&course.base, workload, course.base_cores).await;
    let mut handler = Side::start(&course.handler, workload, course.handler_cores).await;
    for side in [&mut base, &mut handler] {
        side.connect(workload, &workload.members).await;
    }
    tokio::time::sleep(REST).await;
    let pairs = rounds(course, &mut base, &mut handler).await;
    base.stop().await;
    handler.stop().await;
    pairs
}

async fn rounds(course: &Course, base: &mut Side, handler: &mut Side) -> Result<Vec<Pair>, Refused> {
    let mut pairs = Vec::new();
    for _ in 0..course.rounds {
        pairs.push(pair(course, base, handler).await?);
    }
    let noisy = |pairs: &[Pair]| pairs.iter().map(|pair| pair.base.microseconds()).collect::<Rounds>().outliers(NOISE_MAX);
    for _ in 0..REPEATS_MAX {
        for index in noisy(&pairs) {
            eprintln!("  round {}: the floor took {:.1} µs, far from the others; again", index + 1, pairs[index].base.microseconds());
            pairs[index] = pair(course, base, handler).await?;
        }
    }
    if noisy(&pairs).is_empty() {
        return Ok(pairs);
    }
    let floors: Vec<String> = pairs.iter().map(|pair| format!("{:.1}", pair.base.microseconds())).collect();
    Err(Refused(format!("the floor's own rounds differ by more than 25 % ({} µs): this machine is too noisy to judge", floors.join(", "))))
}

async fn pair(course: &Course, base: &mut Side, handler: &mut Side) -> Result<Pair, Refused> {
    Ok(Pair { base: round(course, "floor", base).await?, handler: round(course, "handler", handler).await? })
}

/// One round; one in which records were lost counts for nothing, and is tried again.
pub async fn round(course: &Course, name: &str, side: &mut Side) -> Result<Outcome, Refused> {
    for _ in 0..REPEATS_MAX {
        match side.round(course.warm_up, course.seconds).await {
            Ok(outcome) => return Ok(outcome),
            Err(told) => eprintln!("  NOT DELIVERED by the {name}: {told}"),
        }
    }
    Err(Refused(format!("the {name} did not deliver all records in any of {REPEATS_MAX} rounds")))
}
