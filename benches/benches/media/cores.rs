//! What more cores bring: the same handler on one core and on two, in turn. In: the workloads that keep a core busy. Out: CPU seconds per gigabyte and
//! latency of both.

use std::process::ExitCode;

use benches::measure::Rounds;

use crate::Options;
use crate::compare::{Course, Refused, compare};
use crate::load::Outcome;
use crate::side::{ONE, TWO};
use crate::workload::Workload;

const WORKLOADS: [&str; 3] = ["W1", "W2", "H2"];

/// Prints a line for each of [`WORKLOADS`], or of those that are named.
pub async fn run(options: &Options) -> ExitCode {
    let course = options.course();
    let course = Course { base: course.handler.clone(), base_cores: ONE, handler_cores: TWO, ..course };
    let mut code = ExitCode::SUCCESS;
    for name in WORKLOADS.iter().filter(|name| options.only.is_empty() || options.only.iter().any(|only| only == *name)) {
        let workload = Workload::named(name).expect("it is one of the six");
        match compare(&workload, &course).await {
            Ok(pairs) => {
                let one = |part: fn(&Outcome) -> f64| pairs.iter().map(|pair| part(&pair.base)).collect::<Rounds>().median();
                let two = |part: fn(&Outcome) -> f64| pairs.iter().map(|pair| part(&pair.handler)).collect::<Rounds>().median();
                println!(
                    "bench-media-cores {name} one_s_per_gb={:.2} two_s_per_gb={:.2} one_core={:.2} two_core={:.2} one_p99_ms={:.2} two_p99_ms={:.2}",
                    one(Outcome::seconds_per_gigabyte),
                    two(Outcome::seconds_per_gigabyte),
                    one(|it| it.server_cpu / it.seconds),
                    two(|it| it.server_cpu / it.seconds),
                    one(|it| it.p99_ms),
                    two(|it| it.p99_ms),
                );
            }
            Err(Refused(reason)) => {
                println!("bench-media-cores {name} refused: {reason}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
